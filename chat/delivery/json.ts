/**
 * The texts of the `chat.v1` protocol: events and replies as lines of JSON.
 *
 * chat/docs/PROTOCOL.md describes their fields. This file sends nothing.
 */
import { actNameFrom, type ActRow, ACTS } from "../base/acts.ts";
import { countsOf } from "../base/reactions.ts";
import { authorRef, type RoomEvent, type UserRef } from "../feed/events.ts";

/** The `ref` that a request may carry, and that its one reply repeats. */
export type Ref = string | number | undefined;

/** The fields that name a user in replies. */
export interface UserFields {
  readonly user: string;
  readonly nick: string;
  readonly registered?: true;
}

/** Returns the fields that name a user, for {@linkcode encodeReply}. */
export function userFields({ user, nick, isRegistered }: UserRef): UserFields {
  return isRegistered ? { user, nick, registered: true } : { user, nick };
}

/**
 * Returns an event as one line of JSON, the same for every client that receives it; empty: no client
 * does. `keepsHistory`: direct messages between registered users are kept like history. `reader`: the ID
 * of the user who reads a message from history, and may have reacted to it.
 */
export function encodeJson(
  event: RoomEvent,
  eventId: string,
  keepsHistory = true,
  reader = "",
): string {
  // Concatenated by hand: this is the hot path, and JSON.stringify of an object takes twice as long.
  const { kind, room, id, account, nick, text, time, to } = event;
  const author = userOf(account || id, nick, account !== "");
  switch (kind) {
    case "message":
    case "action":
      return `{"type":"${kind}","id":"${eventId}","room":${stringify(room)},${author},"text":${
        stringify(text)
      },"time":${time}${cidOf(event)}${revisionOf(event, reader)}}`;
    case "join": {
      // With `to` the session was in the room already, and its new user was not.
      const user = to === undefined ? author : userOf(to.user, to.nick, to.isRegistered);
      return `{"type":"joined","id":"${eventId}","room":${stringify(room)},${user},"time":${time}}`;
    }
    case "leave":
      return `{"type":"left","id":"${eventId}","room":${stringify(room)},${author},"time":${time}}`;
    case "nick":
      return `{"type":"nick","id":"${eventId}","room":${stringify(room)},${author}${
        toOf(event)
      },"time":${time}}`;
    case "direct": {
      const isKept = keepsHistory && account !== "" && to?.isRegistered === true;
      return `{"type":"direct","id":"${eventId}",${author}${toOf(event)},"text":${
        stringify(text)
      },"time":${time}${cidOf(event)}${isKept ? ',"kept":true' : ""}${revisionOf(event, reader)}}`;
    }
    case "edit":
      return `{"type":"edited","id":"${eventId}",${placeOf(event)}${author}${toOf(event)}${
        targetOf(event)
      },"text":${stringify(text)},"time":${time}}`;
    case "delete":
      return `{"type":"deleted","id":"${eventId}",${placeOf(event)}${author}${toOf(event)}${
        targetOf(event)
      },"time":${time}}`;
    case "reaction": {
      const removed = event.isRemoved ? ',"removed":true' : "";
      return `{"type":"reaction","id":"${eventId}",${placeOf(event)}${author}${toOf(event)}${
        targetOf(event)
      },"emoji":${stringify(text)},"count":${event.count ?? 0}${removed},"time":${time}}`;
    }
    case "read": {
      const place = to === undefined ? placeOf(event) : `"with":${stringify(to.user)},`;
      return `{"type":"read",${place}"id":${stringify(event.target ?? "")}}`;
    }
    case "away":
      return `{"type":"away","id":"${eventId}","room":${stringify(room)},${author},"away":${
        event.count === 1
      },"time":${time}}`;
    case "act":
      return encodeAct(event, eventId);
    case "resume":
      return "";
    default:
      return kind satisfies never;
  }
}

/**
 * Returns an act as a line of JSON. Acts are rare, so it is not concatenated by hand. Its fields: `id`,
 * `room` (absent: the whole chat), the moderator, `act`, `on` (the user concerned), `network`, `message`
 * (the ID of the one that was deleted), `until`, `reason`, `text` (the topic), `count`, `time`.
 */
