/**
 * What the operator set: arguments and environment variables, read as the table of options says.
 *
 * It gets both as arguments and touches neither the network nor the database. It reads the two TLS files.
 */
import { parseArgs } from "@std/cli";
import { levenshteinDistance } from "@std/text";
import { formatDuration, parseDuration } from "../base/durations.ts";
import {
  type Flag,
  type FlagOf,
  MIN_OPERATOR_SECRET_CHARS,
  OPERATOR_SECRET_VARIABLE,
  type Option,
  OPTIONS,
  variableOf,
} from "../base/options.ts";
import { Access, Addresses, type ChatSettings, DEFAULT_RESERVED, rateLimitsFrom } from "../mod.ts";
import { reasonOf, StartupError } from "./startup_error.ts";
import { formatSize, parseBoolean, parseList, parseRateLimits, parseSize } from "./values.ts";

/** Everything that the operator set. It can be posted to a worker. */
export interface Settings {
  readonly port: number;
  readonly hostname: string;
  /** A path, `:memory:` or a URL; `undefined`: the platform's own database. */
  readonly kv: string | undefined;
  /** Whether the database is on another machine, where several processes can use it. */
  readonly isKvRemote: boolean;
  readonly chat: ChatSettings;
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  readonly workers: number;
  /** Whether the program runs for development, perhaps under `deno run --watch`. */
  readonly dev: boolean;
}

/** Returns the value of an environment variable; `undefined` if it is not set or may not be read. */
export type ReadVariable = (name: string) => string | undefined;

/** The flags without a row in {@linkcode OPTIONS}: they are about one run of the program. */
const RUN_FLAGS = ["dev", "help", "version"] as const;

/** A value that the operator gave, with the flag or variable that it comes from. */
interface Given {
  readonly value: string;
  readonly source: string;
}

/**
 * Returns the settings of a run, or what to print instead.
 *
 * @throws {StartupError} with exit code 2 if an argument or variable is invalid, with exit code 1 if a
 * TLS file cannot be read.
 */
export function readSettings(
  args: string[],
  readVariable: ReadVariable,
): Settings | "help" | "version" {
  const values = new Values(args, readVariable);
  if (values.isSet("help")) return "help";
  if (values.isSet("version")) return "version";
  const kv = values.text("kv");
  const workers = values.given("workers")?.value === "auto"
    ? navigator.hardwareConcurrency
    : values.number("workers");
  // Without a name each worker would open a database of its own, and be a separate chat.
  if (workers > 1 && (kv === undefined || kv === ":memory:")) {
    throw new StartupError(
      "Cannot start several workers: they need a database to share. Name a file with --kv.",
      2,
    );
  }
  const isDenoDeploy = readVariable("DENO_DEPLOYMENT_ID") !== undefined;
  return {
    port: values.number("port"),
    hostname: values.text("hostname") ?? (values.isSet("dev") ? "127.0.0.1" : "0.0.0.0"),
    kv,
    isKvRemote: kv === undefined ? isDenoDeploy : /^https?:/i.test(kv),
    workers,
    dev: values.isSet("dev"),
    tls: readTls(values),
    chat: {
      historySeconds: values.number("history"),
      maxHistoryBytes: values.number("max-history"),
      openHistory: values.switch("open-history"),
      graceSeconds: values.number("grace"),
      registrationSeconds: values.number("registered"),
      editSeconds: values.number("edit"),
      modLogSeconds: values.number("mod-log"),
      operators: parseList(values.given("operator")?.value ?? ""),
      operatorSecret: readOperatorSecret(readVariable),
      roomOwners: values.switch("room-owners"),
      typing: !values.switch("no-typing"),
      reserved: readReserved(values.given("reserved")),
      limits: {
        maxNicknameChars: values.number("max-nickname"),
        maxRoomChars: values.number("max-room"),
        maxRooms: values.number("max-rooms"),
        maxMessageBytes: values.number("max-message"),
        maxUnsentBytes: values.number("max-unread"),
      },
      connectionLimits: {
        // `undefined`: not set, which startChat treats differently from the default.
        maxConnections: values.numberIfSet("max-connections"),
        maxPerAddress: values.numberIfSet("max-per-address"),
      },
      maxMemoryBytes: readMaxMemory(values, workers),
      rateLimits: readRateLimits(values.given("limits")),
      access: readAccess(values, isDenoDeploy),
      trustProxy: readTrustedProxies(values),
    },
  };
}

