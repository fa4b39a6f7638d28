/**
 * Clients that use many rooms: more than allowed, in loops, and as many as possible when they resume.
 * Each costs the server a bounded amount of work and memory.
 *
 * With SHOW=1 the tests print their measurements.
 */
import { assert, assertEquals } from "@std/assert";
import { JsonClient } from "../support/json_client.ts";
import { residentBytes, ServerProcess } from "../support/processes.ts";
import { SECRET } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";
import { TextClient } from "../support/text_client.ts";
import { sleep } from "../support/wait.ts";

const MIB = 1024 * 1024;

/** `--max-rooms` of a server without options. */
const MAX_ROOMS = 50;

function show(measured: Record<string, number>): void {
  if (Deno.env.get("SHOW")) console.log(measured);
}

async function connect(server: ServerProcess): Promise<JsonClient> {
  return new JsonClient(await TextClient.connect(server.url, "chat.v1"));
}

/** Returns how many milliseconds the server takes to answer another client's `ping`. */
async function pingMs(client: JsonClient): Promise<number> {
  const since = performance.now();
  await client.requestAll({ type: "ping" });
  return performance.now() - since;
}

Deno.test("a user is in 50 rooms at most, over all sessions", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const eve = await JsonClient.login(server, "Eve");
  await eve.request({ type: "register", password: SECRET });
  for (let i = 0; i < MAX_ROOMS; i++) await eve.requestAll({ type: "join", room: `room ${i}` });
  await eve.expectError({ type: "join", room: "one more" }, "too-many-rooms");
  const other = await JsonClient.connect(server);
  await other.request({ type: "identify", nick: "Eve", password: SECRET });
  await other.expectError({ type: "join", room: "one more" }, "too-many-rooms");
  // A room in which the user is already, is not one more.
  assertEquals((await other.requestAll({ type: "join", room: "room 0" })).at(-1)!.type, "ok");
  const bob = await JsonClient.login(server, "Bob");
  assertEquals((await bob.request({ type: "rooms" })).rooms.length, MAX_ROOMS);
});

Deno.test("a client that enters and leaves rooms in a loop is limited, and others do not wait", async () => {
  await using server = await ServerProcess.start(["--kv", ":memory:"]);
  const eve = await connect(server), ann = await connect(server);
  for (const [client, nick] of [[eve, "Eve"], [ann, "Ann"]] as const) {
    await client.request({ type: "login", nick });
  }
  let joined = 0, refused = 0, worst = 0;
  const until = performance.now() + 3_000;
  for (let i = 0; performance.now() < until; i++) {
    const room = `room ${i % MAX_ROOMS}`;
    eve.send({ type: "leave", room });
    const replies = await Promise.race([
      eve.requestAll({ type: "join", room }),
      eve.connection.closed,
    ]);
    if (replies instanceof Event) break;
    if (replies.at(-1)!.type === "ok") joined++;
    else refused++;
    if (i % 50 === 0) worst = Math.max(worst, await pingMs(ann));
  }
  show({ joined, refused, worst });
  // 30 at once, and 30 in a minute.
  assert(joined <= 33, `${joined} joins`);
  assert(refused > 0);
  assert(worst < 1_000, `another client waited for ${worst} ms`);
  await Promise.all([eve, ann].map(({ connection }) => connection.disconnect()));
});

