/**
 * Clients of the plain-text protocol in a simulated cluster. A terminal stays with one instance, and
 * cannot resume. What each was shown is compared with the feed.
 */
import { assert, assertEquals } from "@std/assert";
import { actNameFrom, sentenceOf } from "../../chat/base/acts.ts";
import { authorOf, type RoomEvent } from "../../chat/feed/events.ts";
import type { Chat } from "../../chat/mod.ts";
import { FakeSocket } from "../support/fake_socket.ts";
import type { Account } from "./devices.ts";
import { type FeedLog, isShown } from "./feed_log.ts";
import type { Network, SimulatedClock, World } from "./sim_kv.ts";

/** An instance and its network. */
export interface Host {
  readonly chat: Chat;
  readonly network: Network;
  readonly clock: SimulatedClock;
  /** The newest connection ID that it created. */
  readonly ids: { last: string };
  ending: Promise<void> | undefined;
}

/** Replies to commands, as opposed to events. */
const REPLY =
  /^(Using nickname|Nicknames cannot|Nickname is|Not |That did not work|"[^"]*" (is|looks)|Cannot send|No one|-- Topic: |Only |You (have|are not|are banned|are muted)|Wrong|Too many|Server busy)/;

/** Direct messages: their order and that of a room are independent. */
const DIRECT = /^\[(from|to) /;

/** Acts about its own user: it is told of them wherever it is. */
const OWN_ACT = /^-- \S+ ((kicked|banned|unbanned|muted|unmuted) you |deleted )/;

/** A client with a socket on one of the instances. */
export class Terminal extends FakeSocket {
  readonly said: string[] = [];
  readonly id: string;

  constructor(
    readonly name: string,
    readonly host: Host,
    readonly world: World,
    readonly account?: Account,
  ) {
    super(WebSocket.CONNECTING);
    host.chat.accept(this);
    this.open();
    this.id = host.ids.last;
    this.type(account === undefined ? name : `/identify ${account.nick} ${account.password}`);
  }

  override close(code?: number): void {
    if (this.readyState === WebSocket.CLOSED) return;
    if (code !== undefined) this.closeCodes.push(code);
    this.readyState = WebSocket.CLOSED;
    const { process } = this.host.network;
    this.world.after(0, () => process.do(() => this.disconnect()));
  }

  type(line: string): void {
    if (this.readyState !== WebSocket.OPEN) return;
    if (!line.startsWith("/")) this.said.push(line);
    this.host.network.process.do(() => this.receive(line));
  }

  get hasLoggedIn(): boolean {
    return this.sent.some((frame) => frame.startsWith("Using nickname: "));
  }

  get isConnected(): boolean {
    return this.readyState === 1 && !this.host.network.isDead;
  }

  /** Checks that it was shown its rooms from its joins on, and all of them if it is connected. */
  check(log: FeedLog): void {
    const wanted = this.#wanted(log).filter((frame) => !REPLY.test(frame));
    const events = this.sent.filter((frame) => !REPLY.test(frame));
    const own = events.filter((frame) => OWN_ACT.test(frame));
    assertEquals(new Set(own).size, own.length, `${this.name} was told of an act twice`);
    const seen = events.filter((frame) => !DIRECT.test(frame) && !OWN_ACT.test(frame));
    assertEquals(seen, wanted.slice(0, seen.length), `${this.name} (${this.id}) saw other events`);
    if (this.isConnected) assertEquals(seen.length, wanted.length, `${this.name} missed some`);
    this.#checkDirects(log, events.filter((frame) => DIRECT.test(frame)));
    this.#checkSaid(log);
  }

  #wanted(log: FeedLog): string[] {
    const wanted: string[] = [];
    let room: string | undefined;
    let user = this.id;
    for (const { event } of log.entries) {
      const isOwn = event.id === this.id;
      if (isOwn) user = event.kind === "direct" ? user : event.to?.user ?? authorOf(event);
      if (isOwn && event.kind === "join" && event.to === undefined) room = event.room;
      if (!isShown(event) || (event.kind === "act" && event.to?.user === user)) continue;
      if (event.room === "" || event.room !== room) continue;
      const line = lineOf(event, isOwn);
      if (line !== "") wanted.push(line);
      if (isOwn && event.kind === "leave" && event.to === undefined) room = undefined;
    }
    return wanted;
  }

  /** Checks that it was shown no direct message twice, and none of other users. */
  #checkDirects(log: FeedLog, seen: readonly string[]): void {
    const users = log.usersOf.get(this.id) ?? new Set();
    const own: string[] = [];
    for (const { event } of log.entries) {
      if (event.kind !== "direct") continue;
      const { nick, to, text } = event;
      if (users.has(to!.user)) own.push(`[from ${nick}] ${text}`);
      if (users.has(authorOf(event))) own.push(`[to ${to!.nick}] ${text}`);
    }
    assertEquals(new Set(seen).size, seen.length, `${this.name} was shown a direct message twice`);
    if (this.account === undefined && users.size > 0) {
      for (const line of seen) assert(own.includes(line), `${this.name} was shown "${line}"`);
    }
  }

  #checkSaid(log: FeedLog): void {
    const stored = log.entries.filter(({ event: { kind, id } }) =>
      kind === "message" && id === this.id
    );
    const words = new Set(stored.map(({ event }) => event.text));
    assertEquals(words.size, stored.length, `a message of ${this.name} was stored twice`);
    if (!this.isConnected) return;
    const missing = this.said.filter((word) => !words.has(word)).length;
    const told = this.sent.filter((frame) => REPLY.test(frame) && !/^Nickname is/.test(frame));
    assert(missing <= told.length, `${this.name} was not told about an unsent message`);
  }
}

/** Returns an event as a terminal shows it; empty: not at all. */
function lineOf(event: RoomEvent, isOwn: boolean): string {
  const { kind, nick, room, text, to, isQuiet, target = "", until, time } = event;
  const isNew = to !== undefined && to.nick !== nick;
  switch (kind) {
    case "message":
      return `${nick}: ${text}`;
    case "action":
      return `* ${nick} ${text}`;
    case "join":
      if (isOwn) return to === undefined ? `Joined chat room "${room}"` : "";
      return isQuiet ? "" : `${to?.nick ?? nick} joined room.`;
    case "leave":
      if (isOwn) return to === undefined ? `Left chat room "${room}"` : "";
      return isQuiet ? "" : `${nick} left room.`;
    case "nick":
      return isOwn || isQuiet || !isNew ? "" : `${nick} is now known as ${to.nick}.`;
    case "act": {
      const seconds = until === undefined ? undefined : (until - time) / 1000;
      const act = actNameFrom(target)!;
      return isQuiet
        ? ""
        : `-- ${sentenceOf({ act, by: nick, on: to?.nick, room, text, seconds })}`;
    }
    case "direct":
    case "edit":
    case "delete":
    case "reaction":
    case "read":
    case "away":
    case "resume":
      return "";
    default:
      return kind satisfies never;
  }
}