/** The values of all options, as texts or parsed by their kind. */
class Values {
  readonly #flags: Readonly<Record<string, string | boolean | string[] | undefined>>;
  readonly #readVariable: ReadVariable;

  constructor(args: string[], readVariable: ReadVariable) {
    const flags = Object.keys(OPTIONS) as Flag[];
    const isSwitch = (flag: Flag) => OPTIONS[flag].kind === "switch";
    this.#flags = parseArgs(args, {
      string: flags.filter((flag) => !isSwitch(flag)),
      collect: ["origin", "operator"],
      boolean: [...RUN_FLAGS, ...flags.filter(isSwitch)],
      unknown: (arg: string) => {
        throw new StartupError(unknownArgument(arg), 2);
      },
    }) as Record<string, string | boolean | string[] | undefined>;
    this.#readVariable = readVariable;
  }

  isSet(flag: (typeof RUN_FLAGS)[number]): boolean {
    return this.#flags[flag] === true;
  }

  /** A flag overrides its variable. `alone` is the value of a flag that was given without one. */
  given(flag: Flag, alone = ""): Given | undefined {
    const raw = this.#flags[flag];
    const value = Array.isArray(raw) ? (raw.length > 0 ? raw.join(",") : undefined) : raw;
    if (typeof value === "string") {
      if (value || alone) return { value: value || alone, source: `--${flag}` };
      throw new StartupError(`--${flag} needs a value. See --help.`, 2);
    }
    const variable = variableOf(flag);
    const fromVariable = this.#readVariable(variable);
    return fromVariable ? { value: fromVariable, source: variable } : undefined;
  }

  text(flag: FlagOf<"text">): string | undefined {
    return this.given(flag)?.value;
  }

  switch(flag: FlagOf<"switch">): boolean {
    if (this.#flags[flag] === true) return true;
    const given = this.given(flag);
    if (given === undefined) return false;
    const value = parseBoolean(given.value);
    if (value !== undefined) return value;
    throw new StartupError(`${given.source} must be 1 or 0; got "${given.value}".`, 2);
  }

  number(flag: FlagOf<"count" | "size" | "duration">): number {
    return this.numberIfSet(flag) ?? OPTIONS[flag].default;
  }

  numberIfSet(flag: FlagOf<"count" | "size" | "duration">): number | undefined {
    const given = this.given(flag);
    if (given === undefined) return undefined;
    const option: Option = OPTIONS[flag];
    const { min, max } = OPTIONS[flag];
    const number = parseNumber(option, given.value);
    const isOff = given.value === "off" && number !== undefined;
    if (number !== undefined && (isOff || (number >= min && number <= max))) return number;
    const expected = describeRange(option);
    throw new StartupError(`${given.source} must be ${expected}; got "${given.value}".`, 2);
  }
}

/** Returns the number that a text means for an option; `off` is no time, but as many bytes as needed. */
function parseNumber({ kind }: Option, text: string): number | undefined {
  switch (kind) {
    case "count":
      return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
    case "size":
      return text === "off" ? Infinity : parseSize(text);
    case "duration":
      return text === "off" ? 0 : parseDuration(text);
    case "text":
    case "switch":
      return undefined;
    default:
      return kind satisfies never;
  }
}

/** Returns which values an option takes, as the end of "… must be". */
function describeRange(option: Option): string {
  switch (option.kind) {
    case "count":
      return `a whole number from ${option.min} to ${option.max}`;
    case "size":
      return `a size such as 512M or 2G (at least ${formatSize(option.min)}), or off`;
    case "duration":
      return `a duration such as 90s or 30m (at most ${formatDuration(option.max)}), or off`;
    case "text":
      return "a text";
    case "switch":
      return "1 or 0";
    default:
      return option satisfies never;
  }
}

