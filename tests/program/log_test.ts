/** The log of the real program: its form, and what must never be in it. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { ServerProcess } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

/** What no line of the log may contain: texts, names, passwords, tokens, secrets. */
const SECRETS = [
  "words-of-ann",
  "words-that-wait",
  "Annabella",
  "Bob\x07",
  "quiet-corner",
  "pass-of-ann",
  "wrong-guess",
  "access-token-of-the-chat",
  "not-the-access-token",
  "secret-of-the-operators",
  "broken-json",
  "\x1b",
];

const ADDRESSES = ["203.0.113.77", "2001:db8:77:5"];

/**
 * Runs the server with lively and nosy clients, and returns the lines that it printed. With `fails` the
 * database takes no commits for a while.
 */
async function linesOf(options: string[], fails = false): Promise<string[]> {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/kv`;
  const env = {
    CHAT_TOKEN: "access-token-of-the-chat",
    CHAT_OPERATOR_SECRET: "secret-of-the-operators",
  };
  const run = ["run", "-A", "main.ts"];
  await using server = await ServerProcess.start(
    ["--kv", file, "--trust-proxy", "--max-connections", "2", ...options],
    run,
    env,
    "piped",
  );
  const authorization = "Bearer access-token-of-the-chat";
  const headers = { authorization, "x-forwarded-for": ADDRESSES[0]! };
  const text = await TextClient.connect(server.url, { protocols: [], headers });
  text.send("Bob\x07", "Annabella", "/register pass-of-ann", "/login Annabella wrong-guess");
  text.send("/op secret-of-the-operators", "/join quiet-corner", "words-of-ann \x1b[2J", "/nope");
  const heard = () => text.received.some((frame) => frame.includes("words-of-ann"));
  await eventually(heard, "the message is shown");
  const json = await TextClient.connect(server.url, { protocols: ["chat.v1"], headers });
  json.send('{"type":"broken-json', '{"type":"login","nick":7,"password":"pass-of-ann"}');
  await json.next();
  for (const address of ADDRESSES) {
    await statusOf(server, { authorization, "x-forwarded-for": address });
    await statusOf(server, {
      authorization: "Bearer not-the-access-token",
      origin: "https://nosy.example",
      "x-forwarded-for": address,
    });
  }
  await json.disconnect();
  assertEquals(await statusOf(server, { "x-page-origin": "https://nosy.example" }), 403);
  if (fails) {
    await whileLocked(file, async () => {
      text.send("words-that-wait");
      const failed = () => text.received.some((frame) => /storage|failed|again/i.test(frame));
      await eventually(failed, "the message is rejected", 60_000);
    });
  }
  await text.disconnect();
  const lines = await server.stopAndRead();
  await Deno.remove(folder, { recursive: true });
  return lines;
}

/** Asks why a page may not connect. */
async function statusOf(server: ServerProcess, headers: Record<string, string>): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${server.port}/ws`, { headers });
  await response.body?.cancel();
  return response.status;
}

/** Runs something while the database takes no commits. */
async function whileLocked(file: string, run: () => Promise<void>): Promise<void> {
  const database = new DatabaseSync(file);
  try {
    database.exec("BEGIN IMMEDIATE");
    await run();
  } finally {
    database.exec("ROLLBACK");
    database.close();
  }
}

function assertNoSecrets(lines: readonly string[]): void {
  for (const line of lines) {
    for (const secret of SECRETS) assert(!line.includes(secret), line);
    assertMatch(line, /^[^\p{Cc}\p{Zl}\p{Zp}]+$/u);
  }
}

Deno.test("--log json writes an object a line, without texts, names, passwords, tokens and whole addresses", async () => {
  const lines = await linesOf(["--log", "json"], true);
  assertNoSecrets(lines);
  const events = lines.map((line) => JSON.parse(line));
  for (const { time, level, message } of events) {
    assertMatch(time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assertMatch(level, /^(error|warn|info)$/);
    assert(message !== "");
  }
  const has = (message: string, more: Record<string, string> = {}) =>
    assert(
      events.some((event) =>
        event.message.startsWith(message) &&
        Object.entries(more).every(([name, value]) => event[name] === value)
      ),
      `${message} in ${lines.join("\n")}`,
    );
  has("Parley is running", { level: "info" });
  has("Refused a connection", { level: "warn", address: "203.0.113.0/24" });
  has("Refused a page", { level: "warn" });
  has("Cannot reach storage", { level: "warn" });
  for (const address of ADDRESSES) assert(!lines.join("\n").includes(address));
});

Deno.test("--log text with --log-addresses writes whole addresses, from workers too", async () => {
  const lines = await linesOf(["--log-addresses", "--workers", "2"]);
  assertNoSecrets(lines);
  assert(lines.some((line) => line.endsWith(" address=203.0.113.77")), lines.join("\n"));
  assert(lines.some((line) => line.startsWith("Parley is running")), lines.join("\n"));
});
