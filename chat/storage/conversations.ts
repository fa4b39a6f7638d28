/**
 * The conversations of registered users: with whom they exchanged direct messages that are kept.
 *
 * A row for each of both users says when the last message was sent. It expires with history. The
 * messages themselves are in history.
 */
import type { Clock } from "../base/clock.ts";
import { authorRef, type RoomEvent, type UserRef } from "../feed/events.ts";
import { conversationKey, conversationPrefix } from "../kv/keys.ts";
import { eachWithTimeout, withTimeout } from "../kv/retry.ts";
import { conversationFrom } from "../kv/values.ts";

/** Conversations of a user that are looked at to find the newest. */
const MAX_CONVERSATIONS_READ = 1_000;

/** The rows of conversations in KV. */
export class Conversations {
  readonly #kv: Deno.Kv;
  readonly #clock: Clock;
  readonly #lifeMs: number;

  /** `lifeMs`: for how many milliseconds direct messages between registered users are kept, or 0. */
  constructor(kv: Deno.Kv, clock: Clock, lifeMs: number) {
    this.#kv = kv;
    this.#clock = clock;
    this.#lifeMs = lifeMs;
  }

  /** Whether direct messages between registered users are kept. */
  get areKept(): boolean {
    return this.#lifeMs > 0;
  }

  /** Returns the mutations that list a direct message's conversation for both users. */
  putBoth(event: RoomEvent): Deno.KvMutation[] {
    const from = authorRef(event);
    const to = event.to ?? from;
    const put = (user: UserRef, other: UserRef): Deno.KvMutation => ({
      type: "set",
      key: conversationKey(user.user, other.user),
      value: { nick: other.nick, at: event.time },
      expireIn: this.#lifeMs,
    });
    return from.user === to.user ? [put(from, to)] : [put(from, to), put(to, from)];
  }

  /**
   * Returns whether a user has exchanged messages with another one that may still be kept.
   *
   * @throws when KV cannot be read.
   */
  async has(user: string, other: string): Promise<boolean> {
    const { versionstamp } = await withTimeout(
      this.#clock,
      this.#kv.get(conversationKey(user, other)),
    );
    return versionstamp !== null;
  }

  /**
   * Returns the other users of a user's newest conversations, the newest first.
   *
   * @throws when KV cannot be read.
   */
  async newest(user: string, limit: number): Promise<UserRef[]> {
    const found: { other: UserRef; at: number }[] = [];
    const prefix = conversationPrefix(user);
    const rows = this.#kv.list<unknown>({ prefix }, { limit: MAX_CONVERSATIONS_READ });
    for await (const { key, value } of eachWithTimeout(this.#clock, rows)) {
      const { nick, at } = conversationFrom(value) ?? {};
      if (nick === undefined || at === undefined) continue;
      found.push({ other: { user: String(key.at(-1)), nick, isRegistered: true }, at });
    }
    return found.sort((a, b) => b.at - a.at).slice(0, limit).map(({ other }) => other);
  }
}
