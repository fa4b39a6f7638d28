/**
 * A KV file that an earlier version wrote: registrations and history are there, nobody is online.
 *
 * before_user_ids.kv.gz is the file of commit e0f274d, the last version without user IDs. A script ran
 * main.ts with `--history 3650d --registered 3650d --grace 60m --limits registrations=5/24h`, talked
 * to it over WebSockets, and killed it with SIGKILL. It started main.ts again on the file, and killed
 * it again, within 150 ms of the first of the last events. When the second process was killed:
 *
 * - "Ann" (password "correct-horse") was online with `chat.v1`, identified, in the room "chalice". She
 *   came from the first process by a resume token.
 * - "Bobby", earlier "Bob", in "chalice" and "Eve" in "Кухня" were not registered. They were sessions
 *   of the first process that could be resumed.
 * - "Fay" in "Кухня" was not registered. Her connection to the second process was cut, within the grace.
 * - "Gil" was online in plain text, in "chalice".
 * - "Zoë" (password "battery-staple") was registered and away. Her last event was a wrong password.
 * - "Cyd" and "Anna" were nicknames that nobody had any more.
 * - Ann had sent direct messages to Zoë and Fay, Zoë one to Bobby. Messages of `chat.v1` had `cid`s.
 * - The last events of each shard were in the feed, but not compacted yet.
 *
 * Afterwards the write-ahead log was written into the file (`wal_checkpoint`, `VACUUM`), and every
 * `expiration_ms` that was set was moved 100 years ahead: KV removes rows by the clock of the machine,
 * and keeps direct messages for four hours. Keys and values are as the program wrote them. The first
 * row expires on 2126-11-26. The servers here run with a clock at the time of the file.
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { AdjustedClock } from "../support/fake_clock.ts";
import { JsonClient, type JsonObject } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";

const OLD_FILE = new URL("before_user_ids.kv.gz", import.meta.url);

/** Unix milliseconds at which the file was written. */
const WRITTEN_MS = 1_795_574_271_065;

/** What a client sees of a message: ID, type, nickname, text and time. */
type Shown = readonly [id: string, type: string, nick: string, text: string, time: number];

/** The messages of each room, as the clients of the old version saw them. */
const MESSAGES: Readonly<Record<"chalice" | "Кухня", readonly Shown[]>> = {
  chalice: [
    ["g300000000", "message", "Ann", "Good morning", 1795574262472],
    ["g360000000", "action", "Zoë", "waves", 1795574262515],
    ["g460000000", "message", "Bob", "Hello from Bob", 1795574262575],
    ["g520000000", "action", "Bobby", "has another nickname now", 1795574262660],
    ["g540000000", "message", "Zoë", "Grüße, 你好 👋", 1795574262703],
    ["g6b0000000", "message", "Anna", "Two lines:\nthis is the second", 1795574262750],
    // Compacted by the second process.
    ["gc90000000", "message", "Ann", "The last message before a crash", 1795574265545],
    ["ged0000000", "message", "Ann", "Back after the crash", 1795574267161],
    ["h1080000000", "message", "Zoë", "Me too", 1795574267302],
    // Not compacted.
    ["h1430000000", "message", "Ann", "Not compacted yet", 1795574270931],
    ["h1490000000", "action", "Gil", "is not compacted either", 1795574270974],
    ["h1530000000", "message", "Ann", "The very last message, 🏁", 1795574271061],
  ],
  Кухня: [
    ["g880000000", "message", "Zoë", "Is anybody here?", 1795574262874],
    ["g980000000", "message", "Cyd", "Yes, me", 1795574262930],
    ["g9d0000000", "message", "Eve", "I drop out in a moment", 1795574263040],
    ["h1170000000", "message", "Fay", "Who is Eve?", 1795574267326],
    // Not compacted.
    ["h14e0000000", "action", "Fay", "leaves without a word", 1795574271017],
  ],
};

/** The newest event of the file: Fay's lost connection was no event, and no later one was stored. */
const NEWEST_ID = "h1530000000";

