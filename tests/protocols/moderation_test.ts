/** Commands and requests about moderation: how they are read, and what is wrong with them in one line. */
import { assert, assertEquals } from "@std/assert";
import { type ActName, type ActRow, ACTS } from "../../chat/base/acts.ts";
import { actWordsFrom, usageOf } from "../../chat/protocols/act_words.ts";
import { commandOf, HELP } from "../../chat/protocols/commands.ts";
import { REQUESTS } from "../../chat/protocols/requests.ts";
import { JsonClient } from "../support/json_client.ts";
import { TestServer } from "../support/test_server.ts";

const ACT_NAMES = Object.keys(ACTS) as ActName[];
const OPTIONS = { operators: ["Olga"], rateLimits: "off" } as const;

/** Returns what the words after a command say, without what they do not say. */
function read(act: ActName, rest: string): unknown {
  const words = actWordsFrom(act, rest);
  return typeof words === "string" ? words : JSON.parse(JSON.stringify(words));
}

Deno.test("every act has a request and, except delete, a command with help and usage", () => {
  for (const act of ACT_NAMES) {
    assert(Object.hasOwn(REQUESTS, act), act);
    if (act === "delete") continue;
    assertEquals(commandOf(act)?.usage, `/${act}${usageOf(act)}`);
    assert(HELP.includes(`\n    /${act}${usageOf(act)}\n          `), act);
  }
  assertEquals(usageOf("ban"), " {nickname} {time} {reason}");
  assertEquals(usageOf("purge"), " {nickname} {count} {reason}");
  assertEquals(usageOf("slow"), " {seconds}");
  assertEquals(usageOf("unlock"), "");
  for (const line of HELP.split("\n")) assert(line.length <= 70, line);
});

