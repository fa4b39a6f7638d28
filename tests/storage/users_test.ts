/** Users of several sessions: what rooms are told, limits, remembered rooms, and changes of identity. */
import { assert, assertEquals } from "@std/assert";
import { keysOf, membersOf, named, openStorage, ownership, signedIn } from "../support/storage.ts";
import { ToldRooms } from "../support/told_rooms.ts";
import { eventually } from "../support/wait.ts";

/** Returns the stored row of a user. */
async function userRow(kv: Deno.Kv, user: string) {
  type Row = {
    account: string;
    sessions: { id: string; n: number }[];
    rooms: [string, number[]][];
  };
  return (await kv.get<Row>(["user", user])).value;
}

Deno.test("Storage tells a room of the first join and the last leave of a user, over instances", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = await openStorage(kv, "01A");
  await using other = await openStorage(kv, "01B");
  await one.share();
  await other.share();
  await one.person("1", signedIn("Ann", "A"), "red");
  await other.person("2", signedIn("ann", "A"), "red");
  await other.storage.reached();
  assertEquals(other.told(), ["join red Ann@A", "quiet join red ann@A"]);
  assertEquals(await membersOf(other.storage, "red"), ["Ann@A"]);
  assertEquals([...await one.storage.listRooms()], [["red", 1]]);
  await one.storage.removeRoom("1", "red");
  assertEquals([...await one.storage.listRooms()], [["red", 1]]);
  await other.storage.reached();
  assertEquals(await membersOf(other.storage, "red"), ["ann@A"]);
  await other.storage.deleteConnection("2");
  await one.storage.reached();
  assertEquals(one.told(), [
    "join red Ann@A",
    "quiet join red ann@A",
    "quiet leave red Ann@A",
    "leave red ann@A",
  ]);
  assertEquals([...await one.storage.listRooms()], []);
});

Deno.test("Storage.setUsername tells each of a session's rooms what changed for it", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  const { storage, told } = server;
  await server.person("1", signedIn("Ann", "A"), "both", "old", "none", "new");
  await server.person("2", signedIn("Ann", "A"), "both", "old");
  await server.person("3", signedIn("Bob", "B"), "both", "new");
  told();
  const changed = await storage.setUsername("1", signedIn("bob", "B"));
  assertEquals([changed.outcome, changed.isTold], ["done", true]);
  assertEquals(told().sort(), [
    "join old bob@B > bob@B",
    "leave new Ann@A > bob@B",
    "nick none Ann@A > bob@B",
    "quiet nick both Ann@A > bob@B",
  ]);
  assertEquals([...await storage.listRooms()], [["both", 2], ["new", 1], ["none", 1], ["old", 2]]);
  assertEquals(await membersOf(storage, "both"), ["bob@B", "Ann@A"]);
  assertEquals(await membersOf(storage, "new"), ["bob@B"]);
  assertEquals(await membersOf(storage, "old"), ["bob@B", "Ann@A"]);
  const row = await userRow(kv, "B");
  assertEquals(row?.sessions.map(({ id }) => id), ["3", "1"]);
  const { rooms, user, account } = storage.session("1")!;
  assertEquals([[...rooms].sort(), user, account], [["both", "new", "none", "old"], "B", "bob"]);
});

Deno.test("Storage.setUsername tells of the same nickname with another user, and not of the same user", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  const { storage, told } = server;
  await server.person("1", "Ann", "red");
  told();
  // register
  assertEquals((await storage.setUsername("1", signedIn("Ann", "A"))).isTold, true);
  assertEquals(told(), ["nick red Ann > Ann@A"]);
  // identify again
  const again = await storage.setUsername("1", signedIn("Ann", "A"));
  assertEquals([again.outcome, again.isTold, again.eventId], ["done", false, undefined]);
  assertEquals(told(), []);
  // another spelling
  await storage.setUsername("1", named("ANN"));
  assertEquals(told(), ["nick red Ann@A > ANN@A"]);
  // unregister
  const ended = { ...named("ANN"), ended: ownership("Ann", "A") };
  assertEquals((await storage.setUsername("1", ended)).outcome, "done");
  assertEquals(told(), ["nick red ANN@A > ANN"]);
  assertEquals(await userRow(kv, "A"), null);
  assertEquals([storage.session("1")?.user, storage.session("1")?.account], ["1", ""]);
});

