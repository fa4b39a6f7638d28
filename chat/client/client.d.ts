/**
 * The types of the `chat.v1` client; those of its events are in `events.d.ts`, those of moderation in
 * `acts.d.ts`, those of other replies in `replies.d.ts`.
 *
 * TypeScript finds this file beside `client.js`; Deno finds it by the first line of `client.js`.
 * `tests/client/types_test.ts` compares it with the JavaScript.
 */
import type {
  ActFields,
  ChatActs,
  ModlogQuery,
  ModlogReply,
  RoomActs,
  RoomStatus,
  UserTarget,
} from "./acts.d.ts";
import type {
  ChatEvent,
  DirectEvent,
  EventInConversation,
  EventInRoom,
  EventOf,
  StateEvent,
  User,
} from "./events.d.ts";
import type {
  HistoryQuery,
  HistoryReply,
  MembersReply,
  RoomReply,
  SessionInfo,
  WhoReply,
} from "./replies.d.ts";

export type * from "./acts.d.ts";
export type * from "./events.d.ts";
export type * from "./replies.d.ts";

/**
 * What a client needs to resume, also after a reload: plain data for `JSON.stringify`. The tokens are
 * secrets: anyone who has one can take over the session. `grace` is in seconds. `rooms` has the ID of
 * the last event seen in each room, or `null`.
 */
export interface Session {
  readonly tokens: string[];
  readonly user: string;
  readonly nick: string;
  readonly rooms: Readonly<Record<string, string | null>>;
  readonly direct?: string;
  readonly grace: number;
}

/** Where a session is saved. `save` receives `null` when there is nothing to resume. */
export interface SessionStore {
  load(): Session | null | undefined;
  save(session: Session | null): void;
}

/** The part of a WebSocket that the client uses. */
export interface WebSocketLike {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  readonly protocol?: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(text: string): void;
  close(code?: number): void;
}

/** The source of time and of random delays. */
export interface Clock {
  /** Unix milliseconds. */
  now(): number;
  /** Milliseconds that never go back, for durations. */
  monotonicMs(): number;
  /** Runs a function later. Returns a function that cancels it. */
  after(ms: number, run: () => void): () => void;
  /** A random number from 0 to 1. */
  jitter(): number;
}

/** The options of a {@linkcode ChatClient}. */
export interface ClientOptions {
  /** The nickname to log in with. The nickname of a saved session overrides it. */
  readonly nick: string;
  /** The password of the nickname, if it is registered. The client keeps it in memory only. */
  readonly password?: string;
  /** The rooms to enter after the login. The rooms of a saved session override them. */
  readonly rooms?: readonly string[];
  /** Where the session is saved: after each frame that changed it. */
  readonly session?: SessionStore;
  /** The access token of a private server. It is sent as a WebSocket subprotocol. */
  readonly access?: string;
  /** How many calls may wait for a reply, default 256. */
  readonly outbox?: number;
  /** Opens a WebSocket. Default: the platform's. */
  readonly connect?: (url: string, protocols: string | string[]) => WebSocketLike;
  /** Default: the platform's time. */
  readonly clock?: Clock;
  /** Returns an ID that no other message has. Default: 128 random bits. */
  readonly ids?: () => string;
}

/**
 * An error of the server or of the client. `code` is one of the server's (see PROTOCOL.md), or:
 *
 * - `offline`: a question got no reply in time, or the connection was lost
 * - `full`: too many calls are waiting
 * - `replaced`: a later `join` or `leave` of the room, or `rename`, replaced this one before it was sent
 * - `unknown`: the session was lost before the reply came; the message may have been delivered
 * - `closed`: the client is closed
 * - `malformed`: the server sent a line that is not `chat.v1`
 * - `too-long`: the request is longer than 65,536 characters
 * - `too-slow`: the reader of {@linkcode ChatClient.events} fell behind
 */
export class ChatError extends Error {
  constructor(code: string, message: string, retryAfter?: number);
  readonly code: string;
  /** Milliseconds to wait before the next attempt; 0 or undefined if unknown. */
  readonly retryAfter: number | undefined;
}

/** A room, as one client uses it. `client.room(name)` returns it, whether the client is in it or not. */
export interface Room {
  /** The name, as the server writes it once the client is in the room. */
  readonly name: string;

  /** Whether the client is in the room, or will return to it. */
  readonly joined: boolean;

  /** The topic and the like, as the server last told it; empty while the client is not in the room. */
  readonly state: RoomStatus;

