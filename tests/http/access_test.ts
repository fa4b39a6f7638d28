/** Who may come in: origins and access tokens. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Access } from "../../chat/http/access.ts";

const TOKEN = "correct-horse!";

function headers(authorization?: string, protocols?: string): Headers {
  const all = new Headers();
  if (authorization !== undefined) all.set("authorization", authorization);
  if (protocols !== undefined) all.set("sec-websocket-protocol", protocols);
  return all;
}

Deno.test("pages of the same site may connect, and no others", () => {
  const access = new Access();
  const plain = { protocol: "http:", host: "chat.example:8000", isLocal: false };
  assert(access.allowsOrigin(null, plain), "what has no origin is no page");
  assert(access.allowsOrigin("http://chat.example:8000", plain));
  assert(access.allowsOrigin("http://CHAT.example:8000", plain));
  // A proxy may have the TLS.
  assert(access.allowsOrigin("https://chat.example", { ...plain, host: "chat.example" }));
  for (
    const other of [
      ...["http://chat.example", "http://chat.example:8001", "http://evil.example:8000"],
      ...["http://chat.example.evil.example:8000", "http://x.chat.example:8000", "null", "", "x"],
      ...["http://chat.example:8000@evil.example", "file://", "chrome-extension://abc"],
    ]
  ) assert(!access.allowsOrigin(other, plain), other);
});

Deno.test("with TLS a page without it is of another site", () => {
  const own = { protocol: "https:", host: "chat.example", isLocal: false };
  assert(new Access().allowsOrigin("https://chat.example", own));
  assert(new Access().allowsOrigin("https://chat.example:443", own));
  assert(!new Access().allowsOrigin("http://chat.example", own));
});

Deno.test("Access: in its own network a server believes only names that it knows to be its own", () => {
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
    // On the internet, or behind a proxy, a name is that which the client reached the server by.
    assert(allows(access, host, false), host);
    assert(allows(new Access({ hosts: "any" }), host), host);
    assert(allows(new Access({ origins: ["*"] }), host), host);
  }
  assert(access.allowsOrigin(null, { protocol: "http:", host: "evil.example", isLocal: true }));
});

Deno.test("other sites are named one by one, or all", () => {
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
  for (const bad of ["", "one.example", "https://one.example/path", "https://", "**", "a b://c"]) {
    assertThrows(() => new Access({ origins: [bad] }), RangeError);
  }
});

Deno.test("without a token everybody may come in, whatever they bring", () => {
  assert(new Access().allows(headers()));
  assert(new Access().allows(headers("Bearer nonsense", "chat.token.%%%")));
});

Deno.test("a token is taken from a bearer header or a subprotocol, and nothing else will do", () => {
  const access = new Access({ token: TOKEN });
  const encoded = btoa(TOKEN).replaceAll("=", "").replaceAll("+", "-").replaceAll("/", "_");
  assert(access.allows(headers(`Bearer ${TOKEN}`)));
  assert(access.allows(headers(`bearer  ${TOKEN} `)));
  assert(access.allows(headers(undefined, `chat.v1, chat.token.${encoded}`)));
  assert(access.allows(headers(undefined, `chat.token.${encoded},chat.v1`)));
  for (
    const [authorization, protocols] of [
      [undefined, undefined],
      ["Bearer", undefined],
      [`Bearer ${TOKEN}x`, undefined],
      [`Bearer ${TOKEN.slice(1)}`, undefined],
      [`Bearer ${TOKEN.toUpperCase()}`, undefined],
      [`Basic ${btoa(`x:${TOKEN}`)}`, undefined],
      [TOKEN, undefined],
      [undefined, `chat.token.${TOKEN.replace("!", "")}`],
      [undefined, "chat.token."],
      [undefined, encoded],
      // The header goes before the subprotocol.
      ["Bearer wrong-token", `chat.token.${encoded}`],
    ]
  ) assert(!access.allows(headers(authorization, protocols)), `${authorization} ${protocols}`);
});

Deno.test("a token that could not be sent, or be guessed at once, is refused without being shown", () => {
  for (
    const token of ["", "short", "with a blank", "with ümlaut", "line\nbreak", "x".repeat(257)]
  ) {
    const { message } = assertThrows(() => new Access({ token }), RangeError);
    assertEquals(token !== "" && message.includes(token), false);
  }
});
