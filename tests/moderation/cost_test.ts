/** What bans cost those who are not banned: nothing that grows with the number of bans. */
import { assert, assertEquals } from "@std/assert";
import { networkFrom } from "../../chat/base/networks.ts";
import { standingKey } from "../../chat/kv/keys.ts";
import { NO_END, NO_STANDING, storedStanding } from "../../chat/kv/moderation_values.ts";
import { putNetworkBan } from "../../chat/moderation/networks.ts";
import { countingKv, type KvUse } from "../support/faulty_kv.ts";
import { JsonClient } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";

const ROOM_BANS = 10_000, NETWORK_BANS = 1_000;

/** Reads of the background, such as heartbeats, that a measured span may contain. */
const MAX_OTHER_READS = 4;

/** Stores bans of users in the room `red`, and of networks of several sizes. */
async function ban(kv: Deno.Kv): Promise<void> {
  const sanction = { until: NO_END, reason: "spam", by: "Op", at: 0 };
  const value = storedStanding({ ...NO_STANDING, nick: "Eve", ban: sanction });
  const users = Array.from({ length: ROOM_BANS }, (_, i): Deno.KvMutation => {
    const user = `01BANNED${String(i).padStart(6, "0")}`;
    return { type: "set", key: standingKey("red", user), value };
  });
  const networks = Array.from({ length: NETWORK_BANS }, (_, i) => {
    const text = `10.${i >> 8}.${i & 255}.0/${24 + i % 4}`;
    return putNetworkBan(networkFrom(text)!, sanction, 0);
  });
  const all = [...users, ...networks];
  for (let i = 0; i < all.length; i += 500) {
    await kv.atomic().mutate(...all.slice(i, i + 500)).commit();
  }
}

/** Returns how often a login, a join and 20 messages read KV. */
async function readsOf(server: TestServer, use: KvUse, nick: string): Promise<KvUse[]> {
  const spans: KvUse[] = [];
  let before = { ...use };
  const note = () => {
    spans.push({
      gets: use.gets - before.gets,
      lists: use.lists - before.lists,
      commits: use.commits - before.commits,
      mutations: use.mutations - before.mutations,
    });
    before = { ...use };
  };
  const client = await JsonClient.login(server, nick);
  note();
  await client.join("red");
  note();
  for (let i = 0; i < 20; i++) {
    await client.requestAll({ type: "message", room: "red", text: `${i}` });
  }
  note();
  return spans;
}

Deno.test("Moderation: 10,000 bans in a room and 1,000 of networks add no read to a handshake, a join or a message", async () => {
  using empty = await Deno.openKv(":memory:");
  using full = await Deno.openKv(":memory:");
  await ban(full);
  const without = countingKv(empty), withBans = countingKv(full);
  await using one = await TestServer.open({ kv: without.kv, rateLimits: "off" });
  await using other = await TestServer.open({ kv: withBans.kv, rateLimits: "off" });
  // The first join opens the room, and is not measured.
  await readsOf(one, without.use, "Ann");
  await readsOf(other, withBans.use, "Ann");
  const free = await readsOf(one, without.use, "Bob");
  const banned = await readsOf(other, withBans.use, "Bob");
  for (const [i, what] of ["login", "join", "messages"].entries()) {
    assert(
      banned[i]!.gets <= free[i]!.gets + MAX_OTHER_READS,
      `${what}: ${banned[i]!.gets} reads with bans, ${free[i]!.gets} without`,
    );
    assertEquals(banned[i]!.lists, free[i]!.lists, `lists of a ${what}`);
  }
});
