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

const ROOMS = ["red", "green", "blue", "white", "black"];

/** Connects a client of `chat.v1` that stays connected: it receives the order of all rooms. */
async function connectWitness(server: ServerProcess): Promise<TextClient> {
  const witness = await TextClient.connect(server.url, "chat.v1");
  witness.send('{"type":"login","nick":"witness"}');
  for (const room of ROOMS) witness.send(JSON.stringify({ type: "join", room }));
  await eventually(
    () => witness.received.filter((line) => line.includes('"joined"')).length === ROOMS.length,
    "the witness is in",
  );
  return witness;
}

/** Connects plain-text clients: one in each room, on the servers in turn. */
function connectTalkers(servers: readonly ServerProcess[]): Promise<TextClient[]> {
  return Promise.all(ROOMS.map(async (room, i) => {
    const client = await TextClient.connect(servers[i % servers.length]!.url);
    client.send(`talker${i}`, `/join ${room}`);
    await eventually(() => client.received.includes(`Joined chat room "${room}"`), "they are in");
    return client;
  }));
}

testWithProgram(
  "denokv",
  `Resume: ${SECONDS} s of lost connections under load, and a kill -9, give no gap and no duplicate in five rooms`,
  async () => {
    await using kv = await DenoKv.start();
    const start = () =>
      ServerProcess.start(["--kv", kv.url, "--limits", "off"], undefined, kv.env, "null");
    await using a = await start();
    await using b = await start();
    const c = await start();
    const alive = [a, b, c];
    const witness = await connectWitness(a);

    const cable = new Cable();
    cable.port = c.port;
    const seen = new Map<string, RoomEvent[]>(ROOMS.map((room) => [room, []]));
    const gaps: string[] = [];
    const dropper = new ChatClient(cable.url, {
      nick: "dropper",
      rooms: ROOMS,
      connect: (url, protocol) => {
        cable.port = alive[Math.floor(Math.random() * alive.length)]!.port;
        return new WebSocket(url, protocol) as WebSocketLike;
      },
    });
    dropper.on("*", (event) => {
      switch (event.type) {
        case "message":
        case "action":
        case "joined":
        case "left":
        case "nick":
          return void seen.get(event.room)!.push(event);
        case "resumed":
          return void (event.recovered || gaps.push(`${event.room}: ${event.reason}`));
        case "error":
          return void (event.error.code === "offline" || gaps.push(event.error.code));
      }
    });
    const isIn = ([room, [first]]: [string, RoomEvent[]]) => first?.room === room;
    await eventually(() => [...seen].every(isIn), "the dropper is in all rooms");

    const talkers = await connectTalkers([a, b]);
    const said: Promise<{ id: string } | { code: string }>[] = [];
    let words = 0;
    const timer = setInterval(() => {
      words++;
      talkers.forEach((client, i) => client.send(`word ${i} ${words}`));
      if (words % 5 !== 0) return;
      const room = ROOMS[words / 5 % ROOMS.length]!;
      const text = `dropper's word ${words}`;
      said.push(dropper.room(room).say(text).catch(({ code }) => ({ code })));
    }, 40);
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
    for (const client of talkers) client.send("the end");
    const hasEnd = (events: readonly object[]) =>
      events.filter((event) => "text" in event && event.text === "the end").length === ROOMS.length;
    await eventually(() => hasEnd([...seen.values()].flat()), "the end");
    clearInterval(impatient);
    const heard = () => witness.received.map((line) => JSON.parse(line));
    await eventually(() => hasEnd(heard()), "the end, there too");

    assertEquals(gaps, []);
    assert(cable.drops > SECONDS, `${cable.drops} drops`);
    for (const [room, events] of seen) {
      const ids = heard().filter((line) => line.room === room && line.type !== "resumed")
        .map(({ id }) => id);
      assertEquals(events.map(({ id }) => id), ids.slice(ids.indexOf(events[0]!.id)), room);
    }
    const own = [...seen.values()].flat()
      .filter((event) => "text" in event && event.user === dropper.user)
      .map(({ id }) => id);
    const told = answers.map((answer) => "id" in answer ? answer.id : answer.code);
    assertEquals(told.toSorted(), own.toSorted());
    // The other clients received nothing about it.
    const comings = talkers[0]!.received.filter((line) => /^dropper (joined|left)/.test(line));
    assertEquals(comings, []);

    await dropper.close();
    cable.close();
    await Promise.all([...talkers, witness].map((client) => client.disconnect()));
  },
);
