/**
 * The state that Sender keeps for each socket and each room of this instance.
 *
 * Data only: sender.ts, rooms.ts and writer.ts change it, and no file outside delivery/ does.
 */
/** The part of a WebSocket that Sender uses. */
export interface Socket {
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(text: string): void;
  close(code: number, reason: string): void;
}

/** How a client's events are written: as lines of text, or as JSON. */
export type WireFormat = "text" | "json";

/** An event for a JSON client that has not been told yet what it missed. */
interface HeldEvent {
  readonly eventId: string;
  readonly text: string;
}

/** The events of its room that a client was not sent, because it reads too slowly. */
export interface Gap {
  /** The ID of the last event that it was sent. */
  after: string;
  /** The ID of the last event that it was not sent. */
  until: string;
  /** The number of events that it was not sent, and how many of them were messages. */
  missed: number;
  messages: number;
}

/** Where the events for a client go: one socket. */
export interface Subscriber {
  readonly socket: Socket;
  readonly wire: WireFormat;
  /** The connection ID it receives events for; `undefined` until {@linkcode Sender.bind}. */
  id: string | undefined;
  /** The ID of the event that resumed the connection here; earlier events of it are ignored. */
  takeoverEventId: string;
  room: RoomSubscribers | undefined;
  /** Events that wait until the client has been told what it missed; `undefined`: none have to. */
  heldEvents: HeldEvent[] | undefined;
  /** Code units of the held events. */
  heldUnits: number;
  /** An upper bound of the unsent bytes: `bufferedAmount` at the last look, and all since. */
  maxUnsentBytes: number;
  /** Replies that share the next frame with the events of a commit. */
  pendingLines: string;
  /** Code units of the room's pending lines that were written before it joined. */
  skipUnits: number;
  /** The events of its room that it has not been sent; `undefined`: it keeps up. */
  gap: Gap | undefined;
  /** Called when the server closes the socket, with the close code. */
  readonly onClosed: (code: number) => void;
}

/** The subscribers of one room on this instance. */
export interface RoomSubscribers {
  readonly name: string;
  readonly text: Set<Subscriber>;
  readonly json: Set<Subscriber>;
  /** JSON clients that have not been told yet what they missed. */
  readonly behind: Set<Subscriber>;
  /** Clients of either kind that read too slowly. */
  readonly slow: Set<Subscriber>;
  /** The events of the current commit that have not been sent: JSON, each with a line break. */
  lines: string;
  /** The members of `json` that an event in `lines` is about: they must receive it. */
  readonly mustReceive: Set<Subscriber>;
  /** The number of events in `lines`, how many of them are messages, and the ID of the last. */
  events: number;
  messages: number;
  lastEventId: string;
  /** The ID of the last event that the members of `json` were sent. */
  sentEventId: string;
}

/** Returns a subscriber for a socket, without a connection ID and in no room. */
export function newSubscriber(
  socket: Socket,
  wire: WireFormat,
  onClosed: (code: number) => void,
): Subscriber {
  return {
    socket,
    wire,
    id: undefined,
    takeoverEventId: "",
    room: undefined,
    heldEvents: undefined,
    heldUnits: 0,
    maxUnsentBytes: 0,
    pendingLines: "",
    skipUnits: 0,
    gap: undefined,
    onClosed,
  };
}

/** Returns a room without subscribers. */
export function newRoom(name: string): RoomSubscribers {
  return {
    name,
    text: new Set(),
    json: new Set(),
    behind: new Set(),
    slow: new Set(),
    lines: "",
    mustReceive: new Set(),
    events: 0,
    messages: 0,
    lastEventId: "",
    sentEventId: "",
  };
}

/** Returns the set of a room that a subscriber belongs to in its present state. */
export function setFor(subscriber: Subscriber, room: RoomSubscribers): Set<Subscriber> {
  if (subscriber.gap !== undefined) return room.slow;
  if (subscriber.wire !== "json") return room.text;
  return subscriber.heldEvents === undefined ? room.json : room.behind;
}
