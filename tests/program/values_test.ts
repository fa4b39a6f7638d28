/** The written forms of durations, sizes, lists and rate limits. */
import { assertEquals, assertThrows } from "@std/assert";
import type { Allowance, RateLimitSettings } from "../../chat/base/limits.ts";
import { formatSize, parseList, parseRateLimits, parseSize } from "../../chat/program/values.ts";

const MIB = 1024 * 1024;

Deno.test("parseSize reads whole numbers of MiB, or with M or G, and nothing else", () => {
  const sizes = [["0", 0], ["64", 64 * MIB], ["512M", 512 * MIB], ["2g", 2048 * MIB]] as const;
  for (const [text, bytes] of sizes) assertEquals(parseSize(text), bytes, text);
  for (const text of ["", "M", "1.5G", "-1", "1 G", "1GB", "1KiB", "1e9", "٣", "64K"]) {
    assertEquals(parseSize(text), undefined, text);
  }
});

Deno.test("parseList drops spaces and empty parts", () => {
  assertEquals(parseList(" a, b ,,c,"), ["a", "b", "c"]);
  assertEquals(parseList(""), []);
});

Deno.test("formatSize writes what parseSize reads", () => {
  for (const text of ["1M", "512M", "1G", "3G"]) assertEquals(formatSize(parseSize(text)!), text);
});

Deno.test("parseRateLimits reads off, on, and a list of limits", () => {
  assertEquals(parseRateLimits("off"), "off");
  assertEquals(parseRateLimits("on"), {});
  const settings: RateLimitSettings = {
    messages: { count: 5, seconds: 1 },
    room: { count: 9, seconds: 120 },
    joins: "off",
    together: 3,
    unnamed: 300,
    connections: "off",
  };
  assertEquals(
    parseRateLimits("messages=5/1s, room=9/2m,joins=off,together=3,unnamed=5m,connections=off"),
    settings,
  );
  const registrations: Allowance = { count: 5, seconds: 86_400 };
  assertEquals(parseRateLimits("registrations=5/1d"), { registrations });
  assertEquals(parseRateLimits("registrations=off"), { registrations: "off" });
  for (
    const malformed of [
      "messages",
      "messages=5",
      "messages=5/s",
      "together=5/1s",
      "unnamed=60",
      "x=off",
      "x=5/1s",
    ]
  ) {
    assertThrows(() => parseRateLimits(malformed), RangeError, "is not a valid limit");
  }
});
