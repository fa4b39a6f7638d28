/**
 * The texts of the `chat.v1` protocol: events and replies as lines of JSON.
 *
 * chat/docs/PROTOCOL.md describes their fields. This file sends nothing.
 */
import type { RoomEvent } from "../feed/events.ts";

/** The `ref` that a request may carry, and that its one reply repeats. */
export type Ref = string | number | undefined;

/** Returns an event as one line of JSON, the same for every client that receives it. */
export function encodeJson(
  { kind, room, nick, text, time, cid }: RoomEvent,
  eventId: string,
): string {
  // Concatenated by hand: this is the hot path, and JSON.stringify of an object takes twice as long.
  const where = `"id":"${eventId}","room":${stringify(room)},"nick":${stringify(nick)}`;
  const cidField = cid === "" ? "" : `,"cid":${stringify(cid)}`;
  switch (kind) {
    case "message":
    case "action":
      return `{"type":"${kind}",${where},"text":${stringify(text)},"time":${time}${cidField}}`;
    case "join":
      return `{"type":"joined",${where},"time":${time}}`;
    case "leave":
      return `{"type":"left",${where},"time":${time}}`;
    case "nick":
      return `{"type":"nick",${where},"to":${stringify(text)},"time":${time}}`;
    case "direct":
      return `{"type":"direct","id":"${eventId}","nick":${stringify(nick)},"text":${
        stringify(text)
      },"time":${time}${cidField}}`;
    case "resume":
      return "";
    default:
      return kind satisfies never;
  }
}

/** Returns a direct message as its sender sees it. */
export function encodeSent({ nick, text, time, cid, to }: RoomEvent, eventId: string): string {
  return JSON.stringify({
    type: "direct",
    id: eventId,
    nick,
    to,
    text,
    time,
    cid: cid || undefined,
  });
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

/** Returns a JSON string. Older versions stored lone surrogates, which strict parsers refuse. */
function stringify(text: string): string {
  return JSON.stringify(text.toWellFormed());
}

function wellFormed(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.toWellFormed() : value;
}
