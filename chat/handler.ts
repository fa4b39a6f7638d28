/**
 * What a line means: login, a command, or something to say.
 *
 * Connection hands in one line at a time; changes of state go to Storage, what is said to the feed,
 * replies to Sender. Every line gets an answer, or an event that everybody sees. It knows neither
 * sockets nor keys.
 */
import type { Outcome } from "./batch.ts";
import type { Clock } from "./clock.ts";
import type { Kind } from "./events.ts";
import type { Feed } from "./feed.ts";
import type { Limits } from "./limits.ts";
import { nicknameFrom, roomFrom } from "./names.ts";
import type { Sender } from "./sender.ts";
import type { ConnectionRecord, Storage } from "./storage.ts";
import { further, HELP, nicknameIs, reply } from "./text.ts";

/** What Handler is made of. */
export interface HandlerParts {
  readonly storage: Storage;
  readonly feed: Feed;
  readonly sender: Sender;
  readonly limits: Limits;
  readonly clock: Clock;
}

/** Somebody at the other end of a connection, and what of theirs is still on its way. */
export interface Speaker {
  /** Live: it changes as the connection's operations are delivered. */
  readonly record: ConnectionRecord;
  /** Messages handed to the feed and not settled yet. */
  pending: number;
  /** Called when there is one message less pending. */
  wake: (() => void) | undefined;
}

/** A command: gets what follows its name, and the first word of that. */
type Command = (speaker: Speaker, rest: string, word: string) => void | Promise<void>;

