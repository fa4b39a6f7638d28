/**
 * The users of a simulated chat, and what they do at random: registered ones with several devices in
 * both protocols, and unregistered ones. The people know nothing of instances and faults.
 */
import { REACTIONS } from "../../chat/base/reactions.ts";
import type { Random } from "../support/random.ts";
import { OPERATOR_SECRET } from "./cluster.ts";
import { type Account, Device, type DeviceParts, type SentMessage } from "./devices.ts";
import type { Line, SessionLog } from "./session_log.ts";

/** The rooms of a run. They are in several shards of the feed. */
export const ROOMS = ["red", "green", "blue", "white", "black", "amber"];

/** Sessions that a registered user of a run has at most. */
const MAX_SESSIONS = 3;

const MAX_DEVICES = 9;
const MAX_ACCOUNTS = 3;

/** A ban or a mute that a run has not lifted yet. */
interface Sanction {
  readonly act: "unban" | "unmute";
  readonly room: string;
  readonly user: string;
}

/** What an act needs to be possible. */
type Act = (this: People, device: Device) => void;

/** The users of one run. */
export class People {
  readonly devices: Device[] = [];
  readonly accounts: Account[] = [];
  /** The virtual time at which each direct message was requested. */
  readonly directSentMs = new Map<string, number>();
  /** How often users asked to end a session of theirs. */
  ends = 0;
  /** The IDs of the sessions that were operators'. */
  readonly operators = new Set<string>();
  /** The device that moderates: one at a time. */
  moderator: Device | undefined;
  #sanctions: Sanction[] = [];
  readonly #parts: DeviceParts;
  readonly #random: Random;
  /** Returns how many terminals use an account. */
  readonly #terminalsOf: (account: Account) => number;
  /** Returns the sessions of the terminals. */
  readonly #terminals: () => string[];
  #words = 0;

  constructor(
    parts: DeviceParts,
    terminalsOf: (account: Account) => number,
    terminals: () => string[],
  ) {
    this.#parts = parts;
    this.#random = parts.random;
    this.#terminalsOf = terminalsOf;
    this.#terminals = terminals;
  }

  /** Returns a text that no other message has, and that is in no other one. */
  text(): string {
    return `word ${++this.#words}.`;
  }

  /** Returns a registered user who can have one more session. */
  freeAccount(): Account | undefined {
    const free = this.accounts.filter((each) =>
      !each.isLost && this.#terminalsOf(each) + this.#devicesOf(each) < MAX_SESSIONS
    );
    return free.length === 0 ? undefined : this.#random.pick(free);
  }

