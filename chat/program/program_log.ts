/**
 * The log of the program: lines to stdout and stderr, and errors that no code handles.
 *
 * What a line looks like stands in base/log.ts. Facts go to stdout, warnings and errors to stderr.
 */
import { systemClock } from "../base/clock.ts";
import { lineLog, type Log, messageOf, quietLog } from "../base/log.ts";
import type { Settings } from "./settings.ts";

/** Returns the log of a run, and has it tell of rejections that no code handles. */
export function openLog({ log: settings }: Pick<Settings, "log">): Log {
  const log = lineLog(console, systemClock, settings);
  const quiet = quietLog(log, systemClock);
  // An error in the handling of one connection must not end the others.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    quiet.error(`Internal error: ${messageOf(event.reason)}`);
  });
  return log;
}
