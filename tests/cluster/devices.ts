/**
 * Clients of `chat.v1` in a simulated cluster, each written out here, so that the server is compared
 * with the protocol and not with the client module. A device connects to any instance, resumes its
 * session after each loss of its connection, and logs in again when the session is over.
 */
import type { Random } from "../support/random.ts";
import { Connection, type Place } from "./network.ts";
import { type Line, SessionLog } from "./session_log.ts";
import type { World } from "./sim_kv.ts";

/** A registered nickname, and what its devices know of it. */
export interface Account {
  readonly nick: string;
  password: string;
  /** Its password or existence is uncertain: no further device uses it. */
  isLost: boolean;
}

/** A message, and its outcome. */
export interface SentMessage {
  readonly text: string;
  /** Where an edit finds it, as fields of the request. */
  readonly place?: Line;
  id: string | undefined;
  /** An error code; `unknown`: the session was over before the reply. */
  failed: string | undefined;
}

/** What all devices of a run share. */
export interface DeviceParts {
  readonly world: World;
  readonly random: Random;
  /** The instances that a client may try. */
  places(): readonly Place[];
  /** Returns a nickname that nobody has used. */
  freshNick(): string;
}

/** The connection was lost before the reply. */
export const LOST: Line = { type: "lost" };

/** Milliseconds after which a client gives up a server that does not answer. */
const PATIENCE_MS = 20_000;

/** The close code of a session that its user ended. */
const ENDED = 4002;

const TEMPORARY = /^(unavailable|busy|too-fast|too-many-attempts)$/;

/** One client of a user. */
export class Device {
  /** Every session that it had, the newest last. */
  readonly sessions: SessionLog[] = [];
  readonly said: SentMessage[] = [];
  /** How often the server ended its session because another session asked for that. */
  ends = 0;
  state: "offline" | "connecting" | "online" | "closed" = "offline";
  nick: string;
  account: Account | undefined;
  /** A request that changes its rooms or its identity is under way: such requests follow each other. */
  isChanging = false;
  connection: Connection | undefined;
  #session: SessionLog | undefined;
  readonly #parts: DeviceParts;
  #tokens: string[] = [];
  readonly #asked = new Map<number, (reply: Line) => void>();
  #refs = 0;
  /** Is called when the session goes on after a loss, or is over. */
  #waiting: ((goesOn: boolean) => void)[] = [];

  constructor(readonly name: string, parts: DeviceParts, account?: Account) {
    this.#parts = parts;
    this.account = account;
    this.nick = account?.nick ?? parts.freshNick();
    this.connect();
  }

  /** The session, if the device is online or will try to resume it. */
  get session(): SessionLog | undefined {
    return this.#session;
  }

  get isOnline(): boolean {
    return this.state === "online";
  }

  /** Connects now, unless it has a connection. */
  connect(): void {
    if (this.state !== "offline") return;
    this.state = "connecting";
    const { world, random, places } = this.#parts;
    const connection = this.connection = new Connection(random.pick(places()), world, random);
    const { near } = connection;
    near.onopen = () => this.#begin(connection);
    near.onmessage = ({ data }) => {
      for (const line of String(data).split("\n")) {
        if (this.connection === connection) this.#receive(JSON.parse(line));
      }
    };
    near.onclose = ({ code }) => this.#lost(connection, code);
    world.after(PATIENCE_MS, () => {
      if (this.connection === connection && this.state === "connecting") near.close(4000);
    });
    this.#watch(connection);
  }

  /** Sends a request. Resolves to the reply, or to {@linkcode LOST}. */
  ask(request: Line): Promise<Line> {
    const { connection } = this;
    if (connection === undefined || connection.near.readyState !== WebSocket.OPEN) {
      return Promise.resolve(LOST);
    }
    const ref = ++this.#refs;
    return new Promise((resolve) => {
      this.#asked.set(ref, resolve);
      connection.near.send(JSON.stringify({ ...request, ref }));
    });
  }

