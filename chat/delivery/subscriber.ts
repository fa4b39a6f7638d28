/**
 * The state that Sender keeps for each socket and each room of this instance.
 *
 * Data only: sender.ts, subscribers.ts, rooms.ts and writer.ts change it, and no file outside
 * delivery/ does.
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
  /** The session ID it receives events for; `undefined` until {@linkcode Sender.bind}. */
  id: string | undefined;
  /** The user whose direct messages it receives: its session ID until the session has signed in. */
  user: string | undefined;
  /** The ID of the event that resumed the session here; earlier events of it are ignored. */
  takeoverEventId: string;
  /** Its rooms. The array is replaced, never changed: so it takes no more memory than it needs. */
  seats: readonly Seat[];
  /** The number of seats with a gap. If there are any, it is sent no events of other rooms either. */
  gaps: number;
  /** Events that wait until the client has been told what it missed; `undefined`: none have to. */
  heldEvents: HeldEvent[] | undefined;
  /** Code units of the held events, of all rooms together. */
  heldUnits: number;
  /** An upper bound of the unsent bytes: `bufferedAmount` at the last look, and all since. */
  maxUnsentBytes: number;
  /** Replies that share the next frame with the events of a commit. */
  pendingLines: string;
  /** Called when the server closes the socket, with the close code. */
  readonly onClosed: (code: number) => void;
}

/** The place of a subscriber in one room. */
export interface Seat {
  readonly subscriber: Subscriber;
  readonly room: RoomSubscribers;
  /** Code units of the room's pending lines that were written before it joined. */
  skipUnits: number;
  /** The events of the room that it has not been sent; `undefined`: it keeps up. */
  gap: Gap | undefined;
}

/** The subscribers of one room on this instance. */
export interface RoomSubscribers {
  readonly name: string;
  readonly text: Set<Seat>;
  readonly json: Set<Seat>;
  /** JSON clients that have not been told yet what they missed. */
  readonly behind: Set<Seat>;
  /** Clients of either kind that read too slowly. */
  readonly slow: Set<Seat>;
  /** The events of the current commit that have not been sent: JSON, each with a line break. */
  lines: string;
  /** The members of `json` that an event in `lines` is about: they must receive it. */
  readonly mustReceive: Set<Seat>;
  /** The number of events in `lines`, and the ID of the last. */
  events: number;
  lastEventId: string;
  /** The ID of the last event that the members of `json` were sent. */
  sentEventId: string;
}

const NO_SEATS: readonly Seat[] = [];

/** Returns a subscriber for a socket, without a session ID and in no room. */
export function newSubscriber(
  socket: Socket,
  wire: WireFormat,
  onClosed: (code: number) => void,
): Subscriber {
  return {
    socket,
    wire,
    id: undefined,
    user: undefined,
    takeoverEventId: "",
    seats: NO_SEATS,
    gaps: 0,
    heldEvents: undefined,
    heldUnits: 0,
    maxUnsentBytes: 0,
    pendingLines: "",
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
    lastEventId: "",
    sentEventId: "",
  };
}

/** Adds a seat in a room to a subscriber, and returns it. The room's sets do not hold it yet. */
export function addSeat(subscriber: Subscriber, room: RoomSubscribers): Seat {
  const seat: Seat = { subscriber, room, skipUnits: 0, gap: undefined };
  subscriber.seats = [...subscriber.seats, seat];
  return seat;
}

/** Takes a seat from its subscriber. The room's sets may still hold it. */
export function removeSeat(seat: Seat): void {
  const { subscriber } = seat;
  const rest = subscriber.seats.filter((each) => each !== seat);
  subscriber.seats = rest.length === 0 ? NO_SEATS : rest;
}

/** Returns the seat of a subscriber in a room. */
export function seatIn(subscriber: Subscriber, room: string): Seat | undefined {
  return subscriber.seats.find((seat) => seat.room.name === room);
}

/** Returns the set of its room that a seat belongs to in its present state. */
export function setFor({ subscriber, room, gap }: Seat): Set<Seat> {
  if (gap !== undefined) return room.slow;
  if (subscriber.wire !== "json") return room.text;
  return subscriber.heldEvents === undefined ? room.json : room.behind;
}
