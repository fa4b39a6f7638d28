/**
 * What a chat measures: a table of instruments of OpenTelemetry, and the functions that use them.
 *
 * It exports nothing: Deno does (`OTEL_DENO=true`), and without that each call takes a few
 * nanoseconds. It never measures who wrote or what. On the path of a message an instrument is used at
 * most once a commit.
 */
import { type Attributes, metrics, type ObservableGauge } from "@opentelemetry/api";

/** All instruments, one row each: name, kind, unit, description. */
export const INSTRUMENTS = {
  connections: {
    name: "parley.connections",
    kind: "gauge",
    unit: "{connection}",
    description: "Open connections of an instance.",
  },
  rooms: {
    name: "parley.rooms",
    kind: "gauge",
    unit: "{room}",
    description: "Rooms with clients of an instance.",
  },
  unsentBytes: {
    name: "parley.unsent",
    kind: "gauge",
    unit: "By",
    description: "Bytes that wait in the send buffers of an instance.",
  },
  uncompacted: {
    name: "parley.compaction.lag",
    kind: "gauge",
    unit: "{commit}",
    description: "Commits whose events are not in the history yet.",
  },
  messages: {
    name: "parley.messages",
    kind: "counter",
    unit: "{message}",
    description: "Messages that were stored.",
  },
  rejections: {
    name: "parley.rejections",
    kind: "counter",
    unit: "{rejection}",
    description: "Requests and handshakes that were rejected, by reason.",
  },
  kvErrors: {
    name: "parley.kv.errors",
    kind: "counter",
    unit: "{error}",
    description: "Calls of the database that failed, by kind.",
  },
  commitSeconds: {
    name: "parley.commit.duration",
    kind: "histogram",
    unit: "s",
    description: "Time from the first attempt of a commit to its success.",
    bounds: [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
  },
  commitBytes: {
    name: "parley.commit.size",
    kind: "histogram",
    unit: "By",
    description: "Estimated bytes of the events of a commit.",
    bounds: [0, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536],
  },
  deliverySeconds: {
    name: "parley.delivery.lag",
    kind: "histogram",
    unit: "s",
    description: "Time from a request to its delivery by another instance.",
    bounds: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
  },
} as const;

/** What is measured when an exporter asks. */
export interface Gauges {
  /** The ID of the instance: the gauges of workers would otherwise replace each other. */
  readonly instance: string;
  readonly connections: number;
  readonly rooms: number;
  readonly unsentBytes: number;
  readonly uncompacted: number;
}

/** The calls of KV whose failures are counted. */
export type KvCall = "commit" | "read" | "watch" | "history";

/** Where a chat records what it measures. */
export interface Metrics {
  /** A commit succeeded: after how long, with how many messages, and how large its events are. */
  committed(seconds: number, messages: number, bytes: number): void;
  /** A commit of another instance was delivered so long after its first request. */
  delivered(seconds: number): void;
  /** A request or a handshake was rejected. There are few reasons. */
  rejected(reason: string): void;
  /** A call of KV failed. */
  kvFailed(call: KvCall): void;
  /** Reads the gauges each time when an exporter asks. Returns a function that ends that. */
  observe(read: () => Gauges): () => void;
}

/** The gauges that have an instrument. */
const GAUGES = ["connections", "rooms", "unsentBytes", "uncompacted"] as const;

/** Returns the metrics of a chat. */
export function openMetrics(): Metrics {
  const meter = metrics.getMeter("parley");
  const counter = ({ name, ...options }: Row) => meter.createCounter(name, options);
  const histogram = ({ name, bounds: explicitBucketBoundaries, ...options }: BoundedRow) =>
    meter.createHistogram(name, {
      ...options,
      advice: { explicitBucketBoundaries: [...explicitBucketBoundaries] },
    });
  const commitSeconds = histogram(INSTRUMENTS.commitSeconds);
  const commitBytes = histogram(INSTRUMENTS.commitBytes);
  const deliverySeconds = histogram(INSTRUMENTS.deliverySeconds);
  const messageCount = counter(INSTRUMENTS.messages);
  const rejections = counter(INSTRUMENTS.rejections);
  const kvErrors = counter(INSTRUMENTS.kvErrors);
  return {
    committed(seconds, messages, bytes) {
      commitSeconds.record(seconds);
      commitBytes.record(bytes);
      if (messages > 0) messageCount.add(messages);
    },
    delivered: (seconds) => deliverySeconds.record(seconds),
    rejected: (reason) => rejections.add(1, { reason }),
    kvFailed: (call) => kvErrors.add(1, { call }),
    observe: (read) => {
      const ends = GAUGES.map((each) => {
        const { name, ...options } = INSTRUMENTS[each];
        return observeGauge(meter.createObservableGauge(name, options), () => {
          const gauges = read();
          return [gauges[each], { instance: gauges.instance }];
        });
      });
      return () => ends.forEach((end) => end());
    },
  };
}

/** What a row of {@linkcode INSTRUMENTS} says. */
interface Row {
  readonly name: string;
  readonly unit: string;
  readonly description: string;
}

/** A row of a histogram. */
interface BoundedRow extends Row {
  /** The upper bounds of its buckets. */
  readonly bounds: readonly number[];
}

function observeGauge(gauge: ObservableGauge, read: () => [number, Attributes]): () => void {
  const callback: Parameters<ObservableGauge["addCallback"]>[0] = (result) =>
    result.observe(...read());
  gauge.addCallback(callback);
  return () => gauge.removeCallback(callback);
}
