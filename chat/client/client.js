// @ts-check
/**
 * The client of `chat.v1` (see PROTOCOL.md): keeps one person in the chat across lost connections,
 * reloads and restarts of the server, shows each event once and says each message once.
 *
 * One file without imports, which browsers, Deno and Node 22 load as it is. It draws nothing, keeps
 * no list of messages or people, and stores nothing but what it needs to come back: what is still
 * waiting to be said is gone when the page is.
 */

/**
 * What was said in a room. `id` grows within a room, compared as a string; `time` is Unix time in
 * milliseconds by the server's clock; `cid` is the id that whoever said it gave it.
 *
 * @typedef {{ id: string, room: string, nick: string, text: string, time: number, cid?: string }} Said
 */
/** @typedef {Said & { type: "message" }} SaidEvent */
/** @typedef {Said & { type: "action" }} ActionEvent */
/** @typedef {{ type: "joined", id: string, room: string, nick: string, time: number }} JoinedEvent */
/** @typedef {{ type: "left", id: string, room: string, nick: string, time: number }} LeftEvent */
/** @typedef {{ type: "nick", id: string, room: string, nick: string, to: string, time: number }} NickEvent */
/**
 * Said to one person. `to` is there if it was said by oneself.
 *
 * @typedef {{ type: "direct", id: string, nick: string, text: string, time: number, to?: string, cid?: string }} DirectEvent
 */
/**
 * The end of what was missed: `missed` events were given. If `recovered` is false, something may be
 * missing (`reason`: `expired`, `too-many`, `history-off`) before the event with the id `from`, or
 * before this one. `forgotten`: the server has lost everything, and its ids begin anew.
 *
 * @typedef {{ type: "resumed", recovered: boolean, missed: number, reason?: string, from?: string }} ResumedEvent
 */
/**
 * The connection was too slow: `missed` events of the room were not sent. What was said has been got
 * from the history and was given before this, in its order; if `recovered` is false, something may be
 * missing (`reason`: `too-many`, `history-off`, `unavailable`). Who came, went or was renamed meanwhile
 * is not told: {@linkcode ChatClient.members} says who is here now.
 *
 * @typedef {{ type: "gap", room: string, missed: number, filled: number, recovered: boolean, reason?: string }} GapEvent
 */
/**
 * The connection's state changed. Offline, `retryAt` is when it is tried again, in Unix milliseconds;
 * without it the client waits for `rename`, `identify` or `retryNow`, because the nickname was
 * refused.
 *
 * @typedef {{ type: "state", state: "connecting" | "online" }
 *   | { type: "state", state: "offline", retryAt?: number, code: number, reason: string }
 *   | { type: "state", state: "closed", reason: "closed" | "detached" | "taken-over" }} StateEvent
 */
/**
 * Something went wrong that was not asked for by a call: a refused login, a malformed line.
 *
 * @typedef {{ type: "error", error: ChatError }} FailureEvent
 */
/**
 * An event of a type that this client does not know, for who listens to `"*"` or `"unknown"`.
 *
 * @typedef {{ type: "unknown", line: Record<string, unknown> }} UnknownEvent
 */
/**
 * Everything that a listener can be told, by `type`.
 *
 * @typedef {SaidEvent | ActionEvent | JoinedEvent | LeftEvent | NickEvent | DirectEvent | ResumedEvent
 *   | GapEvent | StateEvent | FailureEvent | UnknownEvent} ChatEvent
 */
/** @typedef {SaidEvent | ActionEvent | JoinedEvent | LeftEvent | NickEvent} RoomEvent */
/** @typedef {{ room: string, after: string, until: string, missed: number }} Gap */
/** @typedef {{ room: string, events: (SaidEvent | ActionEvent)[], more: boolean }} HistoryReply */
/** @typedef {{ nick: string, room: string | null }} WhoReply */
/** @typedef {{ room: string, people: number }} RoomReply */
/**
 * @typedef {{ room: string, nicks: string[], more?: boolean }} MembersReply `more`: there are others,
 *   too many for one reply
 */

/**
 * What is needed to come back, also after a reload of a page: plain data for `JSON.stringify`. The
 * tokens are secrets: whoever has one can take the place.
 *
 * @typedef {{ tokens: string[], nick: string, room?: string, last?: string, direct?: string, sent?: string, grace: number }} Session
 */
/**
 * The part of a WebSocket that the client uses.
 *
 * @typedef {object} WebSocketLike
 * @property {((event: never) => void) | null} onopen
 * @property {((event: never) => void) | null} onmessage
 * @property {((event: never) => void) | null} onclose
 * @property {((event: never) => void) | null} onerror
 * @property {string} [protocol]
 * @property {number} readyState
 * @property {number} bufferedAmount
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 */
/**
 * Where time comes from: `now` in Unix milliseconds, `monotonicMs` in milliseconds that never go
 * back, for durations; `after` returns what cancels, `jitter` gives a number from 0 to 1.
 *
 * @typedef {{ now(): number, monotonicMs(): number, after(ms: number, run: () => void): () => void,
 *   jitter(): number }} Clock
 */
/**
 * - `nick`: the nickname to log in with. One of a saved session goes before it.
 * - `password`: the nickname is registered, and this is its password. It is kept in memory alone.
 * - `room`: the room to be in after the login. One of a saved session goes before it.
 * - `session`: where the way back is kept, called after each frame that changed it; `null` is
 *   saved when there is no way back.
 * - `access`: the access token of a private server (not of a session). It is sent as a subprotocol,
 *   because browsers can send no header of their own with a WebSocket.
 * - `outbox`: how many calls may wait for their answer, default 256.
 * - `connect`, `clock`, `ids`: other sockets, another time, other ids of messages. An id must be
 *   new among all that anybody uses; default are 128 random bits.
 *
 * @typedef {object} ClientOptions
 * @property {string} nick
 * @property {string} [password]
 * @property {string} [room]
 * @property {{ load(): Session | null | undefined, save(session: Session | null): void }} [session]
 * @property {string} [access]
 * @property {number} [outbox]
 * @property {(url: string, protocols: string | string[]) => WebSocketLike} [connect]
 * @property {Clock} [clock]
 * @property {() => string} [ids]
 */
/** @typedef {Record<string, unknown> & { type: string }} Line */
/**
 * A call that waits for its answer: to `say` something (may be asked again, by its cid), to `move`
 * (what changes who and where one is; nothing overtakes it), or to `ask`.
 *
 * @typedef {object} Call
 * @property {"say" | "move" | "ask"} kind
 * @property {Line} request
 * @property {number} units - Length of the request
 * @property {boolean} sent - It may have been done: over some connection, unanswered
 * @property {Link | undefined} over - The connection that it was sent over and not answered yet
 * @property {boolean} doubtful - It was sent from a place that is lost
 * @property {number} failures - How often the storage was away
 * @property {() => void} cancel - Stops its time limit
 * @property {(answer: Line | ChatError) => void} settle
 * @property {Promise<unknown>} promise
 */

