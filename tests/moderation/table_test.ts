/**
 * Every act by every role, over both protocols, on the instance of the user concerned and on another one:
 * the allowed acts work, all others are refused and change nothing, and the record has the allowed ones.
 */
import { assertEquals } from "@std/assert";
import { type ActName, type ActRow, ACTS } from "../../chat/base/acts.ts";
import { roomRulesKey, standingPrefix } from "../../chat/kv/keys.ts";
import { JsonClient, type JsonObject, PASSWORD } from "../support/json_client.ts";
import { DenoKv, testWithProgram } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

type Role = "nobody" | "member" | "moderator" | "operator";
type Wire = "json" | "text";

/** The nickname of each role. Nobody is not in the room, and the others are registered. */
const NICKS: Readonly<Record<Role, string>> = {
  nobody: "Nora",
  member: "Mia",
  moderator: "Mo",
  operator: "Olga",
};
const ROLES = Object.keys(NICKS) as Role[];

/** Lines of plain text by which a terminal is told that an act is refused, with the code for programs. */
const REFUSALS: readonly (readonly [RegExp, string])[] = [
  [/^You are not a moderator of "/, "not-a-moderator"],
  [/^You are not an operator of this chat\.$/, "not-an-operator"],
  [/^You cannot do that to /, "protected-user"],
  [/^Not currently in a room\./, "not-in-room"],
];

/** Returns how an act by a role must end: "ok", or a code. */
function expected(act: ActName, role: Role, wire: Wire): string {
  const { by, isChatWide }: ActRow = ACTS[act];
  if (role === "operator") return "ok";
  // A moderator would act against another one.
  if (role === "moderator") return act === "unmod" ? "protected-user" : "ok";
  if (role === "nobody" && wire === "text") {
    // A terminal that is in no room acts on the whole chat.
    if (by === "member") return "ok";
    return isChatWide ? "not-an-operator" : "not-in-room";
  }
  if (act === "delete") return role === "nobody" ? "not-in-room" : "no-such-message";
  if (by === "member") return role === "nobody" ? "not-in-room" : "ok";
  return "not-a-moderator";
}

/** The chat of one test: who acts, whom it concerns, and who sees it. */
class Scene implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly kv: Deno.Kv;
  readonly #victims: TestServer;
  readonly #actors: TestServer;
  #rooms = 0;
  room = "";
  vic!: JsonClient;
  /** Always an operator, over JSON: prepares rooms, and reads the record. */
  root!: JsonClient;
  readonly json = new Map<Role, JsonClient>();
  readonly text = new Map<Role, TextClient>();

  private constructor(stack: AsyncDisposableStack, kv: Deno.Kv, servers: TestServer[]) {
    this.#stack = stack;
    this.kv = kv;
    [this.#victims, this.#actors] = [servers[0]!, servers.at(-1)!];
  }

  /** Opens instances around one KV: that of `url`, or one in memory. */
  static async open(count: number, url = ":memory:"): Promise<Scene> {
    const stack = new AsyncDisposableStack();
    const kv = stack.adopt(await Deno.openKv(url), (kv) => kv.close());
    const connect = url === ":memory:" ? undefined : () => Deno.openKv(url);
    const servers: TestServer[] = [];
    for (let i = 0; i < count; i++) {
      const options = {
        local: count === 1,
        rateLimits: "off",
        operators: ["Olga", "Ruth"],
      } as const;
      servers.push(stack.use(await TestServer.open({ kv, connect, ...options })));
    }
    const scene = new Scene(stack, kv, servers);
    await scene.#begin();
    return scene;
  }

  async #begin(): Promise<void> {
    this.vic = await JsonClient.register(this.#victims, "Vic");
    this.root = await JsonClient.register(this.#actors, "Ruth");
    for (const role of ROLES) {
      const nick = NICKS[role];
      const client = role === "nobody"
        ? await JsonClient.login(this.#actors, nick)
        : await JsonClient.register(this.#actors, nick);
      this.json.set(role, client);
      const terminal = role === "nobody"
        ? await this.#actors.login(`${nick}2`)
        : await this.#actors.connect();
      if (role !== "nobody") {
        await terminal.request(
          nick,
          `"${nick}" is registered. If it is yours, type /identify ` +
            "{password}; otherwise choose another nickname.",
        );
        await terminal.request(
          `/identify ${PASSWORD}`,
          `Using nickname: ${nick}\nType /help for list of commands.`,
        );
      }
      this.text.set(role, terminal);
    }
  }

  /** Goes to a new room, where all but nobody are, and prepares it for an act. */
  async enter(act: ActName, role: Role, wire: Wire): Promise<string> {
    this.room = `room${++this.#rooms}`;
    const { room } = this;
    await this.must(this.vic, { type: "join", room });
    await this.must(this.vic, { type: "message", room, text: "first" });
    const sent = await this.must(this.vic, { type: "message", room, text: "second" });
    await this.must(this.root, { type: "mod", room, nick: "Mo" });
    if (role !== "nobody") {
      if (wire === "json") await this.must(this.json.get(role)!, { type: "join", room });
      else await this.lines(role, `/join ${room}`, /^Joined chat room/);
    }
    const before: Partial<Record<ActName, JsonObject>> = {
      unban: { type: "ban", nick: "Vic" },
      unmute: { type: "mute", nick: "Vic" },
      unlock: { type: "lock" },
      public: { type: "private" },
      invite: { type: "private" },
      unmod: { type: "mod", nick: "Vic" },
    };
    if (before[act] !== undefined) await this.must(this.root, { ...before[act], room });
    if (act === "unban" || act === "invite") {
      if (act === "invite") await this.must(this.vic, { type: "leave", room });
      await this.sees(this.vic, ({ type, user }) => type === "left" && user === this.vic.user);
    }
    return sent.id;
  }

  /** Sends a request that succeeds, and returns its reply. */
  async must(client: JsonClient, request: object): Promise<JsonObject> {
    const reply = (await client.requestAll(request)).at(-1)!;
    assertEquals(reply.type, "ok", JSON.stringify([request, reply]));
    return reply;
  }

  /** Returns the code with which a request ends. */
  async code(client: JsonClient, request: object): Promise<string> {
    const reply = (await client.requestAll(request)).at(-1)!;
    return reply.type === "error" ? reply.code : "ok";
  }

  /** Waits until a client has received an object of the present room. */
  async sees(client: JsonClient, matches: (line: JsonObject) => boolean): Promise<void> {
    const isSeen = () =>
      client.connection.received.map((line): JsonObject => JSON.parse(line))
        .some((line) => line.room === this.room && matches(line));
    await eventually(isSeen, `an event in ${this.room}`);
  }

  /** Types a line, and returns the first line that follows and matches, or says that it is refused. */
  async lines(role: Role, line: string, matches: RegExp): Promise<string> {
    const terminal = this.text.get(role)!;
    while (terminal.unreadCount > 0) await terminal.next();
    terminal.send(line);
    while (true) {
      const heard = await terminal.next();
      if (matches.test(heard) || REFUSALS.some(([form]) => form.test(heard))) return heard;
    }
  }

  /** Does an act, and returns "ok" or the code of the refusal. */
  async act(act: ActName, role: Role, wire: Wire, message: string): Promise<string> {
    const { room } = this;
    const { about, text, count, takesTime }: ActRow = ACTS[act];
    const isAboutUser = about !== "room" && about !== "message";
    const number = count && Math.max(count.min, 2);
    if (wire === "text") {
      const words = [
        isAboutUser ? "Vic" : "",
        takesTime ? "10m" : "",
        number ?? "",
        text === undefined ? "" : "because",
      ].filter((word) => word !== "").join(" ");
      const nick = role === "nobody" ? "Nora2" : NICKS[role];
      const heard = await this.lines(
        role,
        `/${act} ${words}`,
        new RegExp(`^-- ${nick} |^Your report was sent`),
      );
      return REFUSALS.find(([form]) => form.test(heard))?.[1] ?? "ok";
    }
    return await this.code(this.json.get(role)!, {
      type: act,
      room,
      nick: isAboutUser ? "vic" : undefined,
      id: about === "message" ? message : undefined,
      for: takesTime ? 600 : undefined,
      reason: text === "reason" ? "because" : undefined,
      text: text === "topic" ? "because" : undefined,
      ...number === undefined ? {} : { [count!.name]: number },
    });
  }

  /** Returns everything that acts could have changed in the room. */
  async state(): Promise<unknown[]> {
    const { room, kv } = this;
    const rows: unknown[] = [(await kv.get(roomRulesKey(room))).value];
    for await (const { key, value } of kv.list({ prefix: standingPrefix(room) })) {
      rows.push([key, value]);
    }
    const { rooms } = (await this.root.requestAll({ type: "who", nick: "Vic" })).at(-1)!;
    return [...rows, rooms, await this.record()];
  }

  /** Returns the acts of the room's record, in short. */
  async record(): Promise<string[]> {
    const log = (await this.root.requestAll({ type: "modlog", room: this.room })).at(-1)!;
    assertEquals(log.type, "modlog", JSON.stringify(log));
    return log.events.map(({ nick, act, on }: JsonObject) => `${nick} ${act} ${on?.nick ?? ""}`);
  }

  /** Does an act on the whole chat about a user or a network, and returns how it ends. */
  async actOnAll(act: string, on: string, role: Role, wire: Wire): Promise<string> {
    const isNetwork = on.includes(".");
    if (wire === "json") {
      const subject = isNetwork ? { network: on } : { nick: on };
      return await this.code(this.json.get(role)!, { type: act, ...subject });
    }
    const nick = role === "nobody" ? "Nora2" : NICKS[role];
    // Operators may still be told of what another one did before.
    const told = new RegExp(`^-- ${nick} ${act}\\w* ${on.replaceAll(".", "\\.")}`);
    const heard = await this.lines(role, `/${act} ${on}`, told);
    return REFUSALS.find(([form]) => form.test(heard))?.[1] ?? "ok";
  }

  /** Returns the number of all acts in the record. */
  async count(): Promise<number> {
    const log = (await this.root.requestAll({ type: "modlog", limit: 100 })).at(-1)!;
    assertEquals(log.more, false);
    return log.events.length;
  }

  /** Connects a guest on the instance of the users concerned; not the same as a login that succeeds. */
  async guest(nick: string): Promise<JsonClient> {
    return await JsonClient.login(this.#victims, nick);
  }

  /** Leaves the room. */
  async leave(role: Role, wire: Wire): Promise<void> {
    const { room } = this;
    await this.vic.requestAll({ type: "leave", room });
    if (role === "nobody") return;
    if (wire === "json") await this.json.get(role)!.requestAll({ type: "leave", room });
    else await this.lines(role, "/quit", /^Left chat room|^Not currently/);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** What must be true after each act. */
const EFFECTS: Readonly<Record<ActName, (scene: Scene) => Promise<void>>> = {
  async kick(scene) {
    await leaves(scene);
    await scene.must(scene.vic, { type: "join", room: scene.room });
  },
  async ban(scene) {
    await leaves(scene);
    assertEquals(await joins(scene), "banned");
  },
  unban: async (scene) => assertEquals(await joins(scene), "ok"),
  mute: async (scene) => await says(scene, "muted"),
  unmute: async (scene) => await says(scene, "ok"),
  async slow(scene) {
    await scene.sees(scene.vic, ({ type, slow }) => type === "room" && slow === 2);
    await says(scene, "ok");
    await says(scene, "too-fast");
  },
  topic: (scene) =>
    scene.sees(scene.vic, ({ type, topic }) => type === "room" && topic === "because"),
  lock: async (scene) => await guestJoins(scene, "locked"),
  unlock: async (scene) => await guestJoins(scene, "ok"),
  private: async (scene) => await guestJoins(scene, "private"),
  public: async (scene) => await guestJoins(scene, "ok"),
  invite: async (scene) => assertEquals(await joins(scene), "ok"),
  purge: (scene) => texts(scene, ["", ""]),
  delete: (scene) => texts(scene, ["first", ""]),
  mod: (scene) =>
    scene.sees(scene.vic, ({ type, role }) => type === "room" && role === "moderator"),
  async unmod(scene) {
    await scene.sees(scene.vic, ({ type, act }) => type === "act" && act === "unmod");
    assertEquals(
      await scene.code(scene.vic, { type: "lock", room: scene.room }),
      "not-a-moderator",
    );
  },
  report: (scene) => scene.sees(scene.root, ({ type, act }) => type === "act" && act === "report"),
};

async function leaves(scene: Scene): Promise<void> {
  const { vic } = scene;
  await scene.sees(vic, ({ type, user }) => type === "left" && user === vic.user);
}

async function joins(scene: Scene): Promise<string> {
  return await scene.code(scene.vic, { type: "join", room: scene.room });
}

async function says(scene: Scene, code: string): Promise<void> {
  // Another instance learns of an act a little later.
  await eventually(async () => {
    return await scene.code(scene.vic, { type: "message", room: scene.room, text: "x" }) === code;
  }, `a message ends with ${code}`);
}

async function guestJoins(scene: Scene, code: string): Promise<void> {
  const guest = scene.json.get("nobody")!;
  assertEquals(await scene.code(guest, { type: "join", room: scene.room }), code);
  if (code === "ok") await scene.must(guest, { type: "leave", room: scene.room });
}

async function texts(scene: Scene, expected: string[]): Promise<void> {
  // The instance of the user concerned may not have been told yet.
  await eventually(async () => {
    const page = (await scene.vic.requestAll({ type: "history", room: scene.room })).at(-1)!;
    const found = page.events.map(({ text }: JsonObject) => text);
    return JSON.stringify(found) === JSON.stringify(expected);
  }, `the texts are ${expected}`);
}

async function tryAll(scene: Scene, wire: Wire): Promise<void> {
  // A terminal does not show the IDs of messages.
  const acts = (Object.keys(ACTS) as ActName[]).filter((act) =>
    wire === "json" || act !== "delete"
  );
  for (const act of acts) {
    for (const role of ROLES) {
      const message = await scene.enter(act, role, wire);
      const before = await scene.state();
      const recorded = await scene.record();
      const code = await scene.act(act, role, wire, message);
      const what = `/${act} by ${role} over ${wire}`;
      assertEquals(code, expected(act, role, wire), what);
      const isElsewhere = role === "nobody" && act === "report" && wire === "text";
      if (code === "ok" && !isElsewhere) {
        const { about }: ActRow = ACTS[act];
        const on = about === "room" ? "" : "Vic";
        assertEquals(await scene.record(), [...recorded, `${NICKS[role]} ${act} ${on}`], what);
        await EFFECTS[act](scene);
      } else {
        assertEquals(await scene.state(), before, `${what} changes nothing`);
        if (act !== "unban" && act !== "unmute" && act !== "invite") await says(scene, "ok");
      }
      await scene.leave(role, wire);
    }
  }
}

/** Asserts what became of a user, and whether the nickname may log in. */
async function assertOnline(guest: JsonClient, isOnline: boolean): Promise<void> {
  if (isOnline) assertEquals((await guest.request({ type: "ping" })).type, "pong");
  else assertEquals((await guest.connection.closed).code, 1008);
}

async function tryOnAll(scene: Scene, wire: Wire): Promise<void> {
  let guests = 0;
  for (const act of ["kick", "ban", "unban"] as const) {
    for (const role of ROLES) {
      const nick = `Guest${++guests}`, network = `198.51.100.${guests}`;
      const guest = await scene.guest(nick);
      if (act === "unban") {
        await scene.must(scene.root, { type: "ban", nick });
        await scene.must(scene.root, { type: "ban", network });
      }
      const before = await scene.count();
      const what = `/${act} on the whole chat by ${role} over ${wire}`;
      const isAllowed = role === "operator";
      const code = isAllowed ? "ok" : "not-an-operator";
      assertEquals(await scene.actOnAll(act, nick, role, wire), code, what);
      const hasNetworks = act !== "kick";
      if (hasNetworks) assertEquals(await scene.actOnAll(act, network, role, wire), code, what);
      const added = isAllowed ? hasNetworks ? 2 : 1 : 0;
      assertEquals(await scene.count(), before + added, what);
      await assertOnline(guest, act !== "unban" && !isAllowed);
      const isBanned = (act === "ban") === isAllowed && act !== "kick";
      if (!isAllowed && act !== "unban") continue;
      const { welcome } = await scene.guest(nick);
      assertEquals(welcome.code ?? welcome.type, isBanned ? "banned" : "welcome", what);
    }
  }
}

for (const wire of ["json", "text"] as const) {
  for (const count of [1, 2]) {
    Deno.test(`acts on the whole chat by every role over ${wire}, on ${count} instances`, async () => {
      await using scene = await Scene.open(count);
      await tryOnAll(scene, wire);
    });
  }

  Deno.test(`every act by every role over ${wire}, on the instance of the user concerned`, async () => {
    await using scene = await Scene.open(1);
    await tryAll(scene, wire);
  });

  Deno.test(`every act by every role over ${wire}, on another instance`, async () => {
    await using scene = await Scene.open(2);
    await tryAll(scene, wire);
  });

  testWithProgram(
    "denokv",
    `every act by every role over ${wire}, on two instances around denokv`,
    async () => {
      await using denokv = await DenoKv.start();
      for (const [name, value] of Object.entries(denokv.env)) Deno.env.set(name, value);
      await using scene = await Scene.open(2, denokv.url);
      await tryAll(scene, wire);
    },
  );
}
