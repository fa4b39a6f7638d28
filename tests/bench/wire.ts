/**
 * What clients of each peer say: how one enters, says something, moves, asks who is there.
 *
 * Only words: framing and sockets are the crowd's. What a peer sends back is not taken apart here;
 * a delivery is the marker in its bytes, whatever stands around it.
 */

/** Frames to send, then text that must come before the next step. */
export interface Step {
  readonly say: readonly string[];
  /** Part of the frame that ends the step. */
  readonly until: string;
}

/** How clients of one kind of server speak. */
export interface Wire {
  readonly path: string;
  /** Offered in the handshake; a server that does not select it is not measured. */
  readonly subprotocol?: string;
  /** From the upgrade to standing in a room. */
  enter(nick: string, room: string): readonly Step[];
  /** From one room to another. */
  move(from: string, to: string): readonly Step[];
  /** A frame that says something to the room one is in. */
  say(text: string, room: string): string;
  /** Asks who is in the room; nothing where a server cannot tell. */
  list?(room: string): Step;
  /** The answer that a frame of the server needs, if any. */
  answer?(frame: string): string | undefined;
}

/** Lines, as the little peers know them. */
const plain: Wire = {
  path: "/",
  enter: (nick, room) => [
    { say: [nick], until: "Using nickname: " },
    { say: [`/join ${room}`], until: "Joined chat room" },
  ],
  move: (_, to) => [{ say: [`/join ${to}`], until: "Joined chat room" }],
  say: (text) => text,
};

const text: Wire = { ...plain, list: () => ({ say: ["/ls"], until: "\n" }) };

const json = (value: unknown) => JSON.stringify(value);

const chatV1: Wire = {
  path: "/",
  subprotocol: "chat.v1",
  enter: (nick, room) => [
    { say: [json({ type: "login", nick, ref: 1 })], until: '"type":"welcome"' },
    { say: [json({ type: "join", room, ref: 2 })], until: '"ref":2' },
  ],
  move: (_, room) => [{ say: [json({ type: "join", room, ref: 3 })], until: '"ref":3' }],
  say: (text) => json({ type: "message", text }),
  list: () => ({ say: [json({ type: "members", ref: 4 })], until: '"ref":4' }),
};

/** socket.io's own wire: engine.io 4 over WebSocket, packets as text. */
const socketIo: Wire = {
  path: "/socket.io/?EIO=4&transport=websocket",
  enter: (nick, room) => [
    { say: [], until: "0{" },
    { say: ["40"], until: "40{" },
    { say: [`42${json(["login", nick])}`], until: "Using nickname: " },
    { say: [`42${json(["join", room])}`], until: "Joined chat room" },
  ],
  move: (_, room) => [{ say: [`42${json(["join", room])}`], until: "Joined chat room" }],
  say: (text) => `42${json(["message", text])}`,
  answer: (frame) => frame === "2" ? "3" : undefined,
};

/** IRC over WebSocket, a line a frame; one's own words come back (`echo-message`). */
const irc: Wire = {
  path: "/",
  enter: (nick, room) => [
    { say: ["CAP REQ :echo-message", `NICK ${nick}`, "USER u 0 * :u", "CAP END"], until: " 001 " },
    { say: [`JOIN #${room}`], until: " 366 " },
  ],
  move: (from, to) => [
    { say: [`PART #${from}`, `JOIN #${to}`], until: " 366 " },
  ],
  say: (text, room) => `PRIVMSG #${room} :${text}`,
  list: (room) => ({ say: [`NAMES #${room}`], until: " 366 " }),
  answer: (frame) => frame.startsWith("PING ") ? `PONG ${frame.slice(5)}` : undefined,
};

/** All wires, by name. */
export const WIRES = { plain, text, "chat.v1": chatV1, "socket.io": socketIo, irc } as const;

/** The name of a wire. */
export type WireName = keyof typeof WIRES;