Deno.test("Storage leaves the claims of a registered nickname with the registration", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  const { storage } = server;
  const claims = async () => {
    const rows: Record<string, unknown> = {};
    for await (const { key, value } of kv.list({ prefix: ["nick"] })) rows[String(key[1])] = value;
    return rows;
  };
  const of = (holder: unknown) =>
    Object.fromEntries(named("Zoë").claims.map((claim) => [claim, holder]));
  const kept = of({ kept: "zoë" });
  await server.person("1", "Zoë");
  assertEquals(await claims(), of("1"));
  await storage.setUsername("1", signedIn("Zoë", "Z"));
  assertEquals(await claims(), kept);
  assertEquals(storage.session("1")?.claims, []);
  // Another session of the user, in another spelling; and nobody else.
  await server.person("2", signedIn("ZOË", "Z"));
  storage.createConnection("3", "text");
  assertEquals((await storage.setUsername("3", named("Zoë"))).outcome, "conflict");
  assertEquals((await storage.setUsername("2", named("zoë"))).outcome, "done");
  await storage.setUsername("1", named("Bob"));
  assertEquals(await claims(), { ...kept, bob: "1" });
  assertEquals(storage.session("1")?.user, "1");
  await storage.deleteConnection("2");
  await storage.deleteConnection("1");
  assertEquals(await claims(), kept);
  // Unregistering gives them to the session.
  await server.person("4", signedIn("Zoë", "Z"));
  await storage.setUsername("4", { ...named("Zoë"), ended: ownership("Zoë", "Z") });
  assertEquals(await claims(), of("4"));
  await storage.deleteConnection("4");
  assertEquals(await claims(), {});
});

Deno.test("Storage.setUsername cannot sign in while another user holds a claim of the registration", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  await server.person("1", "Ann");
  server.storage.createConnection("2", "text");
  assertEquals((await server.storage.setUsername("2", signedIn("Ann", "A"))).outcome, "conflict");
  assertEquals(await userRow(kv, "A"), null);
});

Deno.test("Storage.findClaim finds registered users, online or not, and no expired registration", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  const row = { nick: "Ann", user: "A", password: "", claims: ["ann"], until: Date.now() + 60_000 };
  await kv.set(["account", "ann"], row);
  await server.person("1", signedIn("ANN", "A"));
  const found = { account: "ann", nick: "Ann", user: "A" };
  assertEquals(await server.storage.findClaim("ann"), found);
  await server.storage.deleteConnection("1");
  assertEquals(await server.storage.findClaim("ann"), found);
  assertEquals((await server.storage.readUser("A"))?.sessions, []);
  await kv.set(["account", "ann"], { ...row, until: 1 });
  assertEquals(await server.storage.findClaim("ann"), undefined);
  // Registered by an earlier version, and not used since.
  await kv.set(["account", "ann"], { ...row, user: undefined });
  assertEquals(await server.storage.findClaim("ann"), undefined);
});

Deno.test("Storage remembers the rooms of a registered user that its last session did not leave", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv, "01A", { maxRooms: 3 });
  const { storage } = server;
  const rooms = async () => (await storage.readUser("A"))!.rooms;
  await server.person("1", signedIn("Ann", "A"), "42", "__proto__", "7");
  await storage.removeRoom("1", "7");
  assertEquals([...await rooms()], [["42", [0]], ["__proto__", [0]]]);
  await storage.deleteConnection("1");
  assertEquals([...await rooms()], [["42", []], ["__proto__", []]]);
  // Remembered rooms make place for others, those that were left first go first.
  await server.person("2", signedIn("Ann", "A"), "blue", "red");
  assertEquals([...(await rooms()).keys()], ["__proto__", "blue", "red"]);
  await storage.setRoom("2", "__proto__");
  assertEquals([...await rooms()], [["blue", [0]], ["red", [0]], ["__proto__", [0]]]);
  assertEquals((await storage.setRoom("2", "green")).outcome, "too-many-rooms");
  assertEquals([...(await rooms()).keys()], ["blue", "red", "__proto__"]);
});

Deno.test("Storage counts the rooms of all sessions of a user, and refuses without a change", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv, "01A", { maxRooms: 2 });
  const { storage, told } = server;
  await server.person("1", signedIn("Ann", "A"), "red", "blue");
  await server.person("2", signedIn("Ann", "A"), "red");
  assertEquals((await storage.setRoom("2", "green")).outcome, "too-many-rooms");
  await server.person("3", "Bob", "red", "green");
  assertEquals((await storage.setRoom("3", "blue")).outcome, "too-many-rooms");
  told();
  assertEquals((await storage.setUsername("3", signedIn("Ann", "A"))).outcome, "too-many-rooms");
  assertEquals([storage.session("3")?.nick, told()], ["Bob", []]);
  assertEquals(await storage.findClaim("bob"), { connection: "3" });
  assertEquals((await userRow(kv, "A"))?.sessions.length, 2);
  await storage.removeRoom("3", "green");
  assertEquals((await storage.setUsername("3", signedIn("Ann", "A"))).outcome, "done");
});

