/** Addresses and networks. */
import { assertEquals } from "@std/assert";
import { addressFrom, limitKey, networkAround, networkFrom } from "../../chat/base/networks.ts";

Deno.test("networkFrom returns one written form for each network", () => {
  const forms: [string, string][] = [
    ["192.0.2.1", "192.0.2.1"],
    [" 192.0.2.1/32 ", "192.0.2.1"],
    ["10.1.2.3/8", "10.0.0.0/8"],
    ["255.255.255.255/1", "128.0.0.0/1"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["2001:DB8::1", "2001:db8:0:0::/64"],
    ["2001:db8:0:0:1::/80", "2001:db8:0:0::/64"],
    ["2001:db8:ffff::/33", "2001:db8:8000:0::/33"],
    ["::/0", "0:0:0:0::/0"],
  ];
  for (const [typed, text] of forms) {
    const network = networkFrom(typed);
    assertEquals(network?.text, text, typed);
    // The written form is read as itself: it is a key in KV.
    assertEquals(networkFrom(text), network, text);
  }
});

Deno.test("networkFrom refuses what is no network", () => {
  const texts = [
    "",
    "/",
    "10.0.0.0/33",
    "10.0.0/8",
    "256.0.0.1",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "::/129",
    "localhost",
    "1".repeat(1_000_000),
    "10.0.0.0 /8",
    "\0",
  ];
  for (const text of texts) assertEquals(networkFrom(text), undefined, text.slice(0, 20));
});

Deno.test("networkAround finds the network of a client's address as limits know it", () => {
  const address = limitKey(addressFrom("2001:db8:1:2:3:4:5:6")!);
  assertEquals(networkAround(address, 64), networkFrom("2001:db8:1:2::/64"));
  assertEquals(networkAround(address, 32), networkFrom("2001:db8::/32"));
  assertEquals(networkAround(limitKey(addressFrom("::1")!), 64), networkFrom("::1"));
  assertEquals(networkAround("192.0.2.77", 24), networkFrom("192.0.2.0/24"));
});
