/** Who is told that a user writes. */
import { assertEquals } from "@std/assert";
import { JsonClient } from "../support/json_client.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";

const TYPING = { type: "typing", room: "red" };

Deno.test("the others in a room are told that a user writes, and nobody else is", async () => {
  await using server = await TestServer.open();
  const tim = await server.login("Tim", "red");
  const ann = await JsonClient.register(server, "Ann", "red");
  const phone = await JsonClient.identify(server, "Ann", "red");
  const bob = await JsonClient.login(server, "Bob", "red");
  const eve = await JsonClient.login(server, "Eve", "blue");
  for (const each of [ann, phone]) await each.expect({ type: "joined", nick: "Bob" });
  assertEquals((await ann.requestAll(TYPING)).map(({ type }) => type), ["ok"]);
  await bob.expect({ type: "typing", room: "red", user: ann.user, nick: "Ann", registered: true });
  // Once more within three seconds is left out.
  assertEquals((await phone.requestAll(TYPING)).map(({ type }) => type), ["ok"]);
  await eve.expectError(TYPING, "not-in-room");
  // Nothing arrives after leaving, nor at those who ignore the user.
  await bob.requestAll({ type: "ignore", nick: "Ann" });
  for (const client of [ann, phone, bob, eve]) await client.expectNothingElse();
  await tim.expect("Ann joined room.", "Bob joined room.");
  await tim.expectNothingElse();
});

Deno.test("after three seconds a room is told again, unless the user is ignored, muted or has left", async () => {
  const clock = new AdjustedClock();
  await using server = await TestServer.open({ clock, operatorSecret: "secret of operators" });
  const ann = await JsonClient.login(server, "Ann", "red");
  const bob = await JsonClient.login(server, "Bob", "red");
  const cid = await JsonClient.login(server, "Cid", "red");
  await ann.expect({ type: "joined" }, { type: "joined" });
  await bob.expect({ type: "joined" });
  await bob.requestAll({ type: "ignore", nick: "Ann" });
  for (let n = 0; n < 2; n++) {
    await ann.requestAll(TYPING);
    await cid.expect({ type: "typing", nick: "Ann" });
    clock.monotonicAheadMs += 3_001;
  }
  await bob.expectNothingElse();
  await cid.requestAll({ type: "op", secret: "secret of operators" });
  await cid.requestAll({ type: "mute", room: "red", nick: "Ann" });
  const codes = (await ann.requestAll(TYPING)).map(({ code }) => code).filter(Boolean);
  assertEquals(codes, ["muted"]);
  await ann.requestAll({ type: "leave", room: "red" });
  await ann.expectError(TYPING, "not-in-room");
});

Deno.test("a user is told that another one writes to them, and with typing: false nobody is", async () => {
  for (const typing of [true, false]) {
    await using server = await TestServer.open({ typing });
    const ann = await JsonClient.login(server, "Ann", "red");
    const bob = await JsonClient.login(server, "Bob", "red");
    await ann.expect({ type: "joined", nick: "Bob" });
    await ann.requestAll({ type: "typing", with: bob.user });
    await ann.requestAll(TYPING);
    if (typing) await bob.expect({ type: "typing", nick: "Ann" }, TYPING);
    await bob.expectNothingElse();
    await ann.expectError({ type: "typing" }, "bad-request");
    await ann.expectError({ ...TYPING, with: bob.user }, "bad-request");
  }
});

Deno.test("a room is told of a few users a second, however many write", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const ann = await JsonClient.login(server, "Ann", "red");
  const crowd = [];
  for (let n = 0; n < 30; n++) crowd.push(await JsonClient.login(server, `U${n}`, "red"));
  const typing = { type: "typing", room: "red" };
  for (const each of crowd) each.send(typing);
  for (const each of crowd) await each.requestAll({ type: "ping" });
  const told = (await ann.requestAll({ type: "ping" })).filter(({ type }) => type === "typing");
  assertEquals(told.length >= 5 && told.length <= 15, true, `${told.length}`);
});

Deno.test("clients on another instance are told, and nothing is kept in the feed or in history", async () => {
  const kv = await Deno.openKv(":memory:");
  {
    await using one = await TestServer.open({ kv, local: false });
    await using other = await TestServer.open({ kv, local: false });
    const ann = await JsonClient.login(one, "Ann", "red");
    const bob = await JsonClient.login(other, "Bob", "red");
    await ann.expect({ type: "joined", nick: "Bob" });
    const rows = async () =>
      (await Array.fromAsync(kv.list({ prefix: [] }))).filter(({ key }) =>
        key[0] === "feed" || key[0] === "log" || key[0] === "people"
      ).length;
    const before = await rows();
    await ann.requestAll(TYPING);
    await bob.expect({ type: "typing", room: "red", nick: "Ann" });
    assertEquals(await rows(), before);
    // What another program writes there does no harm.
    for (
      const value of [null, 1, "x", { instance: 1 }, {
        instance: "x",
        passed: [{ room: 1 }, null, 7],
      }]
    ) {
      await kv.set(["passed"], value);
    }
    await eventually(async () => (await bob.request({ type: "ping" })).type === "pong", "alive");
    await ann.expectNothingElse();
    await bob.expectNothingElse();
  }
  kv.close();
});