  /** Sends a message, and sends it again after each loss of the connection, with the same `cid`. */
  async say(request: Line, place: Line): Promise<SentMessage> {
    const session = this.#session!;
    const { text } = request;
    const sent: SentMessage = { text, place, id: undefined, failed: undefined };
    const cid = `${this.name}.${this.said.push(sent)}`;
    while (sent.id === undefined && sent.failed === undefined) {
      const { type, id, code } = await this.ask({ ...request, cid });
      if (type === "ok") sent.id = id;
      else if (type === "error") sent.failed = code;
      else if (!await this.#goesOn(session)) sent.failed = "unknown";
    }
    return sent;
  }

  async join(room: string): Promise<void> {
    await this.#change({ type: "join", room });
  }

  async leave(room: string): Promise<void> {
    const session = this.#session!;
    session.view(room).isLeaving = true;
    const { type, code } = await this.#change({ type: "leave", room });
    if (type === "ok") session.hasLeft(room);
    else if (type === "error" && code !== "unavailable") session.view(room).isLeaving = false;
  }

  /** Takes another nickname without a password. Only other spellings of its own keep it signed in. */
  async rename(nick: string): Promise<void> {
    const { account } = this;
    const staysIn = account !== undefined && nick.toLowerCase() === account.nick.toLowerCase();
    const { type } = await this.#changeUser({ type: "nick", nick }, !staysIn);
    if (type !== "ok") return;
    this.nick = nick;
    if (!staysIn) this.account = undefined;
  }

  async identify(account: Account): Promise<void> {
    const { nick, password } = account;
    const { type } = await this.#changeUser({ type: "identify", nick, password });
    if (type !== "ok") return;
    this.account = account;
    this.nick = nick;
  }

  /** Registers the present nickname. Returns the new registration. */
  async register(password: string): Promise<Account | undefined> {
    const { nick } = this;
    const { type } = await this.#changeUser({ type: "register", password });
    if (type !== "ok") return undefined;
    return this.account = { nick, password, isLost: false };
  }

  async unregister(): Promise<void> {
    const account = this.account!;
    account.isLost = true;
    const { type, code } = await this.#changeUser({
      type: "unregister",
      password: account.password,
    });
    if (type === "ok") this.account = undefined;
    else if (code !== undefined && code !== "unavailable") account.isLost = false;
  }

  async changePassword(password: string): Promise<void> {
    const account = this.account!;
    account.isLost = true;
    const reply = await this.#change({
      type: "password",
      password: account.password,
      new: password,
    });
    if (reply.type === "lost" || reply.code === "unavailable") return;
    account.isLost = false;
    if (reply.type !== "ok") return;
    account.password = password;
    this.#tokens = [reply.token];
  }

  /** Asks who is in the rooms whose members it does not know. */
  async askForMembers(): Promise<void> {
    const session = this.#session!;
    for (const room of session.joined) {
      const view = session.view(room);
      if (view.members !== undefined) continue;
      const { members } = await this.ask({ type: "members", room });
      if (members === undefined || this.#session !== session || !view.isIn) continue;
      view.members ??= membersFrom(members);
    }
  }

  /** Leaves the chat for good. */
  close(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.#sessionOver();
    this.connection?.near.close(1000);
  }

  /** Waits for its connection to be noticed as lost, then leaves the chat without a word. */
  vanish(): void {
    this.state = "closed";
    this.#sessionOver();
    this.connection?.cut();
  }

  async #change(request: Line): Promise<Line> {
    this.isChanging = true;
    const reply = await this.ask(request);
    this.isChanging = false;
    return reply;
  }

  /** Sends a request after which the session may be another user, or `signsOut`. */
  async #changeUser(request: Line, signsOut = false): Promise<Line> {
    const session = this.#session!;
    const before = session.user;
    session.mayChange();
    const reply = await this.#change(request);
    const { type, code, user = signsOut ? session.id : before } = reply;
    if (type === "ok") session.becomes(user, this.#parts.world.now);
    // After some failures the session may be either user. The next `welcome` tells.
    else if (type === "error" && code !== "unavailable") {
      session.becomes(before, this.#parts.world.now);
    }
    return reply;
  }

  #begin(connection: Connection): void {
    if (this.connection !== connection) return connection.near.close(1000);
    if (this.#session === undefined) return void this.#logIn(connection);
    const [token] = this.#tokens;
    if (token === undefined) {
      this.#sessionOver();
      return this.#begin(connection);
    }
    const request = { type: "resume", token, ...this.#session.lastSeen() };
    this.ask(request).then((reply) => this.#answered(connection, token, reply));
  }

  /** The reply to `resume`. A `welcome` was handled before, because events follow it. */
  #answered(connection: Connection, token: string, { type, code }: Line): void {
    if (this.connection !== connection || type !== "error") return;
    if (TEMPORARY.test(code)) return connection.near.close(4000);
    this.#tokens = this.#tokens.filter((each) => each !== token);
    this.#begin(connection);
  }

  async #logIn(connection: Connection): Promise<void> {
    const { account } = this;
    const { code } = await this.ask(
      account === undefined
        ? { type: "login", nick: this.nick }
        : { type: "identify", nick: account.nick, password: account.password },
    );
    if (this.connection !== connection || code === undefined) return;
    if (TEMPORARY.test(code)) return connection.near.close(4000);
    // The nickname may be that of its own lost session, or the registration is gone.
    this.account = undefined;
    this.nick = this.#parts.freshNick();
    return await this.#logIn(connection);
  }

  #receive(line: Line): void {
    const { world } = this.#parts;
    if (line.type === "welcome") this.#welcome(line);
    const settle = this.#asked.get(line.ref);
    if (settle !== undefined) {
      this.#asked.delete(line.ref);
      return settle(line);
    }
    // An error without a ref: the connection is about to be closed.
    if (line.type === "welcome" || line.type === "error") return;
    const session = this.#session;
    if (session === undefined) return;
    const wasCatchingUp = session.isCatchingUp;
    session.receive(line, world.now);
    if (wasCatchingUp && !session.isCatchingUp) this.#online();
  }

  #welcome(line: Line): void {
    const { world } = this.#parts;
    this.nick = line.nick;
    if (this.#session === undefined) {
      this.#tokens = [line.token];
      this.#session = new SessionLog(this.name, line, world.now);
      this.sessions.push(this.#session);
      return this.#online();
    }
    // The first request over the connection ends the old token.
    this.#tokens = [line.token, ...this.#tokens];
    this.#session.resumed(line, world.now);
    if (line.registered !== true) this.account = undefined;
    this.ask({ type: "ping" }).then(({ type }) => {
      if (type === "pong") this.#tokens = this.#tokens.slice(0, 1);
    });
  }

  #online(): void {
    this.state = "online";
    this.#settleWaiting(true);
  }

  #lost(connection: Connection, code: number): void {
    if (this.connection !== connection) return;
    this.connection = undefined;
    const { world, random } = this.#parts;
    for (const settle of this.#asked.values()) settle(LOST);
    this.#asked.clear();
    this.#session?.lost();
    if (this.state === "closed") return;
    if (code === ENDED) {
      this.ends++;
      this.#sessionOver();
    }
    this.state = "offline";
    world.after(100 + random.below(3_000), () => this.connect());
  }

  #sessionOver(): void {
    this.#session = undefined;
    this.#tokens = [];
    this.#settleWaiting(false);
  }

  #settleWaiting(goesOn: boolean): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const settle of waiting) settle(goesOn);
  }

  async #goesOn(session: SessionLog): Promise<boolean> {
    if (this.#session !== session) return false;
    return await new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Drops a connection whose server does not answer. */
  #watch(connection: Connection): void {
    const { world } = this.#parts;
    world.after(PATIENCE_MS, () => {
      if (this.connection !== connection) return;
      if (this.state === "connecting") return connection.near.close(4000);
      let isAnswered = false;
      this.ask({ type: "ping" }).then(({ type }) => isAnswered = type === "pong");
      world.after(PATIENCE_MS, () => {
        if (this.connection !== connection) return;
        if (isAnswered) this.#watch(connection);
        else connection.near.close(4000);
      });
    });
  }
}

/** Returns whether the users of a list of members are away, by their IDs. */
export function membersFrom(members: readonly Line[]): Map<string, boolean> {
  return new Map(members.map(({ user, away = false }) => [user, away]));
}
