/**
 * Many misbehaving clients against a server process: thousands of silent connections, hundreds of
 * clients that never read, handshakes that never end. Other clients must not be disturbed.
 */
import { assert, assertEquals } from "@std/assert";
import { residentBytes, ServerProcess } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually, withDeadline } from "../support/wait.ts";
import { JsonClient } from "../support/json_client.ts";
import { textFrame, upgradeRequest } from "../support/raw_socket.ts";

const encoder = new TextEncoder();

/** Returns a handshake without the empty line at its end. */
function unfinishedHandshake(port: number): string {
  return upgradeRequest(port).slice(0, -"\r\n".length);
}

async function open(port: number, ...parts: (string | Uint8Array)[]): Promise<Deno.TcpConn> {
  const peer = await Deno.connect({ hostname: "127.0.0.1", port });
  for (const part of parts) {
    await peer.write(typeof part === "string" ? encoder.encode(part) : part);
  }
  return peer;
}

/** Opens so many connections, or as many as this machine allows, but some thousands at least. */
async function openAll(many: number, one: (i: number) => Promise<Deno.TcpConn>) {
  const peers: Deno.TcpConn[] = [];
  try {
    while (peers.length < many) {
      const some = Math.min(100, many - peers.length);
      const opened = await Promise.allSettled(
        Array.from({ length: some }, (_, i) => one(peers.length + i)),
      );
      for (const each of opened) if (each.status === "fulfilled") peers.push(each.value);
      if (opened.some(({ status }) => status === "rejected")) break;
    }
    assert(peers.length >= Math.min(many, 900), `only ${peers.length} could be opened`);
    return peers;
  } catch (error) {
    for (const peer of peers) peer.close();
    throw error;
  }
}

/** Returns the milliseconds until a client receives its own message. */
async function echo(client: TextClient, nick: string, text: string): Promise<number> {
  const since = performance.now();
  client.send(text);
  while (await client.next() !== `${nick}: ${text}`);
  return performance.now() - since;
}

async function enter(server: ServerProcess, nick: string, room: string): Promise<TextClient> {
  const client = await TextClient.connect(server.url);
  client.send(nick, `/join ${room}`);
  while (!(await client.next()).startsWith("Joined"));
  return client;
}

Deno.test("5,000 silent connections and 1,000 unfinished handshakes do not disturb other clients", async () => {
  await using server = await ServerProcess.start(["--kv", ":memory:", "--limits", "messages=off"]);
  const ann = await enter(server, "Ann", "red");
  const before = await residentBytes(server.process.pid);
  const silent = await openAll(5_000, async () => {
    const peer = await open(server.port, upgradeRequest(server.port));
    await peer.read(new Uint8Array(512));
    return peer;
  });
  const each = (await residentBytes(server.process.pid) - before) / silent.length;
  if (Deno.env.get("SHOW")) console.log("KiB a silent connection:", Math.round(each / 1024));
  assert(each < 64 * 1024, `${each} bytes for each`);
  const unfinished = unfinishedHandshake(server.port);
  const begun = await openAll(
    1_000,
    (i) => open(server.port, unfinished.slice(0, i % unfinished.length)),
  );
  const bob = await enter(server, "Bob", "red");
  const took: number[] = [];
  for (let i = 0; i < 50; i++) {
    // A server that reads byte by byte must look at each of them.
    for (const peer of begun.slice(i * 20, i * 20 + 20)) await peer.write(encoder.encode("x"));
    took.push(await echo(bob, "Bob", `word ${i}`));
  }
  took.sort((a, b) => a - b);
  assert(took[45]! < 100, `nine of ten took ${took[45]} ms`);
  while (await ann.next() !== "Bob: word 49");
  for (const peer of [...silent, ...begun]) peer.close();
  await ann.disconnect();
  await bob.disconnect();
  assertEquals((await server.stop()).code, 0);
});

