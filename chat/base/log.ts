/**
 * The operator's log: one line an event, and a repeated warning at most once a minute.
 *
 * It never contains what users write. It does not know where lines go: the program passes a console.
 */
import type { Clock } from "./clock.ts";
import { addressFrom, networkAround } from "./networks.ts";

/** Milliseconds for which further warnings of the same cause are only counted. */
const QUIET_MS = 60_000;

/** Causes that are distinguished. All others count as one. */
const MAX_CAUSES = 50;

/** Characters of a message. Some contain messages of other programs, such as an error of storage. */
const MAX_LENGTH = 500;

/** Bits of an address that the log shows of it. */
const SHOWN_BITS = { 4: 24, 6: 48 } as const;

/** How urgent a line is: a fault of the server, something to look at, or a fact. */
export type Level = (typeof LEVELS)[number];

/** The levels, the most urgent first. */
export const LEVELS = ["error", "warn", "info"] as const;

/** How lines are written. */
export type LogFormat = (typeof LOG_FORMATS)[number];

/** The formats: the message with its fields, or a JSON object a line. */
export const LOG_FORMATS = ["text", "json"] as const;

/** What a line is about, apart from its message, so that lines of one cause have the same message. */
export interface Fields {
  /** The ID of a connection. */
  readonly connection?: string;
  /** A client's address, or the network that stands for it. */
  readonly address?: string;
}

/** Where log lines go. A message is a sentence without line breaks. */
export interface Log {
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

/** How the program writes its log. It can be posted to a worker. */
export interface LogSettings {
  readonly format: LogFormat;
  /** The least urgent level that is written. */
  readonly level: Level;
}

/** Returns a log that writes each event as one line, to the method of `target` for its level. */
export function lineLog(
  target: Readonly<Record<Level, (line: string) => void>>,
  clock: Clock,
  { format, level: least }: LogSettings = { format: "text", level: "info" },
): Log {
  const isJson = format === "json";
  const to = (level: Level) => (message: string, fields: Fields = {}) => {
    if (LEVELS.indexOf(level) > LEVELS.indexOf(least)) return;
    const line = isJson ? jsonLine : textLine;
    target[level](line({ time: new Date(clock.now()).toISOString(), level, message }, fields));
  };
  return { info: to("info"), warn: to("warn"), error: to("error") };
}

/** An event of the log, apart from its fields. */
interface Entry {
  readonly time: string;
  readonly level: Level;
  readonly message: string;
}

function jsonLine(entry: Entry, fields: Fields): string {
  return JSON.stringify({ ...entry, message: oneLine(entry.message), ...fields });
}

/** The system's own log adds the time. */
function textLine({ message }: Entry, fields: Fields): string {
  const shown = Object.entries(fields).filter(([, value]) => value !== undefined);
  return [oneLine(message), ...shown.map(([name, value]) => `${name}=${value}`)].join(" ");
}

/**
 * Returns a text as a part of one line: without control characters and line breaks, without characters
 * that change the direction of writing, and without the password of a URL.
 */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu, " ").replace(/\/\/[^/\s@]*@/g, "//");
}

/** Returns what the log says of an error: nothing that the error quotes from its input. */
export function messageOf(error: unknown): string {
  // `JSON.parse` quotes what it cannot parse.
  if (error instanceof SyntaxError) return error.name;
  return error instanceof Error ? error.message : String(error);
}

/** A cause of warnings. */
interface Cause {
  /** Monotonic milliseconds at which a warning was last written. */
  readonly writtenMs: number;
  /** Warnings since then, which were not written. */
  skipped: number;
}

/**
 * Returns a log that writes warnings and errors of one cause at most once a minute. The next line says
 * how many were skipped. Messages that differ only in numbers, IDs and quoted words have one cause,
 * whatever their fields. Addresses are shortened to their /24 or /48, unless `showsAddresses`.
 */
export function quietLog(log: Log, clock: Clock, showsAddresses = false): Log {
  const causes = new Map<string, Cause>();
  const fieldsOf = ({ address, ...fields }: Fields): Fields =>
    address === undefined
      ? fields
      : { ...fields, address: showsAddresses ? address : shortened(address) };
  const quietly = (level: "warn" | "error") => (message: string, fields: Fields = {}) => {
    const now = clock.monotonicMs();
    for (const [each, { writtenMs }] of causes) {
      if (now - writtenMs >= 2 * QUIET_MS) causes.delete(each);
    }
    const cause = causes.size < MAX_CAUSES || causes.has(causeOf(message))
      ? causeOf(message)
      : "other causes";
    const known = causes.get(cause);
    if (known !== undefined && now - known.writtenMs < QUIET_MS) {
      known.skipped++;
      return;
    }
    causes.set(cause, { writtenMs: now, skipped: 0 });
    const line = oneLine(message.slice(0, MAX_LENGTH));
    const more = known?.skipped ? ` (and ${known.skipped} like it before)` : "";
    log[level](line + more, fieldsOf(fields));
  };
  return {
    info: (message, fields = {}) => log.info(oneLine(message), fieldsOf(fields)),
    warn: quietly("warn"),
    error: quietly("error"),
  };
}

/** Returns what the messages of one cause have in common. */
function causeOf(message: string): string {
  return message.slice(0, MAX_LENGTH).replace(/"[^"]*"|'[^']*'|\b\w*\d\w*\b/g, "#");
}

/** Returns the network that the log shows instead of an address, or of the /64 that stands for one. */
function shortened(text: string): string {
  const address = addressFrom(text.replace(/\/64$/, ""));
  if (address === undefined) return "unknown";
  return networkAround(address, SHOWN_BITS[address.includes(":") ? 6 : 4]).text;
}
