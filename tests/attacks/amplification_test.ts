/**
 * Attacks in which the server sends far more bytes than the attacker: messages whose JSON is six times
 * as long as their text, and pages of history. The server is a process with its default limits. It
 * limits this machine's own address too, because `together` is set.
 *
 * With SHOW=1 the tests print their measurements.
 */
import { assert } from "@std/assert";
import { residentBytes, ServerProcess } from "../support/processes.ts";
import { RawReader } from "../support/raw_socket.ts";
import { TextClient } from "../support/text_client.ts";
import { sleep, withDeadline } from "../support/wait.ts";

const ONE_ADDRESS = ["--kv", ":memory:", "--limits", "together=10"];

/** Connects a client of chat.v1, logs it in, and joins a room. */
async function login(server: ServerProcess, nick: string, room: string): Promise<TextClient> {
  const client = await TextClient.connect(server.url, "chat.v1");
  client.send(
    JSON.stringify({ type: "login", nick }),
    JSON.stringify({ type: "join", room, ref: 1 }),
  );
  while (JSON.parse(await client.next()).ref !== 1);
  return client;
}

Deno.test("a reader at 5 Mbit/s stays connected while ten clients send escapes to its room, and receives what another client sends after that", async () => {
  await using server = await ServerProcess.start(ONE_ADDRESS);
  const ann = await login(server, "Ann", "red");
  using reader = await RawReader.open(server.port, "chat.v1", 5e6 / 8);
  await reader.send(JSON.stringify({ type: "login", nick: "Slow" }));
  await reader.send(JSON.stringify({ type: "join", room: "red", ref: 1 }));
  while (JSON.parse(await reader.next()).ref !== 1);
  const before = await residentBytes(server.process.pid), read = reader.bytesRead;
  const attackers = await Promise.all(
    Array.from({ length: 10 }, (_, i) => login(server, `mad ${i}`, "red")),
  );
  const since = performance.now();
  const text = "\u0001".repeat(16_000);
  for (const attacker of attackers) {
    for (let i = 0; i < 33; i++) {
      attacker.send(JSON.stringify({ type: "message", room: "red", text }));
    }
  }
  let received = 0, memory = 0, missed = 0;
  // The server rejects Ann's message while the room's limit is used up. She sends it again then.
  let heard = false;
  const listening = (async () => {
    while (!heard) {
      const line = JSON.parse(await reader.next());
      if (line.type === "message" && line.nick === "Ann") heard = true;
      else if (line.type === "message") received++;
      else if (line.type === "gap") missed += line.missed;
    }
  })();
  while (!heard) {
    ann.send(JSON.stringify({ type: "message", room: "red", text: "can you hear me?", ref: 2 }));
    let answer = JSON.parse(await ann.next());
    while (answer.ref !== 2) answer = JSON.parse(await ann.next());
    memory = Math.max(memory, await residentBytes(server.process.pid));
    await Promise.race([
      listening,
      sleep(answer.retryAfter ?? 1_000),
    ]);
    assert(
      performance.now() - since < 30_000,
      "the reader receives Ann's message within 30 seconds",
    );
  }
  await withDeadline(listening, "Ann's message");
  const bytes = reader.bytesRead - read;
  const seconds = (performance.now() - since) / 1000;
  if (Deno.env.get("SHOW")) {
    console.log({
      received,
      missed,
      MB: bytes / 1e6,
      seconds,
      MiB: (memory - before) / 2 ** 20,
    });
  }
  // 330 messages of 96 KB are 32.5 MB. The room accepts 200 KiB of them, and one message more.
  assert(bytes < 1_000_000, `${bytes} bytes`);
  assert(memory - before < 100 * 2 ** 20, `${memory - before} bytes more`);
  await Promise.all([...attackers, ann].map((client) => client.disconnect()));
});

Deno.test("RateLimiter charges pages of history by their bytes: requests of 64 bytes receive less than 8 MB", async () => {
  await using server = await ServerProcess.start([
    "--kv",
    ":memory:",
    "--limits",
    "messages=off,room=off,together=10",
  ]);
  const ann = await login(server, "Ann", "red");
  const text = "x".repeat(16_000);
  for (let i = 0; i < 100; i++) {
    ann.send(JSON.stringify({ type: "message", room: "red", text, ref: i + 10 }));
    // The server disconnects a client with more than 256 Ki characters waiting.
    if (i % 10 === 9) { while (JSON.parse(await ann.next()).ref !== i + 10); }
  }
  const attackers = await Promise.all(
    Array.from({ length: 10 }, (_, i) => login(server, `mad ${i}`, "red")),
  );
  let bytes = 0, requests = 0, refused = 0;
  const until = performance.now() + 3_000;
  await Promise.all(attackers.map(async (attacker) => {
    while (performance.now() < until && attacker.socket.readyState === WebSocket.OPEN) {
      attacker.send('{"type":"history","room":"red","limit":100,"ref":"x"}');
      requests++;
      while (true) {
        const line = await Promise.race([attacker.next(), attacker.closed]);
        if (typeof line !== "string") return;
        bytes += line.length;
        if (!line.includes('"ref":"x"')) continue;
        if (line.startsWith('{"type":"error"')) {
          refused++;
          await sleep(50);
        }
        break;
      }
    }
  }));
  if (Deno.env.get("SHOW")) {
    console.log({ requests, refused, MB: bytes / 1e6, Mbit_per_s: bytes * 8 / 3e6 });
  }
  // 1,200 commands of 4 KiB are 4.9 MB. Each of ten clients may get one page more.
  assert(bytes < 8_000_000, `${bytes} bytes`);
  assert(refused > 0);
  await Promise.all([...attackers, ann].map((client) => client.disconnect()));
});
