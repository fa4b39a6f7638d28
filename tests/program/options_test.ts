/** The table of options: against OPERATIONS.md, in both directions, and against the settings of a run. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  DEFAULT_RATES,
  type Flag,
  type Option,
  OPTIONS,
  variableOf,
} from "../../chat/base/options.ts";
import { readSettings, type Settings } from "../../chat/program/settings.ts";
import { StartupError } from "../../chat/program/startup_error.ts";
import { shownDefault } from "../../chat/program/usage.ts";
import { parseRateLimits } from "../../chat/program/values.ts";

/** The document for operators; `undefined` where a tree has none. */
const OPERATIONS: string | undefined = await Deno.readTextFile(
  new URL("../../chat/docs/OPERATIONS.md", import.meta.url),
).catch(() => undefined);

/**
 * Returns the cells of the table rows that begin with a name and a second cell, both in backquotes, by
 * the name. Other tables name an option without a second cell of that form.
 */
function rowsOf(text: string, beginning: RegExp): Map<string, string[]> {
  const rows = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const name = beginning.exec(line.replace(/ +/g, " "))?.[1];
    if (name === undefined) continue;
    assert(!rows.has(name), `${name} has two rows`);
    rows.set(name, line.split("|").slice(1, -1).map((cell) => cell.trim()));
  }
  return rows;
}

function settingsOf(args: string[], variables: Record<string, string> = {}): Settings {
  const settings = readSettings(args, (name) => variables[name]);
  if (typeof settings === "string") throw new TypeError(settings);
  return settings;
}

Deno.test({
  name: "OPERATIONS.md has one row for each option, with its variable, default and maximum",
  ignore: OPERATIONS === undefined,
  fn() {
    const rows = rowsOf(OPERATIONS!, /^\| `--([a-z-]+)` \| `[A-Z_]+` \|/);
    assertEquals([...rows.keys()].sort(), Object.keys(OPTIONS).sort());
    for (const [flag, [, variable, shown, meaning]] of rows) {
      const option: Option = OPTIONS[flag as Flag];
      assertEquals([flag, variable, shown], [
        flag,
        `\`${variableOf(flag as Flag)}\``,
        shownDefault(option),
      ]);
      const max = /\bto (\d+)\b/.exec(meaning!)?.[1];
      if (max !== undefined) {
        assertEquals([flag, Number(max)], [flag, "max" in option && option.max]);
      }
    }
  },
});

Deno.test({
  name: "OPERATIONS.md has one row for each rate limit, with its default",
  ignore: OPERATIONS === undefined,
  fn() {
    const names = Object.keys(DEFAULT_RATES);
    const rows = rowsOf(
      OPERATIONS!,
      new RegExp(`^\\| \`(${names.join("|")})\` \\| \`[^\`]+\` \\|`),
    );
    assertEquals([...rows.keys()].sort(), names.sort());
    for (const [name, [, shown]] of rows) {
      const written = `${name}=${shown!.replaceAll("`", "")}`;
      assertEquals(parseRateLimits(written), {
        [name]: DEFAULT_RATES[name as keyof typeof DEFAULT_RATES],
      });
    }
  },
});

Deno.test("readSettings returns the defaults of the table without arguments and variables", () => {
  const { port, hostname, workers, tls, chat } = settingsOf([]);
  assertEquals([port, hostname, workers, tls], [OPTIONS.port.default, "0.0.0.0", 1, undefined]);
  assertEquals(chat.historySeconds, OPTIONS.history.default);
  assertEquals(chat.maxHistoryBytes, OPTIONS["max-history"].default);
  assertEquals(chat.limits?.maxMessageBytes, OPTIONS["max-message"].default);
  assertEquals(chat.maxMemoryBytes, OPTIONS["max-memory"].default);
  // An explicit limit also applies to loopback addresses, so the default must stay unset.
  assertEquals(chat.connectionLimits?.maxConnections, undefined);
  assertEquals(chat.connectionLimits?.maxPerAddress, undefined);
});

Deno.test("readSettings reads each numeric option from its flag and its variable, within its range", () => {
  for (const [flag, option] of Object.entries(OPTIONS) as [Flag, Option][]) {
    if (option.kind !== "count") continue;
    for (const value of [option.min, option.max]) {
      const args = flag === "workers" ? ["--kv", "kv"] : [];
      const byFlag = settingsOf([...args, `--${flag}`, String(value)]);
      const byVariable = settingsOf(args, { [variableOf(flag)]: String(value) });
      assertEquals(byFlag, byVariable);
    }
    for (const value of [option.min - 1, option.max + 1, "x", "1.5", ""]) {
      const error = assertThrows(() => settingsOf([`--${flag}=${value}`]), StartupError);
      assertEquals(error.exitCode, 2);
      assert(error.message.includes(`--${flag}`), error.message);
    }
  }
});

Deno.test("readSettings reads off as no limit of a size, and as no time of a duration", () => {
  const { chat } = settingsOf([
    "--history=off",
    "--max-history=off",
    "--grace=off",
    "--registered=off",
    "--max-memory=off",
  ]);
  assertEquals([chat.historySeconds, chat.graceSeconds, chat.registrationSeconds], [0, 0, 0]);
  assertEquals([chat.maxHistoryBytes, chat.maxMemoryBytes], [Infinity, undefined]);
});

Deno.test("readSettings names the variable that holds an invalid value", () => {
  const error = assertThrows(() => settingsOf([], { CHAT_GRACE: "2h" }), StartupError);
  assertEquals(
    error.message,
    'CHAT_GRACE must be a duration such as 90s or 30m (at most 1h), or off; got "2h".',
  );
});

Deno.test("readSettings suggests the option that an unknown one is similar to", () => {
  const messageOf = (arg: string) => assertThrows(() => settingsOf([arg]), StartupError).message;
  assertEquals(messageOf("--prot=1"), "Unknown option --prot. Did you mean --port? See --help.");
  assertEquals(messageOf("--colour"), "Unknown option --colour. See --help.");
  assertEquals(messageOf("9000"), 'Unknown argument "9000". See --help.');
});

Deno.test("readSettings gives each worker the default memory", () => {
  const { chat } = settingsOf(["--workers=3", "--kv=kv"]);
  assertEquals(chat.maxMemoryBytes, 3 * OPTIONS["max-memory"].default);
});

Deno.test("readSettings reads operators from repeated flags or the variable, and the secret from the variable alone", () => {
  assertEquals(settingsOf([]).chat.operators, []);
  const flags = ["--operator", "Ann", "--operator=Bob"];
  assertEquals(settingsOf(flags).chat.operators, ["Ann", "Bob"]);
  const variables = { CHAT_OPERATOR: "Cy, Dora", CHAT_OPERATOR_SECRET: "sixteen letters!" };
  const { operators, operatorSecret } = settingsOf([], variables).chat;
  assertEquals([operators, operatorSecret], [["Cy", "Dora"], "sixteen letters!"]);
  assertEquals(settingsOf([]).chat.operatorSecret, undefined);
  assertThrows(() => settingsOf(["--operator-secret", "sixteen letters!"]), StartupError);
  const { message } = assertThrows(
    () => settingsOf([], { CHAT_OPERATOR_SECRET: "too short" }),
    StartupError,
  );
  assertEquals(message, "CHAT_OPERATOR_SECRET must have at least 16 characters; got 9.");
});