Deno.test("a resume that names 1,000 rooms, or impossible IDs, is answered at once", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const eve = await JsonClient.login(server, "Eve", "red");
  const dropped = async (client: JsonClient) => {
    client.connection.socket.close(4000);
    await client.connection.closed;
    return await JsonClient.connect(server);
  };
  const { token } = await (await JsonClient.connect(server)).request({ type: "login", nick: "E" });
  const names = (count: number, id: string) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`room ${i}`, id]));
  const other = await JsonClient.connect(server);
  await other.expectError(
    { type: "resume", token, last: names(1_000, "g1a0000000") },
    "bad-request",
  );
  await other.expectError({ type: "resume", token, last: { red: "x".repeat(65) } }, "bad-request");
  await other.expectError({ type: "resume", token, last: ["red"] }, "bad-request");
  // As many as it may name, with every kind of ID: one line each, and none of them in a room it is not in.
  const garbage = ["", "~", "g", "zzzzzzzzzzz", "\u{1f600}", "g1a0000000", "0", "-1"];
  const last = names(300, "g1a0000000");
  garbage.forEach((id, i) => last[`garbage ${i}`] = id);
  const since = performance.now();
  const next = await dropped(other);
  next.send({ type: "resume", token, last, direct: "~", ref: 1 });
  assertEquals((await next.next()).type, "welcome");
  const resumed = [];
  while (resumed.at(-1)?.type !== "resumed" || "room" in resumed.at(-1)!) {
    resumed.push(await next.next());
  }
  show({ resumeMs: performance.now() - since });
  assert(performance.now() - since < 2_000);
  assertEquals(resumed.length, 300 + garbage.length + 1);
  for (const line of resumed.slice(0, -1)) {
    assertEquals([line.type, line.recovered, line.missed], ["resumed", false, 0]);
  }
  await eve.expectNothingElse();
});

Deno.test("resumes that could read 50 rooms of large messages take little memory", async () => {
  const clients = 8, messages = 40, text = "x".repeat(16_000);
  await using server = await ServerProcess.start(["--kv", ":memory:", "--limits", "off"]);
  const ann = await connect(server);
  await ann.request({ type: "login", nick: "Ann" });
  const eves = await Promise.all(Array.from({ length: clients }, () => connect(server)));
  const tokens: string[] = [];
  const last: Record<string, string> = {};
  for (const [i, client] of [ann, ...eves].entries()) {
    if (i > 0) tokens.push((await client.request({ type: "login", nick: `Eve${i}` })).token);
    for (let n = 0; n < MAX_ROOMS; n++) {
      const heard = await client.requestAll({ type: "join", room: `room ${n}` });
      last[`room ${n}`] = heard.at(-1)!.id;
    }
  }
  for (const { connection } of eves) connection.socket.close(4000);
  await Promise.all(eves.map(({ connection }) => connection.closed));

  // 32 MB: eight clients would read 256 MB.
  for (let sent = 0; sent < messages * MAX_ROOMS;) {
    // The server disconnects a client with more than 256 Ki characters waiting.
    for (let i = 0; i < 10; i++) {
      ann.send({ type: "message", room: `room ${sent++ % MAX_ROOMS}`, text, ref: sent });
    }
    while ((await ann.next()).ref !== sent);
  }
  const before = await residentBytes(server.process.pid);
  let peak = before, isDone = false, worst = 0;
  const watching = (async () => {
    while (!isDone) {
      peak = Math.max(peak, await residentBytes(server.process.pid));
      worst = Math.max(worst, await pingMs(ann));
      await sleep(10);
    }
  })();
  const sizes = await Promise.all(tokens.map(async (token) => {
    const client = await TextClient.connect(server.url, "chat.v1");
    client.send(JSON.stringify({ type: "resume", token, last, direct: "" }));
    let bytes = 0, rooms = 0;
    while (true) {
      const line = await client.next();
      bytes += line.length;
      const { type, room, reason } = JSON.parse(line);
      if (type !== "resumed") continue;
      if (room === undefined) break;
      rooms++;
      if (reason !== undefined) assertEquals(reason, "too-many");
    }
    assertEquals(rooms, MAX_ROOMS);
    await client.disconnect();
    return bytes;
  }));
  isDone = true;
  await watching;
  show({ MiB: (peak - before) / MIB, worst, bytes: Math.max(...sizes) });
  for (const bytes of sizes) assert(bytes < 0.6 * MIB, `${bytes} bytes`);
  assert(peak - before < 100 * MIB, `${peak - before} bytes more`);
  assert(worst < 2_000, `another client waited for ${worst} ms`);
  await ann.connection.disconnect();
});
