/**
 * The users and events of the `chat.v1` client; a part of `client.d.ts`.
 *
 * Times are Unix milliseconds by the server's clock. IDs are opaque strings; within one room, and among
 * the direct messages, they grow, compared as strings.
 */
import type { ActEvent, RoomStatusEvent } from "./acts.d.ts";
import type { ChatError } from "./client.d.ts";

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
  /** The reactions to it, in history and among missed events. */
  readonly reactions?: readonly ReactionCount[];
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

/** A member of the room is away, or back: all of the user's sessions there are away, or one is not. */
export interface AwayEvent extends User {
  readonly type: "away";
  readonly id: string;
  readonly room: string;
  readonly away: boolean;
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
  readonly reactions?: readonly ReactionCount[];
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

/** How many users reacted to a message with an emoji. `own`: this user is one of them. */
export interface ReactionCount {
  readonly emoji: string;
  readonly count: number;
  readonly own?: true;
}

/**
 * A user reacted to the message `target` with an emoji, or took that back: `removed`. `count`: how many
 * users have reacted with the emoji after it. Show that number: a message may already include the event.
 */
export interface ReactionEvent extends User {
  readonly type: "reaction";
  readonly id: string;
  readonly room?: string;
  readonly to?: User;
  readonly target: string;
  readonly emoji: string;
  readonly count: number;
  readonly removed?: true;
  readonly time: number;
}

/** Another session of this user has read a room, or the messages with a user, up to the event `id`. */
export interface ReadEvent {
  readonly type: "read";
  readonly room?: string;
  readonly with?: string;
  readonly id: string;
}

/** Another user writes: in a room, or without `room` to this user. It is told again every few seconds. */
export interface TypingEvent extends User {
  readonly type: "typing";
  readonly room?: string;
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
 * The session began, was resumed, or signed in to a registration. A registered user learns here which rooms and conversations its
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
 * Joins, leaves, renames and who is away are not recovered: call {@linkcode Room.members} for the present members.
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
 * The client has sent too much. What waits is sent by itself at `until`, Unix milliseconds by the clock of
 * the client.
 */
export interface PausedEvent {
  readonly type: "paused";
  readonly until: number;
}

/**
 * The state of the connection changed. Online, the client has logged in; it enters its rooms next, and
 * calls of a room wait for that. Offline, `retryAt` is the time of the next attempt. Without
 * `retryAt` the server refused the nickname, or the user was banned or kicked from the whole chat (the
 * `reason` is `banned` or `kicked`): the client waits for `rename`, `identify` or `retryNow`.
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
  | AwayEvent
  | DirectEvent
  | EditedEvent
  | DeletedEvent
  | ReactionEvent
  | ReadEvent
  | TypingEvent
  | ActEvent
  | RoomStatusEvent
  | WelcomeEvent
  | ResumedEvent
  | GapEvent
  | PausedEvent
  | StateEvent
  | FailureEvent
  | UnknownEvent;

/** Every event that a listener of a {@linkcode Room} can receive. */
export type EventInRoom =
  | RoomEvent
  | AwayEvent
  | GapEvent
  | RoomStatusEvent
  | (EditedEvent | DeletedEvent | ReactionEvent | ReadEvent | TypingEvent | ActEvent | ResumedEvent)
    & {
      readonly room: string;
    };

/** Every event that a listener of a {@linkcode Conversation} can receive. */
export type EventInConversation =
  | DirectEvent
  | (EditedEvent | DeletedEvent | ReactionEvent) & { readonly to: User }
  | ReadEvent & { readonly with: string };

/** The event among `All` that a listener of the type `T` receives; `"*"` is any type. */
export type EventOf<T extends ChatEvent["type"] | "*", All extends ChatEvent = ChatEvent> =
  T extends "*" ? All : Extract<All, { type: T }>;