function unknownArgument(arg: string): string {
  if (!arg.startsWith("-")) return `Unknown argument "${arg}". See --help.`;
  const flag = arg.replace(/^--?/, "").replace(/=.*$/, "");
  const [similar] = [...Object.keys(OPTIONS), ...RUN_FLAGS]
    .filter((known) => levenshteinDistance(known, flag) < Math.min(3, flag.length))
    .sort((a, b) => levenshteinDistance(a, flag) - levenshteinDistance(b, flag));
  const hint = similar === undefined ? "" : ` Did you mean --${similar}?`;
  return `Unknown option --${flag}.${hint} See --help.`;
}

/** Runs a check of a value; a RangeError becomes one line that names the value's source. */
function attempt<T>(source: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new StartupError(`${source}: ${reasonOf(error)}.`, 2);
  }
}

function readRateLimits(given: Given | undefined): ChatSettings["rateLimits"] {
  if (given === undefined) return undefined;
  return attempt(given.source, () => {
    const settings = parseRateLimits(given.value);
    rateLimitsFrom(settings);
    return settings;
  });
}

/** Returns the bytes that the process may use; `undefined`: all that there are. */
function readMaxMemory(values: Values, workers: number): number | undefined {
  const bytes = values.numberIfSet("max-memory") ?? workers * OPTIONS["max-memory"].default;
  return bytes === Infinity ? undefined : bytes;
}

/** Returns the nicknames in a list such as `Boss, Acme` and the built-in ones; with `off` none. */
function readReserved(given: Given | undefined): readonly string[] {
  if (given?.value === "off") return [];
  const names = given?.value.split(",").map((name) => name.trim()) ?? [];
  if (!names.includes("")) return [...DEFAULT_RESERVED, ...names];
  throw new StartupError(
    `${given?.source} must be nicknames separated by commas, or off; got "${given?.value}".`,
    2,
  );
}

/** Returns the secret that makes a session an operator's; `undefined`: there is none. */
function readOperatorSecret(readVariable: ReadVariable): string | undefined {
  const secret = readVariable(OPERATOR_SECRET_VARIABLE);
  if (!secret || secret.length >= MIN_OPERATOR_SECRET_CHARS) return secret || undefined;
  throw new StartupError(
    `${OPERATOR_SECRET_VARIABLE} must have at least ${MIN_OPERATOR_SECRET_CHARS} characters; ` +
      `got ${secret.length}.`,
    2,
  );
}

function readAccess(values: Values, isDenoDeploy: boolean): ChatSettings["access"] {
  const origin = values.given("origin");
  const origins = parseList(origin?.value ?? "");
  attempt(origin?.source ?? "", () => new Access({ origins }));
  const token = values.given("token");
  attempt(token?.source ?? "", () => new Access({ token: token?.value }));
  const hostname = values.text("hostname");
  // On Deno Deploy every request comes through its proxies, and the host is the app's own.
  const hosts = isDenoDeploy ? "any" : hostname === undefined ? [] : [hostname];
  return { origins, hosts, token: token?.value };
}

function readTrustedProxies(values: Values): readonly string[] {
  const given = values.given("trust-proxy", "private");
  if (given === undefined) return [];
  const isOn = parseBoolean(given.value);
  if (isOn !== undefined) return isOn ? ["private"] : [];
  const networks = parseList(given.value);
  attempt(given.source, () => new Addresses(networks));
  return networks;
}

function readTls(values: Values): Settings["tls"] {
  const cert = values.given("cert"), key = values.given("key");
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) {
    throw new StartupError("TLS needs both --cert and --key.", 2);
  }
  return { cert: readPem(cert), key: readPem(key) };
}

function readPem({ value: file, source }: Given): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (error) {
    throw new StartupError(`Cannot read the file of ${source}: ${reasonOf(error)}.`, 1);
  }
}