  /**
   * Calls the listener for each event of a type in this room, or with `"*"` for every one. Returns a
   * function that removes the listener.
   */
  on<T extends EventInRoom["type"] | "*">(
    type: T,
    listener: (event: EventOf<T, EventInRoom>) => void,
  ): () => void;

  /**
   * Posts a message. Returns the ID of the event.
   *
   * @throws {ChatError} `unknown`: it may have been delivered; any other code: it was not. `muted`,
   * `too-fast` (in slow mode): `retryAfter` says when the user may write again
   */
  say(text: string): Promise<{ id: string }>;

  /** Posts an action, such as `waves`, in the same way as {@linkcode Room.say}. */
  emote(text: string): Promise<{ id: string }>;

  /**
   * Does an act of moderation in the room, such as `act("mute", { nick: "Bob", for: 600 })`. Returns
   * the ID of its event.
   *
   * @throws {ChatError} `not-a-moderator`, `protected-user`, `no-such-user`, `bad-act`, `bad-time` and
   * others. `offline`: it may be done
   */
  act<Name extends keyof RoomActs>(
    name: Name,
    ...fields: ActFields<RoomActs, Name>
  ): Promise<{ id: string }>;

  /**
   * Replaces the text of one's own message.
   *
   * @throws {ChatError} `no-such-message`, `edit-too-late` and others. `offline`: it may be replaced
   */
  edit(id: string, text: string): Promise<void>;

  /**
   * Deletes a message for good: one's own, with the same errors, or as a moderator that of another
   * user, with the errors of {@linkcode Room.act}.
   */
  delete(id: string, reason?: string): Promise<void>;

  /**
   * Reacts to a message with an emoji, one of 👍 ❤️ 😂 🎉 😮 😢, or with `remove` takes that back.
   *
   * @throws {ChatError} `no-such-message`, `too-many-reactions`, `history-off` and others
   */
  react(id: string, emoji: string, remove?: boolean): Promise<void>;

  /**
   * Tells the user's other sessions that everything up to an event is read. Registered users only. A
   * call that waits to be sent is merged with the next one.
   */
  markRead(id: string): Promise<void>;

  /** Tells the others that this user writes: at most once in three seconds, and only while online. */
  typing(): void;

  /** Returns the members. */
  members(): Promise<MembersReply>;

  /** Returns a page of messages: the newest by default, or those just before or after an ID. */
  history(query?: HistoryQuery): Promise<HistoryReply>;

  /** Returns a page of the acts in this room: the newest, or those before an ID. For moderators. */
  modlog(query?: ModlogQuery): Promise<ModlogReply>;

  /** Leaves the room. */
  leave(): Promise<void>;
}

/** The direct messages with one user. `client.direct(user)` returns it. */
export interface Conversation {
  /** The ID of the other user. */
  readonly user: string;

  /** Calls the listener for each event of a type in this conversation. */
  on<T extends EventInConversation["type"] | "*">(
    type: T,
    listener: (event: EventOf<T, EventInConversation>) => void,
  ): () => void;

  /** Sends a message, as {@linkcode Room.say} does. `kept`: like history; else until both are gone. */
  say(text: string): Promise<{ id: string; kept?: true }>;

  /** Replaces the text of one's own kept message. */
  edit(id: string, text: string): Promise<void>;

  /** Deletes one's own kept message for good. */
  delete(id: string): Promise<void>;

  /** Reacts to a kept message, as {@linkcode Room.react} does. */
  react(id: string, emoji: string, remove?: boolean): Promise<void>;

  /** Tells the user's other sessions that everything up to an event is read. */
  markRead(id: string): Promise<void>;

  /** Tells the other user that this one writes, as {@linkcode Room.typing} does. */
  typing(): void;

  /** Returns a page of messages that are kept. Registered users only. */
  history(query?: HistoryQuery): Promise<HistoryReply<DirectEvent>>;
}

/**
 * A user's connection to the chat, which survives lost connections, reloads and restarts of the server.
 * It connects when it is constructed.
 *
 * Calls wait for a connection if there is none. A message is delivered at most once, however often the
 * client has to send it. Every call rejects with a {@linkcode ChatError}.
 */
export class ChatClient {
  /**
   * Connects to `url`, which begins with `ws://` or `wss://`.
   *
   * @throws {SyntaxError} if the platform cannot open a WebSocket for the URL
   */
  constructor(url: string | URL, options: ClientOptions);

  /** The ID of this user; empty before the first login. */
  get user(): string;

  /** The nickname, as the server last confirmed it. */
  get nick(): string;

  /** Whether the user has signed in to a registered nickname. */
  get registered(): boolean;

  /** The names of the rooms that the client is in or will return to, in the order of joining. */
  get rooms(): readonly string[];

