/**
 * Lost connections and resumed sessions, with the project's client module, real processes and a real
 * `denokv`. CI runs it with `RESUME_SECONDS=60`; the default is shorter.
 */
import { assert, assertEquals } from "@std/assert";
import { ChatClient, type RoomEvent, type WebSocketLike } from "../../chat/client/client.js";
import { DenoKv, ServerProcess, testWithProgram } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

const SECONDS = Number(Deno.env.get("RESUME_SECONDS") ?? 15);

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A TCP proxy that can drop everything, like a broken cable: neither side is notified. */
class Cable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #ends = new Set<Deno.TcpConn>();
  /** The port of the server. */
  port = 0;
  drops = 0;

  constructor() {
    void this.#serve();
  }

  get url(): string {
    return `ws://127.0.0.1:${this.#listener.addr.port}/`;
  }

  async #serve(): Promise<void> {
    for await (const near of this.#listener) void this.#carry(near);
  }

  async #carry(near: Deno.TcpConn): Promise<void> {
    try {
      const far = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
      const ends = [near, far];
      for (const end of ends) this.#ends.add(end);
      const copy = async (from: Deno.TcpConn, to: Deno.TcpConn) => {
        const bytes = new Uint8Array(64 * 1024);
        while (true) {
          const read = await from.read(bytes);
          if (read === null) break;
          for (let at = 0; at < read;) at += await to.write(bytes.subarray(at, read));
        }
      };
      await Promise.race([copy(near, far), copy(far, near)]).catch(() => {});
      for (const end of ends) this.#hangUp(end);
    } catch {
      this.#hangUp(near);
    }
  }

  tear(): void {
    this.drops++;
    for (const end of [...this.#ends]) this.#hangUp(end);
  }

  #hangUp(end: Deno.TcpConn): void {
    this.#ends.delete(end);
    try {
      end.close();
    } catch {
      // The other direction has already closed it.
    }
  }

  close(): void {
    this.tear();
    this.#listener.close();
  }
}

testWithProgram(
  "denokv",
  `Resume: ${SECONDS} s of lost connections under load, and a kill -9, give no gap and no duplicate`,
  async () => {
    await using kv = await DenoKv.start();
    const start = () =>
      ServerProcess.start(["--kv", kv.url, "--limits", "off"], undefined, kv.env, "null");
    await using a = await start();
    await using b = await start();
    const c = await start();
    const alive = [a, b, c];

    // A client that stays connected: it receives the room's order.
    const witness = await TextClient.connect(a.url, "chat.v1");
    witness.send('{"type":"login","nick":"witness"}', '{"type":"join","room":"red"}');
    await eventually(
      () => witness.received.some((line) => line.includes('"joined"')),
      "they are in",
    );

    const cable = new Cable();
    cable.port = c.port;
    const seen: RoomEvent[] = [];
    const gaps: string[] = [];
    const dropper = new ChatClient(cable.url, {
      nick: "dropper",
      rooms: ["red"],
      connect: (url, protocol) => {
        cable.port = alive[Math.floor(Math.random() * alive.length)]!.port;
        return new WebSocket(url, protocol) as WebSocketLike;
      },
    });
    const red = dropper.room("red");
    for (const type of ["message", "action", "joined", "left", "nick"] as const) {
      red.on(type, (event) => seen.push(event));
    }
    dropper.on("*", (event) => {
      if (event.type === "resumed" && !event.recovered) gaps.push(event.reason ?? "?");
      if (event.type === "error" && event.error.code !== "offline") gaps.push(event.error.code);
    });
    await eventually(() => seen.length > 0, "the dropper is in");

    const talkers = await Promise.all([a, b].map(async (server, i) => {
      const client = await TextClient.connect(server.url);
      client.send(`talker${i}`, "/join red");
      await eventually(() => client.received.includes('Joined chat room "red"'), "they are in");
      return client;
    }));
    const said: Promise<{ id: string } | { code: string }>[] = [];
    let words = 0;
    const timer = setInterval(() => {
      words++;
      talkers.forEach((client, i) => client.send(`word ${i} ${words}`));
      if (words % 5 === 0) {
        said.push(red.say(`dropper's word ${words}`).catch(({ code }) => ({ code })));
      }
    }, 20);
    const until = Date.now() + SECONDS * 1000;
    let killed = false;
    while (Date.now() < until) {
      // Without growing pauses, for many short interruptions rather than few long ones.
      dropper.retryNow();
      await pause(100 + Math.random() * 700);
      if (!killed && Date.now() > until - SECONDS * 500) {
        killed = true;
        // Exactly the instance that has the sessions.
        alive.splice(alive.indexOf(c), 1);
        cable.port = c.port;
        await c.stop("SIGKILL");
      }
      cable.tear();
    }
    clearInterval(timer);
    // Repeatedly, because the last loss is noticed only after some time.
    const impatient = setInterval(() => dropper.state === "offline" && dropper.retryNow(), 100);
    const answers = await Promise.all(said);
    talkers[0]!.send("the end");
    await eventually(
      () => seen.some((event) => "text" in event && event.text === "the end"),
      "the end",
    );
    clearInterval(impatient);
    const heard = () => witness.received.map((line) => JSON.parse(line));
    await eventually(() => heard().some(({ text }) => text === "the end"), "the end, there too");

    assertEquals(gaps, []);
    assert(cable.drops > SECONDS, `${cable.drops} drops`);
    const ids = heard().filter(({ id }) => id !== undefined).map(({ id }) => id);
    assertEquals(seen.map(({ id }) => id), ids.slice(ids.indexOf(seen[0]!.id)));
    const own = seen.filter((event) => "text" in event && event.nick === "dropper");
    assertEquals(answers, own.map(({ id }) => ({ id })));
    // The other clients received nothing about it.
    const comings = talkers[0]!.received.filter((line) => /^dropper (joined|left)/.test(line));
    assertEquals(comings, []);

    await dropper.close();
    cable.close();
    await Promise.all([...talkers, witness].map((client) => client.disconnect()));
  },
);
