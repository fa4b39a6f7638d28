/** Bans of addresses and networks: which addresses they cover, and how they reach every instance. */
import { assertEquals } from "@std/assert";
import { limitKey } from "../../chat/base/networks.ts";
import type { ActRequest } from "../../chat/moderation/moderation.ts";
import { BannedNetworks } from "../../chat/moderation/networks.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { codeOf, openModerated, OPERATOR } from "../support/moderation.ts";

const BAN = { until: 8.64e15, reason: "spam", by: "Olga", at: 1 };

Deno.test("BannedNetworks finds the network of an address, whatever its size", () => {
  const networks = new BannedNetworks(new AdjustedClock());
  assertEquals(networks.banOf("192.0.2.1"), undefined);
  for (const text of ["192.0.2.0/24", "10.0.0.7", "2001:db8:0:0::/32"]) networks.apply(text, BAN);
  assertEquals(networks.banOf("192.0.2.1"), BAN);
  assertEquals(networks.banOf("192.0.3.1"), undefined);
  assertEquals(networks.banOf("10.0.0.7"), BAN);
  assertEquals(networks.banOf("10.0.0.8"), undefined);
  assertEquals(networks.banOf(limitKey("2001:db8::5")), BAN);
  assertEquals(networks.banOf(limitKey("2001:db9::5")), undefined);
  networks.apply("192.0.2.0/24", undefined);
  networks.apply("never.banned", undefined);
  assertEquals(networks.banOf("192.0.2.1"), undefined);
});

Deno.test("BannedNetworks looks at 10,000 networks in as many steps as there are sizes", () => {
  const networks = new BannedNetworks(new AdjustedClock());
  for (let i = 0; i < 10_000; i++) networks.apply(`10.1.${i >> 8}.${i & 255}`, BAN);
  assertEquals(networks.banOf("10.1.39.15"), BAN);
  assertEquals(networks.banOf("10.2.0.0"), undefined);
});

Deno.test("a ban of a network reaches all instances, those that start later, and ends", async () => {
  using kv = await Deno.openKv(":memory:");
  const clock = new AdjustedClock();
  const closed: string[] = [];
  await using one = await openModerated(kv, "01A", { clock });
  await using other = await openModerated(kv, "01B", {
    clock,
    closeBanned: () => void closed.push("other"),
  });
  await one.share();
  await other.share();
  await one.member("1", OPERATOR);
  const act = async (request: ActRequest) =>
    codeOf(await one.moderation.act(one.session("1"), request));
  assertEquals(
    await act({ act: "ban", network: "192.0.2.77/24", seconds: 60, text: "bots" }),
    "ok",
  );
  await other.settled();
  assertEquals(closed, ["other"]);
  assertEquals(other.moderation.banOf("192.0.2.1")?.reason, "bots");
  assertEquals(other.moderation.banOf(undefined), undefined);
  await using later = await openModerated(kv, "01C", { clock });
  assertEquals(later.moderation.banOf("192.0.2.1")?.reason, "bots");
  clock.advance(60_001);
  for (const each of [one, other, later]) {
    assertEquals(each.moderation.banOf("192.0.2.1"), undefined);
  }
  // Ranges that cover everyone need force; then they can be banned, and unbanned.
  assertEquals(await act({ act: "ban", network: "0.0.0.0/0" }), "bad-act");
  assertEquals(await act({ act: "ban", network: "0.0.0.0/0", isForced: true }), "ok");
  assertEquals(one.moderation.banOf("198.51.100.1") !== undefined, true);
  assertEquals(await act({ act: "unban", network: "0.0.0.0/0" }), "ok");
  assertEquals(one.moderation.banOf("198.51.100.1"), undefined);
});

Deno.test("only operators ban networks", async () => {
  using kv = await Deno.openKv(":memory:");
  await using server = await openModerated(kv);
  await server.appoint("red", "Mona");
  await server.member("1", "Mona", ["red"]);
  const ban = { act: "ban", network: "192.0.2.1" } as const;
  assertEquals(codeOf(await server.moderation.act(server.session("1"), ban)), "not-an-operator");
});
