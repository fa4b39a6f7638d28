/**
 * The load generator, as a process. Its argument is a job as JSON; it prints a result as JSON.
 *
 *     deno run -A tests/bench/generator.ts '{"port":8000,…}'
 */
import { BenchClients, type ClientObserver, micros } from "./clients.ts";
import { Day } from "./day.ts";
import { EpollSockets, hasEpoll } from "./epoll.ts";
import { type Job, type Result, Skip, type SkippedJob } from "./job.ts";
import { Latencies } from "./latencies.ts";
import { PortableSockets, type SocketHandler } from "./sockets.ts";
import { cpuSeconds, openFilesLimit, residentMb } from "./usage.ts";
import { type Step, type Wire, WIRES } from "./wire.ts";

/**
 * Limits in milliseconds: all clients must join within SETUP_MS. The sockets are polled for POLL_MS at
 * a time. The load has ended when nothing arrives for SILENCE_MS, and at the latest after DRAIN_MS.
 */
const SETUP_MS = 180_000, POLL_MS = 5, SILENCE_MS = 500, DRAIN_MS = 20_000;

class Generator implements ClientObserver {
  readonly #job: Job;
  readonly #clients: BenchClients;
  readonly #rooms: string[];
  readonly #roomOf: number[];
  readonly #isObserver: Uint8Array;
  readonly #outstanding: Int32Array;
  readonly #latencies = new Latencies();
  readonly #day: Day;
  #nicks = 0;
  #ready = 0;
  #running = false;
  #sent = 0;
  #seen = 0;
  #delivered = 0;
  /** When the last list was requested, in microseconds; 0 before the first. */
  #listSentAt = 0;

