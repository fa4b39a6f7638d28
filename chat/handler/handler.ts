/**
 * What a client can do, for both protocols: the verbs are in the files that this one joins, one for
 * each idea. Here is what begins, resumes and ends a session.
 *
 * A verb returns a result or a rejection; the protocol tells the client. Changes of state go to
 * Storage, messages to the feed. No verb knows the protocols' texts, sockets or keys.
 */
import { CLOSE } from "../base/close_codes.ts";
import type { Clock } from "../base/clock.ts";
import type { Limits } from "../base/limits.ts";
import type { Result } from "../base/rejections.ts";
import type { Sender } from "../delivery/sender.ts";
import type { Feed } from "../feed/feed.ts";
import type { History } from "../history/history.ts";
import type { Moderation } from "../moderation/moderation.ts";
import type { Confusables } from "../nicknames/confusables.ts";
import type { Registrations } from "../nicknames/registrations.ts";
import type { Conversations } from "../storage/conversations.ts";
import type { ReadMarkers } from "../storage/read_markers.ts";
import type { Storage } from "../storage/storage.ts";
import type { Connection } from "../connections/connection.ts";
import { Identity } from "./identity.ts";
import { Membership } from "./membership.ts";
import { Messages } from "./messages.ts";
import { Moderating } from "./moderating.ts";
import type { LastSeen } from "../resume/missed_events.ts";
import { Reading } from "./reading.ts";
import type { Resume, Resumption } from "../resume/resume.ts";
import { Revisions } from "./revisions.ts";
import { RoomNames } from "./room_names.ts";
import { Typing } from "./typing.ts";
import type { Users } from "../nicknames/users.ts";
import { Welcome } from "./welcome.ts";

/** What Handler is made of. */
export interface HandlerParts {
  readonly storage: Storage;
  readonly conversations: Conversations;
  readonly markers: ReadMarkers;
  readonly feed: Feed;
  readonly history: History;
  readonly sender: Sender;
  readonly resume: Resume;
  readonly moderation: Moderation;
  readonly users: Users;
  readonly registrations: Registrations;
  readonly confusables: Confusables;
  readonly limits: Limits;
  readonly clock: Clock;
  /** Whether every user may read the history of every room. */
  readonly openHistory: boolean;
  /** Milliseconds within which users may edit and delete their messages; 0: they cannot. */
  readonly editMs: number;
  /** Whether people are told who writes. */
  readonly isTypingTold: boolean;
}

/** The verbs, for all connections of an instance. */
export class Handler {
  readonly #parts: HandlerParts;
  /** Acts, roles, and who may do what. */
  readonly moderating: Moderating;
  /** Logging in, nicknames, registrations, sessions. */
  readonly identity: Identity;
  /** Joining, leaving, members. */
  readonly membership: Membership;
  /** Messages to rooms and users. */
  readonly messages: Messages;
  /** Editing and deleting. */
  readonly revisions: Revisions;
  /** History and read markers. */
  readonly reading: Reading;
  /** Who writes. */
  readonly typing: Typing;
  /** What a client is told at the login. */
  readonly welcome: Welcome;

  constructor(parts: HandlerParts) {
    this.#parts = parts;
    const roomNames = new RoomNames(parts.confusables, parts.limits);
    this.identity = new Identity(parts);
    this.membership = new Membership({ ...parts, roomNames });
    this.moderating = new Moderating({ ...parts, roomNames });
    this.messages = new Messages({ ...parts, roomNames });
    this.revisions = new Revisions({ ...parts, roomNames });
    this.reading = new Reading({ ...parts, roomNames });
    this.typing = new Typing({ ...parts, roomNames });
    this.welcome = new Welcome(parts);
  }

  /**
   * Resumes the session that a token belongs to. The client receives only replies until
   * {@linkcode Handler.endCatchUp}, so that it can be told first what it missed.
   */
  async resume(
    connection: Connection,
    token: string,
    seen: LastSeen,
  ): Promise<Result<Resumption>> {
    const { subscriber, session: { address } } = connection;
    const resumed = await this.#parts.resume.resume(subscriber, token, seen, address);
    if (!resumed.ok) return resumed;
    // The connection's own session has no nickname and no rows.
    await this.#parts.storage.deleteConnection(connection.session.id);
    connection.session = resumed.session;
    connection.tokenUnconfirmed = true;
    return resumed;
  }

  /** Delivers the held events: the client has been told what it missed. */
  endCatchUp({ subscriber }: Connection, resumption: Resumption): Promise<void> {
    return this.#parts.resume.endCatchUp(subscriber, resumption);
  }

  /** Records that the client has received its newest resume token: it has sent a request since. */
  async confirmToken(connection: Connection): Promise<void> {
    connection.tokenUnconfirmed = false;
    await this.#parts.storage.confirmToken(connection.session.id);
  }

  /** Records what a client was shown, before it is disconnected. */
  async draining(connection: Connection): Promise<void> {
    await this.reading.markShown(connection);
  }

  /** Ends the session of a connection as its user asked: as if the client had left by itself. */
  async endOwn(connection: Connection): Promise<void> {
    await this.reading.markShown(connection);
    await this.#parts.storage.deleteConnection(connection.session.id);
    connection.close(CLOSE.ended);
  }

  /** Ends a session, or keeps it for a while if its client dropped. */
  async close(connection: Connection, dropped: boolean): Promise<void> {
    const { storage, resume } = this.#parts;
    const { session } = connection;
    // Another socket may have taken the session over, or its user may have ended it.
    if (storage.session(session.id) !== session) return;
    if (dropped && resume.keep(session)) return;
    await this.reading.markShown(connection);
    await storage.deleteConnection(session.id);
  }
}