const PROTOCOL = "chat.v1";

/** Milliseconds for a connection to open. */
const OPEN_LIMIT = 10_000;
/** Milliseconds of silence after which the server is asked for a sign of life. */
const QUIET = 20_000;
/** Milliseconds for that sign: more than the twelve seconds that the server waits for its storage. */
const SIGN_LIMIT = 15_000;
/** Milliseconds for it when the page has reason to believe that the network changed. */
const HASTY_SIGN_LIMIT = 5_000;
/** Milliseconds for the answer to a question, the wait for a connection included. */
const ANSWER_LIMIT = 30_000;

/** Milliseconds before the first try to come back: half of it at least, jitter adds the rest. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** Milliseconds, and up to twice that, until one's own ghost's nickname is asked for again. */
const GHOST_PAUSE = 1_000;
/** Milliseconds online after which the next loss counts as the first. */
const STABLE = 10_000;
/** The same after being turned away as too slow (1013): what was missed must not bring the same about
 * again and again, each time after half a minute. */
const LONG_STABLE = 300_000;

/** Calls in flight, and their length together: the server hangs up at 256 Ki characters (1008). */
const MOST_IN_FLIGHT = 64;
const MOST_UNITS_IN_FLIGHT = 128 * 1024;
/** Longest request: a frame far over the server's limit costs the connection, again at each try. */
const MOST_UNITS = 64 * 1024;
/** Bytes that may wait in the socket before more are handed to it. */
const MOST_BUFFERED = 1024 * 1024;
/** Milliseconds until a full socket is looked at again. */
const BUFFER_PAUSE = 50;
/** How often a call is tried while the storage is away, and the first pause in milliseconds. */
const MOST_FAILURES = 4;
const STORAGE_PAUSE = 1_000;
/** Milliseconds after being told to wait for which only one call is in flight: the others would only
 * be refused, and whoever goes on although told to wait is closed (1008). */
const CAREFUL = 30_000;

/** Pages of 100 that are asked for when the place was lost, or events were not sent. */
const MOST_PAGES = 10;
/** How often a page of what was not sent is asked for while the server says to wait. */
const MAX_PAGE_TRIES = 5;

/** Seconds for which the server keeps a place, until it has said so itself. */
const USUAL_GRACE = 30;

/** Close code of a connection that this client has given up. Other than 1000 it is no leaving. */
const GIVEN_UP = 4000;
const TAKEN_OVER = 4001;
const POLICY = 1008;
const TRY_LATER = 1013;

/** @type {Clock} */
const SYSTEM_CLOCK = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  jitter: () => Math.random(),
};

/** What is in every event of a room. */
const IN_ROOM = { id: "", room: "", nick: "" };
/**
 * What lines of the server must hold to be taken for what they say they are: by example.
 *
 * @type {Readonly<Record<string, Record<string, unknown>>>}
 */
const SHAPES = {
  message: { ...IN_ROOM, text: "" },
  action: { ...IN_ROOM, text: "" },
  joined: IN_ROOM,
  left: IN_ROOM,
  nick: { ...IN_ROOM, to: "" },
  direct: { id: "", nick: "", text: "" },
  resumed: { recovered: true, missed: 0 },
  gap: { room: "", after: "", until: "", missed: 0 },
  welcome: { nick: "", token: "" },
  who: { nick: "" },
  rooms: { rooms: [] },
  members: { room: "", nicks: [] },
  history: { room: "", events: [] },
  error: { code: "", message: "" },
};

/** Types of lines that only answer something: late ones are passed over. */
const REPLIES = ["welcome", "ok", "who", "rooms", "members", "history", "pong"];

/**
 * What went wrong. `code` is one of the server's (see PROTOCOL.md), or one of this client's:
 *
 * - `offline`: a question got no answer in time, or its connection was lost
 * - `full`: too much waits already
 * - `replaced`: another `join`, `leave` or `rename` was called before this one could be sent
 * - `unknown`: the place was lost before the answer came; it may have been said, or not
 * - `closed`: the client is closed
 * - `malformed`: the server sent what is no line of `chat.v1`
 * - `too-slow`: the reader of {@linkcode ChatClient.events} was left behind
 */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {number} [retryAfter]
   */
  constructor(code, message, retryAfter) {
    super(message);
    this.name = "ChatError";
    /** @readonly */
    this.code = code;
    /**
     * Milliseconds after which it may be tried again; 0 or nothing where that is not known.
     *
     * @readonly
     */
    this.retryAfter = retryAfter;
  }
}

/** One connection: what is asked over it, what it hears, and whether it is alive. */
class Link {
  /** @type {Map<unknown, (reply: Line | ChatError) => void>} */
  #asked = new Map();
  /** @type {Set<() => void>} */
  #timers = new Set();
  #refs = 0;
  #open = false;
  #ended = false;
  #probing = false;
  #heardAt;
  #socket;
  #clock;
  #on;

  /**
   * @param {WebSocketLike} socket
   * @param {Clock} clock
   * @param {{ open(): void, event(line: Line): void, malformed(what: string): void, read(): void,
   *   end(code: number, reason: string): void }} on
   */
  constructor(socket, clock, on) {
    this.#socket = socket;
    this.#clock = clock;
    this.#on = on;
    this.#heardAt = clock.monotonicMs();
    socket.onopen = () => {
      this.#open = true;
      this.#heardAt = clock.monotonicMs();
      this.#watch(QUIET);
      // Browsers refuse this themselves; others would go on and log in with a line of JSON as name.
      const { protocol = PROTOCOL } = socket;
      if (protocol === PROTOCOL) on.open();
      else on.malformed(`no sign that it speaks ${PROTOCOL}`);
    };
    socket.onmessage = (/** @type {{ data: unknown }} */ { data }) => this.#read(data);
    socket.onclose = (/** @type {{ code: number, reason: string }} */ { code, reason }) =>
      this.#end(code, reason);
    socket.onerror = null;
    this.after(OPEN_LIMIT, () => this.#open || this.giveUp("it did not open"));
  }

  /** Bytes that the socket has not sent yet. */
  get buffered() {
    return this.#socket.bufferedAmount;
  }

  /**
   * Sends a request. The reply is told at once when it is read, before what stands behind it; the
   * end of the connection is told as an error with the code `offline`.
   *
   * @param {Line} request
   * @param {(reply: Line | ChatError) => void} replied
   */
  ask(request, replied) {
    if (this.#ended) return replied(new ChatError("offline", "the connection has ended"));
    const ref = ++this.#refs;
    this.#asked.set(ref, replied);
    this.#socket.send(JSON.stringify({ ...request, ref }));
  }

  /**
   * The same as a promise, for when nothing can stand behind the reply that must wait for it. It
   * never rejects.
   *
   * @param {Line} request
   * @returns {Promise<Line | ChatError>}
   */
  request(request) {
    return new Promise((resolve) => this.ask(request, resolve));
  }

  /**
   * Runs something later, if the connection is still there.
   *
   * @param {number} ms
   * @param {() => void} run
   */
  after(ms, run) {
    const cancel = this.#clock.after(ms, () => {
      this.#timers.delete(cancel);
      run();
    });
    this.#timers.add(cancel);
  }

