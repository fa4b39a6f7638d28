/**
 * What the questions of the `chat.v1` client return; a part of `client.d.ts`.
 */
import type { ActionEvent, RoomMessageEvent, User } from "./events.d.ts";

/** A user and the rooms that they are in. */
export interface WhoReply extends User {
  readonly rooms: readonly string[];
  readonly online: boolean;
}

/** A room that has members. */
export interface RoomReply {
  readonly room: string;
  readonly people: number;
}

/** A member of a room. `away`: all of the user's sessions in the room are away. */
export interface Member extends User {
  readonly away?: true;
}

/** The members of a room. `more` is present if they are too many for one reply. */
export interface MembersReply {
  readonly room: string;
  readonly members: readonly Member[];
  readonly more?: true;
}

/**
 * A page of history, oldest first. `more`: the server has further messages in that direction. After a
 * query with `after`, `complete` says that nothing is missing between that event and the page.
 */
export interface HistoryReply<Message = RoomMessageEvent | ActionEvent> {
  readonly events: readonly Message[];
  readonly more: boolean;
  readonly complete?: boolean;
}

/** The messages that `history` asks for: the newest, or those next to an ID. */
export interface HistoryQuery {
  readonly before?: string;
  readonly after?: string;
  /** From 1 to 100, default 50. */
  readonly limit?: number;
}

/** A session of this user, on this or another device. `since`: Unix milliseconds. */
export interface SessionInfo {
  readonly session: string;
  readonly since: number;
  readonly protocol: "text" | "chat.v1";
  readonly current?: true;
}