Deno.test("500 clients that never read are disconnected after 30 s, memory is bounded, and other clients receive everything", async () => {
  await using server = await ServerProcess.start([
    ...["--kv", ":memory:", "--history", "off", "--limits", "messages=off,joins=off,room=off"],
  ]);
  const ann = await enter(server, "Ann", "red");
  const bob = await enter(server, "Bob", "red");
  const cy = new JsonClient(await TextClient.connect(server.url, "chat.v1"));
  await cy.request({ type: "login", nick: "Cy" });
  await cy.requestAll({ type: "join", room: "red" });
  const deaf = await openAll(
    500,
    (i) =>
      open(server.port, upgradeRequest(server.port), textFrame(`deaf${i}`), textFrame("/join red")),
  );
  let joined = 0, left = 0;
  const heard: string[] = [];
  const listening = (async () => {
    while (heard.at(-1) !== "the end") {
      const line = await bob.next();
      if (/^deaf\d+ joined room\.$/.test(line)) joined++;
      else if (/^deaf\d+ left room\.$/.test(line)) left++;
      else if (line.startsWith("Ann: ")) heard.push(line.slice(5).trim());
    }
  })();
  await eventually(() => joined === deaf.length, "all have joined");
  const padding = " ".repeat(16_000);
  let said = 0, slowest = 0, most = 0;
  const until = Date.now() + 60_000;
  while (left < deaf.length) {
    assert(Date.now() < until, `${left} of ${deaf.length} were let go`);
    // 16 MB: far more than the system and the server buffer for one client. KV stores all of it, too.
    if (said < 1_000) { for (let i = 0; i < 8; i++) ann.send(`${said++}${padding}`); }
    else await new Promise((resolve) => setTimeout(resolve, 20));
    slowest = Math.max(slowest, await echo(ann, "Ann", `${said++}`));
    if (said % 90 === 0) most = Math.max(most, await residentBytes(server.process.pid));
  }
  // The buffered data does not grow any more.
  most = Math.max(most, await residentBytes(server.process.pid));
  if (Deno.env.get("SHOW")) console.log({ said, slowest, MiB: most / 2 ** 20 });
  assert(most < 700 * 2 ** 20, `${most / 2 ** 20} MiB`);
  ann.send("the end");
  await withDeadline(listening, "Bob to hear the end");
  assertEquals(heard, [...Array.from({ length: said }, (_, i) => `${i}`), "the end"]);
  let times = 0;
  while (true) {
    const { type, nick, text } = await cy.next();
    if (type === "message" && nick === "Ann") {
      if (text === "the end") break;
      assertEquals(text.trim(), `${times++}`);
    }
  }
  assertEquals(times, said);
  for (const peer of deaf) peer.close();
  await Promise.all([ann, bob, cy.connection].map((client) => client.disconnect()));
  assertEquals((await server.stop()).code, 0);
});

Deno.test({
  name: "whoever uses up all files of the system keeps others out for a while, and not for good",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using server = await ServerProcess.start(
      ["--kv", ":memory:"],
      ["-c", `ulimit -n 100 && exec "${Deno.execPath()}" run -A main.ts "$@"`, "sh"],
      {},
      "null",
      "sh",
    );
    const ann = await enter(server, "Ann", "red");
    const peers = await Promise.allSettled(
      Array.from({ length: 200 }, () => open(server.port, unfinishedHandshake(server.port))),
    );
    // Connected clients are not disturbed.
    for (let i = 0; i < 5; i++) await echo(ann, "Ann", `word ${i}`);
    for (const each of peers) if (each.status === "fulfilled") each.value.close();
    const comesIn = async () => {
      try {
        await (await enter(server, `Bob${Math.random()}`, "blue")).disconnect();
        return true;
      } catch {
        return false;
      }
    };
    await eventually(comesIn, "others can come in again");
    await echo(ann, "Ann", "all is well");
    await ann.disconnect();
    assertEquals((await server.stop()).code, 0);
  },
});
