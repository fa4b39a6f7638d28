/** Who may connect, and what a rejected client is told; over real sockets and with the real program. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ChatClient } from "../../chat/client/client.js";
import { OPENING_MS } from "../../chat/connections/connections.ts";
import type { ChatOptions } from "../../chat/mod.ts";
import { AdjustedClock } from "../support/fake_clock.ts";
import { FakeSocket } from "../support/fake_socket.ts";
import { requestUpgrade } from "../support/raw_socket.ts";
import { PROJECT, ServerProcess } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually, withDeadline } from "../support/wait.ts";

const TOKEN = "correct-horse!";

const tls = (file: string) => new URL(`tests/support/tls/${file}`, PROJECT).pathname;

Deno.test("a page of another site gets 403 and one line, a terminal may connect", async () => {
  await using server = await TestServer.open({ access: { origins: ["https://blog.example"] } });
  const from = async (origin?: string) =>
    await requestUpgrade(server.port, origin === undefined ? {} : { Origin: origin });
  assertEquals((await from()).status, 101);
  assertEquals((await from(`http://127.0.0.1:${server.port}`)).status, 101);
  assertEquals((await from("https://blog.example")).status, 101);
  for (const origin of ["https://evil.example", "null", `http://localhost:${server.port}`, "?"]) {
    const { status, text } = await from(origin);
    const expected = URL.canParse(origin)
      ? `Origin ${origin} not allowed. Start with --origin ${origin}, or have the proxy pass the ` +
        "original Host header.\n"
      : "This origin is not allowed. See --origin.\n";
    assertEquals([status, text], [403, expected]);
  }
  await eventually(() => server.chat.size === 0, "all clients have left");
});

Deno.test("pages of any number of sites are one line a minute in the log, which names one of them", async () => {
  await using server = await TestServer.open();
  // More than the causes that the log tells apart. Digits in a name would be one cause in any case.
  const letters = [..."abcdefgh"];
  for (const site of letters.flatMap((one) => letters.map((other) => one + other))) {
    const headers = { "x-page-origin": `https://${site}.example` };
    const response = await fetch(`http://127.0.0.1:${server.port}/ws`, { headers });
    assertEquals(response.status, 403);
    await response.body?.cancel();
  }
  assertEquals(server.warnings.length, 1, server.warnings.join("\n"));
  assertMatch(server.warnings[0]!, /^Refused a page: .*--origin https:\/\/aa\.example/);
});

Deno.test("a page whose name was pointed at this machine (DNS rebinding) gets 403, a terminal may connect", async () => {
  await using server = await TestServer.open();
  const Host = `evil.example:${server.port}`;
  const Origin = `http://${Host}`;
  const why = `Origin ${Origin} not allowed. Start with --origin ${Origin}.\n`;
  const { status, text } = await requestUpgrade(server.port, { Host, Origin });
  assertEquals([status, text], [403, why]);
  const asked = await requestUpgrade(server.port, { Host, Origin, Upgrade: "none" }, "/ws");
  assertEquals([asked.status, asked.text], [403, why]);
  // A proxy's header shows that the request came through a proxy: no page can set it.
  assertEquals(
    (await requestUpgrade(server.port, { Host, Origin, "X-Forwarded-For": "::1" })).status,
    101,
  );
  assertEquals((await requestUpgrade(server.port, { Host })).status, 101);
  const local = `localhost:${server.port}`;
  assertEquals(
    (await requestUpgrade(server.port, { Host: local, Origin: `http://${local}` })).status,
    101,
  );
  await eventually(() => server.chat.size === 0, "all clients have left");
});

Deno.test("a rejected handshake does not count as a connection", async () => {
  await using server = await TestServer.open({ connectionLimits: { maxConnections: 1 } });
  for (
    const wrong of [
      { "Sec-WebSocket-Protocol": "chat.v2" },
      { Connection: "close" },
    ] as Record<string, string>[]
  ) assertEquals((await requestUpgrade(server.port, wrong)).status, 400, JSON.stringify(wrong));
  assertEquals((await requestUpgrade(server.port)).status, 101);
  await eventually(() => server.chat.size === 0, "all clients have left");
});

Deno.test("an invalid Host header gets 400 and one line", async () => {
  await using server = await TestServer.open();
  for (const Host of ["[::1", "a b", "127.0.0.1:99999"]) {
    const { status, text } = await requestUpgrade(server.port, { Host });
    assertEquals([Host, status, text], [Host, 400, "Invalid Host header.\n"]);
  }
});

Deno.test("behind a trusted proxy the own site is the one that the client asked the proxy for", async () => {
  const headers = {
    Origin: "https://chat.example",
    "X-Forwarded-Host": "chat.example",
    "X-Forwarded-Proto": "https",
  };
  {
    await using server = await TestServer.open({ trustProxy: ["private"] });
    assertEquals((await requestUpgrade(server.port, headers)).status, 101);
    assertEquals(
      (await requestUpgrade(server.port, { ...headers, Origin: "http://chat.example" })).status,
      403,
    );
    const greeting = await fetch(`http://127.0.0.1:${server.port}/`, { headers });
    assertMatch(await greeting.text(), /websocat wss:\/\/chat\.example\/\n/);
  }
  await using server = await TestServer.open();
  assertEquals((await requestUpgrade(server.port, headers)).status, 403);
});

Deno.test("a private chat accepts only its token, never repeats it, and tells a page why it is rejected", async () => {
  await using server = await TestServer.open({ access: { token: TOKEN } });
  const encoded = btoa(TOKEN).replaceAll("=", "");
  for (
    const headers of [
      {},
      { Authorization: "Bearer wrong-token" },
      { "Sec-WebSocket-Protocol": "chat.v1" },
      { "Sec-WebSocket-Protocol": "chat.v1, chat.token.d3Jvbmc" },
    ] as Record<string, string>[]
  ) {
    const { status, text, header } = await requestUpgrade(server.port, headers);
    const isWrong = JSON.stringify(headers).includes("wrong-token") ||
      JSON.stringify(headers).includes("chat.token.");
    const expected = isWrong
      ? "Wrong access token.\n"
      : "This chat is private. Enter its access token.\n";
    assertEquals([status, text], [401, expected]);
    assertEquals(header("www-authenticate"), 'Bearer realm="Parley"');
    assertEquals(header("sec-websocket-protocol"), undefined);
  }
  assertEquals((await requestUpgrade(server.port, {}, `/?token=${TOKEN}`)).status, 401);
  assertEquals(
    (await requestUpgrade(server.port, { Authorization: `Bearer ${TOKEN}` })).status,
    101,
  );
  const chosen = async (protocols: string) => {
    const { status, header } = await requestUpgrade(server.port, {
      "Sec-WebSocket-Protocol": protocols,
    });
    return [status, header("sec-websocket-protocol")];
  };
  assertEquals(await chosen(`chat.v1, chat.token.${encoded}`), [101, "chat.v1"]);
  assertEquals(await chosen(`chat.token.${encoded},chat.v1`), [101, "chat.v1"]);
  assertEquals(await chosen(`chat.token.${encoded}`), [101, undefined]);
  // A page can ask without an upgrade.
  const ask = async (headers: Record<string, string>) => {
    const response = await fetch(`http://127.0.0.1:${server.port}/ws`, { headers });
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await ask({}), 401);
  assertEquals(await ask({ Authorization: `Bearer ${TOKEN}` }), 426);
  // The instructions need no token.
  const greeting = await fetch(`http://127.0.0.1:${server.port}/`);
  assertEquals([greeting.status, (await greeting.text()).includes(TOKEN)], [200, false]);
  assertEquals(server.warnings, []);
  await eventually(() => server.chat.size === 0, "all clients have left");
});

Deno.test("ChatClient connects with the token, and does not without it", async () => {
  await using server = await TestServer.open({ access: { token: TOKEN } });
  const ann = new ChatClient(server.url, { nick: "Ann", rooms: ["red"], access: TOKEN });
  await withDeadline(ann.room("red").say("hello"), "an answer");
  await ann.close();
  for (const access of [undefined, "wrong-token", "wröng"]) {
    const eve = new ChatClient(server.url, { nick: "Eve", access });
    const lost = new Promise<void>((resolve) =>
      eve.on("state", ({ state }) => state === "offline" && resolve())
    );
    await withDeadline(lost, "the refusal");
    await eve.close();
  }
  await eventually(() => server.chat.size === 0, "all clients have left");
});

Deno.test("wrong tokens count as connections of an address", async () => {
  const flood: ChatOptions["rateLimits"] = { connections: { count: 5, seconds: 50 } };
  await using server = await TestServer.open({ access: { token: TOKEN }, rateLimits: flood });
  for (let i = 0; i < 5; i++) {
    assertEquals(
      (await requestUpgrade(server.port, { Authorization: `Bearer wrong-${i}-x` })).status,
      401,
    );
  }
  const { status, header } = await requestUpgrade(server.port, {
    Authorization: `Bearer ${TOKEN}`,
  });
  assertEquals([status, header("retry-after")], [429, "10"]);
  const asked = await fetch(`http://127.0.0.1:${server.port}/ws`);
  await asked.body?.cancel();
  assertEquals(asked.status, 429);
});

Deno.test("too many connections get 429 for their address, 503 for the server, with Retry-After", async () => {
  const behind = { "X-Forwarded-For": "198.51.100.1" };
  await using server = await TestServer.open({
    trustProxy: ["private"],
    connectionLimits: { maxConnections: 3, maxPerAddress: 2 },
  });
  const people = [await server.connect(), await server.connect()];
  const { status, text, header } = await requestUpgrade(server.port);
  assertEquals([status, header("retry-after")], [429, "30"]);
  assertEquals(
    text,
    "Too many connections from your address (2). Try again in 30 seconds.\n",
  );
  assertEquals((await requestUpgrade(server.port, behind)).status, 101);
  await eventually(() => server.chat.size === 2, "the client behind the proxy has left");
  await people.pop()!.disconnect();
  await eventually(() => server.chat.size === 1, "one client has left");
  people.push(await server.connect());
  await people[0]!.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
  await people[1]!.disconnect();
  await eventually(() => server.chat.size === 1, "one client has left");
  const other = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
  const lines = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
  await other.write(new TextEncoder().encode(`${lines}X-Forwarded-For: 198.51.100.2\r\n\r\n`));
  await eventually(() => server.chat.size === 2, "the other client is connected");
  await server.connect();
  const full = await requestUpgrade(server.port, behind);
  assertEquals([full.status, full.header("retry-after")], [503, "30"]);
  assertEquals(full.text, "The server is full. Try again in 30 seconds.\n");
  other.close();
});

Deno.test("an untrusted proxy is logged once, and the limit of one address does not apply to its clients", async () => {
  await using server = await TestServer.open();
  for (let i = 0; i < 3; i++) {
    assertEquals(
      (await requestUpgrade(server.port, { "X-Forwarded-For": "198.51.100.1" })).status,
      101,
    );
  }
  assertEquals(server.warnings.length, 1);
  assertMatch(server.warnings[0]!, /--trust-proxy/);
});

Deno.test("startChat rejects an option outside its range with a RangeError", async () => {
  using kv = await Deno.openKv(":memory:");
  const wrong: Partial<ChatOptions>[] = [
    { access: { token: "short" } },
    { access: { origins: ["nonsense"] } },
    { trustProxy: ["nonsense"] },
    { connectionLimits: { maxConnections: 0 } },
    { connectionLimits: { maxPerAddress: 1.5 } },
    { rateLimits: { messages: { count: 0, seconds: 1 } } },
    { rateLimits: { messages: { count: 1, seconds: NaN } } },
    { rateLimits: { together: -1 } },
    { rateLimits: { unnamed: 0 } },
    { limits: { maxUnsentBytes: 1000 } },
  ];
  for (const options of wrong) {
    await assertRejects(() => TestServer.open({ kv, ...options }), RangeError, undefined);
  }
});

for (const workers of [1, 2]) {
  Deno.test(`with --cert and --key the program speaks only TLS, with ${workers} worker(s)`, async () => {
    const folder = await Deno.makeTempDir();
    {
      await using server = await ServerProcess.start(
        ["--kv", `${folder}/kv`, "--workers", `${workers}`, "--token", TOKEN],
        undefined,
        { CHAT_CERT: tls("cert.pem"), CHAT_KEY: tls("key.pem") },
      );
      const said = server.output;
      assert(said.includes(`https://127.0.0.1:${server.port}/`), said);
      assert(!said.includes(TOKEN), said);
      using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(tls("ca.pem"))] });
      const url = `https://127.0.0.1:${server.port}`;
      const ask = async (path: string, headers: Record<string, string> = {}) => {
        const response = await fetch(url + path, { client, headers });
        return [response.status, await response.text()] as const;
      };
      const [status, greeting] = await ask("/");
      assertEquals(status, 200);
      assert(greeting.includes(`websocat wss://127.0.0.1:${server.port}/`), greeting);
      assertEquals((await ask("/ws"))[0], 401);
      assertEquals((await ask("/ws", { authorization: `Bearer ${TOKEN}` }))[0], 426);
      await assertRejects(() => fetch(`http://127.0.0.1:${server.port}/`));
      const socket = new WebSocket(`wss://127.0.0.1:${server.port}/`, {
        headers: { authorization: `Bearer ${TOKEN}` },
        client,
        // deno-lint-ignore no-explicit-any -- the types of Deno lag behind
      } as any);
      const heard = new Promise((resolve, reject) => {
        socket.onopen = () => socket.send("Ann");
        socket.onmessage = ({ data }) => resolve(data);
        socket.onerror = (event) => reject(new Error((event as ErrorEvent).message));
      });
      assertEquals(
        await withDeadline(heard, "the welcome"),
        "Using nickname: Ann\nType /help for list of commands.",
      );
      const closed = new Promise((resolve) => socket.onclose = resolve);
      socket.close();
      await withDeadline(closed, "the close");
      assertEquals((await server.stop()).code, 0);
    }
    await Deno.remove(folder, { recursive: true });
  });
}

Deno.test("the program takes origins, token and limits from flags and variables", async () => {
  await using server = await ServerProcess.start(
    ["--kv", ":memory:", "--origin", "https://one.example", "--origin=https://two.example"],
    undefined,
    { CHAT_TOKEN: TOKEN, CHAT_LIMITS: "messages=2/60s", CHAT_MAX_PER_ADDRESS: "2" },
  );
  const authorization = { Authorization: `Bearer ${TOKEN}` };
  for (const n of ["one", "two"]) {
    const headers = { ...authorization, Origin: `https://${n}.example` };
    assertEquals((await requestUpgrade(server.port, headers)).status, 101);
  }
  assertEquals(
    (await requestUpgrade(server.port, { Origin: "https://three.example" })).status,
    403,
  );
  assertEquals((await requestUpgrade(server.port)).status, 401);
  const encoded = btoa(TOKEN).replaceAll("=", "");
  const ann = await TextClient.connect(server.url, ["chat.v1", `chat.token.${encoded}`]);
  for (const text of ["a", "b", "c"]) {
    if (text === "a") {
      ann.send('{"type":"login","nick":"Ann"}', '{"type":"join","room":"red"}');
      await ann.next();
      await ann.next();
    }
    ann.send(`{"type":"message","room":"red","text":"${text}"}`);
    assertMatch(await ann.next(), text === "c" ? /"code":"too-fast"/ : /"type":"message"/);
  }
  const bob = await TextClient.connect(server.url, ["chat.v1", `chat.token.${encoded}`]);
  assertEquals((await requestUpgrade(server.port, authorization)).status, 429);
  await ann.disconnect();
  await bob.disconnect();
});

Deno.test("Instance releases the place of a socket that does not open in time, once", async () => {
  const clock = new AdjustedClock({ delayOf: (ms) => ms === OPENING_MS ? "held" : ms });
  const late = clock.held;
  await using server = await TestServer.open({ clock });
  const guest = { limiter: undefined, left: 0, failed: 0, leave: () => {}, fail: () => {} };
  guest.leave = () => void guest.left++;
  guest.fail = () => void guest.failed++;
  const socket = new FakeSocket(WebSocket.CONNECTING);
  server.chat.accept(socket, { subprotocol: "", admission: guest });
  assertEquals([guest.failed, late.length], [0, 1]);
  late[0]!.run();
  assertEquals(guest.failed, 1);
  // A socket that opens later is not counted, so it is closed.
  socket.open();
  assertEquals([socket.closeCodes, server.chat.size], [[1013], 0]);

  late.length = 0;
  await server.login("Ann");
  assertEquals(late, [], "no timer is left for a socket that opened");
});
