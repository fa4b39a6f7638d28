/** Addresses: client addresses from TCP peers, trusted proxies and untrusted ones. */
import { assertEquals, assertThrows } from "@std/assert";
import { Addresses } from "../../chat/http/addresses.ts";

function of(trusted: string[], peer: string | undefined, headers: Record<string, string> = {}) {
  return new Addresses(trusted).of(new Request("http://chat.example:8000/", { headers }), peer);
}

function address(trusted: string[], peer: string, headers: Record<string, string> = {}) {
  return of(trusted, peer, headers).address;
}

const xff = (value: string) => ({ "x-forwarded-for": value });
const forwarded = (value: string) => ({ forwarded: value });

Deno.test("Addresses takes the TCP peer's address, whatever a header says, unless the peer is trusted", () => {
  assertEquals(address([], "203.0.113.7"), "203.0.113.7");
  assertEquals(address([], "203.0.113.7", xff("198.51.100.1")), "203.0.113.7");
  assertEquals(address([], "10.0.0.1", forwarded("for=198.51.100.1")), "10.0.0.1");
  assertEquals(address(["private"], "203.0.113.7", xff("198.51.100.1")), "203.0.113.7");
  assertEquals(address(["10.0.0.0/8"], "192.168.0.1", xff("198.51.100.1")), "192.168.0.1");
  assertEquals(of([], undefined).address, undefined);
});

Deno.test("Addresses takes the rightmost untrusted address behind a trusted proxy", () => {
  for (
    const [said, expected] of [
      ["198.51.100.1", "198.51.100.1"],
      ["198.51.100.1:4711", "198.51.100.1"],
      [" 198.51.100.1 ", "198.51.100.1"],
      // The client's own entries stand to the left of the proxy's.
      ["203.0.113.66, 198.51.100.1", "198.51.100.1"],
      ["127.0.0.1, 198.51.100.1", "198.51.100.1"],
      ["203.0.113.66, 198.51.100.1, 10.0.0.9", "198.51.100.1"],
      // All are trusted: a client in the own network.
      ["192.168.7.7, 10.0.0.9", "192.168.7.7"],
      // A malformed entry ends the chain: the nearest known address counts.
      ["203.0.113.66, nonsense", "10.0.0.1"],
      ["203.0.113.66, unknown, 10.0.0.9", "10.0.0.9"],
      ["", "10.0.0.1"],
      [",,,", "10.0.0.1"],
      ["1.2.3.4.5", "10.0.0.1"],
      ["256.1.1.1", "10.0.0.1"],
      ["x".repeat(10_000), "10.0.0.1"],
    ]
  ) assertEquals(address(["private"], "10.0.0.1", xff(said!)), expected, said);
});

Deno.test("Addresses reads Forwarded in all its spellings", () => {
  for (
    const [said, expected] of [
      ["for=198.51.100.1", "198.51.100.1"],
      ['For="198.51.100.1:4711";proto=https;by=10.0.0.1', "198.51.100.1"],
      ["proto=https; for=198.51.100.1", "198.51.100.1"],
      ['for="[2001:db8:1:2:3::4]:4711"', "2001:db8:1:2::/64"],
      ["for=203.0.113.66, for=198.51.100.1", "198.51.100.1"],
      ["for=_hidden", "10.0.0.1"],
      ["for=unknown", "10.0.0.1"],
      ["by=198.51.100.1", "10.0.0.1"],
      ["for", "10.0.0.1"],
    ]
  ) assertEquals(address(["private"], "10.0.0.1", forwarded(said!)), expected, said);
});

Deno.test("Addresses trusts neither of two headers that contradict each other: one is the client's own", () => {
  const both = (one: string, other: string) => ({ ...xff(one), ...forwarded(`for=${other}`) });
  assertEquals(address(["private"], "10.0.0.1", both("198.51.100.1", "203.0.113.66")), "10.0.0.1");
  const same = both("198.51.100.1", "198.51.100.1");
  assertEquals(address(["private"], "10.0.0.1", same), "198.51.100.1");
  // The address is limited all the same.
  const { isLoopback: shared } = of(["private"], "127.0.0.1", both("198.51.100.1", "203.0.113.66"));
  assertEquals(shared, false);
});