  #devicesOf(account: Account): number {
    return this.devices.filter((each) => each.account === account && each.state !== "closed")
      .length;
  }

  /** Notes that a direct message is about to be sent. Returns its text. */
  directText(): string {
    const text = this.text();
    this.directSentMs.set(text, this.#parts.world.now);
    return text;
  }

  /** Lets one of the users do something. */
  act(): void {
    const random = this.#random;
    const chance = random.below(100);
    const present = this.devices.filter(({ state }) => state !== "closed");
    if (present.length < 2 || (chance < 6 && present.length < MAX_DEVICES)) return this.#arrive();
    const device = random.pick(present);
    if (chance < 12) return void device.connection?.cut();
    if (chance < 13) return void (random.percent(50) ? device.close() : device.vanish());
    if (chance < 15) return device.connect();
    if (!device.isOnline) return;
    let below = random.below(TOTAL_WEIGHT);
    for (const [weight, act] of DEEDS) {
      if ((below -= weight) < 0) return act.call(this, device);
    }
  }

  #arrive(): void {
    const account = this.#random.percent(70) ? this.freeAccount() : undefined;
    this.devices.push(new Device(`d${this.devices.length}`, this.#parts, account));
  }

  join(device: Device): void {
    if (device.isChanging) return;
    const session = device.session!;
    const joining = device.join(this.#random.pick(ROOMS));
    joining.then(() => {
      if (device.session === session) void device.askForMembers();
    });
  }

  leave(device: Device): void {
    const { joined } = device.session!;
    if (device.isChanging || joined.length === 0) return;
    void device.leave(this.#random.pick(joined));
  }

  talk(device: Device): void {
    const { joined } = device.session!;
    if (joined.length === 0) return this.join(device);
    for (let i = this.#random.below(3); i >= 0; i--) {
      const room = this.#random.pick(joined);
      const type = this.#random.percent(80) ? "message" : "action";
      void device.say({ type, room, text: this.text() }, { room });
    }
  }

  /** Sends a direct message to another user, or to its own other devices. */
  whisper(device: Device): void {
    const others = this.devices.filter(({ session }) => session !== undefined);
    const { user } = this.#random.pick(others).session!;
    const nick = this.#random.pick(this.devices).nick;
    const receiver = this.#random.percent(70) ? { user } : { to: nick };
    const place = { with: user };
    void device.say({ type: "direct", ...receiver, text: this.directText() }, place);
  }

  revise(device: Device): void {
    const message = this.#anyOf(device.said.filter(({ id }) => id !== undefined).slice(-8));
    if (message === undefined) return;
    const { id, place } = message;
    if (this.#random.percent(25)) {
      const remove = this.#random.percent(30) ? { remove: true } : {};
      const emoji = this.#random.pick(REACTIONS);
      void device.ask({ type: "react", ...place, id, emoji, ...remove });
    } else if (this.#random.percent(70)) {
      void device.ask({ type: "edit", ...place, id, text: this.text() });
    } else void device.ask({ type: "delete", ...place, id });
  }

  markRead(device: Device): void {
    const session = device.session!;
    const rooms = session.joined.flatMap((room): Line[] => {
      const { runs } = session.view(room);
      return runs.flatMap(({ ids }) => ids.slice(-3)).map((id) => ({ room, id }));
    });
    const place = this.#anyOf(device.said)?.place;
    const { direct } = session;
    if (place?.with !== undefined && direct !== undefined) rooms.push({ ...place, id: direct });
    const marker = this.#anyOf(rooms);
    if (marker !== undefined) void device.ask({ type: "read", ...marker });
  }

  comeAndGo(device: Device): void {
    void device.ask({ type: "away", away: this.#random.percent(60) });
  }

  rename(device: Device): void {
    if (device.isChanging) return;
    const { nick } = device;
    // Another spelling of the same nickname, or another nickname, which signs the device out.
    const spelling = nick === nick.toUpperCase() ? nick.toLowerCase() : nick.toUpperCase();
    void device.rename(this.#random.percent(60) ? spelling : this.#parts.freshNick());
  }

  signIn(device: Device): void {
    const account = this.freeAccount();
    if (device.isChanging || device === this.moderator || account === undefined) {
      return this.talk(device);
    }
    void device.identify(account);
  }

  register(device: Device): void {
    const isFull = this.accounts.filter(({ isLost }) => !isLost).length >= MAX_ACCOUNTS;
    if (device === this.moderator) return this.talk(device);
    if (device.isChanging || device.account !== undefined || isFull) return this.join(device);
    device.register(`secret-${++this.#words}`).then((account) => {
      if (account !== undefined) this.accounts.push(account);
    });
  }

  unregister(device: Device): void {
    const isRare = this.#random.percent(30);
    if (device.isChanging || device.account === undefined || device.account.isLost) return;
    if (isRare) void device.unregister();
    else void device.changePassword(`secret-${++this.#words}`);
  }

  /** Ends another session of the user. */
  endOther(device: Device): void {
    device.ask({ type: "sessions" }).then(({ sessions = [] }) => {
      const other = this.#anyOf((sessions as Line[]).filter(({ current }) => current !== true));
      if (other === undefined) return;
      this.ends++;
      void device.ask({ type: "end", session: other.session });
    });
  }

  look(device: Device): void {
    const { nick } = this.#random.pick(this.devices);
    const room = this.#random.pick(ROOMS);
    const requests: Line[] = [
      { type: "who", nick },
      { type: "rooms" },
      { type: "history", room, limit: 5 },
      { type: "history", with: device.session!.user },
    ];
    void device.ask(this.#random.pick(requests));
  }

  /** Lets the moderator act on a user in a room, or makes a device the moderator. */
  moderate(device: Device): void {
    const isGone = this.moderator === undefined || this.moderator.state === "closed";
    if (isGone && device.account === undefined && !device.isChanging) this.moderator = device;
    const { moderator } = this;
    const session = moderator?.session;
    if (moderator === undefined || session === undefined || !moderator.isOnline) return;
    if (!this.operators.has(session.id)) {
      this.operators.add(session.id);
      void moderator.ask({ type: "op", secret: OPERATOR_SECRET });
    }
    void this.#moderate(moderator, session);
  }

  async #moderate(moderator: Device, session: SessionLog): Promise<void> {
    const random = this.#random;
    const reason = this.text();
    const lifted = random.percent(45) ? this.#anyOf(this.#sanctions) : undefined;
    if (lifted !== undefined) {
      const { act: type, room, user } = lifted;
      const reply = await moderator.ask({ type, room, user, reason });
      if (/^(ok|error)$/.test(reply.type)) {
        this.#sanctions = this.#sanctions.filter((each) => each !== lifted);
      }
      return;
    }
    const room = random.pick(ROOMS);
    if (random.percent(15)) return void moderator.ask({ type: "topic", room, text: reason });
    const sessions = this.devices.flatMap(({ session: other }) =>
      other === undefined || other === session ? [] : [other]
    );
    const user = this.#anyOf([...sessions.map(({ user }) => user), ...this.#terminals()]);
    if (user === undefined) return;
    const type = random.pick(["kick", "ban", "mute"]);
    const inRooms = sessions.filter((each) => each.user === user).flatMap(({ joined }) => joined);
    // Mostly where the user is.
    const place = random.percent(80) ? this.#anyOf(inRooms) ?? room : room;
    const time = type !== "kick" && random.percent(15) ? { for: 60 } : {};
    await moderator.ask({ type, room: place, user, reason, ...time });
    if (type === "kick") return;
    this.#sanctions.push({ act: type === "ban" ? "unban" : "unmute", room: place, user });
  }

  #anyOf<T>(items: readonly T[]): T | undefined {
    return items.length === 0 ? undefined : this.#random.pick(items);
  }
}

/** What a device that is online may do, and how often. */
const DEEDS: readonly [number, Act][] = [
  [18, People.prototype.join],
  [6, People.prototype.leave],
  [26, People.prototype.talk],
  [10, People.prototype.whisper],
  [12, People.prototype.revise],
  [6, People.prototype.markRead],
  [8, People.prototype.comeAndGo],
  [4, People.prototype.rename],
  [8, People.prototype.signIn],
  [6, People.prototype.register],
  [2, People.prototype.unregister],
  [2, People.prototype.endOther],
  [4, People.prototype.look],
  [16, People.prototype.moderate],
];

const TOTAL_WEIGHT = DEEDS.reduce((sum, [weight]) => sum + weight, 0);

/** Returns the messages of all devices. */
export function saidBy(people: People): SentMessage[] {
  return people.devices.flatMap(({ said }) => said);
}
