/**
 * The types of the client: `client.d.ts` describes the JavaScript, and TypeScript programs are checked
 * against it. The JavaScript takes the types of its methods from there, so a wrong one does not compile.
 */
import { assert, assertEquals } from "@std/assert";
import { type ActName, type ActRow, ACTS } from "../../chat/base/acts.ts";
import type * as implementation from "../../chat/client/chat_client.js";
import type * as places from "../../chat/client/room.js";
import type * as errors from "../../chat/client/protocol.js";
import type * as acts from "../../chat/client/acts.d.ts";
import * as declared from "../../chat/client/client.js";
import { PROJECT, runDeno } from "../support/processes.ts";

/** `true` if two types are identical; without private members, which the declarations leave out. */
type IsSame<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;
type Public<T> = { readonly [K in keyof T]: T[K] };

Deno.test("client.d.ts declares the public members of the JavaScript classes, and no others", () => {
  const client: IsSame<Public<implementation.ChatClient>, Public<declared.ChatClient>> = true;
  const options: IsSame<
    ConstructorParameters<typeof implementation.ChatClient>,
    ConstructorParameters<typeof declared.ChatClient>
  > = true;
  const error: IsSame<Public<errors.ChatError>, Public<declared.ChatError>> = true;
  const errorFields: IsSame<
    ConstructorParameters<typeof errors.ChatError>,
    ConstructorParameters<typeof declared.ChatError>
  > = true;
  const room: IsSame<Public<places.Room>, Public<declared.Room>> = true;
  const conversation: IsSame<Public<places.Conversation>, Public<declared.Conversation>> = true;
  assert(client && options && error && errorFields && room && conversation);
  assertEquals(Object.keys(declared).toSorted(), ["ChatClient", "ChatError"]);
});

/** The fields of the request for an act, as its row in the table of the server has them. */
type FieldsOf<Row extends ActRow> =
  & TargetOf<Row["about"]>
  & (Row extends { takesTime: true } ? acts.ActTime : unknown)
  & (Row extends { text: "reason" } ? acts.ActReason : unknown)
  & (Row extends { text: "topic" } ? { readonly text: string } : unknown)
  & (Row extends { count: { name: infer Name extends string } } ? { readonly [K in Name]: number }
    : unknown);
type TargetOf<About extends ActRow["about"]> = About extends "user" ? acts.UserTarget
  : About extends "user or room" ? acts.UserTarget | acts.NoTarget
  : unknown;

/** The fields of the act on the whole chat: there an address or a network may stand in place of a user. */
type ChatFieldsOf<Row extends ActRow> = Row extends { takesNetwork: true }
  ? FieldsOf<Row> | FieldsOf<Omit<Row, "about"> & { about: "room" }> & acts.NetworkTarget
  : FieldsOf<Row>;

type Table = typeof ACTS;
/** The server takes no report without a reason: moderators could do nothing with it. */
type Expected<Name, Fields> = Name extends "report" ? Fields & Required<acts.ActReason> : Fields;
type ExpectedInRoom = {
  readonly [Name in Exclude<ActName, "delete">]: Expected<Name, FieldsOf<Table[Name]>>;
};
type ExpectedInChat = {
  readonly [
    Name in ActName as Table[Name] extends { isChatWide: true } | { by: "member" } ? Name : never
  ]: Expected<Name, ChatFieldsOf<Table[Name]>>;
};

/** The names of the acts that only one of two types has, or that have other fields there. */
type Differences<A, B> = {
  [Name in keyof A | keyof B]: Name extends keyof A & keyof B
    ? IsEquivalent<Flat<A[Name]>, Flat<B[Name]>> extends true ? never : Name
    : Name;
}[keyof A | keyof B];
type IsEquivalent<A, B> = [A] extends [B] ? [B] extends [A] ? true : false : false;
/** One object instead of an intersection, in which an optional field differs from one that is missing. */
type Flat<T> = T extends unknown
  ? { [K in keyof T]-?: undefined extends T[K] ? [T[K], "optional"] : [T[K]] }
  : never;

Deno.test("the acts that client.d.ts declares are those of the server, in a room and on the whole chat, with their fields", () => {
  const names: IsSame<acts.ActName, ActName> = true;
  const inRoom: IsSame<Differences<acts.RoomActs, ExpectedInRoom>, never> = true;
  const inChat: IsSame<Differences<acts.ChatActs, ExpectedInChat>, never> = true;
  assert(names && inRoom && inChat);
});

