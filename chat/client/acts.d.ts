/**
 * The acts of moderation of the `chat.v1` client, and what it is told of them; a part of `client.d.ts`.
 *
 * `tests/client/types_test.ts` compares the acts with those of the server (`chat/base/acts.ts`).
 */
import type { User } from "./events.d.ts";

/** A user, named by ID or by nickname. */
export type UserTarget =
  | { readonly user: string; readonly nick?: never }
  | { readonly nick: string; readonly user?: never };

/** An address such as `192.0.2.7`, or a network such as `192.0.2.0/24`. */
export interface NetworkTarget {
  readonly network: string;
  /** Bans a network although it is a large part of the internet. */
  readonly force?: true;
  readonly user?: never;
  readonly nick?: never;
}

/** No user: the act is about the whole room. */
export interface NoTarget {
  readonly user?: never;
  readonly nick?: never;
}

/** Why, for the user concerned, the room and the record. At most 512 characters. */
export interface ActReason {
  readonly reason?: string;
}

/** Seconds after which the act ends by itself. Without it, only another act ends it. */
export interface ActTime {
  readonly for?: number;
}

/** The fields of each act in a room, by its name. */
export interface RoomActs {
  /** Takes a user out of the room. The user may come back. */
  readonly kick: UserTarget & ActReason;
  /** Takes a user out of the room, and keeps the user out. */
  readonly ban: UserTarget & ActTime & ActReason;
  /** Ends a ban. */
  readonly unban: UserTarget & ActReason;
  /** Lets a user only read; without a user, all but the moderators. */
  readonly mute: (UserTarget | NoTarget) & ActTime & ActReason;
  /** Lets a user, or all, write again. */
  readonly unmute: (UserTarget | NoTarget) & ActReason;
  /** Lets each user write one message in so many seconds, at most 3,600. 0: no limit. */
  readonly slow: { readonly seconds: number };
  /** Sets the topic. An empty text removes it. */
  readonly topic: { readonly text: string };
  /** Lets only registered users join. */
  readonly lock: ActReason;
  /** Lets everyone join again. */
  readonly unlock: Readonly<Record<never, never>>;
  /** Lets only invited users join, and hides the room from others. */
  readonly private: Readonly<Record<never, never>>;
  /** Ends that the room is private. */
  readonly public: Readonly<Record<never, never>>;
  /** Lets a user into a private or locked room. */
  readonly invite: UserTarget;
  /** Deletes the last messages of a user, at most 100. */
  readonly purge: UserTarget & { readonly count: number } & ActReason;
  /** Makes a registered user a moderator of the room. */
  readonly mod: UserTarget;
  /** Ends that a user is a moderator of the room. */
  readonly unmod: UserTarget;
  /** Tells the moderators who are online of a user. Every user may. */
  readonly report: UserTarget & Required<ActReason>;
}

/** The fields of each act on the whole chat, by its name. Except `report`, they are for operators. */
export interface ChatActs {
  /** Ends all sessions of a user. The user may come back. */
  readonly kick: UserTarget & ActReason;
  /** Keeps a user, an address or a network out of the chat. */
  readonly ban: (UserTarget | NetworkTarget) & ActTime & ActReason;
  /** Ends a ban. */
  readonly unban: (UserTarget | NetworkTarget) & ActReason;
  /** Tells the operators who are online of a user. */
  readonly report: UserTarget & Required<ActReason>;
}

/** The name of an act. `delete` is {@linkcode Room.delete} of a message by another user. */
export type ActName = keyof RoomActs | "delete";

/** The fields of an act among `Acts`, as an argument. It may be left out if none of them is needed. */
export type ActFields<Acts, Name extends keyof Acts> = Partial<Acts[Name]> extends Acts[Name]
  ? [fields?: Acts[Name]]
  : [fields: Acts[Name]];

/**
 * A moderator or operator did something: the event names that user, `on` the user concerned. Members of
 * the room are told of most acts, the user concerned of all but a `report`. Without `room` the act is on
 * the whole chat. Acts during a lost connection are not told later; the record has them.
 */
export interface ActEvent extends User {
  readonly type: "act";
  readonly id: string;
  readonly room?: string;
  readonly act: ActName;
  readonly on?: User;
  readonly network?: string;
  /** The ID of the message that was deleted. */
  readonly message?: string;
  /** When it ends by itself. */
  readonly until?: number;
  readonly reason?: string;
  /** The new topic; empty: none. */
  readonly text?: string;
  /** The seconds of slow mode, or how many messages were deleted. */
  readonly count?: number;
  readonly time: number;
}

/** What moderators have decided for a room, and what this session may do in it. */
export interface RoomStatus {
  readonly topic?: string;
  /** Seconds between two messages of a user. */
  readonly slow?: number;
  /** Only registered users may join. */
  readonly locked?: true;
  /** Only invited users may join. */
  readonly private?: true;
  /** When this session may write again; `true`: the mute has no end. */
  readonly muted?: number | true;
  /** Absent: the session may do what every member may. */
  readonly role?: "moderator" | "operator";
}

/** The state of a room: after the client has entered it or is back in it, and whenever it changes. */
export interface RoomStatusEvent extends RoomStatus {
  readonly type: "room";
  readonly room: string;
}

/** The acts that `modlog` asks for: the newest, or those before an ID. */
export interface ModlogQuery {
  readonly before?: string;
  /** From 1 to 100, default 50. */
  readonly limit?: number;
}

/** A page of the record, oldest first. `more`: there are earlier acts. */
export interface ModlogReply {
  readonly events: readonly ActEvent[];
  readonly more: boolean;
}