  /** Asks for a sign of life; any will do. Without one the connection is given up. */
  probe(limit = SIGN_LIMIT) {
    if (this.#probing || !this.#open) return;
    this.#probing = true;
    let alive = false;
    const heardAt = this.#heardAt;
    this.ask({ type: "ping" }, () => alive = true);
    this.after(limit, () => {
      this.#probing = false;
      if (!alive && this.#heardAt === heardAt) this.giveUp("it gave no sign of life");
    });
  }

  /**
   * Ends it as a loss, which is told to whoever made it.
   *
   * @param {string} reason
   */
  giveUp(reason) {
    this.#end(GIVEN_UP, reason);
    this.#hangUp(GIVEN_UP);
  }

  /**
   * Ends it without telling. Resolves when the socket is closed.
   *
   * @param {number} code
   */
  async end(code) {
    this.#on = { ...this.#on, end() {} };
    this.#end(code, "");
    if (this.#socket.readyState === 3) return;
    await new Promise((/** @type {(value: void) => void} */ resolve) => {
      this.#socket.onclose = () => resolve();
      this.#hangUp(code);
    });
  }

  /** @param {number} code */
  #hangUp(code) {
    if (this.#socket.readyState < 2) this.#socket.close(code);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #end(code, reason) {
    if (this.#ended) return;
    this.#ended = true;
    for (const cancel of this.#timers) cancel();
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    const lost = new ChatError("offline", "the connection was lost");
    for (const replied of this.#asked.values()) replied(lost);
    this.#on.end(code, reason);
  }

  /** One timer for the whole connection, not one for each frame: it looks when it last heard. */
  #watch(/** @type {number} */ ms) {
    this.after(ms, () => {
      const quiet = this.#clock.monotonicMs() - this.#heardAt;
      if (quiet >= QUIET) this.probe();
      this.#watch(quiet >= QUIET ? QUIET : QUIET - quiet);
    });
  }

  /** @param {unknown} data */
  #read(data) {
    this.#heardAt = this.#clock.monotonicMs();
    if (typeof data !== "string") return this.#on.malformed("a frame that is no text");
    for (const text of data.split("\n")) {
      // A listener may have closed the client.
      if (this.#ended) return;
      if (text !== "") this.#readLine(text);
    }
    this.#on.read();
  }

  /** @param {string} text */
  #readLine(text) {
    const line = parse(text);
    if (line === undefined) return this.#on.malformed(text.slice(0, 200));
    const replied = this.#asked.get(line.ref);
    if (replied === undefined) return this.#on.event(line);
    this.#asked.delete(line.ref);
    replied(line.type === "error" ? errorFrom(line) : line);
  }
}

/** Somebody in the chat. Connects as soon as it is made. */
export class ChatClient {
  #url;
  /** @type {string | string[]} */
  #protocols = PROTOCOL;
  #connectTo;
  #clock;
  #ids;
  #store;
  #outbox;

  /** @type {Map<string, Set<(event: ChatEvent) => void>>} */
  #listeners = new Map();
  /** @type {StateEvent} */
  #state = { type: "state", state: "connecting" };
  /** @type {Link | undefined} */
  #link;
  #failures = 0;
  #stable = STABLE;
  /** @type {number | undefined} */
  #onlineSince;
  #cancelRetry = () => {};

  /** @type {string} */
  #nick;
  /** The password of a nickname: whoever loses their place logs in with it again.
   * @type {{ nick: string, password: string } | undefined} */
  #secret;
  /** The room, and the last id seen of it: where one is, or was and will be again. In no room, the
   * id of the event by which one left the last one. */
  /** @type {{ room: string | undefined, last: string | undefined }} */
  #place;
  /** The last ids of the direct messages that one received, and that one sent; empty: none was.
   * Each grow, but not among each other. Sessions of earlier versions do not tell them apart.
   * @type {{ received: string | undefined, sent: string | undefined }} */
  #direct;
  /** Newest first. The one before is kept until the server has heard us over the connection that
   * the newest was got for: only then is it sure which of them works. */
  /** @type {string[]} */
  #tokens;
  /** Seconds. */
  #grace;
  #unsaved = false;
  /** Until when a taken nickname may be one's own, held for a connection that was lost. */
  #ghostUntil = 0;
  /** The server did not want the nickname: a rename that waits is tried instead. */
  #refused = false;
  /** Came back over this connection, and is being told what was missed.
   * @type {Link | undefined} */
  #catchingUp;
  /** The room that one is in by then.
   * @type {string | undefined} */
  #backIn;
  /** The place has to be taken anew: after a login, until the room is entered and what was missed
   * is given. Meanwhile events of the room are held back. */
  /** @type {{ held: Line[], again: boolean } | undefined} */
  #entering;

  /** Set while what the server could not send is got from the history: what comes meanwhile is shown
   * after that.
   * @type {Line[] | undefined} */
  #filling;

  /** Everything that was called and has no answer yet, in the order of the calls.
   * @type {Call[]} */
  #calls = [];
  /** Set while nothing may be sent, for the storage's or the socket's sake.
   * @type {(() => void) | undefined} */
  #cancelPause;
  /** Until when calls are sent one by one. */
  #carefulUntil = 0;

  /**
   * @param {string | URL} url of the server, `ws://` or `wss://`
   * @param {ClientOptions} options
   * @throws {SyntaxError} when the platform cannot make a WebSocket of the URL
   */
  constructor(url, options) {
    this.#url = String(url);
    this.#connectTo = options.connect ?? ((url, protocols) => new WebSocket(url, protocols));
    if (options.access) {
      // What it consists of need not be what may stand in a subprotocol.
      const token = btoa(String.fromCharCode(...new TextEncoder().encode(options.access)));
      const safe = token.replace(/=/g, "").replace(/\+/g, "-").replace(/\//g, "_");
      this.#protocols = [PROTOCOL, `chat.token.${safe}`];
    }
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#ids = options.ids ?? randomId;
    this.#store = options.session;
    this.#outbox = options.outbox ?? 256;
    const session = this.#load();
    this.#tokens = session?.tokens ?? [];
    this.#nick = session?.nick ?? options.nick;
    if (options.password !== undefined) {
      this.#secret = { nick: options.nick, password: options.password };
    }
    const room = session ? session.room : options.room?.normalize("NFC");
    this.#place = { room, last: session?.last };
    this.#direct = { received: session?.direct, sent: session ? session.sent : "" };
    this.#grace = session?.grace ?? USUAL_GRACE;
    if (this.#tokens.length === 0) this.#entering = { held: [], again: false };
    this.#connect();
  }

  /** The nickname, as the server last confirmed it. */
  get nick() {
    return this.#nick;
  }

  /** The room that one is in, or is going to be back in; `undefined` outside. */
  get room() {
    return this.#place.room;
  }

  /** Whether there is a connection. */
  get state() {
    return this.#state.state;
  }

  /**
   * Has a listener called for each event of a type, or with `"*"` for all. Returns what ends that.
   * What a listener throws is reported as an uncaught error, and harms nobody else.
   *
   * @template {ChatEvent["type"] | "*"} T
   * @param {T} type
   * @param {(event: T extends "*" ? ChatEvent : Extract<ChatEvent, { type: T }>) => void} listener
   * @returns {() => void}
   */
  on(type, listener) {
    const all = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, all);
    // A function of its own, so that the same listener can be given twice.
    const call = (/** @type {ChatEvent} */ event) => listener(/** @type {never} */ (event));
    all.add(call);
    return () => void all.delete(call);
  }

  /**
   * All events as they come, until the client is closed.
   *
   * @param {{ limit?: number }} [options] how many may wait for a slow reader, default 1,000
   * @returns {AsyncGenerator<ChatEvent, void, void>}
   * @throws {ChatError} `too-slow` when more than that waited: then some are lost
   */
  async *events({ limit = 1_000 } = {}) {
    /** @type {ChatEvent[]} */
    const waiting = [];
    let wake = () => {};
    let behind = false;
    const stop = this.on("*", (event) => {
      if (waiting.length < limit) waiting.push(event);
      else behind = true;
      wake();
    });
    try {
      while (true) {
        const event = waiting.shift();
        if (event !== undefined) yield event;
        else if (behind) throw new ChatError("too-slow", `more than ${limit} events waited`);
        else if (this.#state.state === "closed") return;
        else await new Promise((/** @type {(value: void) => void} */ done) => wake = done);
      }
    } finally {
      stop();
    }
  }

  /**
   * Says something to the room that one is in when it is called (earlier calls of `join` and `leave`
   * included). Waits for a connection if there is none; said at most once, however often it had to
   * be sent.
   *
   * @param {string} text
   * @returns {Promise<{ id: string }>} the id of its event
   * @throws {ChatError} `unknown` when it may have been said or not; else it was not said
   */
  say(text) {
    return this.#do("say", { type: "message", text, ...this.#whereSaid() }, idOf);
  }

  /**
   * The same, of the form `* Ann waves`.
   *
   * @param {string} text
   * @returns {Promise<{ id: string }>}
   * @throws {ChatError} as {@linkcode ChatClient.say}
   */
  act(text) {
    return this.#do("say", { type: "action", text, ...this.#whereSaid() }, idOf);
  }

  /**
   * Says something to one person, in whatever room.
   *
   * @param {string} nick
   * @param {string} text
   * @returns {Promise<{ id: string }>}
   * @throws {ChatError} as {@linkcode ChatClient.say}
   */
  tell(nick, text) {
    return this.#do("say", { type: "direct", to: nick, text, cid: this.#ids() }, idOf);
  }

  /**
   * Enters a room, and leaves the one before. Waits for a connection if there is none.
   *
   * @param {string} room
   * @returns {Promise<void>}
   * @throws {ChatError}
   */
  join(room) {
    return this.#do("move", { type: "join", room: room.normalize("NFC") }, nothing);
  }

  /**
   * Leaves the room. Waits for a connection if there is none.
   *
   * @returns {Promise<void>}
   * @throws {ChatError}
   */
  leave() {
    return this.#do("move", { type: "leave" }, nothing);
  }

  /**
   * Changes the nickname. Waits for a connection if there is none; when the nickname to log in with
   * was refused, tries again with this one.
   *
   * @param {string} nick
   * @returns {Promise<void>}
   * @throws {ChatError}
   */
  rename(nick) {
    return this.#rename({ type: "nick", nick: nick.trim().normalize("NFC") });
  }

  /**
   * Takes a nickname that is registered, by its password. Waits for a connection if there is none;
   * when the nickname to log in with was refused, tries again with this one. The password is kept in
   * memory for when the place is lost.
   *
   * @param {string} nick
   * @param {string} password
   * @returns {Promise<void>}
   * @throws {ChatError} `wrong-password`, `not-registered`, `too-many-attempts` and others
   */
  async identify(nick, password) {
    await this.#rename({ type: "identify", nick: nick.trim().normalize("NFC"), password });
    this.#secret = { nick: this.#nick, password };
  }

  /**
   * Registers the nickname that one has: from now on nobody can use it without the password.
   *
   * @param {string} password of 8 to 128 characters, no spaces
   * @returns {Promise<void>}
   * @throws {ChatError} `bad-password`, `already-registered`, `registration-off` and others
   */
  async register(password) {
    await this.#do("ask", { type: "register", password }, nothing);
    this.#secret = { nick: this.#nick, password };
  }

  /**
   * Changes the password of the nickname that one has.
   *
   * @param {string} password
   * @param {string} fresh
   * @returns {Promise<void>}
   * @throws {ChatError} `wrong-password`, `not-identified` and others
   */
  async changePassword(password, fresh) {
    await this.#do("ask", { type: "password", password, new: fresh }, ({ token }) => {
      // The tokens before it end with the old password.
      if (token) this.#tokens = [String(token)];
    });
    this.#secret = { nick: this.#nick, password: fresh };
    this.#unsaved = true;
    this.#save();
  }

  /**
   * Gives up the registration of the nickname that one has.
   *
   * @param {string} password
   * @returns {Promise<void>}
   * @throws {ChatError} as {@linkcode ChatClient.changePassword}
   */
  async unregister(password) {
    await this.#do("ask", { type: "unregister", password }, nothing);
    this.#secret = undefined;
  }

  /**
   * Asks which room somebody is in.
   *
   * @param {string} nick
   * @returns {Promise<WhoReply>}
   * @throws {ChatError}
   */
  who(nick) {
    return this.#do("ask", { type: "who", nick }, ({ nick, room }) => ({
      nick: String(nick),
      room: typeof room === "string" ? room : null,
    }));
  }

  /**
   * Asks for the rooms with somebody in them, by name.
   *
   * @returns {Promise<RoomReply[]>}
   * @throws {ChatError}
   */
  rooms() {
    return this.#do(
      "ask",
      { type: "rooms" },
      (reply) => /** @type {RoomReply[]} */ (reply.rooms),
    );
  }