  /** The state of the connection. */
  get state(): StateEvent["state"];

  /**
   * Calls the listener for each event of a type, or with `"*"` for every event. Returns a function
   * that removes the listener. An error that a listener throws is reported as uncaught; the other
   * listeners still run.
   */
  on<T extends ChatEvent["type"] | "*">(
    type: T,
    listener: (event: EventOf<T>) => void,
  ): () => void;

  /**
   * Iterates over all events until the client is closed. `limit` (default 1,000) is how many events
   * may wait for a slow reader.
   *
   * @throws {ChatError} `too-slow` if more events waited; some are lost then
   */
  events(options?: { limit?: number }): AsyncGenerator<ChatEvent, void, void>;

  /** Enters a further room. Its name may differ from the one given: the server corrects lookalikes. */
  join(room: string): Promise<Room>;

  /** Returns a room, to speak in it and listen to it. It sends nothing. */
  room(name: string): Room;

  /** Returns the conversation with a user, given by its ID. It sends nothing. */
  direct(user: string): Conversation;

  /** Sends a direct message to the user who has a nickname, as {@linkcode Conversation.say} does. */
  tell(nick: string, text: string): Promise<{ id: string; kept?: true }>;

  /** Changes the nickname. If the server refused the nickname at login, logs in with this one. */
  rename(nick: string): Promise<void>;

  /** Says that the user is away, or back. A lost session loses that; messages do not end it. */
  setAway(away: boolean): Promise<void>;

  /**
   * Takes a registered nickname by its password. If the server refused the nickname at login, logs in
   * with this one. The client keeps the password in memory, for a login after a lost session.
   *
   * @throws {ChatError} `wrong-password`, `not-registered`, `too-many-attempts` and others
   */
  identify(nick: string, password: string): Promise<void>;

  /**
   * Registers the current nickname: nobody else can use it without the password, which has 8 to 128
   * characters and no spaces.
   *
   * @throws {ChatError} `bad-password`, `already-registered`, `registration-off` and others
   */
  register(password: string): Promise<void>;

  /**
   * Changes the password of the current nickname. Tokens that the server gave out before stop working.
   *
   * @throws {ChatError} `wrong-password`, `not-identified` and others
   */
  changePassword(password: string, newPassword: string): Promise<void>;

  /**
   * Releases the registration of the current nickname.
   *
   * @throws {ChatError} `wrong-password`, `not-identified` and others
   */
  unregister(password: string): Promise<void>;

  /** Returns the user who has a nickname, and their rooms. */
  who(nick: string): Promise<WhoReply>;

  /** Returns the rooms that have members, ordered by name. */
  list(): Promise<RoomReply[]>;

  /** Returns the user's sessions. */
  sessions(): Promise<SessionInfo[]>;

  /** Ends another session of the user, such as a device that was lost. */
  endSession(session: string): Promise<void>;

  /** Returns the milliseconds that a round trip to the server took, waiting for a connection included. */
  ping(): Promise<number>;

  /**
   * Does an act of moderation on the whole chat, such as `act("ban", { network: "192.0.2.7" })`.
   * Returns the ID of its event.
   *
   * @throws {ChatError} `not-an-operator`, and the errors of {@linkcode Room.act}
   */
  act<Name extends keyof ChatActs>(
    name: Name,
    ...fields: ActFields<ChatActs, Name>
  ): Promise<{ id: string }>;

  /** Returns a page of the acts in all rooms and on the whole chat. For operators. */
  modlog(query?: ModlogQuery): Promise<ModlogReply>;

  /** Makes this session one of an operator, by the server's secret. With a lost session that is lost. */
  op(secret: string): Promise<void>;

  /**
   * Ignores a user: the server sends this client no messages, joins and leaves of the user. The list is
   * kept with a registered user, or else with the session. Returns the user.
   */
  ignore(user: UserTarget): Promise<User>;

  /** Ends that a user is ignored. Returns the user. */
  unignore(user: UserTarget): Promise<User>;

  /** Returns the users who are ignored. */
  ignored(): Promise<User[]>;

  /**
   * Reconnects at once if the client is offline; checks the connection if it is online. Call it when
   * the network is back or the user looks at the page again.
   */
  retryNow(): void;

  /**
   * Leaves the chat for good: other users see it at once. Waiting calls reject with `closed`.
   * Resolves when the socket is closed.
   */
  close(): Promise<void>;

  /**
   * Closes the connection without leaving, for `pagehide`. The server keeps the session for a while; a
   * new client can resume it. Waiting calls reject with `closed`.
   */
  detach(): Promise<void>;
}
