/** The HTTP routes, and malformed handshakes and frames, over real sockets. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { AdjustedClock } from "../support/fake_clock.ts";
import { kvWith } from "../support/faulty_kv.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually, withDeadline } from "../support/wait.ts";

async function ask(server: TestServer, path: string, init: RequestInit = {}) {
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, init);
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** Sends bytes to the port, and returns everything that comes back until the server disconnects. */
async function raw(server: TestServer, ...parts: (string | number[])[]): Promise<string> {
  using peer = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
  for (const part of parts) {
    const bytes = typeof part === "string" ? new TextEncoder().encode(part) : new Uint8Array(part);
    await peer.write(bytes);
  }
  const text = await withDeadline(
    new Response(peer.readable).text().catch(() => ""),
    "the server to disconnect",
  );
  return text;
}

const UPGRADE = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
const HANDSHAKE =
  `${UPGRADE}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`;

Deno.test("GET / without HTML returns how to connect", async () => {
  await using server = await TestServer.open();
  const { status, text, headers } = await ask(server, "/");
  assertEquals(status, 200);
  assert(text.includes(`websocat ${server.url}`), text);
  assertEquals(headers.get("content-type"), "text/plain; charset=utf-8");
  assertEquals((await ask(server, "/", { method: "HEAD" })).status, 200);
});

Deno.test("an unknown path gets 404, another method 405, and /ws without an upgrade 426", async () => {
  await using server = await TestServer.open();
  assertEquals((await ask(server, "/admin")).status, 404);
  assertEquals((await ask(server, "/ws/x")).status, 404);
  for (const path of ["/", "/ws", "/healthz", "/readyz"]) {
    const { status, headers } = await ask(server, path, { method: "POST", body: "x" });
    assertEquals([status, headers.get("allow")], [405, "GET, HEAD"]);
  }
  assertEquals((await ask(server, "/ws")).status, 426);
});

Deno.test("/readyz returns 200 while the chat is open, and 503 when it is closed; /healthz stays 200", async () => {
  await using server = await TestServer.open();
  assertEquals((await ask(server, "/readyz")).status, 200);
  assertEquals((await ask(server, "/healthz")).status, 200);
  await server.chat.close();
  const { status, headers, text } = await ask(server, "/readyz");
  assertEquals([status, headers.get("retry-after")], [503, "1"]);
  assertEquals(text, "The server is restarting. Try again in a moment.\n");
  const alive = await ask(server, "/healthz");
  assertEquals([alive.status, alive.text], [200, "ok\n"]);
  const answer = await raw(
    server,
    HANDSHAKE.replace("Connection: Upgrade", "Connection: close, Upgrade"),
  );
  assertMatch(answer, /^HTTP\/1\.1 503 /);
});

Deno.test("/readyz returns 503 with the cause while KV does not answer, and 200 again after that", async () => {
  using inMemory = await Deno.openKv(":memory:");
  const silence = Promise.withResolvers<void>();
  let isSilent = false;
  const get = async (key: Deno.KvKey) => {
    if (isSilent) await silence.promise;
    return await inMemory.get(key);
  };
  const clock = new AdjustedClock();
  const kv = kvWith(inMemory, { get: get as Deno.Kv["get"] });
  await using server = await TestServer.open({ kv, clock });
  isSilent = true;
  const { status, text } = await ask(server, "/readyz");
  assertEquals([status, text], [503, "The database does not answer.\n"]);
  assertEquals((await ask(server, "/healthz")).status, 200);
  isSilent = false;
  silence.resolve();
  // What was said counts for a second.
  clock.monotonicAheadMs += 1_000;
  await eventually(async () => (await ask(server, "/readyz")).status === 200, "it is ready again");
});

Deno.test("an incomplete handshake is rejected with one line or waits, and others keep chatting", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  using waiting = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
  await waiting.write(new TextEncoder().encode(UPGRADE));
  const answer = await raw(server, `${UPGRADE.replace("Upgrade\r\n", "close, Upgrade\r\n")}\r\n`);
  assertMatch(answer, /^HTTP\/1\.1 400 /);
  assertMatch(answer, /Not a WebSocket handshake: .*\n$/);
  await ann.request("still here", "Ann: still here");
});

Deno.test("a malformed frame closes only the connection that sent it", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  const MASK = [0, 0, 0, 0];
  for (
    const frame of [
      [0x81, 0x82, ...MASK, 0xff, 0xfe], // not UTF-8
      [0x83, 0x81, ...MASK, 0x41], // an unknown opcode
      [0x89, 0xfe, 0x00, 0x7e, ...MASK, ...new Array(126).fill(65)], // a control frame too long
      [0x09, 0x80, ...MASK], // a fragmented control frame
      [0xc1, 0x81, ...MASK, 0x41], // a reserved bit
      [0x80, 0x81, ...MASK, 0x41], // a continuation without a beginning
    ]
  ) {
    assertMatch(await raw(server, HANDSHAKE, frame), /^HTTP\/1\.1 101 /);
    await ann.request("still here", "Ann: still here");
  }
  assertEquals(server.chat.size, 1);
});

Deno.test("a fragmented message is shown whole, and never in part", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  using peer = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
  const frame = (head: number, text: string) =>
    peer.write(
      new Uint8Array([head, 0x80 | text.length, 0, 0, 0, 0, ...new TextEncoder().encode(text)]),
    );
  await peer.write(new TextEncoder().encode(HANDSHAKE));
  await frame(0x81, "Bob");
  await frame(0x81, "/join red");
  await ann.expect("Bob joined room.");
  await frame(0x01, "hel");
  await ann.expectNothingElse();
  await frame(0x80, "lo");
  await ann.expect("Bob: hello");
  await frame(0x01, "never fin");
  peer.close();
  await ann.expect("Bob left room.");
});