Deno.test("Storage gives a registered user at most 16 sessions", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  const { storage } = server;
  const ids = Array.from({ length: 40 }, (_, i) => `id${10 + i}`);
  for (const id of ids) storage.createConnection(id, "json");
  const results = await Promise.all(ids.map((id) => storage.setUsername(id, signedIn("Ann", "A"))));
  const outcomes = results.map(({ outcome }) => outcome);
  assertEquals(outcomes.filter((each) => each === "done").length, 16);
  assertEquals(outcomes.filter((each) => each === "too-many-sessions").length, 24);
  const [first] = ids.filter((_, i) => outcomes[i] === "done");
  const [refused] = ids.filter((_, i) => outcomes[i] !== "done");
  await storage.deleteConnection(first!);
  assertEquals((await storage.setUsername(refused!, signedIn("Ann", "A"))).outcome, "done");
});

Deno.test("Storage lets 16 sessions of a user on four instances join and leave at once", async () => {
  using kv = await Deno.openKv(":memory:");
  await using a = await openStorage(kv, "01A");
  await using b = await openStorage(kv, "01B");
  await using c = await openStorage(kv, "01C");
  await using d = await openStorage(kv, "01D");
  const servers = [a, b, c, d];
  for (const server of servers) await server.share();
  const ids = Array.from({ length: 16 }, (_, i) => `id${10 + i}`);
  const at = (i: number) => servers[i % 4]!;
  await Promise.all(ids.map((id, i) => at(i).person(id, signedIn("Ann", "A"))));
  const rooms = ["red", "blue", "green"];
  for (let round = 0; round < 2; round++) {
    const joins = ids.flatMap((id, i) => rooms.map((room) => at(i).storage.setRoom(id, room)));
    assert((await Promise.all(joins)).every(({ outcome }) => outcome === "done"));
    assertEquals([...await a.storage.listRooms()].sort(), [["blue", 1], ["green", 1], ["red", 1]]);
    const leaves = ids.flatMap((id, i) => rooms.map((room) => at(i).storage.removeRoom(id, room)));
    assert((await Promise.all(leaves)).every(({ outcome }) => outcome === "done"));
    assertEquals([...await a.storage.listRooms()], []);
  }
  await a.storage.reached();
  const told = new ToldRooms();
  for (const event of a.events) told.apply(event);
  for (const room of rooms) {
    assertEquals(told.usersIn(room), []);
    const loud = a.events.filter((event) => event.room === room && !event.isQuiet);
    assert(loud.length >= 4 && loud.length % 2 === 0, `${loud.length} events in ${room}`);
  }
  assertEquals((await a.storage.readUser("A"))?.rooms.size, 0);
});

Deno.test("Storage changes no row of a user in an unknown form, and still removes its sessions", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  const { storage } = server;
  await server.person("1", signedIn("Ann", "A"), "red");
  const row = { v: 2, everything: "else" };
  await kv.set(["user", "A"], row);
  assertEquals((await storage.setRoom("1", "blue")).outcome, "failed");
  assertEquals((await storage.removeRoom("1", "red")).outcome, "failed");
  storage.createConnection("2", "json");
  assertEquals((await storage.setUsername("2", signedIn("Ann", "A"))).outcome, "failed");
  assertEquals(await storage.readUser("A"), undefined);
  await storage.deleteConnection("1");
  assertEquals(await userRow(kv, "A") as unknown, row);
  assertEquals(await keysOf(kv, "row"), []);
  await eventually(async () => (await keysOf(kv, "room")).length === 0, "the room is gone");
});

Deno.test("Storage restores the row of a user that is lost", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  const { storage } = server;
  await server.person("1", signedIn("Ann", "A"), "red");
  await kv.delete(["user", "A"]);
  assertEquals((await storage.setRoom("1", "blue")).outcome, "done");
  assertEquals((await userRow(kv, "A"))?.sessions.map(({ id }) => id), ["1"]);
  await kv.delete(["user", "A"]);
  await storage.deleteConnection("1");
  assertEquals(await keysOf(kv, "row"), []);
});

Deno.test("Storage removes the row of a user with the last session after its registration has ended", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openStorage(kv);
  const { storage, told } = server;
  await server.person("1", signedIn("Ann", "A"), "red", "blue");
  await server.person("2", signedIn("Ann", "A"), "red");
  told();
  await storage.setUsername("1", { ...named("Ann"), ended: ownership("Ann", "A") });
  assertEquals(told().sort(), ["join red Ann > Ann", "nick blue Ann@A > Ann"]);
  // A session of a registration that has ended can do nothing more.
  assertEquals((await storage.setRoom("2", "blue")).outcome, "conflict");
  assertEquals((await storage.setUsername("2", named("ANN"))).outcome, "conflict");
  await storage.endOtherSessions("A", "1");
  assertEquals(told(), ["resume  Ann@A", "leave red Ann@A"]);
  assertEquals(await userRow(kv, "A"), null);
  assertEquals(await membersOf(storage, "red"), ["Ann"]);
});
