/**
 * How spans of time are written: `10m` and `7d` in options and requests, "10 minutes" in sentences.
 *
 * It knows no clock, and no flag or command by name.
 */

const SECONDS_OF_UNIT = { d: 86_400, h: 3600, m: 60, s: 1 } as const;

const WORD_OF_UNIT = { d: "day", h: "hour", m: "minute", s: "second" } as const;

type Unit = keyof typeof SECONDS_OF_UNIT;

/** Returns the seconds in a duration such as `90s`, `30m`, `12h` or `7d`; `undefined` if malformed. */
export function parseDuration(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (unit === undefined) return undefined;
  return Number(number) * SECONDS_OF_UNIT[unit as Unit];
}

/** Returns a number of seconds as {@linkcode parseDuration} reads it. */
export function formatDuration(seconds: number): string {
  for (const [unit, factor] of Object.entries(SECONDS_OF_UNIT)) {
    if (seconds % factor === 0 && seconds >= factor) return `${seconds / factor}${unit}`;
  }
  return `${seconds}s`;
}

/**
 * Returns a number of seconds for a sentence, such as "10 minutes". It is rounded up to whole units, of
 * the largest unit of which there are at least two, or exactly one.
 */
export function inWords(seconds: number): string {
  const whole = Math.max(1, Math.ceil(seconds));
  const units = Object.keys(SECONDS_OF_UNIT) as Unit[];
  const unit = units.find((each) => {
    const factor = SECONDS_OF_UNIT[each];
    return whole === factor || whole >= 2 * factor;
  }) ?? "s";
  const count = Math.ceil(whole / SECONDS_OF_UNIT[unit]);
  return `${count} ${WORD_OF_UNIT[unit]}${count === 1 ? "" : "s"}`;
}
