// @ts-check
/**
 * Whom the user ignores. The server keeps the list and sends nothing more by these users; the page hides
 * what they wrote before.
 */

/** @import { ChatClient, UserTarget } from "../client/client.js" */

/** The users who are ignored. */
export class Ignored {
  /** Their IDs. A new set for each change. @type {ReadonlySet<string>} */
  users = new Set();
  #client;
  #changed;

  /**
   * @param {ChatClient} client
   * @param {(isFewer: boolean) => void} changed isFewer: a user is ignored no longer
   */
  constructor(client, changed) {
    this.#client = client;
    this.#changed = changed;
  }

  /** Takes over the list of the server. */
  async load() {
    const users = await this.#client.ignored().catch(() => undefined);
    if (users && (users.length > 0 || this.users.size > 0)) {
      this.#set(users.map(({ user }) => user));
    }
  }

  /**
   * Ignores a user. Returns the user's nickname.
   *
   * @param {UserTarget} target
   * @throws {ChatError}
   */
  async add(target) {
    const { user, nick } = await this.#client.ignore(target);
    this.#set([...this.users, user]);
    return nick;
  }

  /**
   * Ignores a user no longer. Returns the user's nickname.
   *
   * @param {UserTarget} target
   * @throws {ChatError}
   */
  async remove(target) {
    const { user, nick } = await this.#client.unignore(target);
    this.#set([...this.users].filter((each) => each !== user));
    return nick;
  }

  #set(/** @type {string[]} */ users) {
    const before = this.users;
    this.users = new Set(users);
    this.#changed([...before].some((user) => !this.users.has(user)));
  }
}
