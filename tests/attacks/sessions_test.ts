/** Users with as many sessions as possible: the limit holds, and their changes do not block each other. */
import { assert, assertEquals } from "@std/assert";
import { userFrom } from "../../chat/kv/values.ts";
import { JsonClient } from "../support/json_client.ts";
import { openTwo, SECRET } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";

/** Sessions of one registered user. */
const MAX_SESSIONS = 16;

/** Rooms that each of them enters. */
const ROOMS = Array.from({ length: 20 }, (_, i) => `room ${i}`);

/** Logs a user in `count` times at once. Returns the clients and the replies. */
async function identify(server: TestServer, count: number) {
  return await Promise.all(Array.from({ length: count }, async () => {
    const client = await JsonClient.connect(server);
    const { type, code } = await client.request({
      type: "identify",
      nick: "Eve",
      password: SECRET,
    });
    return { client, outcome: type === "welcome" ? type : code };
  }));
}

Deno.test("a user has 16 sessions at most, also when 24 devices sign in at once", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const eve = await JsonClient.login(server, "Eve");
  await eve.request({ type: "register", password: SECRET });
  const logins = await identify(server, 24);
  const outcomes = logins.map(({ outcome }) => outcome);
  const welcomes = outcomes.filter((outcome) => outcome === "welcome").length;
  const busy = outcomes.filter((outcome) =>
    outcome !== "welcome" && outcome !== "too-many-sessions"
  );
  assert(welcomes <= MAX_SESSIONS - 1, `${welcomes} more sessions`);
  assert(
    busy.every((outcome) => /^(busy|too-many-attempts|unavailable)$/.test(outcome)),
    `${busy}`,
  );
  // As many as there is place for, one by one.
  for (let i = welcomes; i < MAX_SESSIONS - 1; i++) {
    assertEquals((await identify(server, 1))[0]!.outcome, "welcome");
  }
  assertEquals((await identify(server, 1))[0]!.outcome, "too-many-sessions");
  const { sessions } = await eve.request({ type: "sessions" });
  assertEquals(sessions.length, MAX_SESSIONS);
  // One that ends makes place.
  const { session } = sessions.find(({ current }: { current?: true }) => !current);
  await eve.request({ type: "end", session });
  assertEquals((await identify(server, 1))[0]!.outcome, "welcome");
});

Deno.test("16 sessions of one user on two instances enter and leave 20 rooms at once, and every request is carried out", async () => {
  using kv = await Deno.openKv(":memory:");
  await using two = await openTwo(kv, { rateLimits: "off" });
  const bob = await JsonClient.login(two.one, "Bob", ROOMS[0]);
  const eve = await JsonClient.login(two.one, "Eve");
  const { user } = await eve.request({ type: "register", password: SECRET });
  const clients = [eve];
  while (clients.length < MAX_SESSIONS) {
    const [login] = await identify(clients.length % 2 === 0 ? two.one : two.other, 1);
    assertEquals(login!.outcome, "welcome");
    clients.push(login!.client);
  }
  const since = performance.now();
  const all = async (type: "join" | "leave") =>
    await Promise.all(clients.map(async (client) => {
      for (const room of ROOMS) {
        const reply = (await client.requestAll({ type, room })).at(-1)!;
        assertEquals(reply.type, "ok", JSON.stringify(reply));
      }
    }));
  const rooms = async () => {
    const { value } = await kv.get(["user", user]);
    return [...userFrom(value)!.rooms].map(([room, numbers]) => [room, numbers.length]);
  };
  await all("join");
  assertEquals(new Map(await rooms() as [string, number][]), new Map(ROOMS.map((r) => [r, 16])));
  await all("leave");
  assertEquals(await rooms(), []);
  const tookMs = performance.now() - since;
  if (Deno.env.get("SHOW")) console.log({ changes: 2 * 16 * ROOMS.length, tookMs });
  // Bob was told of one user that came and went.
  await bob.expect({ type: "joined", user }, { type: "left", user });
  await bob.expectNothingElse();
});
