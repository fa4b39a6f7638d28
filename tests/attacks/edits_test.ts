/**
 * Edits without end: each rewrites a row of history. The limits of messages hold for them, and another
 * client of the same server does not notice.
 *
 * With SHOW=1 the tests print their measurements.
 */
import { assert, assertEquals } from "@std/assert";
import { JsonClient } from "../support/json_client.ts";
import { ServerProcess } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { sleep } from "../support/wait.ts";

const EDITS = 1_000;

/** Starts a server and two clients in one room. Returns the ID of a message of the first. */
async function open(server: ServerProcess) {
  const eve = new JsonClient(await TextClient.connect(server.url, "chat.v1"));
  const ann = new JsonClient(await TextClient.connect(server.url, "chat.v1"));
  for (const [client, nick, room] of [[eve, "Eve", "red"], [ann, "Ann", "blue"]] as const) {
    await client.request({ type: "login", nick });
    await client.requestAll({ type: "join", room });
  }
  const said = await eve.requestAll({ type: "message", room: "red", text: "x".repeat(16_000) });
  return { eve, ann, id: said.at(-1)!.id as string };
}

/** Sends edits all at once, while another client talks. Returns the replies and its longest wait. */
async function edit({ eve, ann, id }: Awaited<ReturnType<typeof open>>, count: number) {
  const codes = new Map<string, number>();
  let worst = 0, isDone = false;
  const talking = (async () => {
    while (!isDone) {
      const since = performance.now();
      await ann.requestAll({ type: "message", room: "blue", text: "hi" });
      worst = Math.max(worst, performance.now() - since);
      // No faster than a client may talk.
      await sleep(500);
    }
  })();
  const since = performance.now();
  let isClosed = false;
  for (let sent = 0; sent < count && !isClosed;) {
    // The server disconnects a client with more than 256 Ki characters waiting.
    const refs = new Set<number>();
    for (let i = 0; i < 10; i++) {
      refs.add(++sent);
      eve.send({ type: "edit", room: "red", id, text: `${sent}`.repeat(4_000), ref: sent });
    }
    while (refs.size > 0 && !isClosed) {
      const line = await Promise.race([eve.next(), eve.connection.closed]);
      isClosed = line instanceof Event;
      if (line instanceof Event || !refs.delete(line.ref)) continue;
      const code = line.type === "ok" ? "ok" : String(line.code);
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
  }
  const tookMs = performance.now() - since;
  isDone = true;
  await talking;
  return { codes, worst, tookMs, isClosed };
}

Deno.test("RateLimiter counts edits as messages: of a thousand at once few are carried out", async () => {
  await using server = await ServerProcess.start(["--kv", ":memory:"]);
  const clients = await open(server);
  const { codes, worst, isClosed } = await edit(clients, EDITS);
  if (Deno.env.get("SHOW")) console.log({ codes, worst });
  assert((codes.get("ok") ?? 0) <= 30, `${codes.get("ok")} edits`);
  assert((codes.get("too-fast") ?? 0) > 0);
  assert(isClosed, "a client that ignores the limit is disconnected");
  assert(worst < 2_000, `another client waited for ${worst} ms`);
  await Promise.all([clients.eve, clients.ann].map(({ connection }) => connection.disconnect()));
});

Deno.test("a thousand edits of a large message are all carried out, and another client does not wait", async () => {
  await using server = await ServerProcess.start(["--kv", ":memory:", "--limits", "off"]);
  const clients = await open(server);
  const { codes, worst, tookMs } = await edit(clients, EDITS);
  if (Deno.env.get("SHOW")) console.log({ codes, worst, tookMs });
  assertEquals([...codes], [["ok", EDITS]]);
  assert(worst < 2_000, `another client waited for ${worst} ms`);
  const { events } = (await clients.eve.requestAll({ type: "history", room: "red" })).at(-1)!;
  assertEquals(events.map(({ text }: { text: string }) => text), [`${EDITS}`.repeat(4_000)]);
  await Promise.all([clients.eve, clients.ann].map(({ connection }) => connection.disconnect()));
});