Deno.test("CLIENT.md lists the acts of the server with their fields, and who may do them", async () => {
  const document = await Deno.readTextFile(new URL("chat/docs/CLIENT.md", PROJECT));
  const rows = [
    ...document.matchAll(/^\| (`[^|]*?) +\| ([^|]*?) +\| (moderators|every user) +\|$/gm),
  ];
  const listed = rows.flatMap(([, names, fields, by]) =>
    [...names!.matchAll(/`(\w+)`/g)].map(([, name]) => [name, fields, by])
  );
  const expected = Object.entries(ACTS).filter(([name]) => name !== "delete")
    .map(([name, row]: [string, ActRow]) => {
      const isOptional = row.about === "user or room";
      const fields = [
        ...row.about === "user" || isOptional ? [isOptional ? "user?" : "user"] : [],
        ...row.takesTime ? ["`for`?"] : [],
        ...row.text === "topic" ? ["`text`"] : [],
        ...row.count ? [`\`${row.count.name}\``] : [],
        ...row.text === "reason" ? [name === "report" ? "`reason`" : "`reason`?"] : [],
      ];
      return [name, fields.join(", "), row.by === "member" ? "every user" : "moderators"];
    });
  const inOrder = (rows: unknown[][]) => rows.map((row) => row.join(": ")).toSorted();
  assertEquals(inOrder(listed), inOrder(expected));
});

const CLIENT = String(new URL("chat/client/client.js", PROJECT));

/** Type-checks a program that imports the client. Returns the codes of the errors. */
async function check(program: string): Promise<string[]> {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, `import { ChatClient, ChatError } from "${CLIENT}";\n${program}`);
  const args = ["check", "--no-config", "--no-lock", file];
  const { code, stderr } = await runDeno(args);
  await Deno.remove(file);
  const codes = [...stderr.matchAll(/TS\d+/g)].map(([code]) => code);
  assertEquals(code === 0, codes.length === 0, stderr);
  return codes;
}

Deno.test("a TypeScript program that uses the client correctly compiles", async () => {
  const program = `
    const client = new ChatClient("ws://localhost:8000/", { nick: "Ann", rooms: ["red"] });
    const stop: () => void = client.on("message", ({ user, room, text }) => {
      if (user !== client.user) client.room(room).say(text);
    });
    client.on("state", (event) => {
      if (event.state === "offline") console.log(event.retryAt, event.code);
    });
    client.on("welcome", ({ rooms, directs }) => {
      for (const { room, joined } of rooms) if (!joined) client.join(room);
      for (const { user, unread } of directs) console.log(client.direct(user).user, unread);
    });
    for await (const event of client.events({ limit: 10 })) {
      if (event.type === "gap") console.log(event.filled);
      break;
    }
    try {
      const room = await client.join("blue");
      room.on("edited", ({ room, target, text }) => console.log(room.length, target, text));
      room.on("*", ({ room }) => console.log(room.length));
      const { id }: { id: string } = await room.say("Hello");
      const { events, complete } = await room.history({ before: id, limit: 10 });
      console.log(events.map(({ room, text }) => room + text), complete);
      console.log((await room.members()).members.map(({ nick, registered }) => [nick, registered]));
      await client.setAway((await room.members()).members.every(({ away }) => away === true));
      room.on("away", ({ room, nick, away }) => console.log(room.length, nick, away === true));
      const { kept } = await client.tell("Bob", "Hello");
      const page = await client.direct("u").history();
      console.log(kept === true, page.events.map(({ to }) => to.nick));
      client.direct("u").on("deleted", ({ to, target }) => console.log(to.nick, target));
      console.log((await client.who("Bob")).rooms, (await client.list()).map(({ people }) => people));
      await room.emote("waves");
      await room.act("ban", { nick: "Bob", for: 600, reason: "spam" });
      await room.act("mute");
      await room.act("slow", { seconds: 10 });
      await client.act("ban", { network: "192.0.2.0/24", force: true });
      const { events: [act] } = await room.modlog({ limit: 10 });
      room.on("act", ({ act, on, until, room }) => console.log(act, on?.nick, until, room.length));
      client.on("room", ({ room, topic }) => console.log(room, topic));
      console.log(act?.reason, room.state.role === "moderator", room.state.muted);
      console.log((await client.ignore({ user: "u" })).nick, (await client.ignored()).length);
      for (const { session, current } of await client.sessions()) {
        if (!current) await client.endSession(session);
      }
    } catch (error) {
      if (error instanceof ChatError) console.log(error.code, error.retryAfter);
    }
    stop();
    await client.close();`;
  assertEquals(await check(program), []);
});

Deno.test("each mistake in a TypeScript program that uses the client is an error", async () => {
  const mistakes = {
    'new ChatClient("ws://localhost/", {});': "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann", room: "red" });': "TS2561",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).say("Hello");': "TS2339",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).room("red").say(7);': "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).on("mesage", () => {});': "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).on("left", ({ text }) => text);': "TS2339",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).room("red").on("state", () => {});':
      "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).direct("u").on("message", () => {});':
      "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).room("red").act("waves");': "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).room("red").act("kick", {});': "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).room("red").act("topic", { text: 7 });':
      "TS2322",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).act("lock", {});': "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).nick = "Bob";': "TS2540",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).setAway("yes");': "TS2345",
    'const id: number = (await new ChatClient("", { nick: "" }).room("").say("")).id; id;':
      "TS2322",
  };
  assertEquals(await check(Object.keys(mistakes).join("\n")), Object.values(mistakes));
});
