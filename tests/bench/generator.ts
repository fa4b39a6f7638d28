/**
 * The load generator, a process of its own: takes a job as its argument, prints a result.
 *
 *     deno run -A tests/bench/generator.ts '{"port":8000,…}'
 */
import { Crowd, micros, type Watcher } from "./crowd.ts";
import { Day } from "./day.ts";
import { EpollSockets, hasEpoll } from "./epoll.ts";
import { type Job, type Refusal, type Result, Skip } from "./job.ts";
import { Latencies } from "./latencies.ts";
import { type Happenings, PortableSockets } from "./sockets.ts";
import { cpuSeconds, openFilesLimit, residentMb } from "./usage.ts";
import { WIRES } from "./wire.ts";

/**
 * Milliseconds: for all to come in; between two looks at the time; of silence that is the end; for
 * the end.
 */
const SETUP = 180_000, TICK = 5, SILENCE = 500, DRAIN = 20_000;

class Generator implements Watcher {
  readonly #job: Job;
  readonly #crowd: Crowd;
  readonly #rooms: string[];
  readonly #roomOf: number[];
  readonly #isObserver: Uint8Array;
  readonly #outstanding: Int32Array;
  readonly #latencies = new Latencies();
  readonly #day: Day;
  #nicks = 0;
  #settled = 0;
  #running = false;
  #sent = 0;
  #seen = 0;
  #delivered = 0;
  /** When the list was asked for that is waited for; 0 before the first. */
  #asked = 0;

