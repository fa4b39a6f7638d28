/** Whom users ignore: kept with the registration or the session, known on all devices. */
import { assertEquals } from "@std/assert";
import { hashToken } from "../../chat/base/tokens.ts";
import { MAX_IGNORED_UNREGISTERED } from "../../chat/moderation/ignores.ts";
import { codeOf, type Moderated, openModerated, OPERATOR, userOf } from "../support/moderation.ts";
import { keysOf } from "../support/storage.ts";
import { eventually } from "../support/wait.ts";

/** Opens an instance that notes whom each session ignores. */
async function open(kv: Deno.Kv, instance: string) {
  const ignored = new Map<string, string[]>();
  const server = await openModerated(kv, instance, {
    ignoredChanged: ({ id }, users) => void ignored.set(id, [...users.values()]),
  });
  return { server, ignored };
}

async function namesOf(server: Moderated, id: string): Promise<string[]> {
  return [...(await server.moderation.ignoredBy(server.session(id))).values()];
}

Deno.test("a registered user ignores on all devices, and later too", async () => {
  using kv = await Deno.openKv(":memory:");
  const { server: one, ignored } = await open(kv, "01A");
  await using _one = one;
  const { server: other, ignored: ignoredThere } = await open(kv, "01B");
  await using _other = other;
  await one.share();
  await other.share();
  await one.member("1", "Ann");
  await other.member("2", "Ann");
  await other.guest("3", "Troll");
  const ignore = await one.moderation.ignore(one.session("1"), { nick: "Troll" });
  assertEquals(codeOf(ignore), "ok");
  await eventually(() => ignoredThere.get("2")?.length === 1, "the other device knows it");
  await eventually(() => ignored.get("1")?.length === 1, "this device knows it");
  // It is in no record, and nobody else is told.
  await one.member("4", OPERATOR);
  const page = await one.moderation.modlog(one.session("4"), undefined, undefined, 10);
  assertEquals(page.ok && page.entries, []);
  await using later = (await open(kv, "01C")).server;
  await later.member("5", "Ann");
  assertEquals(await namesOf(later, "5"), ["Troll"]);
  // The user has gone, but can be taken from the list by name or ID.
  await other.storage.deleteConnection("3");
  assertEquals(codeOf(await later.moderation.unignore(later.session("5"), { user: "3" })), "ok");
  assertEquals(await keysOf(kv, "ignored"), []);
  await eventually(() => ignoredThere.get("2")?.length === 0, "the other device knows that, too");
});

Deno.test("an unregistered user's list goes with the session, also when it is resumed elsewhere", async () => {
  using kv = await Deno.openKv(":memory:");
  await using one = (await open(kv, "01A")).server;
  const { server: other, ignored } = await open(kv, "01B");
  await using _other = other;
  await one.guest("1", "Troll");
  one.storage.createConnection("2", "json");
  const token = hashToken("token");
  await one.storage.setUsername("2", { nick: "Carl", claims: ["carl"], token });
  assertEquals(codeOf(await one.moderation.ignore(one.session("2"), { nick: "Troll" })), "ok");
  assertEquals(await namesOf(one, "2"), ["Troll"]);
  const found = (await other.storage.findResumable(token))!;
  assertEquals((await other.storage.takeOver(found, hashToken("fresh"))).outcome, "done");
  await other.moderation.resumed(other.session("2"), []);
  assertEquals(ignored.get("2"), ["Troll"]);
  assertEquals(await keysOf(kv, "ignored"), []);
});

Deno.test("the lists are bounded, and nonsense is refused", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.guest("1", "Carl");
  const session = server.session("1");
  for (let i = 0; i <= MAX_IGNORED_UNREGISTERED; i++) {
    await server.guest(`2${i}`, `t${i}`);
    const result = await server.moderation.ignore(session, { nick: `t${i}` });
    assertEquals(codeOf(result), i < MAX_IGNORED_UNREGISTERED ? "ok" : "bad-act");
  }
  assertEquals(codeOf(await server.moderation.ignore(session, { nick: "Carl" })), "protected-user");
  assertEquals(codeOf(await server.moderation.ignore(session, { nick: "Nobody" })), "no-such-user");
  const never = server.moderation.unignore(session, { nick: `t${MAX_IGNORED_UNREGISTERED}` });
  assertEquals(codeOf(await never), "no-such-user");
  assertEquals(userOf("Carl"), "01CARL");
});
