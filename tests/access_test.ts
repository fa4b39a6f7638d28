/** Who may come in: origins and access tokens. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Access } from "../chat/access.ts";

const TOKEN = "correct-horse!";

function headers(authorization?: string, protocols?: string): Headers {
  const all = new Headers();
  if (authorization !== undefined) all.set("authorization", authorization);
  if (protocols !== undefined) all.set("sec-websocket-protocol", protocols);
  return all;
}

Deno.test("pages of the same site may connect, and no others", () => {
  const access = new Access();
  const plain = { protocol: "http:", host: "chat.example:8000" };
  assert(access.allowsOrigin(null, plain), "what has no origin is no page");
  assert(access.allowsOrigin("http://chat.example:8000", plain));
  assert(access.allowsOrigin("http://CHAT.example:8000", plain));
  // A proxy may have the TLS.
  assert(access.allowsOrigin("https://chat.example", { protocol: "http:", host: "chat.example" }));
  for (
    const other of [
      ...["http://chat.example", "http://chat.example:8001", "http://evil.example:8000"],
      ...["http://chat.example.evil.example:8000", "http://x.chat.example:8000", "null", "", "x"],
      ...["http://chat.example:8000@evil.example", "file://", "chrome-extension://abc"],
    ]
  ) assert(!access.allowsOrigin(other, plain), other);
});

Deno.test("with TLS a page without it is of another site", () => {
  const own = { protocol: "https:", host: "chat.example" };
  assert(new Access().allowsOrigin("https://chat.example", own));
  assert(new Access().allowsOrigin("https://chat.example:443", own));
  assert(!new Access().allowsOrigin("http://chat.example", own));
});

Deno.test("other sites are named one by one, or all", () => {
  const own = { protocol: "https:", host: "chat.example" };
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