function encodeAct(event: RoomEvent, eventId: string): string {
  const { room, text, target = "", subject, to, until, count, time } = event;
  const act = actNameFrom(target);
  const row: ActRow | undefined = act && ACTS[act];
  const isMessage = row?.about === "message";
  return encodeReply("act", undefined, {
    id: eventId,
    room: room === "" ? undefined : room,
    ...userFields(authorRef(event)),
    act: target,
    on: to && userFields(to),
    network: isMessage ? undefined : subject,
    message: isMessage ? subject : undefined,
    until,
    text: row?.text === "topic" ? text : undefined,
    reason: row?.text === "topic" || text === "" ? undefined : text,
    count,
    time,
  });
}

/** Returns the line that tells who writes: in a room, or without one to the reader. */
export function encodeTyping(room: string | undefined, user: UserRef): string {
  return encodeReply("typing", undefined, { room, ...userFields(user) });
}

/** The state of a room, as one session is told it. */
export interface RoomState {
  readonly room: string;
  readonly topic?: string;
  /** Seconds between two messages of a user. */
  readonly slow?: number;
  readonly locked?: true;
  readonly private?: true;
  /** Unix milliseconds until which the user may only read; `true`: there is no end. */
  readonly muted?: number | true;
  /** What the session may do in the room; absent: what every member may. */
  readonly role?: "operator" | "moderator";
}

/** Returns the state of a room as a line of JSON. */
export function encodeRoomState(state: RoomState, ref?: Ref): string {
  return encodeReply("room", ref, { ...state });
}

/** Returns the line that replaces the events of a room that a slow reader was not sent. */
export function encodeGap(room: string, after: string, until: string, missed: number): string {
  return JSON.stringify({ type: "gap", room, after, until, missed });
}

/** Returns a reply as one line of JSON, with the request's `ref` if it had one. */
export function encodeReply(type: string, ref: Ref, fields: Record<string, unknown> = {}): string {
  const reply = { type, ref, ...fields };
  const json = JSON.stringify(reply);
  // JSON.stringify escapes only lone surrogates as \ud…: older versions stored names that hold some.
  return json.includes("\\ud") ? JSON.stringify(reply, wellFormed) : json;
}

/** Returns the fields that name a user. The server made the ID: nothing in it needs an escape. */
function userOf(user: string, nick: string, isRegistered: boolean): string {
  return isRegistered
    ? `"user":"${user}","nick":${stringify(nick)},"registered":true`
    : `"user":"${user}","nick":${stringify(nick)}`;
}

/** Returns the other user of an event, whose ID may be what a client sent. */
function toOf({ to }: RoomEvent): string {
  if (to === undefined) return "";
  const fields = `"user":${stringify(to.user)},"nick":${stringify(to.nick)}`;
  return `,"to":{${fields}${to.isRegistered ? ',"registered":true' : ""}}`;
}

/** Returns the room of an event that may belong to a conversation of two users instead. */
function placeOf({ room, to }: RoomEvent): string {
  return to === undefined ? `"room":${stringify(room)},` : "";
}

function targetOf({ target = "" }: RoomEvent): string {
  return `,"target":${stringify(target)}`;
}

function cidOf({ cid }: RoomEvent): string {
  return cid === "" ? "" : `,"cid":${stringify(cid)}`;
}

function revisionOf({ editedAt, deletedAt, reactions }: RoomEvent, reader: string): string {
  if (deletedAt !== undefined) return `,"deleted":${deletedAt}`;
  const edited = editedAt === undefined ? "" : `,"edited":${editedAt}`;
  if (reactions === undefined) return edited;
  return `${edited},"reactions":${JSON.stringify(countsOf(reactions, reader))}`;
}

/** Returns a JSON string. Older versions stored lone surrogates, which strict parsers refuse. */
function stringify(text: string): string {
  return JSON.stringify(text.toWellFormed());
}

function wellFormed(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.toWellFormed() : value;
}
