/**
 * The client of chat.v1: against a scripted server in virtual time, and at the end against a real
 * one.
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ChatClient, ChatError } from "../../chat/client/client.js";
import type { ChatEvent, ClientOptions, Session } from "../../chat/client/client.js";
import { FakeClock, settlePromises } from "../support/fake_clock.ts";
import { FakeSocket } from "../support/fake_socket.ts";
import { eventually, House, PROJECT, runDeno, soon } from "../support/test_server.ts";

type Line = Record<string, unknown>;

/** The server's end of a connection, played by the test. */
class ScriptedSocket extends FakeSocket {
  /** Requests that were not heard yet. */
  readonly waiting: Line[] = [];

  constructor() {
    super(WebSocket.CONNECTING, "chat.v1");
  }

  override send(text: string): void {
    super.send(text);
    this.waiting.push(JSON.parse(text));
  }

  override close(code?: number): void {
    super.close(code);
    this.disconnect(code);
  }

  async opens(): Promise<void> {
    this.open();
    await settlePromises();
  }

  /** One frame to the client. */
  async tells(...lines: (Line | string)[]): Promise<void> {
    const frame = lines.map((line) => typeof line === "string" ? line : JSON.stringify(line));
    this.receive(frame.join("\n"));
    await settlePromises();
  }

  /** The next request is this, but for ref and cid; returns it whole. */
  hears(request: Line): Line {
    const line = this.waiting.shift();
    if (line === undefined) throw new Error(`${JSON.stringify(request)} was not sent`);
    const { ref: _ref, cid: _cid, ...rest } = line;
    assertEquals(rest, request);
    return line;
  }

  /** The next request is this, and gets this reply. */
  async replies(request: Line, reply: Line, ...more: Line[]): Promise<void> {
    const { ref } = this.hears(request);
    await this.tells({ ...reply, ref }, ...more);
  }

  async drops(code = 1006): Promise<void> {
    this.disconnect(code);
    await settlePromises();
  }
}

/** A client with everything around it played. */
class Stage {
  readonly time = new FakeClock();
  readonly sockets: ScriptedSocket[] = [];
  readonly events: ChatEvent[] = [];
  readonly client: ChatClient;
  saved: Session | null | undefined;
  #ids = 0;

  constructor(options: Partial<ClientOptions> = {}, session?: Session) {
    this.saved = session;
    this.client = new ChatClient("ws://chat.example/", {
      nick: "Ann",
      room: "red",
      clock: this.time,
      ids: () => `c${++this.#ids}`,
      connect: (url, protocol) => {
        assertEquals([url, protocol], ["ws://chat.example/", "chat.v1"]);
        this.sockets.push(new ScriptedSocket());
        return this.socket;
      },
      session: { load: () => this.saved, save: (session) => this.saved = session },
      ...options,
    });
    this.client.on("*", (event) => this.events.push(event));
  }

  /** The newest socket. */
  get socket(): ScriptedSocket {
    return this.sockets.at(-1)!;
  }

  /** The ids of what was said and shown, in order. */
  get shown(): string[] {
    return this.events.flatMap((event) => event.type === "message" ? event.id : []);
  }

  get errors(): string[] {
    return this.events.flatMap((event) => event.type === "error" ? event.error.code : []);
  }

  /** Opens the socket, logs in and enters the room. */
  async entered(): Promise<this> {
    await this.socket.opens();
    await this.socket.replies({ type: "login", nick: "Ann" }, welcome("t1"));
    const { ref } = this.socket.hears({ type: "join", room: "red" });
    await this.socket.tells(joined("e10"), { type: "ok", ref, id: "e10" });
    assertEquals(this.client.state, "online");
    return this;
  }

  /** Drops the connection, and waits until the next one is open. */
  async reopened(): Promise<void> {
    const before = this.sockets.length;
    await this.socket.drops();
    await this.time.advanceAsync(retryAt(this.events)! - this.time.now());
    assertEquals(this.sockets.length, before + 1);
    await this.socket.opens();
  }

  /** Answers a `resume`, and what confirms it. */
  async resumed(resume: Line, reply: Line, ...more: Line[]): Promise<void> {
    const told = more.some(({ type }) => type === "resumed");
    const end = { type: "resumed", recovered: true, missed: more.length };
    await this.socket.replies({ type: "resume", ...resume }, reply, ...more, ...told ? [] : [end]);
    await this.socket.replies({ type: "ping" }, { type: "pong" });
  }
}

function welcome(token: string, room?: string, nick = "Ann"): Line {
  return { type: "welcome", nick, token, grace: 30, history: 604_800, ...(room && { room }) };
}

function joined(id: string, room = "red", nick = "Ann"): Line {
  return { type: "joined", id, room, nick, time: 0 };
}

function message(id: string, more: Line = {}): Line {
  return { type: "message", id, room: "red", nick: "Bob", text: id, time: 0, ...more };
}

function failure(code: string): Line {
  return { type: "error", code, message: `it is ${code}` };
}

/** When the client will try again, as it said last. */
function retryAt(events: ChatEvent[]): number | undefined {
  const state = events.findLast((event) => event.type === "state");
  return state?.type === "state" && state.state === "offline" ? state.retryAt : undefined;
}

/** How a promise ended, without waiting for it. */
function outcome<T>(promise: Promise<T>): { value?: T | string } {
  const box: { value?: T | string } = {};
  promise.then((value) => box.value = value, (error) => box.value = (error as ChatError).code);
  return box;
}

Deno.test("it logs in, enters its room, and says so", async () => {
  const { client, events } = await new Stage().entered();
  assertEquals(events.map((event) => event.type === "state" ? event.state : event.type), [
    "joined",
    "online",
  ]);
  assertEquals([client.nick, client.room, client.state], ["Ann", "red", "online"]);
  await client.close();
});

Deno.test("each pause before it comes back may be twice as long, to 30 seconds; none is under 250 ms", async () => {
  for (
    const [spread, wanted] of [[0, [250, 250, 250, 250, 250, 250, 250, 250]], [
      1,
      [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000],
    ]] as const
  ) {
    const { client, time, sockets, events } = new Stage();
    time.jitterValue = spread;
    for (const pause of wanted) {
      const since = time.now();
      await sockets.at(-1)!.drops();
      assertEquals(retryAt(events), since + pause);
      const before = sockets.length;
      await time.advanceAsync(pause - 1);
      assertEquals(sockets.length, before);
      await time.advanceAsync(1);
      assertEquals(sockets.length, before + 1);
    }
    await client.close();
  }
});

Deno.test("pauses grow on after a short time online, and begin anew after a long one", async () => {
  const stage = new Stage();
  stage.time.jitterValue = 1;
  await stage.socket.drops();
  await stage.time.advanceAsync(500);
  await stage.entered();
  const pause = () => retryAt(stage.events)! - stage.time.now();
  await stage.time.advanceAsync(9_999);
  await stage.socket.drops();
  assertEquals(pause(), 1000);
  await stage.time.advanceAsync(1000);
  await stage.socket.opens();
  await stage.resumed({ token: "t1", last: "e10" }, welcome("t2", "red"));
  await stage.time.advanceAsync(10_000);
  await stage.socket.drops();
  assertEquals(pause(), 500);
  await stage.client.close();
});

Deno.test("turned away for its manners (1008) it waits for long", async () => {
  const stage = await new Stage().entered();
  await stage.socket.drops(1008);
  await stage.time.advanceAsync(14_999);
  assertEquals(stage.sockets.length, 1);
  await stage.time.advanceAsync(1);
  assertEquals(stage.sockets.length, 2);
  await stage.client.close();
});