  constructor(job: Job) {
    this.#job = job;
    const wire = WIRES[job.wire];
    const { port, clients, rooms, lively } = job;
    this.#rooms = Array.from({ length: rooms }, (_, i) => `r${job.run}x${i}`);
    this.#roomOf = Array.from({ length: clients }, (_, i) => {
      if (lively === undefined) return i % rooms;
      return i < lively ? 0 : 1 + (i - lively) % (rooms - 1);
    });
    this.#outstanding = new Int32Array(clients);
    this.#isObserver = new Uint8Array(clients);
    for (let room = 0; room < rooms; room++) {
      const last = this.#roomOf.lastIndexOf(room);
      if (last >= 0) this.#isObserver[last] = 1;
    }
    const epoll = hasEpoll() && Deno.env.get("BENCH_SOCKETS") !== "portable";
    this.#crowd = new Crowd(
      clients,
      port,
      wire,
      this,
      (to: Happenings) => epoll ? new EpollSockets(port, to) : new PortableSockets(port, to),
    );
    this.#day = new Day({
      crowd: this.#crowd,
      wire,
      rooms: this.#rooms,
      roomOf: this.#roomOf,
      outstanding: this.#outstanding,
      freshNick: () => this.#nick(),
      said: (id) => this.#said(id),
    });
  }

  delivered(id: number, sender: number, took: number): void {
    this.#delivered++;
    if (this.#running) this.#latencies.add(took);
    const counts = this.#job.load.kind === "day" ? sender === id : this.#isObserver[id] === 1;
    if (!counts) return;
    this.#seen++;
    this.#outstanding[sender]!--;
    if (this.#running && this.#job.load.kind === "closed") this.#say(sender);
  }

  settled(): void {
    this.#settled++;
    if (this.#asked === 0) return;
    this.#seen++;
    if (!this.#running) return;
    this.#latencies.add(micros() - this.#asked);
    this.#list();
  }

  gone(id: number): void {
    this.#outstanding[id] = 0;
    this.#day.gone(id);
  }

  async run(): Promise<Result> {
    const { pid, seconds } = this.#job;
    const setup = await this.#setup();
    if (seconds > 0) await this.#pass(1000);
    const ready = this.#settled;
    const rssOverTime: number[] = [];
    const cpu = cpuSeconds(pid), ownCpu = cpuSeconds(Deno.pid), started = micros();
    this.#delivered = 0;
    this.#running = seconds > 0;
    await this.#load(started, rssOverTime);
    const took = (micros() - started) / 1e6;
    this.#running = false;
    const result = {
      ready,
      dead: this.#crowd.dead,
      setup,
      seconds: took,
      sent: this.#sent,
      delivered: this.#delivered,
      serverCpu: cpuSeconds(pid) - cpu,
      rss: residentMb(pid),
      rssOverTime,
      busy: (cpuSeconds(Deno.pid) - ownCpu) / took,
      p50: this.#latencies.at(0.5),
      p99: this.#latencies.at(0.99),
      max: this.#latencies.max,
    };
    if (this.#sent > 0) await this.#drain();
    return { ...result, lost: this.#sent - this.#seen };
  }

  /** All come in, so many at a time. Resolves with the seconds that it took. */
  async #setup(): Promise<number> {
    const { clients, backlog, wire } = this.#job;
    const started = micros();
    for (let next = 0; this.#settled + this.#crowd.dead < clients;) {
      const coming = next - this.#settled - this.#crowd.dead;
      for (let i = coming; i < backlog && next < clients; i++) {
        this.#crowd.enter(
          next,
          WIRES[wire].enter(this.#nick(), this.#rooms[this.#roomOf[next]!]!),
        );
        next++;
      }
      await this.#crowd.step(TICK);
      if (micros() - started < SETUP * 1000) continue;
      throw new Skip(`${this.#settled} of ${clients} came in within ${SETUP / 1000} s`);
    }
    if (this.#settled === 0) throw new Skip("everybody was hung up on while coming in");
    return (micros() - started) / 1e6;
  }

  async #load(started: number, rssOverTime: number[]): Promise<void> {
    const { load, seconds, senders, pid } = this.#job;
    if (load.kind === "list") this.#list();
    if (load.kind === "closed") {
      for (let id = 0; id < senders; id++) {
        for (let i = 0; i < load.window; i++) this.#say(id);
      }
    }
    for (let done = 0, next = 0; micros() - started < seconds * 1e6;) {
      const passed = (micros() - started) / 1e6;
      if (load.kind === "open" || load.kind === "day") {
        for (; done < passed * load.rate; done++) {
          if (load.kind === "day") this.#day.next();
          else this.#say(done % senders);
        }
      }
      if (passed >= next) {
        rssOverTime.push(residentMb(pid));
        next += 10;
      }
      // A busy loop of ticks would make a latency of an open load the generator's own.
      await this.#crowd.step(load.kind === "open" ? 1 : TICK);
    }
  }

  /** Until nothing comes any more, or it takes too long: what is missing then counts as lost. */
  async #drain(): Promise<void> {
    const until = micros() + DRAIN * 1000;
    for (let before = -1; this.#delivered !== before && micros() < until;) {
      before = this.#delivered;
      await this.#pass(SILENCE);
    }
  }

  async #pass(ms: number): Promise<void> {
    const until = micros() + ms * 1000;
    while (micros() < until) await this.#crowd.step(TICK);
  }

  #nick(): string {
    return `u${this.#job.run}x${this.#nicks++}`;
  }

  #say(id: number): void {
    if (!this.#crowd.isIn(id)) return;
    this.#crowd.say(id, this.#rooms[this.#roomOf[id]!]!, this.#job.size);
    this.#said(id);
  }

  #said(id: number): void {
    this.#sent++;
    this.#outstanding[id]!++;
  }

  #list(): void {
    const list = WIRES[this.#job.wire].list?.(this.#rooms[0]!);
    if (list === undefined) throw new Skip("there is no command to see who is there");
    this.#sent++;
    this.#asked = micros();
    this.#crowd.take(0, [list]);
  }
}

if (import.meta.main) {
  const job = JSON.parse(Deno.args[0]!) as Job;
  let outcome: Result | Refusal;
  try {
    const files = openFilesLimit();
    if (job.clients + 100 > files) throw new Skip(`ulimit -n is ${files}`);
    outcome = await new Generator(job).run();
  } catch (error) {
    if (!(error instanceof Skip)) throw error;
    outcome = { skipped: error.message };
  }
  console.log(JSON.stringify(outcome, (_, value) => Number.isNaN(value) ? null : value));
  // Sockets that are still open are of no use any more.
  Deno.exit();
}