/** The meaning of lines, for all connections of an instance. */
export class Handler {
  readonly #storage: Storage;
  readonly #feed: Feed;
  readonly #sender: Sender;
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #commands = new Map<string, Command>([
    ["help", (speaker) => this.#reply(speaker, HELP)],
    ["join", (speaker, _, room) => this.#join(speaker, room)],
    ["nick", (speaker, _, nick) => this.#nick(speaker, nick)],
    ["room", ({ record }) => this.#reply({ record }, record.room ?? reply.notInRoom)],
    ["ls", (speaker) => this.#list(speaker)],
    ["quit", (speaker) => this.#quit(speaker)],
    ["me", (speaker, action) => this.#act(speaker, action)],
    ["msg", (speaker, rest) => this.#tell(speaker, rest)],
    ["who", (speaker, nick) => this.#who(speaker, nick)],
  ]);

  constructor({ storage, feed, sender, limits, clock }: HandlerParts) {
    this.#storage = storage;
    this.#feed = feed;
    this.#sender = sender;
    this.#limits = limits;
    this.#clock = clock;
  }

  /** A new connection; `undefined` when storage does not take it. */
  async open(id: string): Promise<Speaker | undefined> {
    const created = await this.#storage.createConnection(id);
    const record = await this.#storage.getRecordByConnection(id);
    if (created !== "done" || record === undefined) return undefined;
    return { record, pending: 0, wake: undefined };
  }

  /**
   * Handles a line. The next one may come when what is returned has resolved; for a message that
   * is at once, so that many can share a commit.
   */
  handle(speaker: Speaker, line: string): void | Promise<void> {
    const { record } = speaker;
    if (record.nick === "") return this.#login(speaker, line);
    if (line.startsWith("/")) return this.#command(speaker, line.slice(1));
    if (record.room === undefined) return this.#reply(speaker, reply.cannotSend);
    return this.#say(speaker, "message", line, record.room);
  }

  /** The connection is gone. */
  async close(id: string): Promise<void> {
    await this.#storage.deleteConnection(id);
  }

  async #login(speaker: Speaker, line: string): Promise<void> {
    const name = nicknameFrom(line, this.#limits);
    if (!name.ok) return this.#reply(speaker, further.tryNickname(name.why));
    const changed = await this.#storage.setUsername(speaker.record.id, name.name);
    if (changed === "done") this.#reply(speaker, reply.welcome(name.name));
    else if (changed === "taken") this.#reply(speaker, further.nicknameTaken(name.name));
    else this.#reply(speaker, further.notDone);
  }

  async #command(speaker: Speaker, line: string): Promise<void> {
    // What was said before is seen before the answer, and in the room where it was said.
    while (speaker.pending > 0) await settled(speaker);
    const space = line.indexOf(" ");
    const name = (space < 0 ? line : line.slice(0, space)).toLowerCase();
    const rest = space < 0 ? "" : line.slice(space + 1);
    const command = this.#commands.get(name);
    if (command === undefined) this.#reply(speaker, reply.unknownCommand(name));
    else await command(speaker, rest, rest.trim().split(/\s/u, 1)[0]!);
  }

  async #nick(speaker: Speaker, typed: string): Promise<void> {
    const { id, nick, room } = speaker.record;
    if (typed === "") return this.#reply(speaker, reply.currentNickname(nick));
    const name = nicknameFrom(typed, this.#limits);
    if (!name.ok) return this.#reply(speaker, name.why);
    const changed = await this.#storage.setUsername(id, name.name);
    if (changed === "taken") this.#reply(speaker, further.nicknameTaken(name.name));
    else if (changed === "failed") this.#reply(speaker, further.notDone);
    // In a room the event says so.
    else if (room === undefined) this.#reply(speaker, nicknameIs(name.name));
  }

  async #join(speaker: Speaker, typed: string): Promise<void> {
    if (typed === "") return this.#reply(speaker, further.joinWhat);
    const name = roomFrom(typed, this.#limits);
    if (!name.ok) return this.#reply(speaker, name.why);
    if (speaker.record.room !== undefined && !(await this.#quit(speaker))) return;
    const joined = await this.#storage.setRoom(speaker.record.id, name.name);
    if (joined !== "done") this.#reply(speaker, further.notDone);
  }

  async #quit(speaker: Speaker): Promise<boolean> {
    const { id, room } = speaker.record;
    if (room === undefined) this.#reply(speaker, reply.notInRoom);
    else if (await this.#storage.removeRoom(id) === "done") return true;
    else this.#reply(speaker, further.notDone);
    return false;
  }

  async #list(speaker: Speaker): Promise<void> {
    const { room } = speaker.record;
    if (room !== undefined) {
      const people = await this.#storage.getConnectionIdsByRoom(room);
      return this.#reply(speaker, [...people.values()].join("\n"));
    }
    const rooms = await this.#storage.listRooms();
    this.#reply(speaker, rooms.length === 0 ? further.noRooms : rooms.join("\n"));
  }

  #act(speaker: Speaker, action: string): void | Promise<void> {
    const { room } = speaker.record;
    if (action.trim() === "") return this.#reply(speaker, further.meWhat);
    if (room === undefined) return this.#reply(speaker, reply.cannotSend);
    return this.#say(speaker, "action", action, room);
  }

  async #tell(speaker: Speaker, rest: string): Promise<void> {
    const { nick, text } = splitAddressee(rest);
    if (text === "") return this.#reply(speaker, further.msgWhat);
    const to = await this.#find(speaker, nick);
    if (to === undefined) return;
    const told = await new Promise<Outcome>((settle) =>
      this.#feed.submit(to.id, {
        event: {
          kind: "direct",
          room: "",
          id: to.id,
          nick: speaker.record.nick,
          text,
          time: this.#clock.now(),
        },
        settle,
      })
    );
    this.#reply(speaker, told === "done" ? further.sentTo(to.nick, text) : further.notSent);
  }

  /** Somebody online; `undefined` when there is nobody, which the one who asked has been told. */
  async #find(speaker: Speaker, typed: string): Promise<ConnectionRecord | undefined> {
    const name = nicknameFrom(typed, this.#limits);
    if (!name.ok) return void this.#reply(speaker, name.why);
    const id = await this.#storage.getConnectionByNickname(name.name);
    const record = id === undefined ? id : await this.#storage.getRecordByConnection(id);
    if (record === undefined) this.#reply(speaker, further.isNotOnline(name.name));
    return record;
  }

  async #who(speaker: Speaker, typed: string): Promise<void> {
    if (typed.trim() === "") return this.#reply(speaker, further.whoWhat);
    const record = await this.#find(speaker, typed);
    if (record === undefined) return;
    if (record.room === undefined) this.#reply(speaker, further.isInNone(record.nick));
    else this.#reply(speaker, further.isInRoom(record.nick, record.room));
  }

  #say(speaker: Speaker, kind: Kind, text: string, room: string): void | Promise<void> {
    const { id, nick } = speaker.record;
    speaker.pending++;
    this.#feed.submit(room, {
      event: { kind, room, id, nick, text, time: this.#clock.now() },
      settle: (outcome) => {
        speaker.pending--;
        if (outcome !== "done") this.#reply(speaker, further.notSent);
        speaker.wake?.();
      },
    });
    // Whoever sends faster than storage takes it waits here, and their further frames with them.
    if (speaker.pending >= this.#limits.pendingMessages) return settled(speaker);
  }

  #reply({ record }: Pick<Speaker, "record">, text: string): void {
    this.#sender.reply(record.id, text);
  }
}

/** Splits what follows `/msg`: a nickname with spaces in it stands in double quotes. */
function splitAddressee(rest: string): { nick: string; text: string } {
  const [, quoted, word, text] = /^\s*(?:"([^"]*)"|(\S+))\s(.*)$/s.exec(rest) ?? [];
  return { nick: quoted ?? word ?? "", text: text ?? "" };
}

/** Resolves when one more of somebody's messages is settled. Only Handler waits, one at a time. */
function settled(speaker: Speaker): Promise<void> {
  return new Promise((resolve) => {
    speaker.wake = () => {
      speaker.wake = undefined;
      resolve();
    };
  });
}
