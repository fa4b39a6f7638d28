/**
 * The subscribers of this instance, found by session and by user.
 *
 * Rooms are in rooms.ts. This file sends nothing and closes nothing.
 */
import type { Subscriber } from "./subscriber.ts";

/** The subscribers of one instance. */
export class Subscribers {
  readonly #all = new Set<Subscriber>();
  /** By session ID. */
  readonly #byId = new Map<string, Subscriber>();
  /** Those of registered users, by user ID. The ID of every other user is that of its session. */
  readonly #byAccount = new Map<string, readonly Subscriber[]>();

  /** The number of subscribers. */
  get size(): number {
    return this.#all.size;
  }

  /** Adds a subscriber, without a session. */
  add(subscriber: Subscriber): void {
    this.#all.add(subscriber);
  }

  /** Returns whether a subscriber has been added and not removed. */
  includes(subscriber: Subscriber): boolean {
    return this.#all.has(subscriber);
  }

  /** Returns all subscribers, as a copy. */
  all(): Subscriber[] {
    return [...this.#all];
  }

  /** Returns the subscriber of a session. */
  byId(id: string): Subscriber | undefined {
    return this.#byId.get(id);
  }

  /** Gives a session to a subscriber. Its user is the session's own until {@linkcode setUser}. */
  bind(subscriber: Subscriber, id: string): void {
    if (!this.#all.has(subscriber)) return;
    this.#unbind(subscriber);
    subscriber.id = id;
    subscriber.user = id;
    this.#byId.set(id, subscriber);
  }

  /** Says which user the session of a subscriber speaks for. */
  setUser(subscriber: Subscriber, user: string): void {
    if (!this.#all.has(subscriber)) return;
    this.#forgetUser(subscriber);
    subscriber.user = user;
    // An entry for every user would take 150 bytes more, 75 % of a client that is in no room.
    if (user === subscriber.id) return;
    const others = this.#byAccount.get(user) ?? [];
    this.#byAccount.set(user, others.concat(subscriber));
  }

  /** Returns the subscribers of two users, each once. The users may be the same. */
  ofUsers(one: string, other: string): Set<Subscriber> {
    const found = new Set<Subscriber>();
    for (const user of one === other ? [one] : [one, other]) {
      const own = this.#byId.get(user);
      // A session that has signed in speaks for another user.
      if (own?.user === user) found.add(own);
      for (const subscriber of this.#byAccount.get(user) ?? []) found.add(subscriber);
    }
    return found;
  }

  /** Removes a subscriber. Returns false if it has been removed already. */
  remove(subscriber: Subscriber): boolean {
    if (!this.#all.delete(subscriber)) return false;
    this.#unbind(subscriber);
    return true;
  }

  #unbind(subscriber: Subscriber): void {
    const { id } = subscriber;
    this.#forgetUser(subscriber);
    if (id !== undefined && this.#byId.get(id) === subscriber) this.#byId.delete(id);
  }

  #forgetUser(subscriber: Subscriber): void {
    const { user } = subscriber;
    if (user === undefined || user === subscriber.id) return;
    const others = (this.#byAccount.get(user) ?? []).filter((each) => each !== subscriber);
    if (others.length === 0) this.#byAccount.delete(user);
    else this.#byAccount.set(user, others);
  }
}
