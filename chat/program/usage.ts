/**
 * The text of `--help`, made from the table of options.
 *
 * It prints nothing.
 */
import { formatDuration } from "../base/durations.ts";
import { type Flag, type Option, OPTIONS, variableOf } from "../base/options.ts";
import { formatSize } from "./values.ts";

/** The column in which the descriptions start. */
const COLUMN = 28;

/** What `--help` shows for the value of a number. */
const VALUE_OF_KIND = {
  count: " N",
  size: " SIZE",
  duration: " TIME",
  switch: "",
  text: "",
} as const;

/** Returns what `--help` prints. */
export function usage(version: string): string {
  const rows = (Object.keys(OPTIONS) as Flag[]).map((flag) => describe(flag, OPTIONS[flag]));
  return `Parley ${version}, a chat server.

Usage: deno task start [flags]

${rows.join("\n")}
${indent("--dev", "Listen on 127.0.0.1 only, unless --hostname says otherwise.")}
${indent("--help", "Show this help.")}
${indent("--version", "Show the version.")}

TIME is a duration such as 90s, 30m, 12h or 7d, or off. SIZE is 512M or 2G, or off.
Flags override environment variables.`;
}

function describe(flag: Flag, option: Option): string {
  const range = option.kind === "count" ? `${option.min} to ${option.max}, ` : "";
  const value = "value" in option ? ` ${option.value}` : VALUE_OF_KIND[option.kind];
  const facts = `[${variableOf(flag)}; ${range}default ${shownDefault(option)}]`;
  return `${indent(`--${flag}${value}`, option.help)}\n${indent("", facts)}`;
}

function indent(head: string, text: string): string {
  return `  ${head}`.padEnd(COLUMN) + text;
}

/** Returns the default of an option as the operator would write it. */
export function shownDefault(option: Option): string {
  if (option.shown !== undefined) return option.shown;
  switch (option.kind) {
    case "count":
      return String(option.default);
    case "size":
      return formatSize(option.default);
    case "duration":
      return formatDuration(option.default);
    case "text":
    case "switch":
      return option.shown;
    default:
      return option satisfies never;
  }
}