const PASSWORDS = [["Ann", "correct-horse"], ["Zoë", "battery-staple"]] as const;

/** Unpacks the old file into a folder of its own, which is deleted at the end. */
async function unpack(): Promise<{ path: string } & AsyncDisposable> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/kv`;
  const { readable } = await Deno.open(OLD_FILE);
  await Deno.writeFile(path, readable.pipeThrough(new DecompressionStream("gzip")));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

/** A server on a file. At the end it must have logged no warning: it skipped no row. */
async function open(path: string): Promise<{ server: TestServer } & AsyncDisposable> {
  // Heartbeats, the wait for a sign of other processes, and compaction.
  const delayOf = (ms: number) => ms === 1_000 || ms === 1_500 ? 50 : ms;
  const clock = new AdjustedClock({ delayOf });
  // A minute after the file was written. The monotonic clock must not go below zero.
  clock.wallAheadMs = WRITTEN_MS + 60_000 - Date.now();
  const kv = await Deno.openKv(path);
  const server = await TestServer.open({ kv, clock, graceSeconds: 1, rateLimits: "off" });
  return {
    server,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      kv.close();
      assertEquals(server.warnings, []);
    },
  };
}

/** Sends a request, and returns its reply without the events before it. */
async function ask(client: JsonClient, request: object): Promise<JsonObject> {
  return (await client.requestAll(request)).at(-1)!;
}

/** Sends a request that must succeed, and returns its reply. */
async function succeed(client: JsonClient, request: object): Promise<JsonObject> {
  const reply = await ask(client, request);
  assertNotEquals(reply.type, "error", JSON.stringify(reply));
  return reply;
}

/** Returns the code of the error with which a request is refused; `undefined`: it succeeds. */
async function errorCode(server: TestServer, request: object): Promise<string | undefined> {
  return (await ask(await JsonClient.connect(server), request)).code;
}

/** Connects a client, which logs in and waits until the clients of the old version have left. */
async function connectAfterCleanup(server: TestServer, nick = "Reader"): Promise<JsonClient> {
  const client = await JsonClient.connect(server);
  await succeed(client, { type: "login", nick });
  await eventually(
    async () => (await succeed(client, { type: "rooms" })).rooms.length === 0,
    "no client of the old version is in a room",
  );
  return client;
}

/** Enters a room, and returns its messages. */
async function readRoom(client: JsonClient, room: string, limit = 100): Promise<Shown[]> {
  await succeed(client, { type: "join", room });
  const { events } = await succeed(client, { type: "history", room, limit });
  return events.map((event: JsonObject): Shown => {
    assertEquals(event.room, room);
    return [event.id, event.type, event.nick, event.text, event.time];
  });
}

/** Asserts that both registrations accept their passwords, and no others. */
async function assertPasswords(server: TestServer): Promise<void> {
  for (const [nick, password] of PASSWORDS) {
    const client = await JsonClient.connect(server);
    const wrong = await ask(client, { type: "identify", nick, password: "wrong-horse" });
    assertEquals(wrong.code, "wrong-password");
    const right = await succeed(client, { type: "identify", nick, password });
    assertEquals(right.nick, nick);
    await client.connection.disconnect();
  }
}

Deno.test("a file from before user IDs keeps registrations: they accept their passwords and no others", async () => {
  await using file = await unpack();
  await using opened = await open(file.path);
  await connectAfterCleanup(opened.server);
  await assertPasswords(opened.server);
  // Zoë's password is not Ann's.
  const [[nick], [, password]] = PASSWORDS;
  const swapped = await errorCode(opened.server, { type: "identify", nick, password });
  assertEquals(swapped, "wrong-password");
});

Deno.test("a file from before user IDs keeps registered nicknames and their lookalikes from other clients", async () => {
  await using file = await unpack();
  await using opened = await open(file.path);
  const login = (nick: string) => errorCode(opened.server, { type: "login", nick });
  // At once: Ann was online when the old version was killed.
  assertNotEquals(await login("Ann"), undefined);
  await connectAfterCleanup(opened.server);
  for (const nick of ["Ann", "ANN", "Zoë", "zoë", "ZOE\u0308"]) {
    assertEquals(await login(nick), "nickname-registered", nick);
  }
  // The first letter of one and the second of the other are Cyrillic.
  for (const nick of ["Аnn", "Zоë"]) assertEquals(await login(nick), "nickname-taken", nick);
  assertEquals(await login("Zoe"), undefined);
});

Deno.test("a file from before user IDs leaves the nicknames of unregistered clients free after the cleanup", async () => {
  await using file = await unpack();
  await using opened = await open(file.path);
  await connectAfterCleanup(opened.server);
  for (const nick of ["Bobby", "Eve", "Fay", "Gil", "Bob", "Cyd", "Anna"]) {
    assertEquals(await errorCode(opened.server, { type: "login", nick }), undefined, nick);
  }
});

Deno.test("a file from before user IDs shows the same messages, compacted or not, from the start on", async () => {
  await using file = await unpack();
  await using opened = await open(file.path);
  const client = await JsonClient.connect(opened.server);
  await succeed(client, { type: "login", nick: "Reader" });
  // At once, and again when the instances of the old version are cleaned up.
  assertEquals(await readRoom(client, "chalice"), MESSAGES.chalice);
  assertEquals(await readRoom(client, "Кухня"), MESSAGES["Кухня"]);
  for (const room of ["chalice", "Кухня"]) await succeed(client, { type: "leave", room });
  await connectAfterCleanup(opened.server, "Another");
  assertEquals(await readRoom(client, "chalice"), MESSAGES.chalice);
  assertEquals(await readRoom(client, "chalice", 5), MESSAGES.chalice.slice(-5));
  assertEquals(await readRoom(client, "Кухня"), MESSAGES["Кухня"]);
});

Deno.test("a file from before user IDs counts and lists only new members of its rooms", async () => {
  await using file = await unpack();
  await using opened = await open(file.path);
  const { server } = opened;
  const client = await connectAfterCleanup(server);
  const rooms = async () => (await succeed(client, { type: "rooms" })).rooms;
  assertEquals(await rooms(), []);
  const dora = await server.login("Dora", "chalice");
  await dora.request("/ls", "Dora");
  const emil = await server.login("Emil", "Кухня");
  await emil.request("/ls", "Emil");
  assertEquals(await rooms(), [{ room: "chalice", people: 1 }, { room: "Кухня", people: 1 }]);
  await dora.request("/quit", 'Left chat room "chalice"');
  assertEquals(await rooms(), [{ room: "Кухня", people: 1 }]);
});

Deno.test("a file from before user IDs takes new messages after the old ones, and keeps all over a restart", async () => {
  await using file = await unpack();
  const added: Record<string, Shown[]> = { chalice: [], Кухня: [] };
  {
    await using opened = await open(file.path);
    const client = await JsonClient.connect(opened.server);
    const [[nick, password]] = PASSWORDS;
    await connectAfterCleanup(opened.server);
    await succeed(client, { type: "identify", nick, password });
    for (const room of ["chalice", "Кухня"] as const) {
      await succeed(client, { type: "join", room });
      await succeed(client, { type: "message", room, text: "Said to the new version" });
      const all = await readRoom(client, room);
      const last = all.at(-1)!;
      assertEquals(all.slice(0, -1), MESSAGES[room]);
      assertEquals(last.slice(1, 4), ["message", "Ann", "Said to the new version"]);
      assert(last[0] > NEWEST_ID, `${last[0]} is later than ${NEWEST_ID}`);
      added[room]!.push(last);
    }
  }
  await using reopened = await open(file.path);
  const client = await connectAfterCleanup(reopened.server);
  for (const room of ["chalice", "Кухня"] as const) {
    assertEquals(await readRoom(client, room), [...MESSAGES[room], ...added[room]!]);
  }
  await assertPasswords(reopened.server);
  const login = await errorCode(reopened.server, { type: "login", nick: "Аnn" });
  assertEquals(login, "nickname-taken");
});
