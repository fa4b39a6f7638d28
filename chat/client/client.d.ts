/**
 * The types of the `chat.v1` client. TypeScript finds this file beside `client.js`; Deno finds it by
 * the first line of `client.js`. `tests/client/types_test.ts` compares it with the JavaScript.
 *
 * Times are Unix milliseconds by the server's clock. IDs are opaque strings; within one room they
 * grow, compared as strings.
 */

/**
 * A user. `user` is stable and opaque: compare it, never the nickname. It is the ID of a registration,
 * or else of a session. `registered` says that the user has signed in to a registered nickname.
 */
export interface User {
  readonly user: string;
  readonly nick: string;
  readonly registered?: true;
}

/** The fields of text posted to a room. `cid` is the ID that its sender gave it. */
export interface RoomText extends User {
  readonly id: string;
  readonly room: string;
  readonly text: string;
  readonly time: number;
  readonly cid?: string;
  /** When it was edited, or deleted, which leaves the text empty. */
  readonly edited?: number;
  readonly deleted?: number;
}

/** A message in a room. */
export interface RoomMessageEvent extends RoomText {
  readonly type: "message";
}

/** An action in a room, shown as `* Ann waves`. */
export interface ActionEvent extends RoomText {
  readonly type: "action";
}

/** A user entered the room, with the first of their sessions. */
export interface JoinedEvent extends User {
  readonly type: "joined";
  readonly id: string;
  readonly room: string;
  readonly time: number;
}

/**
 * A user left the room, with the last of their sessions. When the client itself signs in or out, the
 * user that it was may leave: {@linkcode Room.joined} says whether the client is still in the room.
 */
export interface LeftEvent extends User {
  readonly type: "left";
  readonly id: string;
  readonly room: string;
  readonly time: number;
}

/** A member of the room is called `to.nick` from now on, and is the user `to.user`. */
export interface NickEvent extends User {
  readonly type: "nick";
  readonly id: string;
  readonly room: string;
  readonly to: User;
  readonly time: number;
}

/** A direct message to the user `to`. Every session of both users receives it. */
export interface DirectEvent extends User {
  readonly type: "direct";
  readonly id: string;
  readonly to: User;
  readonly text: string;
  readonly time: number;
  readonly cid?: string;
  /** It is kept like history: both users are registered. */
  readonly kept?: true;
  readonly edited?: number;
  readonly deleted?: number;
}

/** The author changed the message `target`, in a room or (with `to`) between two users. */
export interface EditedEvent extends User {
  readonly type: "edited";
  readonly id: string;
  readonly room?: string;
  readonly to?: User;
  readonly target: string;
  readonly text: string;
  readonly time: number;
}

/** The message `target` was deleted, in a room or (with `to`) between two users. */
export interface DeletedEvent extends User {
  readonly type: "deleted";
  readonly id: string;
  readonly room?: string;
  readonly to?: User;
  readonly target: string;
  readonly time: number;
}

/** Another session of this user has read a room, or the messages with a user, up to the event `id`. */
export interface ReadEvent {
  readonly type: "read";
  readonly room?: string;
  readonly with?: string;
  readonly id: string;
}

/** A room that the user is in. `unread`: at most 100, which means that or more. */
export interface RoomState {
  readonly room: string;
  /** This session receives the events of the room. */
  readonly joined: boolean;
  readonly read?: string;
  readonly unread?: number;
}

/** The user of a conversation, and how much of it is unread. */
export interface ConversationState extends User {
  readonly read?: string;
  readonly unread?: number;
}

/** The longest text, in bytes of UTF-8; the longest names, in characters; the most rooms. */
export interface Limits {
  readonly text?: number;
  readonly nick?: number;
  readonly room?: number;
  readonly rooms?: number;
}

/**
 * The session began, or was resumed. A registered user learns here which rooms and conversations its
 * other sessions have: `rooms` that are not `joined` can be joined.
 *
 * `history` and `edit` are for how many seconds messages are kept, and can be edited; 0: not at all.
 */
export interface WelcomeEvent extends User {
  readonly type: "welcome";
  readonly rooms: readonly RoomState[];
  readonly directs: readonly ConversationState[];
  readonly history: number;
  readonly edit: number;
  readonly limits: Limits;
}

