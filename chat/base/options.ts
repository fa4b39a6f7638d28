/**
 * The options of the server, one row each: flag (and so its environment variable), range, default, help.
 *
 * The only place for these facts. The program parses its arguments and prints `--help` from this table;
 * `startChat` checks its options against the same ranges; a test compares the table with OPERATIONS.md.
 * The table reads neither arguments nor environment variables.
 */

/** An option with a number: whole, in bytes (a size such as `512M`), or in seconds (such as `30m`). */
interface NumberRow {
  readonly kind: "count" | "size" | "duration";
  readonly default: number;
  readonly min: number;
  readonly max: number;
  /** The default as documents show it, where it does not follow from `default`. */
  readonly shown?: string;
  /** One sentence on what the option sets. */
  readonly help: string;
}

/** An option with a text, which the program interprets itself, or one that is on or off. */
interface TextRow {
  readonly kind: "text" | "switch";
  /** What `--help` shows for the value. */
  readonly value?: string;
  /** The default as documents show it. */
  readonly shown: string;
  readonly help: string;
}

/** A row of {@linkcode OPTIONS}. */
export type Option = NumberRow | TextRow;

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const MINUTE = 60;
const DAY = 86_400;

/** All options by their flags, in the order in which `--help` shows them. */
export const OPTIONS = {
  port: {
    kind: "count",
    default: 8000,
    min: 0,
    max: 65_535,
    help: "Port to listen on; 0 picks a free port.",
  },
  hostname: {
    kind: "text",
    value: "NAME",
    shown: "0.0.0.0",
    help: "Address to listen on; with --dev the default is 127.0.0.1.",
  },
  kv: {
    kind: "text",
    value: "WHERE",
    shown: "the platform's",
    help: "Database: a file, the URL of a KV Connect server, or :memory:.",
  },
  workers: {
    kind: "count",
    default: 1,
    min: 1,
    max: 256,
    help: "Worker count, or auto: one per core.",
  },
  history: {
    kind: "duration",
    default: 7 * DAY,
    min: 0,
    max: 3650 * DAY,
    help: "Message retention.",
  },
  "max-history": {
    kind: "size",
    default: GIB,
    // Less is one page of long messages.
    min: MIB,
    // No disk holds more.
    max: 2 ** 50,
    help: "Size of the history; the oldest messages are removed first.",
  },
  "open-history": {
    kind: "switch",
    shown: "off",
    help: "Let every user read the history of every room.",
  },
  grace: {
    kind: "duration",
    default: 30,
    min: 0,
    // During this time no other client can use the nickname.
    max: 60 * MINUTE,
    help: "How long a dropped connection can resume its session.",
  },
  registered: {
    kind: "duration",
    default: 365 * DAY,
    min: 0,
    max: 3650 * DAY,
    help: "Registered nicknames expire after this long unused.",
  },
  edit: {
    kind: "duration",
    default: DAY,
    min: 0,
    max: 3650 * DAY,
    help: "How long users can edit and delete their own messages.",
  },
  reserved: {
    kind: "text",
    value: "NAMES",
    shown: "none",
    help: "Additional reserved nicknames; off: not even the built-in ones.",
  },
  // 128 are 512 bytes of UTF-8. A KV key ends at 2 KiB, and some keys hold the nickname twice.
  "max-nickname": {
    kind: "count",
    default: 32,
    min: 1,
    max: 128,
    help: "Characters of a nickname.",
  },
  // 256 are 1,024 bytes of UTF-8 in a KV key of 2 KiB.
  "max-room": { kind: "count", default: 64, min: 1, max: 256, help: "Characters of a room name." },
  "max-rooms": {
    kind: "count",
    default: 50,
    min: 1,
    // The rooms of a registered user are one KV value of 64 KiB.
    max: 200,
    help: "Rooms that a user is in at the same time.",
  },
  "max-message": {
    kind: "count",
    default: 16 * KIB,
    min: 1,
    // A KV value ends at 64 KiB. Text may take two bytes a character in it, and others share the row.
    max: 24 * KIB,
    help: "Bytes of a message.",
  },
  limits: {
    kind: "text",
    value: "LIST",
    shown: "on",
    help: "Rate limits: on, off, or changes such as messages=30/15s,joins=off.",
  },
  "max-connections": {
    kind: "count",
    default: 10_000,
    min: 1,
    // More than any process can hold.
    max: 1_000_000,
    help: "Connections of an instance.",
  },
  "max-per-address": {
    kind: "count",
    default: 100,
    min: 1,
    max: 1_000_000,
    help: "Connections from one client address.",
  },
  "max-memory": {
    kind: "size",
    // Of each worker, because every worker has a heap of its own.
    default: 512 * MIB,
    // The program alone takes about 100 MiB.
    min: 192 * MIB,
    max: 2 ** 50,
    shown: "512M per worker",
    help: "Memory of the process; above it, connections are closed.",
  },
  "max-unread": {
    kind: "count",
    default: MIB,
    // Resuming a session and a page of history must fit.
    min: MIB,
    // A client that far behind will not catch up.
    max: 64 * MIB,
    help: "Send-buffer limit per connection, in bytes.",
  },
  token: { kind: "text", value: "TOKEN", shown: "none", help: "Access token of a private chat." },
  origin: {
    kind: "text",
    value: "ORIGIN",
    shown: "the server's",
    help: "Additional allowed origin, or *; may be repeated.",
  },
  operator: {
    kind: "text",
    value: "NICK",
    shown: "none",
    help: "Registered nickname of an operator; may be repeated.",
  },
  "room-owners": {
    kind: "switch",
    shown: "off",
    help: "Let a registered user who opens a room moderate it.",
  },
  "no-typing": {
    kind: "switch",
    shown: "off",
    help: "Do not tell people who is writing.",
  },
  "mod-log": {
    kind: "duration",
    default: 365 * DAY,
    min: 0,
    max: 3650 * DAY,
    help: "Retention of the record of moderation.",
  },
  "trust-proxy": {
    kind: "text",
    value: "[NETWORKS]",
    shown: "off",
    help: "Proxies whose X-Forwarded-For is trusted; alone: private networks.",
  },
  cert: { kind: "text", value: "FILE", shown: "none", help: "TLS certificate (PEM); needs --key." },
  key: {
    kind: "text",
    value: "FILE",
    shown: "none",
    help: "Private key of the certificate (PEM).",
  },
} as const satisfies Record<string, Option>;

