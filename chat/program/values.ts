/**
 * How values are written in flags, environment variables and `--help`: sizes, lists, rates.
 *
 * It knows no flag by name and reads no environment variable.
 */
import { parseDuration } from "../base/durations.ts";
import type { RateLimitSettings } from "../base/limits.ts";
import { type Allowance, DEFAULT_RATES } from "../base/options.ts";

const MIB = 1024 * 1024;
const BYTES_OF_UNIT = { G: 1024 * MIB, M: MIB } as const;

/** Returns the bytes in a size such as `512M`, `2G` or `512` (MiB); `undefined` if malformed. */
export function parseSize(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,6})([MG]?)$/i.exec(text) ?? [];
  if (number === undefined) return undefined;
  return Number(number) * BYTES_OF_UNIT[(unit?.toUpperCase() || "M") as keyof typeof BYTES_OF_UNIT];
}

/** Returns a number of bytes as {@linkcode parseSize} reads it. */
export function formatSize(bytes: number): string {
  const unit = bytes % BYTES_OF_UNIT.G === 0 ? "G" : "M";
  return `${bytes / BYTES_OF_UNIT[unit]}${unit}`;
}

/** Returns the parts of a comma-separated list, trimmed, without empty ones. */
export function parseList(text: string): string[] {
  return text.split(",").map((part) => part.trim()).filter((part) => part !== "");
}

/** Returns whether a text means yes or no; `undefined` if it means neither. */
export function parseBoolean(text: string): boolean | undefined {
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  return /^(0|false|no|off)$/i.test(text) ? false : undefined;
}

/**
 * Returns rate limits written as `off`, `on` (the defaults), or changes such as
 * `messages=30/15s,joins=off,together=10,unnamed=60s`. Does not check the range of the numbers.
 *
 * @throws {RangeError} if the text is malformed.
 */
export function parseRateLimits(text: string): RateLimitSettings | "off" {
  if (text === "off") return "off";
  const settings: Record<string, Allowance | number | "off"> = {};
  for (const part of text === "on" ? [] : parseList(text)) {
    const [, name = "", value = ""] = /^(\w+)=(.+)$/.exec(part) ?? [];
    const limit = parseRateLimit(name, value);
    if (limit === undefined) {
      throw new RangeError(
        `"${part}" is not a valid limit. Use off, or for example messages=30/15s,joins=off`,
      );
    }
    settings[name] = limit;
  }
  return settings as RateLimitSettings;
}

function parseRateLimit(name: string, value: string): Allowance | number | "off" | undefined {
  if (!Object.hasOwn(DEFAULT_RATES, name)) return undefined;
  if (value === "off") return "off";
  if (name === "unnamed") return parseDuration(value);
  if (name === "together") return /^\d{1,9}$/.test(value) ? Number(value) : undefined;
  const [, count, duration = ""] = /^(\d{1,9})\/(\w+)$/.exec(value) ?? [];
  const seconds = parseDuration(duration);
  return seconds === undefined ? undefined : { count: Number(count), seconds };
}