Deno.test("turned away as too slow (1013) it waits twice as long each time, also if it goes well between", async () => {
  const stage = await new Stage().entered();
  let sockets = 1;
  for (const pause of [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
    await stage.socket.drops(1013);
    await stage.time.advanceAsync(pause - 1);
    assertEquals(stage.sockets.length, sockets, `${pause} ms`);
    await stage.time.advanceAsync(1);
    assertEquals(stage.sockets.length, ++sockets, `${pause} ms`);
    await stage.socket.opens();
    await stage.resumed({ token: `t${sockets - 1}`, last: "e10" }, welcome(`t${sockets}`, "red"));
    await stage.time.advanceAsync(19_000);
  }
  // After a good while it is forgotten.
  for (let i = 0; i < 30; i++) {
    await stage.time.advanceAsync(10_000);
    for (const { ref } of stage.socket.waiting.splice(0)) {
      await stage.socket.tells({ type: "pong", ref });
    }
  }
  await stage.socket.drops(1013);
  await stage.time.advanceAsync(250);
  assertEquals(stage.sockets.length, ++sockets);
  await stage.client.close();
});

Deno.test("told to wait it waits, then says one thing after the other, in their order", async () => {
  const stage = await new Stage().entered();
  const said = ["one", "two", "three"].map((text) => stage.client.say(text));
  const request = (text: string) => ({ type: "message", text, room: "red" });
  const tooFast = { type: "error", code: "too-fast", message: "Wait.", retryAfter: 3_000 };
  await stage.socket.replies(request("one"), tooFast);
  await stage.socket.replies(request("two"), tooFast);
  await stage.socket.replies(request("three"), tooFast);
  await stage.time.advanceAsync(2_999);
  assertEquals(stage.socket.waiting, []);
  await stage.time.advanceAsync(1);
  for (const [i, text] of ["one", "two", "three"].entries()) {
    await stage.socket.replies(request(text), { type: "ok", id: `e2${i}` });
    assertEquals(stage.socket.waiting.length, i < 2 ? 1 : 0);
    assertEquals(await said[i], { id: `e2${i}` });
  }
  // After a while it goes at full speed again.
  await stage.time.advanceAsync(19_000);
  await stage.time.advanceAsync(12_000);
  stage.socket.hears({ type: "ping" });
  void stage.client.say("four").catch(() => {});
  void stage.client.say("five").catch(() => {});
  assertEquals(stage.socket.waiting.length, 2);
  await stage.client.close();
});

Deno.test("an access token is offered beside the protocol, in what may stand in a header", async () => {
  const offered: unknown[] = [];
  const connect = (_: string, protocols: string | string[]) => {
    offered.push(protocols);
    return new ScriptedSocket();
  };
  for (const access of ["correct-horse!", "öäü", ">>>???>>>"]) {
    await new Stage({ access, connect }).client.close();
  }
  assertEquals(offered, [
    ["chat.v1", "chat.token.Y29ycmVjdC1ob3JzZSE"],
    ["chat.v1", "chat.token.w7bDpMO8"],
    ["chat.v1", "chat.token.Pj4-Pz8_Pj4-"],
  ]);
});

Deno.test("retryNow does not wait", async () => {
  const stage = await new Stage().entered();
  await stage.socket.drops();
  stage.client.retryNow();
  assertEquals(stage.sockets.length, 2);
  await stage.time.advanceAsync(9_000);
  assertEquals(stage.sockets.length, 2);
  await stage.client.close();
});

Deno.test("after a drop it resumes with the last ids that it saw", async () => {
  const stage = await new Stage().entered();
  const direct = { type: "direct", id: "d7", nick: "Bob", text: "psst", time: 0 };
  await stage.socket.tells(message("e11"), direct, message("e12"));
  await stage.reopened();
  const missed = [message("e13"), { type: "resumed", recovered: true, missed: 1 }];
  await stage.resumed(
    { token: "t1", last: "e12", direct: "d7", sent: "" },
    welcome("t2", "red"),
    ...missed,
  );
  assertEquals(stage.shown, ["e11", "e12", "e13"]);
  assertEquals(stage.events.slice(-2).map(({ type }) => type), ["resumed", "state"]);
  await stage.client.close();
});

Deno.test("an event is not shown twice", async () => {
  const stage = await new Stage().entered();
  await stage.socket.tells(message("e11"), message("e12"));
  await stage.reopened();
  const again = [message("e11"), message("e12"), message("e13")];
  await stage.resumed({ token: "t1", last: "e12" }, welcome("t2", "red"), ...again);
  assertEquals(stage.shown, ["e11", "e12", "e13"]);
  await stage.client.close();
});

Deno.test("who writes to themself sees both copies, each once", async () => {
  const stage = await new Stage().entered();
  const heard = { type: "direct", id: "d1", nick: "Ann", text: "psst", time: 0 };
  const said = { ...heard, to: "Ann" };
  await stage.socket.tells(heard, said, heard, said);
  assertEquals(stage.events.filter(({ type }) => type === "direct").length, 2);
  await stage.client.close();
});

Deno.test("another room is another stream: its ids need not be greater", async () => {
  const stage = await new Stage().entered();
  await stage.socket.tells(message("e55"));
  const left = { type: "left", id: "e56", room: "red", nick: "Ann", time: 0 };
  const done = stage.client.join("blue");
  await stage.socket.replies({ type: "join", room: "blue" }, { type: "ok", id: "b1" });
  await stage.socket.tells(left, joined("b1", "blue"), message("b2", { room: "blue" }));
  await done;
  assertEquals(stage.shown, ["e55", "b2"]);
  assertEquals(stage.client.room, "blue");
  await stage.reopened();
  await stage.resumed({ token: "t1", last: "b2" }, welcome("t2", "blue"));
  await stage.client.close();
});

Deno.test("a lost welcome costs nothing: the old token is used again", async () => {
  const stage = await new Stage().entered();
  await stage.reopened();
  stage.socket.hears({ type: "resume", token: "t1", last: "e10" });
  await stage.reopened();
  await stage.resumed({ token: "t1", last: "e10" }, welcome("t3", "red"));
  assertEquals(stage.saved?.tokens, ["t3"]);
  await stage.client.close();
});

Deno.test("the old token is kept until the server has heard us over the new connection", async () => {
  const stage = await new Stage().entered();
  await stage.reopened();
  const { ref } = stage.socket.hears({ type: "resume", token: "t1", last: "e10" });
  await stage.socket.tells({ ...welcome("t2", "red"), ref });
  assertEquals(stage.saved?.tokens, ["t2", "t1"]);
  await stage.reopened();
  await stage.socket.replies({ type: "resume", token: "t2", last: "e10" }, failure("bad-token"));
  await stage.resumed({ token: "t1", last: "e10" }, welcome("t3", "red"));
  assertEquals(stage.saved?.tokens, ["t3"]);
  assertEquals(stage.errors, []);
  await stage.client.close();
});

Deno.test("what is said while offline is sent in order, to the room that it was meant for", async () => {
  const stage = await new Stage().entered();
  await stage.socket.drops();
  const all = [stage.client.say("one"), stage.client.act("waves"), stage.client.tell("Bob", "two")];
  const moved = stage.client.join("blue");
  const last = stage.client.say("three");
  await stage.time.advanceAsync(250);
  await stage.socket.opens();
  await stage.resumed({ token: "t1", last: "e10" }, welcome("t2", "red"));
  const { socket } = stage;
  await socket.replies({ type: "message", text: "one", room: "red" }, { type: "ok", id: "e11" });
  await socket.replies({ type: "action", text: "waves", room: "red" }, { type: "ok", id: "e12" });
  assertEquals(socket.waiting.length, 1, "nothing overtakes the join");
  await socket.replies({ type: "direct", text: "two", to: "Bob" }, { type: "ok", id: "d1" });
  await socket.replies({ type: "join", room: "blue" }, { type: "ok", id: "b1" });
  await socket.replies({ type: "message", text: "three", room: "blue" }, { type: "ok", id: "b2" });
  assertEquals((await Promise.all(all)).map(({ id }) => id), ["e11", "e12", "d1"]);
  await moved;
  assertEquals(await last, { id: "b2" });
  await stage.client.close();
});

for (const reason of ["expired", "too-many", "history-off", "unavailable"]) {
  Deno.test(`what was said before a gap (${reason}) is asked again, but where the server may not know`, async () => {
    const stage = await new Stage().entered();
    const first = outcome(stage.client.say("one"));
    const told = outcome(stage.client.tell("Bob", "psst"));
    stage.socket.hears({ type: "message", text: "one", room: "red" });
    await stage.socket.drops();
    const second = outcome(stage.client.say("two"));
    await stage.time.advanceAsync(250);
    await stage.socket.opens();
    const gap = { type: "resumed", recovered: false, missed: 0, reason };
    await stage.resumed({ token: "t1", last: "e10" }, welcome("t2", "red"), gap);
    const one = { type: "message", text: "one", room: "red" };
    const psst = { type: "direct", text: "psst", to: "Bob" };
    if (reason !== "expired") {
      await stage.socket.replies(one, { type: "ok", id: "e11" });
      await stage.socket.replies(psst, { type: "ok", id: "d1" });
    }
    // What was never sent is sent in any case.
    await stage.socket.replies({ type: "message", text: "two", room: "red" }, {
      type: "ok",
      id: "e20",
    });
    const asked = [{ id: "e11" }, { id: "d1" }];
    const unknown = ["unknown", "unknown"];
    assertEquals([first.value, told.value], reason === "expired" ? unknown : asked);
    assertEquals(second.value, { id: "e20" });
    assertEquals(stage.socket.waiting, []);
    await stage.client.close();
  });
}

Deno.test("what was missed of the room before is shown up to one's own leaving, then the new room", async () => {
  const stage = await new Stage().entered();
  const moved = outcome(stage.client.join("blue"));
  stage.socket.hears({ type: "join", room: "blue" });
  await stage.reopened();
  await stage.resumed(
    { token: "t1", last: "e10" },
    welcome("t2", "blue"),
    message("e11"),
    { type: "left", id: "e12", room: "red", nick: "Ann", time: 0 },
    joined("e13", "blue"),
    message("e14", { room: "blue" }),
  );
  assertEquals(stage.shown, ["e11", "e14"]);
  assertEquals(["value" in moved, stage.client.room], [true, "blue"]);
  assertEquals(stage.socket.waiting, [], "it is not asked again");
  await stage.reopened();
  await stage.resumed({ token: "t2", last: "e14" }, welcome("t3", "blue"));
  await stage.client.close();
});

Deno.test("after a gap in which it changed rooms it goes on from what it saw of the new one", async () => {
  for (const heard of [[message("e14", { room: "blue" })], []]) {
    const stage = await new Stage().entered();
    await stage.reopened();
    const gap = { type: "resumed", recovered: false, missed: 1, reason: "too-many" };
    await stage.resumed({ token: "t1", last: "e10" }, welcome("t2", "blue"), ...heard, gap);
    assertEquals(stage.client.room, "blue");
    await stage.reopened();
    const last = heard.length > 0 ? { last: "e14" } : {};
    await stage.resumed({ token: "t2", ...last }, welcome("t3", "blue"));
    await stage.client.close();
  }
});

Deno.test("direct messages that it got and those that it sent are two orders", async () => {
  const stage = await new Stage().entered();
  const got = { type: "direct", nick: "Bob", text: "psst", time: 0 };
  const sent = { ...got, nick: "Ann", to: "Bob" };
  await stage.socket.tells({ ...sent, id: "d5" }, { ...got, id: "d4" }, { ...got, id: "d4" });
  const directs = () => stage.events.flatMap((each) => each.type === "direct" ? each.id : []);
  assertEquals(directs(), ["d5", "d4"]);
  await stage.reopened();
  await stage.resumed(
    { token: "t1", last: "e10", direct: "d4", sent: "d5" },
    welcome("t2", "red"),
    ...[{ ...got, id: "d4" }, { ...sent, id: "d5" }, { ...sent, id: "d6" }],
  );
  assertEquals(directs(), ["d5", "d4", "d6"]);
  await stage.client.close();
});

function gapOf(after: string, until: string, missed: number): Line {
  return { type: "gap", room: "red", after, until, missed };
}

Deno.test("what the server could not send is got from the history, and shown in order before what comes now", async () => {
  const stage = await new Stage().entered();
  const { socket } = stage;
  await socket.tells(message("e11"));
  await socket.tells(gapOf("e11", "e20", 8), message("e21"), joined("e22", "red", "Cy"));
  assertEquals(stage.shown, ["e11"]);
  const page = { type: "history", room: "red", limit: 100 };
  const reply = { type: "history", room: "red" };
  const events = [message("e12"), message("e15")];
  await socket.replies({ ...page, after: "e11" }, { ...reply, events, more: true });
  // The last one is shown when it comes, too: here it is passed over.
  const rest = [message("e20"), message("e21"), message("e23")];
  await socket.replies({ ...page, after: "e15" }, { ...reply, events: rest, more: true });
  await socket.tells(message("e23"));
  assertEquals(stage.shown, ["e11", "e12", "e15", "e20", "e21", "e23"]);
  const told = stage.events.slice(-5).map((event) =>
    event.type === "gap" ? event : "id" in event ? event.id : event.type
  );
  const gap = {
    type: "gap",
    room: "red",
    missed: 8,
    filled: 3,
    recovered: true,
    reason: undefined,
  };
  assertEquals(told, ["e20", gap, "e21", "e22", "e23"]);
  assertEquals([socket.waiting, stage.errors], [[], []]);
  await stage.client.close();
});

Deno.test("asked to wait, it waits, and asks for what was not sent again; a second gap comes after the first", async () => {
  const stage = await new Stage().entered();
  const { socket, time } = stage;
  await socket.tells(
    gapOf("e10", "e20", 8),
    message("e21"),
    gapOf("e21", "e30", 9),
    message("e31"),
  );
  const page = { type: "history", room: "red", limit: 100 };
  const reply = { type: "history", room: "red", more: false };
  const slowly = { ...failure("too-fast"), retryAfter: 4_000 };
  await socket.replies({ ...page, after: "e10" }, slowly);
  await time.advanceAsync(3_999);
  assertEquals(socket.waiting, []);
  await time.advanceAsync(1);
  await socket.replies({ ...page, after: "e10" }, { ...reply, events: [message("e20")] });
  assertEquals(stage.shown, ["e20", "e21"]);
  await socket.replies({ ...page, after: "e21" }, { ...reply, events: [message("e30")] });
  assertEquals(stage.shown, ["e20", "e21", "e30", "e31"]);
  await stage.client.close();
});

Deno.test("what could not be got is told, and life goes on", async () => {
  for (const [code, reason] of [["history-off", "history-off"], ["not-allowed", "unavailable"]]) {
    const stage = await new Stage().entered();
    await stage.socket.tells(gapOf("e10", "e20", 8), message("e21"));
    const page = { type: "history", room: "red", after: "e10", limit: 100 };
    await stage.socket.replies(page, failure(code!));
    assertEquals(stage.shown, ["e21"]);
    const gap = { type: "gap", room: "red", missed: 8, filled: 0, recovered: false, reason };
    assertEquals(stage.events.filter(({ type }) => type === "gap"), [gap] as ChatEvent[]);
    await stage.client.close();
  }
});

Deno.test("a connection that is lost before that: coming back gives all that followed what was shown last", async () => {
  const stage = await new Stage().entered();
  await stage.socket.tells(message("e11"));
  await stage.socket.tells(gapOf("e11", "e20", 8), message("e21"));
  await stage.reopened();
  const missed = [message("e12"), message("e20"), message("e21")];
  await stage.resumed({ token: "t1", last: "e11" }, welcome("t2", "red"), ...missed);
  await stage.socket.tells(message("e22"));
  assertEquals(stage.shown, ["e11", "e12", "e20", "e21", "e22"]);
  assertEquals(stage.events.filter(({ type }) => type === "gap"), []);
  await stage.client.close();
});

Deno.test("taken over before it was sure of its token, it comes back: that was itself", async () => {
  const stage = await new Stage().entered();
  await stage.reopened();
  await stage.socket.replies({ type: "resume", token: "t1", last: "e10" }, welcome("t2", "red"));
  stage.socket.close(4001);
  await settlePromises();
  assertEquals(stage.client.state, "offline");
  await stage.time.advanceAsync(retryAt(stage.events)! - stage.time.now());
  await stage.socket.opens();
  const { ref } = stage.socket.hears({ type: "resume", token: "t2", last: "e10" });
  await stage.socket.tells({ type: "error", ref, code: "bad-token", message: "" });
  await stage.resumed({ token: "t1", last: "e10" }, welcome("t3", "red"));
  assertEquals(stage.client.state, "online");
  await stage.client.close();
});

Deno.test("a lost answer is asked for again by the same cid, before anything newer, and not twice", async () => {
  const stage = await new Stage().entered();
  const first = stage.client.say("one");
  const { cid } = stage.socket.hears({ type: "message", text: "one", room: "red" });
  await stage.socket.drops();
  const second = outcome(stage.client.say("two"));
  await stage.time.advanceAsync(250);
  await stage.socket.opens();
  await stage.resumed({ token: "t1", last: "e10" }, welcome("t2", "red"));
  const again = stage.socket.hears({ type: "message", text: "one", room: "red" });
  assertEquals(again.cid, cid);
  stage.socket.hears({ type: "message", text: "two", room: "red" });
  await stage.socket.tells({ type: "ok", ref: again.ref, id: "e11" });
  assertEquals(await first, { id: "e11" });
  assertEquals(second.value, undefined);
  await stage.reopened();
  await stage.resumed({ token: "t2", last: "e10" }, welcome("t3", "red"));
  await stage.socket.replies({ type: "message", text: "two", room: "red" }, {
    type: "ok",
    id: "e12",
  });
  assertEquals(second.value, { id: "e12" });
  assertEquals(stage.socket.waiting, []);
  await stage.client.close();
});

Deno.test("one's own event is an answer; another's with the same cid is not", async () => {
  const stage = await new Stage().entered();
  const said = outcome(stage.client.say("one"));
  const { cid } = stage.socket.hears({ type: "message", text: "one", room: "red" });
  await stage.socket.tells(message("e11", { cid }));
  assertEquals(said.value, undefined);
  await stage.socket.tells(message("e12", { cid, nick: "Ann" }));
  assertEquals(said.value, { id: "e12" });
  await stage.client.close();
});

Deno.test("when the place is lost, what was missed is shown once and in order, and the loss is owned up to", async () => {
  const stage = await new Stage().entered();
  await stage.socket.tells(message("e11"));
  await stage.reopened();
  const { socket } = stage;
  await socket.replies({ type: "resume", token: "t1", last: "e11" }, failure("bad-token"));
  await socket.replies({ type: "login", nick: "Ann" }, welcome("n1"));
  const { ref } = socket.hears({ type: "join", room: "red" });
  await socket.tells(joined("e15"), message("e16"), { type: "ok", ref, id: "e15" });
  const history = (after: string) => ({ type: "history", after, limit: 100 });
  await socket.tells(message("e17"));
  await socket.replies(history("e11"), {
    type: "history",
    room: "red",
    events: [message("e12"), message("e13")],
    more: true,
  });
  await socket.replies(history("e13"), {
    type: "history",
    room: "red",
    events: [message("e14"), message("e16")],
    more: true,
  });
  assertEquals(stage.shown, ["e11", "e12", "e13", "e14", "e16", "e17"]);
  assertEquals(stage.events.slice(-8).map(({ type }) => type), [
    ...["message", "message", "message", "resumed", "joined", "message", "message", "state"],
  ]);
  assertEquals(stage.events.find(({ type }) => type === "resumed"), {
    type: "resumed",
    recovered: false,
    missed: 3,
    reason: "expired",
    from: "e15",
  });
  await stage.client.close();
});

Deno.test("a server that has forgotten everything is heard again, though its ids are smaller", async () => {
  const stage = await new Stage().entered();
  await stage.socket.tells(message("e11"));
  await stage.reopened();
  const { socket } = stage;
  await socket.replies({ type: "resume", token: "t1", last: "e11" }, failure("bad-token"));
  await socket.replies({ type: "login", nick: "Ann" }, welcome("n1"));
  const { ref } = socket.hears({ type: "join", room: "red" });
  await socket.tells(joined("a1"), { type: "ok", ref, id: "a1" }, message("a2"));
  assertEquals(stage.shown, ["e11", "a2"]);
  const resumed = stage.events.find(({ type }) => type === "resumed");
  assertEquals(resumed, {
    ...{ type: "resumed", recovered: false, missed: 0, reason: "forgotten", from: "a1" },
  });
  await stage.client.close();
});

Deno.test("what was in flight when the place was lost is never posted twice", async () => {
  const stage = await new Stage().entered();
  const { client, socket: old } = stage;
  const [found, lost, told] = [client.say("found"), client.say("lost"), client.tell("Bob", "psst")]
    .map(outcome);
  const { cid } = old.hears({ type: "message", text: "found", room: "red" });
  await old.drops();
  const never = outcome(client.say("never sent"));
  await stage.time.advanceAsync(250);
  const { socket } = stage;
  await socket.opens();
  await socket.replies({ type: "resume", token: "t1", last: "e10" }, failure("bad-token"));
  await socket.replies({ type: "login", nick: "Ann" }, welcome("n1"));
  await socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  await socket.replies({ type: "history", after: "e10", limit: 100 }, {
    type: "history",
    room: "red",
    events: [message("e11", { nick: "Ann", cid })],
    more: false,
  });
  assertEquals([found!.value, lost!.value, told!.value], [{ id: "e11" }, "unknown", "unknown"]);
  await socket.replies({ type: "message", text: "never sent", room: "red" }, {
    type: "ok",
    id: "e16",
  });
  assertEquals(never.value, { id: "e16" });
  assertEquals(socket.waiting, []);
  await client.close();
});

Deno.test("of a long absence it gives a thousand messages, and says that there were more", async () => {
  const stage = await new Stage().entered();
  await stage.reopened();
  const { socket } = stage;
  await socket.replies({ type: "resume", token: "t1", last: "e10" }, failure("bad-token"));
  await socket.replies({ type: "login", nick: "Ann" }, welcome("n1"));
  await socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e9" });
  const id = (i: number) => `e1${String(i).padStart(4, "0")}`;
  for (let page = 0, after = "e10"; page < 10; page++) {
    const events = Array.from({ length: 100 }, (_, i) => message(id(page * 100 + i)));
    const history = { type: "history", room: "red", events, more: true };
    await socket.replies({ type: "history", after, limit: 100 }, history);
    after = id(page * 100 + 99);
  }
  assertEquals(stage.shown.length, 1000);
  const resumed = stage.events.find((event) => event.type === "resumed");
  assertEquals(resumed, {
    type: "resumed",
    recovered: false,
    missed: 1000,
    reason: "too-many",
    from: "e9",
  });
  await stage.client.close();
});

Deno.test("a connection lost while it comes back after a lost place loses nothing", async () => {
  const stage = await new Stage().entered();
  await stage.reopened();
  await stage.socket.replies({ type: "resume", token: "t1", last: "e10" }, failure("bad-token"));
  await stage.socket.replies({ type: "login", nick: "Ann" }, welcome("n1"));
  await stage.socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  await stage.reopened();
  const { socket } = stage;
  const missed = [message("e16"), { type: "resumed", recovered: false, missed: 1 }];
  await socket.replies({ type: "resume", token: "n1" }, welcome("n2", "red"), ...missed);
  await socket.replies({ type: "ping" }, { type: "pong" });
  // Joining again is leaving first: that was before, and is no end.
  await socket.tells({ type: "left", id: "e17", room: "red", nick: "Ann", time: 0 });
  await socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e18" });
  await socket.tells(joined("e18"));
  await socket.replies({ type: "history", after: "e10", limit: 100 }, {
    type: "history",
    room: "red",
    events: [message("e11"), message("e16")],
    more: false,
  });
  assertEquals(stage.shown, ["e11", "e16"]);
  assertEquals(stage.client.room, "red");
  assert(!stage.events.some(({ type }) => type === "left"));
  assertEquals(stage.events.filter(({ type }) => type === "resumed").length, 1);
  await stage.client.close();
});

Deno.test("a move that was lost together with the place is made again", async () => {
  const stage = await new Stage().entered();
  const left = outcome(stage.client.leave());
  stage.socket.hears({ type: "leave" });
  await stage.reopened();
  await stage.socket.replies({ type: "resume", token: "t1", last: "e10" }, failure("bad-token"));
  await stage.socket.replies({ type: "login", nick: "Ann" }, welcome("n1"));
  await stage.reopened();
  // In no room, but not because it left.
  await stage.resumed({ token: "n1" }, welcome("n2"));
  assert(!("value" in left));
  await stage.socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  const nothing = { type: "history", room: "red", events: [], more: false };
  await stage.socket.replies({ type: "history", after: "e10", limit: 100 }, nothing);
  await stage.socket.replies({ type: "leave" }, { type: "ok", id: "e16" });
  assert("value" in left);
  await stage.client.close();
});

Deno.test("a login whose welcome was lost makes a ghost, too", async () => {
  const stage = new Stage();
  await stage.socket.opens();
  stage.socket.hears({ type: "login", nick: "Ann" });
  await stage.reopened();
  await stage.socket.replies({ type: "login", nick: "Ann" }, failure("nickname-taken"));
  await stage.time.advanceAsync(1_000);
  await stage.socket.replies({ type: "login", nick: "Ann" }, welcome("t1"));
  assertEquals(stage.errors, []);
  await stage.client.close();
});

Deno.test("its own ghost keeps the nickname for a while: it waits for it", async () => {
  const stage = await new Stage().entered();
  await stage.reopened();
  const { socket } = stage;
  await socket.replies({ type: "resume", token: "t1", last: "e10" }, failure("bad-token"));
  for (let i = 0; i < 5; i++) {
    await socket.replies({ type: "login", nick: "Ann" }, failure("nickname-taken"));
    await stage.time.advanceAsync(1_000);
  }
  assertEquals([stage.client.state, stage.errors], ["connecting", []]);
  await socket.replies({ type: "login", nick: "Ann" }, welcome("n1"));
  await socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  await stage.client.close();
});

Deno.test("after the grace time a taken nickname is somebody else's: the application is asked", async () => {
  const stage = await new Stage().entered();
  await stage.reopened();
  const { socket, time } = stage;
  await socket.replies({ type: "resume", token: "t1", last: "e10" }, failure("bad-token"));
  for (let i = 0; i < 31; i++) {
    await socket.replies({ type: "login", nick: "Ann" }, failure("nickname-taken"));
    await time.advanceAsync(1_000);
  }
  assertEquals([stage.client.state, stage.errors], ["offline", ["nickname-taken"]]);
  await stage.client.close();
});

Deno.test("a refused nickname is told, and another one logs in", async () => {
  const stage = new Stage();
  await stage.socket.opens();
  await stage.socket.replies({ type: "login", nick: "Ann" }, failure("nickname-taken"));
  assertEquals(stage.errors, ["nickname-taken"]);
  assertEquals(stage.events.at(-1), {
    type: "state",
    state: "offline",
    code: 4000,
    reason: "nickname-taken",
  });
  assertEquals(stage.time.timerCount, 0, "it does not try by itself");
  const refused = outcome(stage.client.rename("/Ann"));
  await stage.socket.opens();
  await stage.socket.replies({ type: "login", nick: "/Ann" }, failure("bad-nickname"));
  assertEquals(refused.value, "bad-nickname");
  await stage.socket.replies({ type: "login", nick: "Ann" }, failure("nickname-taken"));
  const renamed = stage.client.rename(" Anna ");
  await stage.socket.opens();
  await stage.socket.replies({ type: "login", nick: "Anna" }, welcome("t1", undefined, "Anna"));
  await renamed;
  await stage.socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e10" });
  assertEquals([stage.client.nick, stage.client.state], ["Anna", "online"]);
  assertEquals(stage.sockets.slice(0, -1).map(({ closeCode }) => closeCode), [4000, 4000]);
  await stage.client.close();
});

Deno.test("a move whose answer was lost is not made again if it was made", async () => {
  const stage = await new Stage().entered();
  const moved = outcome(stage.client.join("blue"));
  stage.socket.hears({ type: "join", room: "blue" });
  await stage.reopened();
  await stage.resumed({ token: "t1", last: "e10" }, welcome("t2", "blue"));
  assertEquals([moved, stage.client.room], [{ value: undefined }, "blue"]);
  const renamed = outcome(stage.client.rename("Anna"));
  stage.socket.hears({ type: "nick", nick: "Anna" });
  await stage.reopened();
  await stage.resumed({ token: "t2" }, welcome("t3", "blue"));
  await stage.socket.replies({ type: "nick", nick: "Anna" }, { type: "ok" });
  assertEquals([renamed, stage.client.nick], [{ value: undefined }, "Anna"]);
  assertEquals(stage.socket.waiting, []);
  await stage.client.close();
});

Deno.test("nothing is sent behind a move before it is answered: it may be refused", async () => {
  const stage = await new Stage().entered();
  const moved = outcome(stage.client.join("/"));
  const said = outcome(stage.client.say("one"));
  const { ref } = stage.socket.hears({ type: "join", room: "/" });
  assertEquals(stage.socket.waiting, []);
  await stage.socket.tells({ ...failure("bad-room"), ref });
  await stage.socket.replies({ type: "message", text: "one", room: "/" }, failure("not-in-room"));
  assertEquals([moved.value, said.value], ["bad-room", "not-in-room"]);
  await stage.client.close();
});

Deno.test("it knows its own name and room by its own events", async () => {
  const stage = await new Stage().entered();
  const event = { room: "red", nick: "Ann", time: 0 };
  await stage.socket.tells({ ...event, type: "nick", id: "e11", to: "Anna" });
  assertEquals(stage.client.nick, "Anna");
  await stage.socket.tells({ ...event, type: "left", id: "e12", nick: "Bob" });
  assertEquals(stage.client.room, "red");
  await stage.socket.tells({ ...event, type: "left", id: "e13", nick: "Anna" });
  assertEquals(stage.client.room, undefined);
  await stage.reopened();
  await stage.resumed({ token: "t1", last: "e13" }, welcome("t2", undefined, "Anna"));
  await stage.client.close();
});

Deno.test("who changes their mind while offline does not pass through every room", async () => {
  const stage = await new Stage().entered();
  await stage.socket.drops();
  const moves = [stage.client.join("blue"), stage.client.leave(), stage.client.join("green")]
    .map(outcome);
  await stage.time.advanceAsync(250);
  await stage.socket.opens();
  await stage.resumed({ token: "t1", last: "e10" }, welcome("t2", "red"));
  await stage.socket.replies({ type: "join", room: "green" }, { type: "ok", id: "g1" });
  assertEquals(moves.map(({ value }) => value), ["replaced", "replaced", undefined]);
  assertEquals(stage.socket.waiting, []);
  await stage.client.close();
});

Deno.test("taken over (4001), it ends and does not come back", async () => {
  const stage = await new Stage().entered();
  const said = outcome(stage.client.say("one"));
  await stage.socket.drops(4001);
  assertEquals(stage.events.at(-1), { type: "state", state: "closed", reason: "taken-over" });
  assertEquals([said.value, stage.saved, stage.time.timerCount], ["closed", null, 0]);
  stage.client.retryNow();
  await stage.time.advanceAsync(600_000);
  assertEquals(stage.sockets.length, 1);
  await assertRejects(() => stage.client.say("two"), ChatError);
});

Deno.test("a silent server is asked for a sign of life, and given up without one", async () => {
  const stage = await new Stage().entered();
  await stage.time.advanceAsync(20_000);
  await stage.socket.replies({ type: "ping" }, { type: "pong" });
  await stage.time.advanceAsync(15_000);
  assertEquals(stage.client.state, "online");
  await stage.time.advanceAsync(5_000);
  stage.socket.hears({ type: "ping" });
  await stage.time.advanceAsync(14_999);
  assertEquals(stage.client.state, "online");
  await stage.time.advanceAsync(1);
  assertEquals([stage.client.state, stage.socket.closeCode], ["offline", 4000]);
  await stage.client.close();
});

Deno.test("a server that talks is not asked for a sign of life", async () => {
  const stage = await new Stage().entered();
  for (let i = 0; i < 10; i++) {
    await stage.time.advanceAsync(15_000);
    await stage.socket.tells(message(`e2${i}`));
  }
  assertEquals(stage.socket.waiting, []);
  await stage.client.close();
});

Deno.test("a connection that does not open, or dies when the page wakes up, is given up soon", async () => {
  const stage = new Stage();
  await stage.time.advanceAsync(10_000);
  assertEquals([stage.client.state, stage.socket.closeCode], ["offline", 4000]);
  stage.client.retryNow();
  await stage.entered();
  stage.client.retryNow();
  stage.socket.hears({ type: "ping" });
  await stage.time.advanceAsync(5_000);
  assertEquals([stage.client.state, stage.socket.closeCode], ["offline", 4000]);
  await stage.client.close();
});

Deno.test("a full outbox refuses, and takes again when there is room", async () => {
  const stage = await new Stage({ outbox: 2 }).entered();
  const said = ["one", "two", "three"].map((text) => outcome(stage.client.say(text)));
  await settlePromises();
  assertEquals(said.map(({ value }) => value), [undefined, undefined, "full"]);
  const one = { type: "message", text: "one", room: "red" };
  await stage.socket.replies(one, { type: "ok", id: "e11" });
  const four = outcome(stage.client.say("four"));
  await settlePromises();
  assertEquals(four.value, undefined);
  const closing = stage.client.close();
  await settlePromises();
  assertEquals(said[1]!.value, "closed");
  await closing;
});

Deno.test("at most 64 calls are in flight, and no more than the server lets wait", async () => {
  const stage = await new Stage().entered();
  for (let i = 0; i < 70; i++) outcome(stage.client.say(String(i)));
  assertEquals(stage.socket.waiting.length, 64);
  await stage.socket.replies({ type: "message", text: "0", room: "red" }, { type: "ok", id: "e" });
  assertEquals(stage.socket.waiting.length, 64);
  await stage.client.close();
  const large = await new Stage().entered();
  for (let i = 0; i < 20; i++) outcome(large.client.say("x".repeat(16_000)));
  assertEquals(large.socket.waiting.length, 8);
  await assertRejects(() => large.client.say("x".repeat(70_000)), ChatError, "too many");
  await large.client.close();
});

Deno.test("a socket that does not empty gets no more", async () => {
  const stage = await new Stage().entered();
  stage.socket.bufferedAmount = 1024 * 1024 + 1;
  outcome(stage.client.say("one"));
  await stage.time.advanceAsync(1_000);
  assertEquals(stage.socket.waiting, []);
  stage.socket.bufferedAmount = 0;
  await stage.time.advanceAsync(50);
  stage.socket.hears({ type: "message", text: "one", room: "red" });
  await stage.client.close();
});

Deno.test("while the storage is away a message is tried again a few times", async () => {
  const stage = await new Stage().entered();
  const said = outcome(stage.client.say("one"));
  const one = { type: "message", text: "one", room: "red" };
  for (let i = 0; i < 4; i++) {
    assertEquals(said.value, undefined);
    await stage.socket.replies(one, failure("unavailable"));
    assertEquals(stage.socket.waiting, []);
    await stage.time.advanceAsync(8_000);
  }
  assertEquals([said.value, stage.socket.waiting], ["unavailable", []]);
  await stage.client.close();
});

Deno.test("what storage may have taken all the same is not said again from another place", async () => {
  const stage = new Stage({ room: undefined });
  await stage.socket.opens();
  await stage.socket.replies({ type: "login", nick: "Ann" }, welcome("t1"));
  const told = outcome(stage.client.tell("Bob", "psst"));
  const direct = { type: "direct", to: "Bob", text: "psst" };
  await stage.socket.replies(direct, failure("unavailable"));
  await stage.reopened();
  await stage.socket.replies({ type: "resume", token: "t1" }, failure("bad-token"));
  await stage.socket.replies({ type: "login", nick: "Ann" }, welcome("n1"));
  assertEquals(told.value, "unknown");
  assertEquals(stage.socket.waiting, []);
  await stage.client.close();
  assertEquals(stage.time.timerCount, 0);
});

Deno.test("an error of the server rejects the call that it answers, and no other", async () => {
  const stage = await new Stage().entered();
  const told = outcome(stage.client.tell("Cy", "psst"));
  const who = outcome(stage.client.who("bob"));
  const direct = { type: "direct", to: "Cy", text: "psst" };
  await stage.socket.replies(direct, failure("not-online"));
  const bob = { type: "who", nick: "Bob", room: null };
  await stage.socket.replies({ type: "who", nick: "bob" }, bob);
  assertEquals([told.value, who.value], ["not-online", { nick: "Bob", room: null }]);
  await stage.client.close();
});

Deno.test("a question is not asked again: it fails with its connection, or after half a minute", async () => {
  const stage = await new Stage().entered();
  const rooms = outcome(stage.client.rooms());
  await stage.socket.drops();
  await settlePromises();
  assertEquals(rooms.value, "offline");
  const members = outcome(stage.client.members());
  await stage.time.advanceAsync(30_000);
  assertEquals(members.value, "offline");
  await stage.client.close();
});

Deno.test("lines that are none are told and passed over; what stands beside them counts", async () => {
  const stage = await new Stage().entered();
  const bad = ["{", "[]", "null", "7", '{"type":7}', '{"type":"message","id":1}', "constructor"];
  await stage.socket.tells(message("e11"), ...bad, "", message("e12"));
  stage.socket.onmessage?.({ data: new ArrayBuffer(1) } as never);
  await stage.socket.tells({ type: "ok", ref: 99 }, { type: "error", code: "odd", message: "?" });
  assertEquals(stage.shown, ["e11", "e12"]);
  assertEquals(stage.errors, [...new Array(bad.length + 1).fill("malformed"), "odd"]);
  assertEquals(stage.client.state, "online");
  await stage.client.close();
});

Deno.test("a malformed reply to the login does not leave it waiting for ever", async () => {
  const stage = new Stage();
  await stage.socket.opens();
  const { ref } = stage.socket.hears({ type: "login", nick: "Ann" });
  await stage.socket.tells({ type: "welcome", ref });
  assertEquals([stage.client.state, stage.errors], ["offline", ["malformed"]]);
  await stage.client.close();
});

Deno.test("it says nothing to a server that does not speak chat.v1", async () => {
  const stage = new Stage();
  stage.socket.protocol = "";
  await stage.socket.opens();
  assertEquals([stage.client.state, stage.errors], ["offline", ["malformed"]]);
  assertEquals(stage.socket.waiting, []);
  await stage.client.close();
});

Deno.test("events of unknown types are passed over, and can be had", async () => {
  const stage = await new Stage().entered();
  const line = { type: "constructor", id: "x" };
  await stage.socket.tells(line);
  assertEquals(stage.events.at(-1), { type: "unknown", line });
  await stage.client.close();
});

Deno.test("a listener that throws harms nobody, and is not hushed up", async () => {
  const stage = await new Stage().entered();
  const uncaught: string[] = [];
  const catches = (event: ErrorEvent) => {
    event.preventDefault();
    uncaught.push(event.message);
  };
  globalThis.addEventListener("error", catches);
  const heard: string[] = [];
  stage.client.on("message", () => {
    throw new Error("a clumsy listener");
  });
  const stop = stage.client.on("message", ({ id }) => heard.push(id));
  await stage.socket.tells(message("e11"), message("e12"));
  stop();
  await stage.socket.tells(message("e13"));
  globalThis.removeEventListener("error", catches);
  assertEquals([heard, uncaught.length], [["e11", "e12"], 3]);
  await stage.client.close();
});

Deno.test("close leaves, and leaves nothing behind: no timer, no socket, no waiting call", async () => {
  for (const when of ["connecting", "online", "offline"]) {
    const stage = new Stage();
    if (when !== "connecting") await stage.entered();
    if (when === "offline") await stage.socket.drops();
    assertEquals(stage.client.state, when);
    const waiting = [outcome(stage.client.say("one")), outcome(stage.client.members())];
    void stage.client.say("nobody waits for this one");
    await stage.client.close();
    assertEquals(waiting.map(({ value }) => value), ["closed", "closed"]);
    assertEquals([stage.time.timerCount, stage.socket.readyState], [0, 3]);
    assertEquals(stage.socket.closeCode, when === "offline" ? undefined : 1000);
    assertEquals(stage.saved, null);
    await stage.client.close();
  }
});

Deno.test("a listener may close the client in the midst of a frame", async () => {
  const stage = await new Stage().entered();
  stage.client.on("message", () => void stage.client.close());
  await stage.socket.tells(message("e11"), message("e12"));
  assertEquals([stage.shown, stage.time.timerCount], [["e11"], 0]);
  const lost = await new Stage().entered();
  lost.client.on("message", () => void lost.client.close());
  await lost.reopened();
  await lost.socket.replies({ type: "resume", token: "t1", last: "e10" }, failure("bad-token"));
  await lost.socket.replies({ type: "login", nick: "Ann" }, welcome("n1"));
  await lost.socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e15" });
  await lost.socket.replies({ type: "history", after: "e10", limit: 100 }, {
    type: "history",
    room: "red",
    events: [message("e11"), message("e12")],
    more: false,
  });
  assertEquals([lost.shown, lost.client.state, lost.time.timerCount], [["e11"], "closed", 0]);
});

Deno.test("a page that is left takes its place again when it is loaded", async () => {
  const before = await new Stage().entered();
  await before.socket.tells(message("e11"));
  await before.client.detach();
  assertEquals([before.socket.closeCode, before.time.timerCount], [4000, 0]);
  const session = JSON.parse(JSON.stringify(before.saved));
  const after = new Stage({ nick: "Nobody", room: "elsewhere" }, session);
  await after.socket.opens();
  await after.resumed({ token: "t1", last: "e11" }, welcome("t2", "red"), message("e12"));
  assertEquals([after.shown, after.client.nick, after.client.room], [["e12"], "Ann", "red"]);
  await after.client.close();
});

Deno.test("events can be read in a loop, by who keeps up", async () => {
  const stage = await new Stage().entered();
  const read: string[] = [];
  const reading = (async () => {
    for await (const event of stage.client.events()) read.push(event.type);
  })();
  const slow = stage.client.events({ limit: 1 });
  const first = slow.next();
  await stage.socket.tells(message("e11"));
  assertEquals((await first).value, message("e11"));
  await stage.socket.tells(message("e12"), message("e13"));
  await slow.next();
  await assertRejects(() => slow.next(), ChatError);
  await stage.client.close();
  await reading;
  assertEquals(read, ["message", "message", "message", "state"]);
});

Deno.test("a URL that is none is a mistake of whoever wrote it", () => {
  assertThrows(() => new ChatClient("no url", { nick: "Ann" }), DOMException);
});

Deno.test("it is one file: it imports nothing and names no runtime", async () => {
  const source = await Deno.readTextFile(new URL("chat/client/client.js", PROJECT));
  assert(!/^import |\bimport\(|\bDeno\.|\bprocess\.|\bdocument\./m.test(source));
});

// From here on against a real server.

Deno.test("on a real server: two people see each other", async () => {
  await using house = await House.open();
  const ann = new ChatClient(house.url, { nick: "Ann", room: "red" });
  await using _ = closing(ann);
  await soon(ann.say("hello"), "an answer");
  const bob = await house.enter("Bob", "red");
  const heard = soon(
    new Promise<string>((resolve) => ann.on("message", ({ text }) => resolve(text))),
    "a message",
  );
  await bob.asks("Hello, Ann", "Bob: Hello, Ann");
  assertEquals(await heard, "Hello, Ann");
  assertEquals((await ann.members()).nicks, ["Ann", "Bob"]);
  assertEquals(await ann.who("bob"), { nick: "Bob", room: "red" });
  assertEquals(await ann.rooms(), [{ room: "red", people: 2 }]);
  await ann.rename("Anna");
  await bob.hears("Ann is now known as Anna.");
  await ann.tell("Bob", "psst");
  await bob.hears("[from Anna] psst");
  await ann.close();
  await bob.hears("Anna left room.");
});

Deno.test("registering, changing the password and giving it up are asked for, and answered", async () => {
  const stage = await new Stage().entered();
  const ok = { type: "ok" };
  const registered = stage.client.register("correct-horse");
  await stage.socket.replies({ type: "register", password: "correct-horse" }, ok);
  await registered;
  const changed = stage.client.changePassword("correct-horse", "battery-staple");
  const change = { type: "password", password: "correct-horse", new: "battery-staple" };
  await stage.socket.replies(change, ok);
  await changed;
  const refused = outcome(stage.client.unregister("wrong-horse"));
  const request = { type: "unregister", password: "wrong-horse" };
  await stage.socket.replies(request, failure("wrong-password"));
  assertEquals(refused.value, "wrong-password");
  await stage.client.close();
});

Deno.test("identifying while online changes the nickname, as the server writes it", async () => {
  const stage = await new Stage().entered();
  const done = stage.client.identify(" JENNY ", "correct-horse");
  const request = { type: "identify", nick: "JENNY", password: "correct-horse" };
  await stage.socket.replies(request, { type: "ok", nick: "Jenny" });
  await done;
  assertEquals(stage.client.nick, "Jenny");
  await stage.client.close();
});

Deno.test("a nickname that turns out to be registered waits for its password, and logs in with it", async () => {
  const stage = new Stage();
  await stage.socket.opens();
  await stage.socket.replies({ type: "login", nick: "Ann" }, failure("nickname-registered"));
  assertEquals([stage.errors, stage.client.state], [["nickname-registered"], "offline"]);
  const identify = (password: string) => ({ type: "identify", nick: "Ann", password });
  const wrong = outcome(stage.client.identify("Ann", "wrong-horse"));
  await stage.socket.opens();
  // The first time it is tried as it was; the nickname may be free by now.
  await stage.socket.replies(identify("wrong-horse"), failure("wrong-password"));
  assertEquals(wrong.value, "wrong-password");
  await stage.socket.replies({ type: "login", nick: "Ann" }, failure("nickname-registered"));
  const early = outcome(stage.client.identify("Ann", "early-horse"));
  await stage.socket.opens();
  await stage.socket.replies(identify("early-horse"), failure("wrong-password"));
  assertEquals(early.value, "wrong-password");
  // Typed again before that was known.
  const right = stage.client.identify("Ann", "correct-horse");
  await stage.socket.replies({ type: "login", nick: "Ann" }, failure("nickname-registered"));
  await stage.socket.replies(identify("correct-horse"), welcome("t1"));
  await stage.socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e10" });
  await right;
  assertEquals(stage.client.state, "online");
  await stage.client.close();
});

Deno.test("with its password it logs in by that, also when its place is lost", async () => {
  const stage = new Stage({ password: "correct-horse" });
  const identify = { type: "identify", nick: "Ann", password: "correct-horse" };
  await stage.socket.opens();
  await stage.socket.replies(identify, welcome("t1"));
  const { ref } = stage.socket.hears({ type: "join", room: "red" });
  await stage.socket.tells(joined("e10"), { type: "ok", ref, id: "e10" });
  assert(!JSON.stringify(stage.saved).includes("horse"), "the password is not kept");
  await stage.reopened();
  await stage.socket.replies({ type: "resume", token: "t1", last: "e10" }, failure("bad-token"));
  await stage.socket.replies(identify, failure("nickname-taken"));
  // Its own ghost is asked for again, with the password.
  await stage.time.advanceAsync(1000);
  await stage.socket.replies(identify, welcome("t2"));
  await stage.socket.replies({ type: "join", room: "red" }, { type: "ok", id: "e11" });
  await stage.socket.replies({ type: "history", after: "e10", limit: 100 }, {
    type: "history",
    room: "red",
    events: [],
    more: false,
  });
  assertEquals(stage.client.state, "online");
  await stage.client.close();
});

Deno.test("where the password is for nothing any more it logs in as anybody; where it is wrong it says so", async () => {
  const stage = new Stage({ password: "correct-horse" });
  const identify = { type: "identify", nick: "Ann", password: "correct-horse" };
  await stage.socket.opens();
  await stage.socket.replies(identify, failure("not-registered"));
  await stage.socket.replies({ type: "login", nick: "Ann" }, welcome("t1"));
  await stage.client.close();
  const other = new Stage({ password: "correct-horse" });
  await other.socket.opens();
  await other.socket.replies(identify, failure("too-many-attempts"));
  assert(retryAt(other.events) !== undefined, "it tries again by itself");
  await other.time.advanceAsync(1000);
  await other.socket.opens();
  await other.socket.replies(identify, failure("wrong-password"));
  assertEquals(other.errors, ["too-many-attempts", "wrong-password"]);
  assertEquals(retryAt(other.events), undefined);
  await other.client.close();
});

Deno.test("on a real server: a nickname is registered, refused to others, and had again by its password", async () => {
  await using house = await House.open();
  {
    const ann = new ChatClient(house.url, { nick: "Ann", room: "red" });
    await using _ = closing(ann);
    await soon(ann.register("correct-horse"), "an answer");
  }
  const left = async () => typeof (await house.kv.get(["nick", "ann"])).value === "object";
  await eventually(left, "she has left");
  const eve = new ChatClient(house.url, { nick: "ANN", room: "red" });
  await using _ = closing(eve);
  const refused = new Promise<ChatEvent>((resolve) => eve.on("error", resolve));
  const event = await soon(refused, "a refusal");
  assert(event.type === "error" && event.error.code === "nickname-registered");
  await assertRejects(() => soon(eve.identify("Ann", "wrong-horse"), "an answer"), ChatError);
  await soon(eve.identify("Ann", "correct-horse"), "an answer");
  await soon(eve.say("It is me"), "an answer");
  await eve.close();
  await eventually(left, "she has left again");
  const ann = new ChatClient(house.url, { nick: "Ann", password: "correct-horse", room: "red" });
  await using __ = closing(ann);
  await soon(ann.say("Me, too"), "an answer");
  assertEquals(ann.nick, "Ann");
});

Deno.test("on a real server: whoever drops and comes back has missed nothing, and said all once", async () => {
  await using house = await House.open();
  const sockets: WebSocket[] = [];
  const shown: string[] = [];
  const ann = new ChatClient(house.url, {
    nick: "Ann",
    room: "red",
    connect: (url, protocol) => {
      const socket = new WebSocket(url, protocol);
      sockets.push(socket);
      return socket;
    },
  });
  ann.on("message", ({ nick, text }) => shown.push(`${nick}: ${text}`));
  await using _ = closing(ann);
  const resumed = new Promise<ChatEvent>((resolve) => ann.on("resumed", resolve));
  await soon(ann.say("one"), "an answer");
  const bob = await house.enter("Bob", "red");
  const gone = new Promise((resolve) => sockets[0]!.addEventListener("close", resolve));
  sockets[0]!.close(4999);
  await soon(gone, "the end of the first connection");
  await bob.asks("two", "Bob: two");
  await soon(ann.say("three"), "an answer");
  await bob.hears("Ann: three");
  const { type, ...rest } = await soon(resumed, "the end of what was missed");
  assertEquals([type, rest], ["resumed", { recovered: true, missed: 1 }]);
  assertEquals(shown, ["Ann: one", "Bob: two", "Ann: three"]);
  await bob.hearsNothingElse();
});

Deno.test("on a real server: who says too much at once has all of it said, in order, and stays", async () => {
  await using house = await House.open({ flood: { messages: { many: 40, seconds: 1 } } });
  const states: string[] = [];
  const shown: string[] = [];
  const ann = new ChatClient(house.url, { nick: "Ann", room: "red" });
  await using _ = closing(ann);
  ann.on("state", ({ state }) => states.push(state));
  ann.on("message", ({ text }) => shown.push(text));
  const words = Array.from({ length: 150 }, (_, i) => `word ${i}`);
  await soon(Promise.all(words.map((word) => ann.say(word))), "the answers");
  assertEquals(shown, words);
  assertEquals(states, ["online"]);
});

Deno.test("on a real server: the examples in CLIENT.md do what they say", async () => {
  const document = await Deno.readTextFile(new URL("chat/docs/CLIENT.md", PROJECT));
  const [deno, browser, ...others] = [...document.matchAll(/```js\n([^]*?)```/g)]
    .map(([, code]) => code!);
  assertEquals(others.length, 0);
  await using house = await House.open();
  assertEquals(await runs(deno!, house), 'Clerk: Good morning\n[ "Clerk" ]\n');
  // As if the page were left as soon as something was said, and loaded again.
  const page = `${browser}
    await client.say("Hi");
    dispatchEvent(new Event("pagehide"));
    const again = new ChatClient("ws://127.0.0.1:8000/", { nick: "", session });
    await again.say("I am back");
    await again.close();`;
  assertEquals(await runs(page, house), "online\nAnn: Hi\nclosed\n");
  await eventually(() => house.chat.size === 0, "all have left");
});

/** Has a client closed at the end of a test, whatever that end is. */
function closing(client: ChatClient): AsyncDisposable {
  return { [Symbol.asyncDispose]: () => client.close() };
}

/** What an example prints, run against a house. */
async function runs(example: string, house: House): Promise<string> {
  assert(example.includes("ws://127.0.0.1:8000/"));
  const code = example.replaceAll("ws://127.0.0.1:8000/", house.url)
    .replace(
      /"[^"]*\/client\.js"/,
      JSON.stringify(String(new URL("chat/client/client.js", PROJECT))),
    );
  const args = ["run", "--no-config", "-A", "--location", "http://chat.example/", "--ext=js", "-"];
  const { code: exitCode, stdout, stderr } = await runDeno(args, {}, code);
  assertEquals(exitCode, 0, stderr);
  return stdout;
}
