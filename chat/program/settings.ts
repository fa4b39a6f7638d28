/**
 * How settings are written in flags and variables: times, sizes, lists, allowances.
 *
 * A helper of the program that starts a chat. It knows no flag by name, and no environment.
 */
import type { Allowance, RateLimitSettings } from "../base/limits.ts";

/** The seconds in a time like `90s`, `30m`, `12h` or `7d`; `undefined` if it is none. */
export function secondsFrom(time: string): number | undefined {
  const [, many, unit] = /^(\d{1,9})([smhd])$/.exec(time) ?? [];
  const factor = { s: 1, m: 60, h: 3600, d: 86_400 }[unit ?? ""];
  return factor === undefined ? undefined : Number(many) * factor;
}

/** The bytes in a size like `512M` or `2G`, or in a number of MiB; `undefined` if it is none. */
export function bytesFrom(size: string): number | undefined {
  const [, many, unit] = /^(\d{1,6})([MG]?)$/i.exec(size) ?? [];
  if (many === undefined) return undefined;
  return Number(many) * (unit?.toUpperCase() === "G" ? 1024 : 1) * 1024 * 1024;
}

/** What stands between commas. */
export function listFrom(text: string): string[] {
  return text.split(",").map((each) => each.trim()).filter((each) => each !== "");
}

/** Names of allowances in {@linkcode RateLimitSettings}. */
const ALLOWANCES = [
  "messages",
  "commands",
  "joins",
  "nicks",
  "room",
  "connections",
  "registrations",
] as const;

/**
 * What may be done how often, as `off`, `on` (the defaults), or like
 * `messages=30/15s,joins=off,together=10,unnamed=60s`.
 *
 * @throws {RangeError} for anything else; whether the numbers make sense is not looked at here.
 */
export function floodFrom(text: string): RateLimitSettings | "off" {
  if (text === "off") return "off";
  const settings: Record<string, Allowance | number | "off"> = {};
  for (const each of text === "on" ? [] : listFrom(text)) {
    const [, name = "", value = ""] = /^(\w+)=(.+)$/.exec(each) ?? [];
    const read = value === "off" ? "off" : valueFrom(name, value);
    const isKnown = name === "together" || name === "unnamed" || isAllowance(name);
    if (!isKnown || read === undefined) {
      throw new RangeError(
        `"${each}" is no limit: try off, or a list like messages=30/15s,joins=off`,
      );
    }
    settings[name] = read;
  }
  return settings as RateLimitSettings;
}

function valueFrom(name: string, value: string): Allowance | number | undefined {
  if (name === "unnamed") return secondsFrom(value);
  const [, many, time] = /^(\d{1,9})(?:\/(\w+))?$/.exec(value) ?? [];
  if (many === undefined || (name === "together") !== (time === undefined)) return undefined;
  if (time === undefined) return Number(many);
  const seconds = secondsFrom(time);
  return seconds === undefined ? undefined : { many: Number(many), seconds };
}

function isAllowance(name: string): boolean {
  return (ALLOWANCES as readonly string[]).includes(name);
}