  /**
   * Asks who is in the room that one is in.
   *
   * @returns {Promise<MembersReply>}
   * @throws {ChatError}
   */
  members() {
    return this.#do(
      "ask",
      { type: "members" },
      ({ room, nicks, more }) => /** @type {MembersReply} */ ({
        room,
        nicks,
        ...more === true ? { more } : {},
      }),
    );
  }

  /**
   * Asks for what was said: the newest, or just before or after an id.
   *
   * @param {{ room?: string, before?: string, after?: string, limit?: number }} [which] `limit` from
   * 1 to 100, default 50
   * @returns {Promise<HistoryReply>}
   * @throws {ChatError}
   */
  history({ room, before, after, limit } = {}) {
    return this.#do("ask", { type: "history", room, before, after, limit }, (reply) => {
      const { room, events, more } = /** @type {Line & HistoryReply} */ (reply);
      return { room, events, more: more === true };
    });
  }

  /**
   * Asks whether the server is there. Resolves to the milliseconds that took, with what it had to
   * wait for.
   *
   * @returns {Promise<number>}
   * @throws {ChatError}
   */
  ping() {
    const asked = this.#clock.monotonicMs();
    return this.#do("ask", { type: "ping" }, () => this.#clock.monotonicMs() - asked);
  }

  /**
   * For whoever hears that the network is back, or that the page is looked at: tries at once to come
   * back, or, while online, whether the connection is still alive.
   */
  retryNow() {
    if (this.#state.state === "offline") this.#retry();
    else if (this.#state.state === "online") this.#link?.probe(HASTY_SIGN_LIMIT);
  }

  /**
   * Leaves the chat for good: the others see it at once, and what still waits fails with `closed`.
   * Resolves when the socket is closed.
   */
  async close() {
    this.#tokens = [];
    await this.#shut("closed", 1000);
  }

  /**
   * Lets the connection go without leaving: for `pagehide`. The place is kept for a while, and a
   * new client with the same session takes it. What still waits fails with `closed`.
   */
  async detach() {
    await this.#shut("detached", GIVEN_UP);
  }

  #connect() {
    this.#cancelRetry();
    const socket = this.#connectTo(this.#url, this.#protocols);
    const link = new Link(socket, this.#clock, {
      open: () => this.#enter(link),
      event: (line) => this.#event(line),
      malformed: (what) => this.#malformed(what),
      read: () => this.#save(),
      end: (code, reason) => this.#lost(code, reason),
    });
    this.#link = link;
    // Last, because a listener may close the client.
    this.#setState({ type: "state", state: "connecting" });
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    this.#link = undefined;
    // Whoever comes back is told all that followed what was shown last.
    this.#filling = undefined;
    this.#endPause();
    // While the token before still works it may be ourselves: an earlier connection that we gave up,
    // and that the server was still busy with.
    if (code === TAKEN_OVER && this.#tokens.length < 2) {
      // The token is now another's: whoever loaded it again would take the place back, and so on.
      this.#tokens = [];
      return void this.#shut("taken-over", code);
    }
    const since = this.#onlineSince;
    if (since !== undefined && this.#clock.monotonicMs() - since >= this.#stable) {
      this.#failures = 0;
      this.#stable = STABLE;
    }
    this.#onlineSince = undefined;
    const most = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures++);
    if (code === TRY_LATER) this.#stable = LONG_STABLE;
    // Whoever sent too much would be turned away again.
    const [from, to] = code === POLICY
      ? [LONGEST_PAUSE / 2, LONGEST_PAUSE]
      : [(code === TRY_LATER ? most : FIRST_PAUSE) / 2, most];
    const pause = Math.round(from + this.#clock.jitter() * (to - from));
    this.#cancelRetry = this.#clock.after(pause, () => this.#retry());
    const retryAt = this.#clock.now() + pause;
    this.#setState({ type: "state", state: "offline", retryAt, code, reason });
  }

  #retry() {
    try {
      this.#connect();
    } catch (error) {
      this.#report(new ChatError("offline", String(error)));
      this.#lost(GIVEN_UP, "no socket could be made");
    }
  }

  /**
   * @param {"closed" | "detached" | "taken-over"} reason
   * @param {number} code
   */
  async #shut(reason, code) {
    if (this.#state.state === "closed") return;
    this.#cancelRetry();
    this.#unsaved = true;
    this.#save();
    const link = this.#link;
    this.#link = undefined;
    this.#setState({ type: "state", state: "closed", reason });
    const closed = new ChatError("closed", "the client is closed");
    for (const call of [...this.#calls]) {
      // Who closes the client need not wait for what was lost by that.
      call.promise.catch(() => {});
      this.#settle(call, closed);
    }
    this.#endPause();
    await link?.end(code);
  }

  /**
   * @param {Line} request
   * @returns {Promise<void>}
   */
  #rename(request) {
    const done = this.#do("move", request, nothing);
    if (this.#state.state === "offline" && this.#state.retryAt === undefined) this.#retry();
    return done;
  }

  /** @param {Link} link */
  #enter(link) {
    const token = this.#tokens[0];
    if (token === undefined) {
      this.#logIn(link).catch((error) => this.#failedToEnter(link, error));
      return;
    }
    // While a room is entered anew, what it missed comes from the history, and not from here.
    const last = this.#entering ? undefined : this.#place.last;
    const { received, sent } = this.#direct;
    // Whoever names one of them has to name both: alone it would count for both.
    const directs = received || sent ? { direct: received ?? "", sent } : {};
    const request = { type: "resume", token, last, ...directs };
    link.ask(request, (reply) => {
      if (!(reply instanceof ChatError)) return this.#resumed(link, token, reply);
      if (isTemporary(reply)) return this.#failedToEnter(link, reply);
      this.#tokens.shift();
      this.#unsaved = true;
      if (this.#tokens.length === 0) this.#lostPlace();
      this.#enter(link);
    });
  }

  /** The nickname may still be held for oneself, if a token was lost that was never read. */
  #lostPlace() {
    this.#ghostUntil = this.#clock.monotonicMs() + this.#grace * 1000;
    this.#direct = { received: undefined, sent: "" };
    this.#entering = { held: [], again: true };
    for (const call of this.#calls.filter(({ sent }) => sent)) {
      if (call.kind === "say") call.doubtful = true;
      // Wherever that led to: one is there no more.
      else call.sent = false;
    }
  }

  /**
   * @param {Link} link
   * @param {string} used - The token that it was asked with
   * @param {Line} welcome
   */
  #resumed(link, used, welcome) {
    this.#welcomed(welcome, [used]);
    // Something must be sent at once, so that the token before ends, and only this one works.
    link.ask({ type: "ping" }, (reply) => {
      if (reply instanceof ChatError) return;
      this.#tokens.splice(1);
      this.#unsaved = true;
    });
    const room = typeof welcome.room === "string" ? welcome.room : undefined;
    // A move is idempotent: where one is tells whether it was done.
    const moved = this.#calls.find((call) => call.kind === "move" && call.sent);
    if (moved && this.#isDone(moved.request, room)) this.#settle(moved, { type: "ok" });
    if (this.#entering) {
      this.#enterRoom(link).catch((error) => this.#failedToEnter(link, error));
      return;
    }
    // Only after what was missed is it known what need not be said again, and where one is: the end
    // of the room before comes first.
    this.#catchingUp = link;
    this.#backIn = room;
  }

  /**
   * What was missed has been given.
   *
   * @param {ResumedEvent} event
   */
  #caughtUp(event) {
    const link = this.#catchingUp;
    this.#catchingUp = undefined;
    if (this.#place.room !== this.#backIn) this.#place = { room: this.#backIn, last: undefined };
    // The server knows what was said before, unless it was away for so long that this is gone, too.
    if (!event.recovered && event.reason === "expired") {
      for (const call of this.#calls) call.doubtful ||= call.kind === "say" && call.sent;
      this.#giveUpDoubtful();
    }
    this.#emit(event);
    if (link !== undefined && link === this.#link) this.#cameOnline();
  }

  /**
   * @param {Line} move
   * @param {string | undefined} room
   */
  #isDone(move, room) {
    if (move.type === "identify") return false;
    return move.type === "nick" ? move.nick === this.#nick : move.room === room;
  }

  /** @param {Link} link */
  async #logIn(link) {
    while (true) {
      const rename = this.#refused ? this.#calls.find(isRename) : undefined;
      const nick = String(rename?.request.nick ?? this.#nick);
      const reply = await this.#askToEnter(link, nick, rename?.request);
      if (!(reply instanceof ChatError)) {
        this.#refused = false;
        this.#welcomed(reply, []);
        if (rename) this.#settle(rename, reply);
        return await this.#enterRoom(link);
      }
      const now = this.#clock.monotonicMs();
      if (reply.code === "offline") this.#ghostUntil = now + this.#grace * 1000;
      // Whoever typed a password wants to know; whoever only comes back can wait.
      if (isTemporary(reply) || (!rename && isBusy(reply))) throw reply;
      this.#refused = true;
      if (rename) this.#settle(rename, reply);
      // Another one was chosen meanwhile.
      else if (this.#calls.some(isRename)) continue;
      else if (reply.code !== "nickname-taken" || now >= this.#ghostUntil) {
        return this.#refuse(link, reply);
      } else {
        const ms = GHOST_PAUSE * (1 + this.#clock.jitter());
        await new Promise((/** @type {(value: void) => void} */ done) => link.after(ms, done));
      }
    }
  }

  /**
   * Logs in, with a password where one is known.
   *
   * @param {Link} link
   * @param {string} nick
   * @param {Line | undefined} rename - What was called after another nickname was refused
   */
  async #askToEnter(link, nick, rename) {
    const login = { type: "login", nick };
    if (rename?.type === "identify") return await link.request(rename);
    const secret = this.#secret;
    if (secret === undefined || !isSameNick(secret.nick, nick)) return await link.request(login);
    const reply = await link.request({ type: "identify", nick, password: secret.password });
    // Perhaps not any more.
    const isGone = reply instanceof ChatError && reply.code === "not-registered";
    return isGone ? await link.request(login) : reply;
  }

  /**
   * Nobody but the application can choose another nickname: waits for that, without a connection.
   *
   * @param {Link} link
   * @param {ChatError} error
   */
  #refuse(link, error) {
    this.#link = undefined;
    void link.end(GIVEN_UP);
    this.#report(error);
    this.#setState({ type: "state", state: "offline", code: GIVEN_UP, reason: error.code });
  }

  /**
   * Comes into the room after a login, and gives what was missed there. What happens meanwhile is
   * held back, so that everything is shown in one order.
   *
   * @param {Link} link
   */
  async #enterRoom(link) {
    const { room, last } = this.#place;
    let missed = /** @type {RoomEvent[]} */ ([]);
    let reason = "expired";
    /** @type {string | undefined} */
    let from;
    if (room !== undefined) {
      const reply = await link.request({ type: "join", room });
      if (!(reply instanceof ChatError)) {
        from = idOf(reply).id;
        if (last !== undefined && last < from) {
          ({ missed, reason } = await this.#missed(link, last, from));
        } else {
          // A server that has forgotten everything counts its ids from the beginning again.
          if (last !== undefined) reason = "forgotten";
          this.#place = { room, last: undefined };
        }
      } else if (isTemporary(reply)) throw reply;
      else this.#report(reply);
    }
    // No line can be read between here and the end: nothing overtakes what was held back.
    const entering = this.#entering ?? { held: [], again: false };
    this.#entering = undefined;
    if (from === undefined) this.#place = { room: undefined, last: undefined };
    for (const event of missed) this.#roomEvent(event);
    this.#giveUpDoubtful();
    if (entering.again) {
      this.#emit({ type: "resumed", recovered: false, missed: missed.length, reason, from });
    }
    for (const line of entering.held) {
      if (!isRoomEvent(line) || line.id >= (from ?? "")) this.#event(line);
    }
    if (this.#link === link) this.#cameOnline();
  }

  /**
   * What was said between two ids, as far as it is still kept.
   *
   * @param {Link} link
   * @param {string} after
   * @param {string} until
   * @returns {Promise<{ missed: RoomEvent[], reason: string }>}
   */
  async #missed(link, after, until) {
    /** @type {RoomEvent[]} */
    const missed = [];
    for (let page = 0; page < MOST_PAGES; page++) {
      const reply = await link.request({ type: "history", after, limit: 100 });
      if (reply instanceof ChatError) {
        if (isTemporary(reply)) throw reply;
        return { missed, reason: reply.code === "history-off" ? "history-off" : "expired" };
      }
      const events = /** @type {Line[]} */ (reply.events).filter(isSaid);
      missed.push(...events.filter(({ id }) => id < until));
      after = events.at(-1)?.id ?? until;
      if (reply.more !== true || after >= until) return { missed, reason: "expired" };
    }
    return { missed, reason: "too-many" };
  }

  /** What was sent from a place that is lost, and is not among what was missed. */
  #giveUpDoubtful() {
    const unknown = new ChatError("unknown", "the connection was lost: it may have been said");
    for (const call of this.#calls.filter(({ doubtful }) => doubtful)) this.#settle(call, unknown);
  }

  /**
   * @param {Line} welcome
   * @param {string[]} older
   */
  #welcomed(welcome, older) {
    this.#nick = String(welcome.nick);
    this.#tokens = [String(welcome.token), ...older];
    if (typeof welcome.grace === "number") this.#grace = welcome.grace;
    this.#unsaved = true;
  }

  #cameOnline() {
    this.#onlineSince = this.#clock.monotonicMs();
    this.#setState({ type: "state", state: "online" });
    this.#save();
    this.#pump();
  }

  /**
   * @param {Link} link
   * @param {unknown} error
   */
  #failedToEnter(link, error) {
    // The end of a connection has been told already.
    if (link !== this.#link) return;
    this.#report(error instanceof ChatError ? error : new ChatError("malformed", String(error)));
    link.giveUp("the login failed");
  }

  /** @param {string} what */
  #malformed(what) {
    this.#report(new ChatError("malformed", `the server sent ${what}`));
    // It may have been the reply that everything waits for.
    if (this.#state.state === "connecting") this.#link?.giveUp("the login failed");
  }

  /** @param {Line} line */
  #event(line) {
    if (line.type === "error") this.#report(errorFrom(line));
    else if (isRoomEvent(line)) {
      if (this.#entering) this.#entering.held.push(line);
      else if (this.#filling) this.#filling.push(line);
      else this.#roomEvent(line);
    } else if (line.type === "gap") {
      if (this.#entering) this.#entering.held.push(line);
      else if (this.#filling) this.#filling.push(line);
      else this.#fillGap(line);
    } else if (line.type === "direct") this.#directEvent(/** @type {DirectEvent} */ (line));
    else if (line.type === "resumed") {
      if (!this.#entering) this.#caughtUp(/** @type {ResumedEvent} */ (line));
    } else if (!REPLIES.includes(line.type)) this.#emit({ type: "unknown", line });
  }

  /**
   * Gets from the history what was said while the server could not send it, and shows it before what
   * comes now.
   *
   * @param {Line} gap
   */
  async #fillGap(gap) {
    const link = this.#link;
    const held = this.#filling = /** @type {Line[]} */ ([]);
    const { room, after, until, missed } = /** @type {Line & Gap} */ (gap);
    const { events, reason } = link === undefined || room !== this.#place.room
      ? { events: [], reason: "unavailable" }
      : await this.#saidWithin(link, { room, after, until });
    // Over another connection all of it is told anew.
    if (this.#filling !== held) return;
    this.#filling = undefined;
    for (const event of events) this.#roomEvent(event);
    const [filled, recovered] = [events.length, reason === undefined];
    this.#emit({ type: "gap", room, missed, filled, recovered, reason });
    // One of them may be the next gap: then what is behind it waits again.
    for (const line of held) this.#event(line);
    this.#save();
  }

  /**
   * What was said in a room after one id and up to another; `reason`: why something may be missing.
   *
   * @param {Link} link
   * @param {{ room: string, after: string, until: string }} where
   * @returns {Promise<{ events: (SaidEvent | ActionEvent)[], reason?: string }>}
   */
  async #saidWithin(link, { room, after, until }) {
    /** @type {(SaidEvent | ActionEvent)[]} */
    const events = [];
    for (let page = 0, tries = 0; page < MOST_PAGES;) {
      const reply = await link.request({ type: "history", room, after, limit: 100 });
      if (reply instanceof ChatError) {
        if (!isTemporary(reply) || reply.code === "offline" || ++tries === MAX_PAGE_TRIES) {
          return { events, reason: reply.code === "history-off" ? "history-off" : "unavailable" };
        }
        const ms = reply.retryAfter || STORAGE_PAUSE;
        await new Promise((/** @type {(value: void) => void} */ done) => link.after(ms, done));
        continue;
      }
      const said = /** @type {Line[]} */ (reply.events).filter(isSaid);
      events.push(...said.filter(({ id }) => id <= until));
      const last = said.at(-1)?.id ?? until;
      if (reply.more !== true || last >= until) return { events };
      after = last;
      page++;
    }
    return { events, reason: "too-many" };
  }

  /** @param {RoomEvent} event */
  #roomEvent(event) {
    const own = event.nick === this.#nick;
    if (event.room === this.#place.room) {
      const { last } = this.#place;
      if (last !== undefined && event.id <= last) return;
      this.#place = { room: event.room, last: event.id };
      if (own && event.type === "left") this.#place = { room: undefined, last: event.id };
    } else if (own && event.type === "joined" || this.#catchingUp && event.room === this.#backIn) {
      this.#place = { room: event.room, last: event.id };
    }
    if (own && event.type === "nick") this.#nick = event.to;
    this.#unsaved = true;
    if (own && isSaid(event)) this.#wasSaid(event);
    this.#emit(event);
  }

  /** @param {DirectEvent} event */
  #directEvent(event) {
    const way = event.to === undefined ? "received" : "sent";
    if (event.id <= (this.#direct[way] ?? "")) return;
    this.#direct = { ...this.#direct, [way]: event.id };
    this.#unsaved = true;
    if (way === "sent") this.#wasSaid(event);
    this.#emit(event);
  }

  /**
   * One's own event is an answer, too: the reply may have been lost.
   *
   * @param {{ id: string, cid?: string }} event
   */
  #wasSaid({ id, cid }) {
    const call = this.#calls.find(({ kind, request }) => kind === "say" && request.cid === cid);
    if (call && cid !== undefined) this.#settle(call, { type: "ok", id });
  }

  /** @param {ChatEvent} event */
  #emit(event) {
    if (this.#state.state === "closed" && event !== this.#state) return;
    for (const type of [event.type, "*"]) {
      for (const listener of [...this.#listeners.get(type) ?? []]) {
        try {
          listener(event);
        } catch (error) {
          reportUncaught(error);
        }
      }
    }
  }

  /** @param {ChatError} error */
  #report(error) {
    this.#emit({ type: "error", error });
  }

  /** @param {StateEvent} state */
  #setState(state) {
    this.#emit(this.#state = state);
  }

  /** The room that one will be in when all that was called is done, and a new id. */
  #whereSaid() {
    const move = this.#calls.findLast(({ request: { type } }) =>
      type === "join" || type === "leave"
    );
    return { room: move ? move.request.room : this.#place.room, cid: this.#ids() };
  }

  /**
   * Puts a call in the queue, from which it is sent as soon as may be.
   *
   * @template T
   * @param {Call["kind"]} kind
   * @param {Line} request
   * @param {(reply: Line) => T} pick
   * @returns {Promise<T>}
   */
  #do(kind, request, pick) {
    const refuse = (/** @type {string} */ code, /** @type {string} */ why) =>
      Promise.reject(new ChatError(code, why));
    if (this.#state.state === "closed") return refuse("closed", "the client is closed");
    const units = JSON.stringify(request).length;
    if (units > MOST_UNITS) return refuse("too-long", `${units} characters are too many`);
    if (kind === "move") this.#replace(request);
    if (this.#calls.length >= this.#outbox) return refuse("full", "too much waits to be sent");
    let settle = (/** @type {Line | ChatError} */ _answer) => {};
    /** @type {Promise<T>} */
    const promise = new Promise((resolve, reject) => {
      settle = (answer) => answer instanceof ChatError ? reject(answer) : resolve(pick(answer));
    });
    /** @type {Call} */
    const call = {
      ...{ kind, request, units, sent: false, over: undefined, doubtful: false, failures: 0 },
      ...{ cancel() {}, settle, promise },
    };
    if (kind === "ask") {
      const late = new ChatError("offline", "there was no answer in time");
      call.cancel = this.#clock.after(ANSWER_LIMIT, () => this.#settle(call, late));
    }
    this.#calls.push(call);
    this.#pump();
    return promise;
  }

  /**
   * Who changes their mind before anything was sent does not want to pass through all the rooms.
   *
   * @param {Line} request
   */
  #replace(request) {
    const before = this.#calls.at(-1);
    if (before?.kind !== "move" || before.sent) return;
    if (isRename(before) !== isRename({ request })) return;
    this.#settle(before, new ChatError("replaced", "another call took its place"));
  }

  /** Sends what may be sent: in order, so that what was sent before goes first. */
  #pump() {
    const link = this.#link;
    if (link === undefined || this.#state.state !== "online") return;
    const most = this.#clock.monotonicMs() < this.#carefulUntil ? 1 : MOST_IN_FLIGHT;
    let inFlight = 0;
    let unitsInFlight = 0;
    for (const call of [...this.#calls]) {
      if (this.#cancelPause) return;
      // Alone, because what stands behind it may mean another room, or come from another name.
      if (call.kind === "move" && inFlight > 0) return;
      inFlight++;
      unitsInFlight += call.units;
      if (call.over === undefined) {
        if (inFlight > most) return;
        if (inFlight > 1 && unitsInFlight > MOST_UNITS_IN_FLIGHT) return;
        if (link.buffered > MOST_BUFFERED) return this.#pause(BUFFER_PAUSE);
        call.over = link;
        call.sent = true;
        link.ask(call.request, (reply) => this.#answered(call, link, reply));
      }
      if (call.kind === "move") return;
    }
  }

  /**
   * @param {Call} call
   * @param {Link} link
   * @param {Line | ChatError} reply
   */
  #answered(call, link, reply) {
    if (call.over !== link) return;
    call.over = undefined;
    if (reply instanceof ChatError) {
      // Over the next connection it is asked again.
      if (reply.code === "offline" && call.kind !== "ask") return;
      if (reply.code === "too-fast") {
        // As below: an earlier try of saying it may have been stored.
        if (call.kind !== "say") call.sent = false;
        this.#carefulUntil = this.#clock.monotonicMs() + CAREFUL;
        return this.#pause(reply.retryAfter || STORAGE_PAUSE);
      }
      if (reply.code === "unavailable" && ++call.failures < MOST_FAILURES) {
        // What was said may be stored all the same: the server knows by its cid, nobody else does.
        if (call.kind !== "say") call.sent = false;
        const most = STORAGE_PAUSE * 2 ** call.failures;
        return this.#pause(most / 2 * (1 + this.#clock.jitter()));
      }
    } else if (isRename(call)) {
      // Outside of all rooms there is no event that tells.
      this.#nick = String(reply.nick ?? call.request.nick);
      this.#unsaved = true;
    }
    this.#settle(call, reply);
  }

  /**
   * @param {Call} call
   * @param {Line | ChatError} answer
   */
  #settle(call, answer) {
    const at = this.#calls.indexOf(call);
    if (at < 0) return;
    this.#calls.splice(at, 1);
    call.cancel();
    call.settle(answer);
    this.#pump();
  }

  /** @param {number} ms */
  #pause(ms) {
    if (this.#cancelPause) return;
    this.#cancelPause = this.#clock.after(ms, () => {
      this.#cancelPause = undefined;
      this.#pump();
    });
  }

  #endPause() {
    this.#cancelPause?.();
    this.#cancelPause = undefined;
  }

  /** @returns {Session | undefined} */
  #load() {
    try {
      const session = this.#store?.load();
      const isWhole = Array.isArray(session?.tokens) && typeof session.nick === "string";
      return isWhole && session.tokens.length > 0 ? session : undefined;
    } catch (error) {
      // A browser may forbid its storage: then there is no way back after a reload, but a chat.
      reportUncaught(error);
      return undefined;
    }
  }

  #save() {
    if (!this.#unsaved || !this.#store) return;
    this.#unsaved = false;
    const tokens = [...this.#tokens];
    const [nick, grace, { received: direct, sent }] = [this.#nick, this.#grace, this.#direct];
    const session = { tokens, nick, ...this.#place, direct, sent, grace };
    try {
      this.#store.save(tokens.length > 0 ? session : null);
    } catch (error) {
      reportUncaught(error);
    }
  }
}

/**
 * A line of the server, if it is what it says it is; of unknown types nothing is asked.
 *
 * @param {string} text
 * @returns {Line | undefined}
 */
function parse(text) {
  try {
    const line = JSON.parse(text);
    return isWellFormed(line) ? line : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {unknown} value
 * @returns {value is Line}
 */
function isWellFormed(value) {
  if (typeof value !== "object" || value === null) return false;
  const line = /** @type {Record<string, unknown>} */ (value);
  if (typeof line.type !== "string") return false;
  const shape = Object.hasOwn(SHAPES, line.type) ? SHAPES[line.type] : {};
  return Object.entries(shape ?? {}).every(([field, example]) =>
    typeof line[field] === typeof example && Array.isArray(line[field]) === Array.isArray(example)
  );
}

/**
 * @param {Line} line
 * @returns {line is RoomEvent}
 */
function isRoomEvent(line) {
  return ["message", "action", "joined", "left", "nick"].includes(line.type);
}

/**
 * @param {Line} line
 * @returns {line is SaidEvent | ActionEvent}
 */
function isSaid(line) {
  return (line.type === "message" || line.type === "action") && isWellFormed(line);
}

/** @param {Line} line */
function errorFrom(line) {
  return new ChatError(String(line.code), String(line.message), Number(line.retryAfter ?? 0));
}

/**
 * Whether it may work later without anybody doing anything else.
 *
 * @param {ChatError} error
 */
function isTemporary({ code }) {
  return /^(offline|unavailable|too-fast)$/.test(code);
}

/**
 * Whether passwords cannot be checked just now.
 *
 * @param {ChatError} error
 */
function isBusy({ code }) {
  return code === "busy" || code === "too-many-attempts";
}

/**
 * Near enough to what the server makes of it to know whose password it is.
 *
 * @param {string} one
 * @param {string} other
 */
function isSameNick(one, other) {
  const [a, b] = [one, other].map((nick) => nick.trim().normalize("NFKC").toLowerCase());
  return a === b;
}

/** @param {{ request: Line }} call */
function isRename({ request }) {
  return request.type === "nick" || request.type === "identify";
}

/** @param {Line} reply */
function idOf(reply) {
  return { id: String(reply.id ?? "") };
}

function nothing() {}

/** Not randomUUID: browsers have that only where the page came over HTTPS. */
function randomId() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

/** @param {unknown} error */
function reportUncaught(error) {
  if (typeof reportError === "function") reportError(error);
  else console.error(error);
}
