/** How spans of time are written. */
import { assertEquals } from "@std/assert";
import { formatDuration, inWords, parseDuration } from "../../chat/base/durations.ts";

Deno.test("parseDuration reads a whole number with s, m, h or d, and nothing else", () => {
  const durations = [["0s", 0], ["90s", 90], ["30m", 1800], ["12h", 43_200], [
    "7d",
    604_800,
  ]] as const;
  for (const [text, seconds] of durations) assertEquals(parseDuration(text), seconds, text);
  for (
    const text of ["", "s", "7", "1.5h", "-1d", "1 d", "1D", "1w", "٣d", "1d2h", "9".repeat(99)]
  ) {
    assertEquals(parseDuration(text), undefined, text);
  }
});

Deno.test("formatDuration writes what parseDuration reads", () => {
  for (const text of ["90s", "30m", "12h", "7d", "365d"]) {
    assertEquals(formatDuration(parseDuration(text)!), text);
  }
  assertEquals(formatDuration(0), "0s");
});

Deno.test("inWords writes whole units, rounded up, and at least one second", () => {
  const words: [number, string][] = [
    [0, "1 second"],
    [0.2, "1 second"],
    [1, "1 second"],
    [59.5, "1 minute"],
    [60, "1 minute"],
    [61, "61 seconds"],
    [600, "10 minutes"],
    [601, "11 minutes"],
    [3600, "1 hour"],
    [7199, "120 minutes"],
    [86_400, "1 day"],
    [604_800, "7 days"],
  ];
  for (const [seconds, expected] of words) assertEquals(inWords(seconds), expected, `${seconds}`);
});
