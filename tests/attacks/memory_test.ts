/** Messages in fragments that never end: the memory of the server process stays bounded. */
import { assert, assertEquals } from "@std/assert";
import { ChatClient } from "../../chat/client/client.js";
import { memoryBytes, ServerProcess } from "../support/processes.ts";
import { frame, RawSocket, textFrame } from "../support/raw_socket.ts";
import { eventually, sleep } from "../support/wait.ts";

const MIB = 1024 * 1024;
/** `--max-memory` of the server. */
const MAX_MEMORY_BYTES = 256 * MIB;
/** First bytes of frames without FIN. */
const TEXT = 0x01, CONTINUATION = 0x00;

/** The most that one attacker sends, in bytes and in milliseconds. */
const MAX_BYTES = 1024 * MIB;
const MAX_MS = 4_000;

const fragment = (first: number) => frame(first, new Uint8Array(MIB).fill(97));

/**
 * Sends fragments of one message until the server closes the connection. Returns the bytes that were
 * sent: `Infinity` if the server did not close it.
 */
async function sendEndlessMessage(raw: RawSocket): Promise<number> {
  const more = fragment(CONTINUATION);
  const until = Date.now() + MAX_MS;
  let sent = MIB;
  let isThere = await raw.write(fragment(TEXT));
  while (isThere && sent < MAX_BYTES && Date.now() < until) {
    isThere = await raw.write(more);
    sent += MIB;
  }
  return isThere ? Infinity : sent;
}

/** Connects as soon as the server accepts connections again. */
async function connectWhenAccepted(server: ServerProcess): Promise<RawSocket> {
  while (true) {
    const { raw, status } = await RawSocket.open(server.port);
    if (status === 101) return raw;
    assertEquals(status, 503);
    await raw.close();
    await sleep(100);
  }
}

const options = { ignore: Deno.build.os !== "linux" };

Deno.test(
  "MemoryGuard disconnects clients whose message never ends, and other clients miss no message",
  options,
  async () => {
    await using server = await ServerProcess.start(["--kv", ":memory:", "--max-memory", "256M"]);
    const ann = new ChatClient(server.url, { nick: "Ann", rooms: ["red"] });
    const seen: string[] = [];
    const resumed: boolean[] = [];
    const readers = ["Bob", "Cid", "Dan"].map((nick) =>
      new ChatClient(server.url, { nick, rooms: ["red"] })
    );
    readers[0]!.on("message", ({ text }) => seen.push(text));
    for (const each of [ann, ...readers]) {
      each.on("resumed", ({ recovered }) => resumed.push(recovered));
    }
    await Promise.all(readers.map((each) => each.room("red").members()));
    const said: string[] = [];
    let worst = 0;
    const talk = async () => {
      const text = `message ${said.length}`;
      said.push(text);
      const since = performance.now();
      await ann.room("red").say(text);
      worst = Math.max(worst, performance.now() - since);
    };
    await talk();
    let attacking = true;
    const talking = (async () => {
      while (attacking) {
        await talk();
        await sleep(50);
      }
    })();

    const before = memoryBytes(server.process.pid).now;
    const sent: number[] = [];
    for (const isNamed of [false, true, false]) {
      const raw = await connectWhenAccepted(server);
      if (isNamed) await raw.write(textFrame("Eve"));
      sent.push(await sendEndlessMessage(raw));
      await raw.close();
    }
    // Twenty at the same time: each sends less before the limit is reached.
    const many: RawSocket[] = [];
    while (many.length < 20) many.push(await connectWhenAccepted(server));
    sent.push(...await Promise.all(many.map(sendEndlessMessage)));
    await Promise.all(many.map((each) => each.close()));

    attacking = false;
    await talking;
    await talk();
    await eventually(() => seen.length >= said.length, "every message is received");
    assertEquals(seen, said);
    assert(resumed.every((recovered) => recovered), "every reconnect recovered every message");
    await eventually(
      () => memoryBytes(server.process.pid).now < MAX_MEMORY_BYTES,
      "the memory is free again",
    );
    const { peak } = memoryBytes(server.process.pid);
    console.log({
      before: Math.round(before / MIB),
      peak: Math.round(peak / MIB),
      sent: sent.map((each) => Math.round(each / MIB)),
      worst: Math.round(worst),
      resumed: resumed.length,
    });
    assert(sent.every((each) => each < MAX_BYTES), "the server disconnected every attacker");
    // Without the guard, each of the attackers alone would make it use more.
    assert(peak < MAX_BYTES, `the process used ${peak / MIB} MiB`);
    await Promise.all([ann, ...readers].map((each) => each.close()));
  },
);
