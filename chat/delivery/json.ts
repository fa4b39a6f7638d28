/**
 * The `chat.v1` protocol's words: events and replies as lines of JSON. PROTOCOL.md describes them.
 *
 * A helper below the way of a message: Requests takes its replies from here, Sender its events.
 */
import type { RoomEvent } from "../feed/events.ts";

/** What a request may carry so that its reply is known by it. */
export type Ref = string | number | undefined;

/** An event as a line, for everybody whom it concerns. */
export function encodeJson(
  { kind, room, nick, text, time, cid }: RoomEvent,
  eventId: string,
): string {
  // Put together by hand: this is the hot path, and `stringify` of an object takes twice as long.
  const where = `"id":"${eventId}","room":${stringify(room)},"nick":${stringify(nick)}`;
  const said = cid === "" ? "" : `,"cid":${stringify(cid)}`;
  switch (kind) {
    case "message":
    case "action":
      return `{"type":"${kind}",${where},"text":${stringify(text)},"time":${time}${said}}`;
    case "join":
      return `{"type":"joined",${where},"time":${time}}`;
    case "leave":
      return `{"type":"left",${where},"time":${time}}`;
    case "nick":
      return `{"type":"nick",${where},"to":${stringify(text)},"time":${time}}`;
    case "direct":
      return `{"type":"direct","id":"${eventId}","nick":${stringify(nick)},"text":${
        stringify(text)
      },"time":${time}${said}}`;
    case "resume":
      return "";
  }
}

/** A JSON string. Older versions stored lone surrogates, which strict JSON parsers refuse. */
function stringify(text: string): string {
  return JSON.stringify(text.toWellFormed());
}

/** A direct message as whoever said it sees it. */
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

/** What is told to a client in place of the events of a room that it could not be sent. */
export function encodeGap(room: string, after: string, until: string, missed: number): string {
  return JSON.stringify({ type: "gap", room, after, until, missed });
}

/** A reply, with the request's `ref` where it had one. */
export function encodeReply(type: string, ref: Ref, fields: Record<string, unknown> = {}): string {
  const reply = { type, ref, ...fields };
  const json = JSON.stringify(reply);
  // JSON.stringify escapes lone surrogates, and no others. Names that older versions stored may have some.
  return json.includes("\\ud") ? JSON.stringify(reply, wellFormed) : json;
}

function wellFormed(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.toWellFormed() : value;
}