Deno.test("PROTOCOL.md has every act with the fields of its request", async () => {
  const text = await Deno.readTextFile(new URL("../../chat/docs/PROTOCOL.md", import.meta.url));
  const [, section] = /\n### Moderation\n([^]*?)\n### /.exec(text)!;
  const rows = [...section!.matchAll(/^\| (`.*?) +\| (.*?) +\| .*\|$/gm)];
  const written = new Map<string, string>();
  for (const [, names, fields] of rows) {
    // Acts on the whole chat have rows of their own.
    if (names!.includes("without")) continue;
    for (const [, name] of names!.matchAll(/`(\w+)`/g)) written.set(name!, fields!);
  }
  for (const act of ACT_NAMES.filter((each) => each !== "delete")) {
    const { about, takesTime, text, count }: ActRow = ACTS[act];
    const isOptional = act !== "report";
    const fields = [
      about === "user" ? "`nick` or `user`" : about === "room" ? undefined : "`nick` or `user`?",
      takesTime && "`for`?",
      count && `\`${count.name}\` ${count.min} to ${count.max}`,
      text === "reason" ? `\`reason\`${isOptional ? "?" : ""}` : text && "`text`",
    ].filter((field) => field !== undefined).join(", ");
    assertEquals(
      written.get(act)?.replace("`seconds`, 0 to 3,600", "`seconds` 0 to 3600"),
      fields,
      act,
    );
  }
});

Deno.test("the words after a command: nickname, time, number, reason", () => {
  assertEquals(read("kick", "Bob"), { user: { nick: "Bob" }, text: "" });
  assertEquals(read("kick", ' "Ann Lee"  too  loud '), {
    user: { nick: "Ann Lee" },
    text: "too  loud",
  });
  assertEquals(read("kick", "Bob 10m"), { user: { nick: "Bob" }, text: "10m" });
  assertEquals(read("ban", "Bob"), { user: { nick: "Bob" }, text: "" });
  assertEquals(read("ban", "Bob 10m spam"), { user: { nick: "Bob" }, seconds: 600, text: "spam" });
  assertEquals(read("ban", "Bob spam 10m"), { user: { nick: "Bob" }, text: "spam 10m" });
  assertEquals(read("ban", "192.0.2.0/24 7d"), {
    network: "192.0.2.0/24",
    isForced: false,
    seconds: 604_800,
    text: "",
  });
  assertEquals(read("ban", "::/0 --force bye"), { network: "::/0", isForced: true, text: "bye" });
  assertEquals(read("ban", '"192.0.2.1" x'), { user: { nick: "192.0.2.1" }, text: "x" });
  assertEquals(read("kick", "192.0.2.1"), { user: { nick: "192.0.2.1" }, text: "" });
  assertEquals(read("mute", ""), { text: "" });
  assertEquals(read("mute", "10m"), { seconds: 600, text: "" });
  assertEquals(read("mute", '"10m" 1h'), { user: { nick: "10m" }, seconds: 3600, text: "" });
  assertEquals(read("purge", "Bob 5 spam"), { user: { nick: "Bob" }, count: 5, text: "spam" });
  assertEquals(read("slow", "30"), { count: 30, text: "" });
  assertEquals(read("topic", " a  b "), { text: "a  b" });
});

Deno.test("the words after a command: what is missing, too much, or no time", () => {
  for (
    const act of ["kick", "ban", "unban", "invite", "purge", "mod", "unmod", "report"] as const
  ) {
    assertEquals(read(act, " "), "usage", act);
  }
  for (const rest of ["", "Bob", "Bob x", "Bob -1", "Bob 5x"]) {
    assertEquals(read("purge", rest), "usage");
  }
  for (const rest of ["", "x", "-1", "1.5", "10m"]) assertEquals(read("slow", rest), "usage", rest);
  for (const rest of ["10", "10x", "1.5h", "-5m", "+5m", "10m5s", "9999999999d", "１０m x"]) {
    const read_ = read("ban", `Bob ${rest}`);
    // Digits of other scripts are words.
    assertEquals(read_ === "bad-time", /^[+-]?\d/.test(rest), rest);
  }
  assertEquals(read("invite", "Bob please"), "usage");
  assertEquals(read("unlock", "please"), "usage");
});

Deno.test("commands about acts that are wrong are answered in one line, and change nothing", async () => {
  await using server = await TestServer.open(OPTIONS);
  const olga = await JsonClient.register(server, "Olga", "chalice");
  const tom = await JsonClient.register(server, "Tom", "chalice");
  await olga.expect({ type: "joined" });
  const terminal = await server.connect();
  terminal.send("Mo");
  await terminal.next();
  const lines: [string, RegExp][] = [
    ["/kick Tom", /^Not currently in a room\.|^You are not an operator/],
    ["/topic x", /^Not currently in a room\./],
    ["/ban 192.0.2.1", /^You are not an operator of this chat\.$/],
    ["/join chalice", /^Joined/],
    ["/kick", /^Usage: \/kick \{nickname\} \{reason\}$/],
    ["/ban Tom 10x", /^A time is a number with s, m, h or d, such as 10m or 7d\.$/],
    ["/slow fast", /^Usage: \/slow \{seconds\}$/],
    ["/kick Tom", /^You are not a moderator of "chalice"\.$/],
    [`/topic ${"x".repeat(600)}`, /^The text may have at most 512 characters\.$/],
    ["/modlog", /^You are not a moderator of "chalice"\.$/],
    ["/report Tom", /^Give a reason\.$/],
    ["/report Nobody1 rude", /^There is no user "Nobody1"\.$/],
    ["/report Mo rude", /^You cannot do that to yourself\.$/],
    ["/ignore Mo", /^You cannot do that to yourself\.$/],
    ["/op x", /^You are not an operator of this chat\.$/],
  ];
  for (const [line, form] of lines) {
    terminal.send(line);
    const heard = await terminal.next();
    assert(form.test(heard) && !heard.includes("\n"), `${line}: ${heard}`);
  }
  await terminal.expectNothingElse();
  const log = (await olga.requestAll({ type: "modlog" })).at(-1)!;
  assertEquals(log.events, []);
  assertEquals(
    (await tom.requestAll({ type: "message", room: "chalice", text: "x" })).at(-1)!.type,
    "ok",
  );
});

Deno.test("requests about acts that are wrong have an error, and change nothing", async () => {
  await using server = await TestServer.open(OPTIONS);
  const olga = await JsonClient.register(server, "Olga", "chalice");
  const mo = await JsonClient.register(server, "Mo", "chalice");
  const room = "chalice";
  const wrong: [object, string][] = [
    [{ type: "kick", room }, "bad-request"],
    [{ type: "kick", nick: "Mo", user: mo.user, room }, "bad-request"],
    [{ type: "kick", nick: 7, room }, "bad-request"],
    [{ type: "mute", nick: "Mo" }, "bad-request"],
    [{ type: "slow", room }, "bad-request"],
    [{ type: "slow", room, seconds: 1.5 }, "bad-request"],
    [{ type: "slow", room, seconds: -1 }, "bad-act"],
    [{ type: "slow", room, seconds: 1e9 }, "bad-act"],
    [{ type: "topic", room }, "bad-request"],
    [{ type: "topic", room, text: "a\nb" }, "bad-act"],
    [{ type: "topic", room, text: "a\u0007b" }, "bad-act"],
    [{ type: "topic", room, text: "x".repeat(100_000) }, "bad-request"],
    [{ type: "kick", room, nick: "Mo", reason: "x".repeat(600) }, "bad-act"],
    [{ type: "kick", room, nick: "Mo", for: 60 }, "bad-time"],
    [{ type: "ban", room, nick: "Mo", for: 0 }, "bad-time"],
    [{ type: "ban", room, nick: "Mo", for: -60 }, "bad-time"],
    [{ type: "ban", room, nick: "Mo", for: 1e12 }, "bad-time"],
    [{ type: "ban", room, nick: "Mo", for: "10m" }, "bad-request"],
    [{ type: "ban", room, network: "192.0.2.1" }, "bad-act"],
    [{ type: "ban", network: "everyone" }, "bad-act"],
    [{ type: "ban", network: "0.0.0.0/1" }, "bad-act"],
    [{ type: "ban", network: "::/8" }, "bad-act"],
    [{ type: "ban", room, nick: "Olga" }, "protected-user"],
    [{ type: "ban", nick: "Olga" }, "protected-user"],
    [{ type: "kick", room, nick: "Nobody1" }, "no-such-user"],
    [{ type: "ban", room, user: "01K0000000000000000000NONE" }, "no-such-user"],
    [{ type: "unban", room, nick: "Mo" }, "no-such-user"],
    [{ type: "unmute", room, nick: "Mo" }, "no-such-user"],
    [{ type: "unmod", room, nick: "Mo" }, "no-such-user"],
    [{ type: "purge", room, nick: "Mo", count: 101 }, "bad-act"],
    [{ type: "purge", room, nick: "Mo", count: 3 }, "no-such-message"],
    [{ type: "lock", room: "" }, "bad-room"],
    [{ type: "modlog", limit: 101 }, "bad-request"],
    [{ type: "modlog", before: "x" }, "modlog"],
    [{ type: "op", secret: "x" }, "not-an-operator"],
    [{ type: "ignore" }, "bad-request"],
    [{ type: "unignore", nick: "Mo" }, "no-such-user"],
    [{ type: "delete", room, id: "g1a0000000" }, "no-such-message"],
  ];
  for (const [request, code] of wrong) {
    const reply = (await olga.requestAll(request)).at(-1)!;
    const given = reply.type === "error" ? reply.code : reply.type;
    assertEquals(given, code, JSON.stringify([request, reply]).slice(0, 300));
    if (reply.type === "error") assert(!reply.message.includes("\n"));
  }
  // A reason of a megabyte is a frame that is too long.
  olga.send({ type: "kick", room, nick: "Mo", reason: "x".repeat(1_000_000) });
  await olga.expect({ type: "error", code: "too-long" });
  const log = (await olga.requestAll({ type: "modlog", room })).at(-1)!;
  assertEquals(log.events, []);
});