/** Returns the environment variable of an option; a flag overrides it. */
export function variableOf(flag: Flag): string {
  // The names that hosting platforms set.
  if (flag === "port") return "PORT";
  if (flag === "hostname") return "HOST";
  return `CHAT_${flag.toUpperCase().replaceAll("-", "_")}`;
}

/**
 * The environment variable with the secret that makes a session an operator (`/op`). It has no flag: any
 * user of the machine can read the arguments of a process.
 */
export const OPERATOR_SECRET_VARIABLE = "CHAT_OPERATOR_SECRET";

/** Characters of the operators' secret, at least. */
export const MIN_OPERATOR_SECRET_CHARS = 16;

/** An option's flag, without the dashes. */
export type Flag = keyof typeof OPTIONS;

/** The flags of one kind of option. */
export type FlagOf<Kind extends Option["kind"]> = {
  [F in Flag]: (typeof OPTIONS)[F]["kind"] extends Kind ? F : never;
}[Flag];

/** The flags of options with a number. */
export type NumberFlag = FlagOf<NumberRow["kind"]>;

/** A bucket's size: so many actions within so many seconds, at once or spread. */
export interface Allowance {
  readonly count: number;
  readonly seconds: number;
}

/** The range of both numbers of an {@linkcode Allowance}; larger ones mean off. */
export const ALLOWANCE_RANGE = {
  count: { min: 1, max: 1_000_000 },
  seconds: { min: 1, max: DAY },
} as const;

/**
 * The rate limits that `--limits` can change, with their defaults: what a fast human and a polite bot
 * need. A paste of twenty lines stays below them, and a school may have one address. For comparison:
 * Ergo allows 5 lines at once and then 2 a second, 16 connections and 32 new ones in 10 minutes from an
 * address; InspIRCd allows 10 at once and then 1 a second, and 3 connections.
 *
 * By default `connections`, `registrations` and `together` do not apply to loopback addresses.
 */
export const DEFAULT_RATES = {
  /** Messages of one connection. One of more than 1 KiB or more than four lines counts as several. */
  messages: { count: 30, seconds: 15 },
  /** Other commands and requests. Each 4 KiB of their replies count as one more. */
  commands: { count: 120, seconds: 30 },
  /** Rooms that a connection enters. */
  joins: { count: 30, seconds: 60 },
  /** Nicknames that a connection tries, login included. */
  nicks: { count: 20, seconds: 60 },
  /**
   * Messages of all clients to one room, and to one nickname, counted like `messages`. One that counts
   * 1 takes a reader at most 2 KB: 1 KiB of text, nickname, room and field names. So 200 at once are
   * 0.4 MB, less than a send buffer holds, and 40 a second are 0.65 Mbit/s. A reader at 5 Mbit/s receives
   * the whole burst in 0.7 s. One address may send 20 a second (`together`), so it cannot fill a room.
   */
  room: { count: 200, seconds: 5 },
  /** Connections that an address opens. */
  connections: { count: 100, seconds: 60 },
  /** Nicknames that an address registers, on all instances together. */
  registrations: { count: 5, seconds: DAY },
  /** How many times the allowance of one connection all connections of an address share. */
  together: 10,
  /** Seconds within which a connection must choose a nickname. */
  unnamed: 60,
} as const satisfies Record<string, Allowance | number>;

/** The rate limits that are allowances; the others are numbers. */
export type AllowanceName = Exclude<keyof typeof DEFAULT_RATES, "together" | "unnamed">;
