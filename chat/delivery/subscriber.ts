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
  /** Its rooms. The array is replaced, never changed: V8 gives an array that grows 17 places. */
  rooms: readonly RoomSubscribers[];
  /** The number of rooms that have it in `slow`. If any has, it is sent no events of the others. */
  gaps: number;
  /** Events that wait until the client has been told what it missed; `undefined`: none have to. */
  heldEvents: HeldEvent[] | undefined;
  /** Code units of the held events, of all rooms together. */
  heldUnits: number;
  /**
   * Of a plain-text client: the ID of the last kept direct message that it was sent, by the ID of the
   * author; `undefined`: none was.
   */
  shownDirects: Map<string, string> | undefined;
  /** The users of whom it is sent no messages, joins and leaves, by their IDs; `undefined`: none. */
  ignored: ReadonlySet<string> | undefined;
  /** An upper bound of the unsent bytes: `bufferedAmount` at the last look, and all since. */
  maxUnsentBytes: number;
  /** Replies that share the next frame with the events of a commit. */
  pendingLines: string;
  /** Called when the server closes the socket, with the close code. */
  readonly onClosed: (code: number) => void;
}

/** The place of a line in a room's `lines`, and the user that it is by. */
interface AuthoredLine {
  readonly author: string;
  readonly start: number;
  readonly end: number;
}

/** The subscribers of one room on this instance. Each is in one of the first four collections. */
export interface RoomSubscribers {
  readonly name: string;
  readonly text: Set<Subscriber>;
  readonly json: Set<Subscriber>;
  /** JSON clients that have not been told yet what they missed. */
  readonly behind: Set<Subscriber>;
  /** Clients of either kind that read too slowly, and the events that they were not sent. */
  readonly slow: Map<Subscriber, Gap>;
  /** The events of the current commit that have not been sent: JSON, each with a line break. */
  lines: string;
  /** Code units of `lines` that were written before a member of `json` joined; `undefined`: none. */
  skipUnits: Map<Subscriber, number> | undefined;
  /** The members that ignore users; `undefined`: none has. */
  ignorers: Set<Subscriber> | undefined;
  /** The part of each line in `lines` that some members may have to be spared; empty without ignorers. */
  authored: AuthoredLine[];
  /** The members of `json` that an event in `lines` is about: they must receive it. */
  readonly mustReceive: Set<Subscriber>;
  /** The number of events in `lines`, and the ID of the last. */
  events: number;
  lastEventId: string;
  /** The ID of the last event that the members of `json` were sent. */
  sentEventId: string;
}

const NO_ROOMS: readonly RoomSubscribers[] = [];

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
    rooms: NO_ROOMS,
    gaps: 0,
    heldEvents: undefined,
    heldUnits: 0,
    shownDirects: undefined,
    ignored: undefined,
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
    slow: new Map(),
    lines: "",
    skipUnits: undefined,
    ignorers: undefined,
    authored: [],
    mustReceive: new Set(),
    events: 0,
    lastEventId: "",
    sentEventId: "",
  };
}

/** Returns the room of a name that a subscriber is in. */
export function roomOf({ rooms }: Subscriber, name: string): RoomSubscribers | undefined {
  return rooms.find((room) => room.name === name);
}

/** Puts a subscriber that keeps up into its collection of a room. */
export function addTo(room: RoomSubscribers, subscriber: Subscriber): void {
  if (subscriber.wire !== "json") room.text.add(subscriber);
  else if (subscriber.heldEvents === undefined) room.json.add(subscriber);
  else room.behind.add(subscriber);
}

/** Counts a subscriber among the members of a room that ignore users, or not. */
export function countIgnorer(room: RoomSubscribers, subscriber: Subscriber): void {
  if (subscriber.ignored !== undefined) (room.ignorers ??= new Set()).add(subscriber);
  else if (room.ignorers?.delete(subscriber) && room.ignorers.size === 0) room.ignorers = undefined;
}

/** Takes a subscriber out of all collections of a room. Returns whether the room is empty then. */
export function removeFrom(room: RoomSubscribers, subscriber: Subscriber): boolean {
  const { text, json, behind, slow } = room;
  text.delete(subscriber);
  json.delete(subscriber);
  behind.delete(subscriber);
  if (slow.delete(subscriber)) subscriber.gaps--;
  room.mustReceive.delete(subscriber);
  room.skipUnits?.delete(subscriber);
  room.ignorers?.delete(subscriber);
  const rest = subscriber.rooms.filter((each) => each !== room);
  subscriber.rooms = rest.length === 0 ? NO_ROOMS : rest;
  return text.size + json.size + behind.size + slow.size === 0;
}
