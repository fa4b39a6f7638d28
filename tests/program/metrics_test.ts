/** The metrics of the real program, as a receiver of OpenTelemetry's protocol gets them. */
import { assert, assertEquals } from "@std/assert";
import { INSTRUMENTS } from "../../chat/base/metrics.ts";
import { ServerProcess } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

/** A data point of a metric, as far as it is read here. */
interface Point {
  readonly attributes: { key: string; value: { stringValue?: string } }[];
  readonly asDouble?: number;
  readonly asInt?: number | string;
  readonly count?: number | string;
  readonly sum?: number;
  readonly explicitBounds?: number[];
}

/** A metric in a request of the exporter. */
interface Metric {
  readonly name: string;
  readonly unit: string;
  readonly gauge?: { dataPoints: Point[] };
  readonly sum?: { dataPoints: Point[] };
  readonly histogram?: { dataPoints: Point[] };
}

/** Receives metrics by OTLP over HTTP, as JSON, and keeps the newest state of each. */
class Receiver implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly metrics = new Map<string, Metric>();

  constructor() {
    this.#server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      async (request) => {
        const body = await request.json();
        for (const { scopeMetrics } of body.resourceMetrics ?? []) {
          for (const { scope, metrics } of scopeMetrics) {
            if (scope.name !== "parley") continue;
            for (const metric of metrics as Metric[]) this.metrics.set(metric.name, metric);
          }
        }
        return Response.json({});
      },
    );
  }

  /** The environment variables of a process that exports to this receiver. */
  get env(): Record<string, string> {
    return {
      OTEL_DENO: "true",
      OTEL_DENO_CONSOLE: "ignore",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.#server.addr.port}`,
      OTEL_METRIC_EXPORT_INTERVAL: "200",
    };
  }

  /** Returns the data points of a metric. */
  points(name: string): Point[] {
    const { gauge, sum, histogram } = this.metrics.get(name) ?? {};
    return (gauge ?? sum ?? histogram)?.dataPoints ?? [];
  }

  /** Returns the sum of a metric's points that have an attribute of this value, or of all. */
  total(name: string, attribute?: string): number {
    const points = this.points(name).filter(({ attributes }) =>
      attribute === undefined || attributes.some(({ value }) => value.stringValue === attribute)
    );
    const values = points.map(({ asDouble, asInt, count }) => Number(asDouble ?? asInt ?? count));
    return values.reduce((sum, value) => sum + value, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

Deno.test("OPERATIONS.md has one row for each instrument, with its kind", async () => {
  const text = await Deno.readTextFile(new URL("../../chat/docs/OPERATIONS.md", import.meta.url));
  const rows = [...text.matchAll(/^\| `(parley\.[a-z.]+)` +\| (\w+) +\|/gm)];
  assertEquals(
    rows.map(([, name, kind]) => [name, kind]).sort(),
    Object.values(INSTRUMENTS).map(({ name, kind }) => [name, kind]).sort(),
  );
});

async function say(server: ServerProcess, nick: string, count: number): Promise<TextClient> {
  const client = await TextClient.connect(server.url);
  client.send(nick, "/join red");
  for (let i = 0; i < count; i++) client.send(`word ${i}`);
  const last = `${nick}: word ${count - 1}`;
  await eventually(() => client.received.some((frame) => frame.includes(last)), "it is shown");
  return client;
}

Deno.test("a receiver of OTLP gets the metrics of a server, and nothing of what users write", async () => {
  await using receiver = new Receiver();
  await using server = await ServerProcess.start(
    ["--kv", ":memory:"],
    ["run", "-A", "main.ts"],
    receiver.env,
    "null",
  );
  const ann = await say(server, "Ann", 10);
  ann.send("/join two/nothing", `/nick ${"x".repeat(100)}`, "/nope");
  const response = await fetch(`http://127.0.0.1:${server.port}/`, {
    headers: { upgrade: "websocket", connection: "upgrade", origin: "https://nosy.example" },
  }).catch(() => undefined);
  await response?.body?.cancel();
  await eventually(() => receiver.total(INSTRUMENTS.messages.name) === 10, "ten messages");
  await eventually(() => receiver.total(INSTRUMENTS.connections.name) === 1, "a connection");
  await eventually(() => receiver.total(INSTRUMENTS.rejections.name) > 0, "a rejection");
  const { commitSeconds, commitBytes, rooms, unsentBytes, uncompacted } = INSTRUMENTS;
  assert(receiver.total(rooms.name) >= 1);
  assert(receiver.total(commitSeconds.name) > 0);
  assertEquals(receiver.total(commitSeconds.name), receiver.total(commitBytes.name));
  assertEquals(receiver.points(commitBytes.name)[0]!.explicitBounds, [...commitBytes.bounds]);
  assert(receiver.points(commitBytes.name)[0]!.sum! > 10 * "word 0".length);
  for (const { name } of [unsentBytes, uncompacted]) assertEquals(receiver.points(name).length, 1);
  for (const { name, unit } of Object.values(INSTRUMENTS)) {
    const metric = receiver.metrics.get(name);
    if (metric !== undefined) assertEquals(metric.unit, unit);
  }
  const all = JSON.stringify([...receiver.metrics.values()]);
  for (const secret of ["word", "Ann", "red", "nosy"]) assert(!all.includes(`"${secret}`), secret);
  await ann.disconnect();
  await eventually(() => receiver.total(INSTRUMENTS.connections.name) === 0, "no connection");
});

Deno.test("each worker has gauges of its own, and the counters of all workers add up", async () => {
  const folder = await Deno.makeTempDir();
  {
    await using receiver = new Receiver();
    await using server = await ServerProcess.start(
      ["--kv", `${folder}/kv`, "--workers", "2"],
      ["run", "-A", "main.ts"],
      receiver.env,
    );
    const people = [];
    for (const nick of ["Ann", "Bob", "Cem", "Dag"]) people.push(await say(server, nick, 5));
    await eventually(() => receiver.total(INSTRUMENTS.messages.name) === 20, "all messages");
    await eventually(() => receiver.total(INSTRUMENTS.connections.name) === 4, "all connections");
    assertEquals(receiver.points(INSTRUMENTS.connections.name).length, 2);
    await eventually(() => receiver.total(INSTRUMENTS.deliverySeconds.name) > 0, "deliveries");
    for (const client of people) await client.disconnect();
  }
  await Deno.remove(folder, { recursive: true });
});
