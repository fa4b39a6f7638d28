/**
 * The protocols of the peers: which frames a client sends to join, to send a message, to change its
 * room, and to list members.
 *
 * WebSocket framing and sockets are in `clients.ts`, which finds deliveries by their markers. So
 * messages from a peer are not parsed.
 */

/** Frames to send, and the text that must arrive before the next step. */
export interface Step {
  readonly send: readonly string[];
  /** A part of the frame that completes the step. */
  readonly until: string;
}

/** The protocol of one kind of server. */
export interface Wire {
  readonly path: string;
  /** Offered in the handshake. A server that does not select it is skipped. */
  readonly subprotocol?: string;
  /** The steps from the handshake into a room. */
  join(nick: string, room: string): readonly Step[];
  /** The steps from one room to another. */
  move(from: string, to: string): readonly Step[];
  /** The step into a further room. Missing if a client is in one room at most. */
  enter?(room: string): Step;
  /** Returns the frame that sends a message to a room. */
  message(text: string, room: string): string;
  /** The step that lists the members of a room. Missing if the server has no such command. */
  list?(room: string): Step;
  /** Returns the reply that a frame of the server requires, if any. */
  answer?(frame: string): string | undefined;
}

/** Plain text, as the programs in `peers/` understand it. */
const plain: Wire = {
  path: "/",
  join: (nick, room) => [
    { send: [nick], until: "Using nickname: " },
    { send: [`/join ${room}`], until: "Joined chat room" },
  ],
  move: (_, to) => [{ send: [`/join ${to}`], until: "Joined chat room" }],
  message: (text) => text,
};

const text: Wire = { ...plain, list: () => ({ send: ["/ls"], until: "\n" }) };

const json = (value: unknown) => JSON.stringify(value);

const chatV1: Wire = {
  path: "/",
  subprotocol: "chat.v1",
  join: (nick, room) => [
    { send: [json({ type: "login", nick, ref: 1 })], until: '"type":"welcome"' },
    { send: [json({ type: "join", room, ref: 2 })], until: '"ref":2' },
  ],
  move: (from, to) => [
    { send: [json({ type: "leave", room: from, ref: 3 })], until: '"ref":3' },
    { send: [json({ type: "join", room: to, ref: 4 })], until: '"ref":4' },
  ],
  enter: (room) => ({ send: [json({ type: "join", room, ref: room })], until: `"ref":"${room}"` }),
  message: (text, room) => json({ type: "message", room, text }),
  list: (room) => ({ send: [json({ type: "members", room, ref: 5 })], until: '"ref":5' }),
};

/** The protocol of socket.io: engine.io 4 over WebSocket, packets as text. */
const socketIo: Wire = {
  path: "/socket.io/?EIO=4&transport=websocket",
  join: (nick, room) => [
    { send: [], until: "0{" },
    { send: ["40"], until: "40{" },
    { send: [`42${json(["login", nick])}`], until: "Using nickname: " },
    { send: [`42${json(["join", room])}`], until: "Joined chat room" },
  ],
  move: (_, room) => [{ send: [`42${json(["join", room])}`], until: "Joined chat room" }],
  message: (text) => `42${json(["message", text])}`,
  answer: (frame) => frame === "2" ? "3" : undefined,
};

/** IRC over WebSocket, a line in a frame. With `echo-message` a client receives its own messages. */
const irc: Wire = {
  path: "/",
  join: (nick, room) => [
    { send: ["CAP REQ :echo-message", `NICK ${nick}`, "USER u 0 * :u", "CAP END"], until: " 001 " },
    { send: [`JOIN #${room}`], until: " 366 " },
  ],
  move: (from, to) => [
    { send: [`PART #${from}`, `JOIN #${to}`], until: " 366 " },
  ],
  enter: (room) => ({ send: [`JOIN #${room}`], until: `#${room} :End` }),
  message: (text, room) => `PRIVMSG #${room} :${text}`,
  list: (room) => ({ send: [`NAMES #${room}`], until: " 366 " }),
  answer: (frame) => frame.startsWith("PING ") ? `PONG ${frame.slice(5)}` : undefined,
};

/** All protocols, by name. */
export const WIRES = { plain, text, "chat.v1": chatV1, "socket.io": socketIo, irc } as const;

/** The name of a protocol. */
export type WireName = keyof typeof WIRES;