  constructor(job: Job) {
    this.#job = job;
    const wire = WIRES[job.wire];
    const { port, clients, rooms, busyRoomClients: lively } = job;
    this.#rooms = Array.from({ length: rooms }, (_, i) => `r${job.run}x${i}`);
    this.#roomOf = Array.from({ length: clients }, (_, i) => {
      if (lively === undefined) return i % rooms;
      return i < lively ? 0 : 1 + (i - lively) % (rooms - 1);
    });
    this.#outstanding = new Int32Array(clients);
    this.#isObserver = new Uint8Array(clients);
    if (job.inAllRooms) this.#isObserver[clients - 1] = 1;
    for (let room = 0; room < rooms && !job.inAllRooms; room++) {
      const last = this.#roomOf.lastIndexOf(room);
      if (last >= 0) this.#isObserver[last] = 1;
    }
    const epoll = hasEpoll() && Deno.env.get("BENCH_SOCKETS") !== "portable";
    this.#clients = new BenchClients(
      clients,
      port,
      wire,
      this,
      (to: SocketHandler) => epoll ? new EpollSockets(port, to) : new PortableSockets(port, to),
    );
    this.#day = new Day({
      clients: this.#clients,
      wire,
      rooms: this.#rooms,
      roomOf: this.#roomOf,
      outstanding: this.#outstanding,
      freshNick: () => this.#nick(),
      messageSent: (id) => this.#countSent(id),
    });
  }

  delivered(id: number, sender: number, took: number): void {
    this.#delivered++;
    if (this.#running) this.#latencies.add(took);
    const counts = this.#job.load.kind === "day" ? sender === id : this.#isObserver[id] === 1;
    if (!counts) return;
    this.#seen++;
    this.#outstanding[sender]!--;
    if (this.#running && this.#job.load.kind === "closed") this.#sendMessage(sender);
  }

  ready(): void {
    this.#ready++;
    if (this.#listSentAt === 0) return;
    this.#seen++;
    if (!this.#running) return;
    this.#latencies.add(micros() - this.#listSentAt);
    this.#sendList();
  }

  disconnected(id: number): void {
    this.#outstanding[id] = 0;
    this.#day.disconnected(id);
  }

  async run(): Promise<Result> {
    const { pid, seconds } = this.#job;
    const setup = await this.#setup();
    if (seconds > 0) await this.#pass(1000);
    const ready = this.#ready;
    const rssOverTime: number[] = [];
    const cpu = cpuSeconds(pid), ownCpu = cpuSeconds(Deno.pid), started = micros();
    this.#delivered = 0;
    this.#running = seconds > 0;
    await this.#load(started, rssOverTime);
    const took = (micros() - started) / 1e6;
    this.#running = false;
    const result = {
      ready,
      lostConnections: this.#clients.lostConnections,
      setupSeconds: setup,
      seconds: took,
      sent: this.#sent,
      delivered: this.#delivered,
      serverCpuSeconds: cpuSeconds(pid) - cpu,
      rssMb: residentMb(pid),
      rssMbOverTime: rssOverTime,
      generatorBusy: (cpuSeconds(Deno.pid) - ownCpu) / took,
      p50Ms: this.#latencies.quantileMs(0.5),
      p99Ms: this.#latencies.quantileMs(0.99),
      maxMs: this.#latencies.maxMs,
    };
    if (this.#sent > 0) await this.#drain();
    return { ...result, lost: this.#sent - this.#seen };
  }

  /** Connects all clients, at most `maxConnecting` at a time. Returns the seconds that this took. */
  async #setup(): Promise<number> {
    const { clients, maxConnecting: backlog } = this.#job;
    const started = micros();
    for (let next = 0; this.#ready + this.#clients.lostConnections < clients;) {
      const coming = next - this.#ready - this.#clients.lostConnections;
      for (let i = coming; i < backlog && next < clients; i++) {
        this.#clients.connect(next, this.#arrival(next));
        next++;
      }
      await this.#clients.poll(POLL_MS);
      if (micros() - started < SETUP_MS * 1000) continue;
      throw new Skip(`${this.#ready} of ${clients} joined within ${SETUP_MS / 1000} s`);
    }
    if (this.#ready === 0) throw new Skip("the server closed all connections during setup");
    return (micros() - started) / 1e6;
  }

  /** Returns the steps by which a client logs in and enters its room, or all rooms. */
  #arrival(id: number): readonly Step[] {
    const { wire, inAllRooms } = this.#job;
    const [first, ...further] = inAllRooms ? this.#rooms : [this.#rooms[this.#roomOf[id]!]!];
    const { enter } = WIRES[wire] as Wire;
    if (further.length > 0 && enter === undefined) throw new Skip("its clients are in one room");
    return [...WIRES[wire].join(this.#nick(), first!), ...further.map((room) => enter!(room))];
  }

  async #load(started: number, rssOverTime: number[]): Promise<void> {
    const { load, seconds, senders, pid } = this.#job;
    if (load.kind === "list") this.#sendList();
    if (load.kind === "closed") {
      for (let id = 0; id < senders; id++) {
        for (let i = 0; i < load.window; i++) this.#sendMessage(id);
      }
    }
    for (let done = 0, next = 0; micros() - started < seconds * 1e6;) {
      const passed = (micros() - started) / 1e6;
      if (load.kind === "open" || load.kind === "day") {
        for (; done < passed * load.rate; done++) {
          if (load.kind === "day") this.#day.next();
          else this.#sendMessage(done % senders);
        }
      }
      if (passed >= next) {
        rssOverTime.push(residentMb(pid));
        next += 10;
      }
      // Polling longer would add the generator's own delay to the latencies of an open load.
      await this.#clients.poll(load.kind === "open" ? 1 : POLL_MS);
    }
  }

  /** Waits until nothing arrives any more. Messages that are still missing then count as lost. */
  async #drain(): Promise<void> {
    const until = micros() + DRAIN_MS * 1000;
    for (let before = -1; this.#delivered !== before && micros() < until;) {
      before = this.#delivered;
      await this.#pass(SILENCE_MS);
    }
  }

  async #pass(ms: number): Promise<void> {
    const until = micros() + ms * 1000;
    while (micros() < until) await this.#clients.poll(POLL_MS);
  }

  #nick(): string {
    return `u${this.#job.run}x${this.#nicks++}`;
  }

  #sendMessage(id: number): void {
    if (!this.#clients.isReady(id)) return;
    const { inAllRooms, rooms, messageBytes } = this.#job;
    const room = inAllRooms ? this.#sent % rooms : this.#roomOf[id]!;
    this.#clients.sendMessage(id, this.#rooms[room]!, messageBytes);
    this.#countSent(id);
  }

  #countSent(id: number): void {
    this.#sent++;
    this.#outstanding[id]!++;
  }

  #sendList(): void {
    const list = WIRES[this.#job.wire].list?.(this.#rooms[0]!);
    if (list === undefined) throw new Skip("it has no command to list the members of a room");
    this.#sent++;
    this.#listSentAt = micros();
    this.#clients.runSteps(0, [list]);
  }
}

if (import.meta.main) {
  const job = JSON.parse(Deno.args[0]!) as Job;
  let outcome: Result | SkippedJob;
  try {
    const files = openFilesLimit();
    if (job.clients + 100 > files) throw new Skip(`ulimit -n is ${files}`);
    outcome = await new Generator(job).run();
  } catch (error) {
    if (!(error instanceof Skip)) throw error;
    outcome = { skipped: error.message };
  }
  console.log(JSON.stringify(outcome, (_, value) => Number.isNaN(value) ? null : value));
  // Open sockets would keep the process alive.
  Deno.exit();
}
