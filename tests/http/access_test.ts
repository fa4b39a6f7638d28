/** Access: which origins and which access tokens may connect. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Access } from "../../chat/http/access.ts";

const TOKEN = "correct-horse!";

function headers(authorization?: string, protocols?: string): Headers {
  const all = new Headers();
  if (authorization !== undefined) all.set("authorization", authorization);
  if (protocols !== undefined) all.set("sec-websocket-protocol", protocols);
  return all;
}

Deno.test("Access allows pages of the same site, and no others", () => {
  const access = new Access();
  const plain = { protocol: "http:", host: "chat.example:8000", isLocal: false };
  assert(access.allowsOrigin(null, plain), "a client without an origin is not a page");
  assert(access.allowsOrigin("http://chat.example:8000", plain));
  assert(access.allowsOrigin("http://CHAT.example:8000", plain));
  // A proxy may terminate TLS.
  assert(access.allowsOrigin("https://chat.example", { ...plain, host: "chat.example" }));
  for (
    const other of [
      ...["http://chat.example", "http://chat.example:8001", "http://evil.example:8000"],
      ...["http://chat.example.evil.example:8000", "http://x.chat.example:8000", "null", "", "x"],
      ...["http://chat.example:8000@evil.example", "file://", "chrome-extension://abc"],
    ]
  ) assert(!access.allowsOrigin(other, plain), other);
});

Deno.test("Access with TLS treats a page without TLS as another site", () => {
  const own = { protocol: "https:", host: "chat.example", isLocal: false };
  assert(new Access().allowsOrigin("https://chat.example", own));
  assert(new Access().allowsOrigin("https://chat.example:443", own));
  assert(!new Access().allowsOrigin("http://chat.example", own));
});

Deno.test("Access allows a page in the server's own network only under a known name of the server", () => {
  const allows = (access: Access, host: string, isLocal = true) =>
    access.allowsOrigin(`http://${host}`, { protocol: "http:", host, isLocal });
  const access = new Access({ hosts: ["NAS"], origins: ["http://myserver.local:8000"] });
  for (
    const host of [
      ...["localhost:8000", "localhost", "chat.localhost:8000", "LOCALHOST", "nas:8000", "nas"],
      ...["127.0.0.1:8000", "192.168.1.7:8000", "[::1]:8000", "[fd00::1]", "myserver.local:8000"],
    ]
  ) assert(allows(access, host), host);
  for (
    const host of [
      ...["evil.example:8000", "evil.example", "myserver.local", "nas.evil.example"],
      ...["localhost.evil.example", "127.0.0.1.evil.example:8000", "notlocalhost", "xlocalhost"],
    ]
  ) {
    assert(!allows(access, host), host);
    // On the internet and behind a proxy, the client reached the server by that name.
    assert(allows(access, host, false), host);
    assert(allows(new Access({ hosts: "any" }), host), host);
    assert(allows(new Access({ origins: ["*"] }), host), host);
  }
  assert(access.allowsOrigin(null, { protocol: "http:", host: "evil.example", isLocal: true }));
});

Deno.test("Access allows additional origins one by one, or all", () => {
  const own = { protocol: "https:", host: "chat.example", isLocal: false };
  const access = new Access({
    origins: ["https://One.example/", "http://two.example:80", "null", "app://three"],
  });
  for (const origin of ["https://one.example", "http://two.example", "null", "app://three"]) {
    assert(access.allowsOrigin(origin, own), origin);
  }
  for (const origin of ["http://one.example", "https://two.example", "app://four"]) {
    assert(!access.allowsOrigin(origin, own), origin);
  }
  assert(new Access({ origins: ["*"] }).allowsOrigin("https://any.example", own));
  for (
    const malformed of ["", "one.example", "https://one.example/path", "https://", "**", "a b://c"]
  ) {
    assertThrows(() => new Access({ origins: [malformed] }), RangeError);
  }
});

Deno.test("Access without a token accepts every request, whatever token it carries", () => {
  assertEquals(new Access().checkToken(headers()), "ok");
  assertEquals(new Access().checkToken(headers("Bearer nonsense", "chat.token.%%%")), "ok");
});

Deno.test("Access takes the token from a bearer header or a subprotocol, and from nothing else", () => {
  const access = new Access({ token: TOKEN });
  const encoded = btoa(TOKEN).replaceAll("=", "").replaceAll("+", "-").replaceAll("/", "_");
  assertEquals(access.checkToken(headers(`Bearer ${TOKEN}`)), "ok");
  assertEquals(access.checkToken(headers(`bearer  ${TOKEN} `)), "ok");
  assertEquals(access.checkToken(headers(undefined, `chat.v1, chat.token.${encoded}`)), "ok");
  assertEquals(access.checkToken(headers(undefined, `chat.token.${encoded},chat.v1`)), "ok");
  for (
    const [expected, authorization, protocols] of [
      ["missing", undefined, undefined],
      ["missing", "Bearer", undefined],
      ["wrong", `Bearer ${TOKEN}x`, undefined],
      ["wrong", `Bearer ${TOKEN.slice(1)}`, undefined],
      ["wrong", `Bearer ${TOKEN.toUpperCase()}`, undefined],
      ["missing", `Basic ${btoa(`x:${TOKEN}`)}`, undefined],
      ["missing", TOKEN, undefined],
      ["wrong", undefined, `chat.token.${TOKEN.replace("!", "")}`],
      ["wrong", undefined, "chat.token."],
      ["missing", undefined, encoded],
      // The header overrides the subprotocol.
      ["wrong", "Bearer wrong-token", `chat.token.${encoded}`],
    ]
  ) {
    const result = access.checkToken(headers(authorization, protocols));
    assertEquals(result, expected, `${authorization} ${protocols}`);
  }
});

Deno.test("Access rejects a token that a header cannot carry or that is short, without showing it", () => {
  for (
    const token of ["", "short", "with a blank", "with ümlaut", "line\nbreak", "x".repeat(257)]
  ) {
    const { message } = assertThrows(() => new Access({ token }), RangeError);
    assertEquals(token !== "" && message.includes(token), false);
  }
});
