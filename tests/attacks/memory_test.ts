/** A message in fragments that does not end: the memory of the server process stays bounded. */
import { assert, assertEquals } from "@std/assert";
import { ChatClient } from "../../chat/client/client.js";
import { eventually, memoryOf, ServerProcess } from "../support/test_server.ts";
import { frame, RawSocket } from "../support/raw_socket.ts";

const MIB = 1024 * 1024;
const LIMIT = 256 * MIB;
const TEXT = 0x01, CONTINUATION = 0x00, WHOLE_TEXT = 0x81;

/** What one attacker sends at the most, and for how long. */
const MOST_BYTES = 1024 * MIB;
const MOST_MS = 4_000;

const fragment = (first: number) => frame(first, new Uint8Array(MIB).fill(97));

/** Sends one message without end, until the server cuts the connection. Returns the bytes sent. */
async function flood(raw: RawSocket): Promise<number> {
  const more = fragment(CONTINUATION);
  const until = Date.now() + MOST_MS;
  let sent = MIB;
  let isThere = await raw.write(fragment(TEXT));
  while (isThere && sent < MOST_BYTES && Date.now() < until) {
    isThere = await raw.write(more);
    sent += MIB;
  }
  return isThere ? Infinity : sent;
}

/** Comes in as soon as the server lets it. */
async function comesIn(server: ServerProcess): Promise<RawSocket> {
  while (true) {
    const { raw, status } = await RawSocket.open(server.port);
    if (status === 101) return raw;
    assertEquals(status, 503);
    await raw.close();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const options = { ignore: Deno.build.os !== "linux" };

Deno.test(
  "MemoryGuard cuts clients whose message does not end, and honest clients miss nothing",
  options,
  async () => {
    await using server = await ServerProcess.start(["--kv", ":memory:", "--max-memory", "256M"]);
    const ann = new ChatClient(server.url, { nick: "Ann", room: "red" });
    const seen: string[] = [];
    const resumed: boolean[] = [];
    const readers = ["Bob", "Cid", "Dan"].map((nick) =>
      new ChatClient(server.url, { nick, room: "red" })
    );
    readers[0]!.on("message", ({ text }) => seen.push(text));
    for (const each of [ann, ...readers]) {
      each.on("resumed", ({ recovered }) => resumed.push(recovered));
    }
    await Promise.all(readers.map((each) => each.members()));
    const said: string[] = [];
    let worst = 0;
    const talk = async () => {
      const text = `message ${said.length}`;
      said.push(text);
      const since = performance.now();
      await ann.say(text);
      worst = Math.max(worst, performance.now() - since);
    };
    await talk();
    let attacking = true;
    const talking = (async () => {
      while (attacking) {
        await talk();
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();

    const before = memoryOf(server.process.pid).now;
    const sent: number[] = [];
    for (const isNamed of [false, true, false]) {
      const raw = await comesIn(server);
      if (isNamed) await raw.write(frame(WHOLE_TEXT, new TextEncoder().encode("Eve")));
      sent.push(await flood(raw));
      await raw.close();
    }
    // Many at once: each sends less before the limit is reached.
    const many: RawSocket[] = [];
    while (many.length < 20) many.push(await comesIn(server));
    sent.push(...await Promise.all(many.map(flood)));
    await Promise.all(many.map((each) => each.close()));

    attacking = false;
    await talking;
    await talk();
    await eventually(() => seen.length >= said.length, "everything is read");
    assertEquals(seen, said);
    assert(resumed.every((recovered) => recovered), "nothing is missing");
    await eventually(() => memoryOf(server.process.pid).now < LIMIT, "memory is free again");
    const { peak } = memoryOf(server.process.pid);
    console.log({
      before: Math.round(before / MIB),
      peak: Math.round(peak / MIB),
      sent: sent.map((each) => Math.round(each / MIB)),
      worst: Math.round(worst),
      resumed: resumed.length,
    });
    assert(sent.every((each) => each < MOST_BYTES), "every attacker was cut");
    // Unguarded, each of the attackers alone would make it use more than that.
    assert(peak < MOST_BYTES, `the process used ${peak / MIB} MiB`);
    await Promise.all([ann, ...readers].map((each) => each.close()));
  },
);