Deno.test("Addresses reduces an IPv6 address to its /64, and a mapped IPv4 address to IPv4", () => {
  for (
    const [peer, expected] of [
      ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
      ["2001:0DB8:0001:0002::", "2001:db8:1:2::/64"],
      ["2001:db8::1", "2001:db8:0:0::/64"],
      ["2001:db8::", "2001:db8:0:0::/64"],
      ["::1", "0:0:0:0::/64"],
      ["fe80::1%eth0", "fe80:0:0:0::/64"],
      ["::ffff:198.51.100.1", "198.51.100.1"],
      ["::ffff:c633:6401", "198.51.100.1"],
    ]
  ) assertEquals(address([], peer!), expected, peer);
});

Deno.test("Addresses marks a loopback address as shared, whatever a header says", () => {
  const shared = (trusted: string[], peer: string, headers = {}) =>
    of(trusted, peer, headers).isLoopback;
  assertEquals(shared([], "127.0.0.1"), true);
  assertEquals(shared([], "::1"), true);
  assertEquals(shared([], "::ffff:127.0.0.1"), true);
  assertEquals(shared([], "10.0.0.1"), false);
  assertEquals(shared([], "203.0.113.7"), false);
  // A client that sends such a header is limited all the same.
  assertEquals(shared([], "10.0.0.1", xff("198.51.100.1")), false);
  assertEquals(shared([], "10.0.0.1", forwarded("for=198.51.100.1")), false);
  assertEquals(shared([], "127.0.0.1", xff("198.51.100.1")), true);
  assertEquals(shared([], "203.0.113.7", xff("198.51.100.1")), false);
  assertEquals(shared(["private"], "127.0.0.1", xff("198.51.100.1")), false);
  assertEquals(shared(["private"], "127.0.0.1", xff("nonsense")), false);
  assertEquals(shared(["private"], "127.0.0.1", xff("127.0.0.1")), false);
  assertEquals(of([], "10.0.0.1", xff("198.51.100.1")).isUntrustedProxy, true);
  assertEquals(of(["private"], "10.0.0.1", xff("198.51.100.1")).isUntrustedProxy, false);
});

Deno.test("Addresses marks a client on this machine or in a private network without a proxy as local", () => {
  const isLocal = (trusted: string[], peer: string | undefined, headers = {}) =>
    of(trusted, peer, headers).isLocal;
  for (const trusted of [[], ["private"], ["203.0.113.0/24"]]) {
    for (const peer of ["127.0.0.1", "::1", "192.168.1.7", "10.0.0.1", "fd00::1", "fe80::1%eth0"]) {
      assertEquals(isLocal(trusted, peer), true, `${trusted} ${peer}`);
    }
    for (const peer of ["203.0.113.7", "2001:db8::1", undefined]) {
      assertEquals(isLocal(trusted, peer), false, `${trusted} ${peer}`);
    }
    // A page cannot set such a header on a WebSocket: a proxy did.
    assertEquals(isLocal(trusted, "10.0.0.1", xff("198.51.100.1")), false);
    assertEquals(isLocal(trusted, "10.0.0.1", { "x-forwarded-host": "chat.example" }), false);
  }
});

Deno.test("Addresses takes the URL that the client asked for from a trusted proxy", () => {
  const seen = (trusted: string[], headers: Record<string, string>) => {
    const { protocol, host } = of(trusted, "10.0.0.1", headers);
    return `${protocol}//${host}`;
  };
  const headers = { "x-forwarded-host": "Chat.Example", "x-forwarded-proto": "https" };
  assertEquals(seen([], headers), "http://chat.example:8000");
  assertEquals(seen(["private"], headers), "https://chat.example");
  assertEquals(seen(["private"], { "x-forwarded-proto": "wss" }), "https://chat.example:8000");
  const standard = { forwarded: 'for=198.51.100.1;host="chat.example";proto=https' };
  assertEquals(seen(["private"], standard), "https://chat.example");
  for (const nonsense of ["a b", "a/b", "", "x".repeat(300), "<script>"]) {
    const said = { "x-forwarded-host": nonsense, "x-forwarded-proto": nonsense };
    assertEquals(seen(["private"], said), "http://chat.example:8000", nonsense);
  }
});

Deno.test("Addresses takes addresses, networks and `private` as trusted, and rejects anything else", () => {
  assertEquals(address(["2001:db8::/32"], "2001:db8::1", xff("198.51.100.1")), "198.51.100.1");
  assertEquals(address(["203.0.113.7"], "203.0.113.7", xff("198.51.100.1")), "198.51.100.1");
  for (
    const malformed of ["", "10.0.0.0/33", "::/129", "10.0.0", "chat.example", "10.0.0.0/x", "/8"]
  ) {
    assertThrows(() => new Addresses([malformed]), RangeError);
  }
});