/**
 * The client is back after a lost connection: `missed` events of the room, or without `room` of the
 * direct messages, were delivered before it. With `recovered: false` events may be missing before the
 * event `from`, or before this event if there is no `from`.
 *
 * If the session was lost, the client has logged in, joined and read the history again. Then
 * `recovered` says that no message is missing; joins, leaves and later changes of messages are not
 * told. Without `room` it says that no unread direct message is missing; it is left out if the session
 * had no direct messages that it could have lost.
 *
 * Reasons: `expired`, `too-many`, `history-off`, `unavailable`, `not-in-room`; `forgotten` means that
 * the server lost all its data and its IDs start again.
 */
export interface ResumedEvent {
  readonly type: "resumed";
  readonly room?: string;
  readonly recovered: boolean;
  readonly missed: number;
  readonly reason?: string;
  readonly from?: string;
}

/**
 * The server left out `missed` events of a room because the connection was too slow. The client read
 * the messages from the history and delivered `filled` of them, in order, before this event. With
 * `recovered: false` messages may be missing (`expired`, `too-many`, `history-off`, `unavailable`).
 *
 * Joins, leaves and renames are not recovered: call {@linkcode Room.members} for the present members.
 */
export interface GapEvent {
  readonly type: "gap";
  readonly room: string;
  readonly missed: number;
  readonly filled: number;
  readonly recovered: boolean;
  readonly reason?: string;
}

/**
 * The state of the connection changed. Offline, `retryAt` is the time of the next attempt. Without
 * `retryAt` the server refused the nickname: the client waits for `rename`, `identify` or `retryNow`.
 */
export type StateEvent =
  | { readonly type: "state"; readonly state: "connecting" | "online" }
  | {
    readonly type: "state";
    readonly state: "offline";
    readonly retryAt?: number;
    readonly code: number;
    readonly reason: string;
  }
  | {
    readonly type: "state";
    readonly state: "closed";
    readonly reason: "closed" | "detached" | "taken-over" | "ended";
  };

/** An error that answers no call, such as a refused login or a malformed line. */
export interface FailureEvent {
  readonly type: "error";
  readonly error: ChatError;
}

/** A line of a type that this client does not know. */
export interface UnknownEvent {
  readonly type: "unknown";
  readonly line: Readonly<Record<string, unknown>>;
}

/** An event of a room. */
export type RoomEvent = RoomMessageEvent | ActionEvent | JoinedEvent | LeftEvent | NickEvent;

/** Every event that a listener can receive. */
export type ChatEvent =
  | RoomEvent
  | DirectEvent
  | EditedEvent
  | DeletedEvent
  | ReadEvent
  | WelcomeEvent
  | ResumedEvent
  | GapEvent
  | StateEvent
  | FailureEvent
  | UnknownEvent;

/** Every event that a listener of a {@linkcode Room} can receive. */
export type EventInRoom =
  | RoomEvent
  | GapEvent
  | (EditedEvent | DeletedEvent | ReadEvent | ResumedEvent) & { readonly room: string };

/** Every event that a listener of a {@linkcode Conversation} can receive. */
export type EventInConversation =
  | DirectEvent
  | (EditedEvent | DeletedEvent) & { readonly to: User }
  | ReadEvent & { readonly with: string };

/** The event among `All` that a listener of the type `T` receives; `"*"` is any type. */
export type EventOf<T extends ChatEvent["type"] | "*", All extends ChatEvent = ChatEvent> =
  T extends "*" ? All : Extract<All, { type: T }>;

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

/** The members of a room. `more` is present if they are too many for one reply. */
export interface MembersReply {
  readonly room: string;
  readonly members: readonly User[];
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
   * @throws {ChatError} `unknown`: it may have been delivered; any other code: it was not
   */
  say(text: string): Promise<{ id: string }>;

  /** Posts an action, such as `waves`, in the same way as {@linkcode Room.say}. */
  act(text: string): Promise<{ id: string }>;

  /**
   * Replaces the text of one's own message.
   *
   * @throws {ChatError} `no-such-message`, `edit-too-late` and others. `offline`: it may be replaced
   */
  edit(id: string, text: string): Promise<void>;

  /** Deletes one's own message for good, with the same errors. */
  delete(id: string): Promise<void>;

  /**
   * Tells the user's other sessions that everything up to an event is read. Registered users only. A
   * call that waits to be sent is merged with the next one.
   */
  markRead(id: string): Promise<void>;

  /** Returns the members. */
  members(): Promise<MembersReply>;

  /** Returns a page of messages: the newest by default, or those just before or after an ID. */
  history(query?: HistoryQuery): Promise<HistoryReply>;

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

  /** Tells the user's other sessions that everything up to an event is read. */
  markRead(id: string): Promise<void>;

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
