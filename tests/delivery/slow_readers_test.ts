/**
 * Slow clients over real sockets: they stay connected, are told what they missed, and are disconnected
 * only if they read nothing at all.
 */
import { assert, assertEquals } from "@std/assert";
import { TestServer } from "../support/test_server.ts";
import { eventually, withDeadline } from "../support/wait.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { RawReader } from "../support/raw_socket.ts";
import { JsonClient, type JsonObject } from "../support/json_client.ts";

/** Sends 16 MB, more than the system and the server buffer for one client. Returns the IDs. */
async function flood(ann: JsonClient): Promise<string[]> {
  const ids: string[] = [];
  const text = "x".repeat(16_000);
  while (ids.length < 1_000) {
    ann.send(...Array.from({ length: 20 }, () => ({ type: "message", room: "red", text })));
    for (let i = 0; i < 20; i++) ids.push((await ann.next()).id);
  }
  return ids;
}

/** Returns the lines of a chat.v1 client up to one of a type. */
async function until(reader: RawReader, type: string): Promise<JsonObject[]> {
  const lines: JsonObject[] = [];
  while (lines.at(-1)?.type !== type) lines.push(JSON.parse(await reader.next()));
  return lines;
}

Deno.test("a slow client is told the IDs around its gap, stays connected, and receives every later event", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann", "red");
  using deaf = await RawReader.open(server.port, "chat.v1");
  await deaf.send(JSON.stringify({ type: "login", nick: "Deaf" }));
  await deaf.send(JSON.stringify({ type: "join", room: "red" }));
  await ann.expect({ type: "joined", nick: "Deaf" });
  const ids = await flood(ann);
  const lines = await until(deaf, "gap");
  const heard = lines.filter(({ type }) => type === "message").map(({ id }) => id);
  const { after, until: end, missed } = lines.at(-1)!;
  // First the events that the system had buffered, then the gap, and no event twice.
  assertEquals(heard, ids.slice(0, heard.length));
  assertEquals([after, end], [heard.at(-1), ids.at(-1)]);
  assertEquals(missed, ids.length - heard.length);
  assert(missed > 100, `${missed}`);
  const id = await ann.sendMessage("all is well");
  const next = (await until(deaf, "message")).at(-1)!;
  assertEquals([next.id, next.text], [id, "all is well"]);
  // With the gap's IDs, history returns the first missed events.
  await deaf.send(JSON.stringify({ type: "history", room: "red", after, limit: 2, ref: 1 }));
  const page = (await until(deaf, "history")).at(-1)!;
  assertEquals(
    page.events.map(({ id }: JsonObject) => id),
    ids.slice(heard.length, heard.length + 2),
  );
  assertEquals(server.warnings, []);
});

Deno.test("a client that reads nothing for 30 s is disconnected with 1013, and can resume", async () => {
  const clock = new AdjustedClock();
  await using server = await TestServer.open({ rateLimits: "off", clock });
  const ann = await JsonClient.login(server, "Ann", "red");
  using deaf = await RawReader.open(server.port, "chat.v1");
  await deaf.send(JSON.stringify({ type: "login", nick: "Deaf" }));
  await deaf.send(JSON.stringify({ type: "join", room: "red" }));
  await ann.expect({ type: "joined", nick: "Deaf" });
  await flood(ann);
  // Data that the system still buffers counts as progress, so wait until that stops.
  clock.monotonicAheadMs += 29_000;
  await ann.expectNothingElse();
  assertEquals(server.chat.size, 2);
  clock.monotonicAheadMs += 31_000;
  await eventually(() => server.chat.size === 1, "the reader is let go");
  let token = "", last = "";
  while (true) {
    const line = await withDeadline(deaf.nextOrClose(), "the end");
    if (line === 1013) break;
    if (typeof line === "number") throw new Error(`closed with ${line}`);
    const { type, token: given, id } = JSON.parse(line);
    if (type === "welcome") token = given;
    if (type === "message") last = id;
  }
  const again = await JsonClient.connect(server);
  const welcome = await again.request({ type: "resume", token, last: { red: last } });
  assertEquals([welcome.type, welcome.nick], ["welcome", "Deaf"]);
  assertEquals(welcome.rooms, [{ room: "red", joined: true }]);
  let missed = await again.next();
  while (missed.type !== "resumed") missed = await again.next();
  // More events than a client is told at once.
  assertEquals([missed.room, missed.recovered, missed.reason], ["red", false, "too-many"]);
  await again.expect({ type: "resumed", recovered: true, missed: 0 });
  await ann.sendMessage("all is well");
  await again.expect({ type: "message", text: "all is well" });
});

Deno.test("a large reply that does not fit is rejected with retryAfter, and sent once it fits", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann", "red");
  using deaf = await RawReader.open(server.port, "chat.v1");
  await deaf.send(JSON.stringify({ type: "login", nick: "Deaf" }));
  await deaf.send(JSON.stringify({ type: "join", room: "red" }));
  await ann.expect({ type: "joined", nick: "Deaf" });
  await flood(ann);
  for (const type of ["history", "members", "rooms"]) {
    await deaf.send(JSON.stringify({ type, room: "red", ref: type }));
  }
  await ann.expectNothingElse();
  const refused: JsonObject[] = [];
  let gap = false;
  while (refused.length < 3 || !gap) {
    const line = JSON.parse(await deaf.next());
    if (line.type === "error") refused.push(line);
    gap ||= line.type === "gap";
  }
  for (const { code, retryAfter } of refused) assertEquals([code, retryAfter], ["too-fast", 1_000]);
  assertEquals(refused.map(({ ref }) => ref), ["history", "members", "rooms"]);
  await deaf.send(JSON.stringify({ type: "history", room: "red", ref: 2 }));
  const page = (await until(deaf, "history")).at(-1)!;
  assertEquals([page.ref, page.more], [2, true]);
});
