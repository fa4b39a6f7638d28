/**
 * Three peers: the smallest chat on Deno, which is `Deno.serve` and a loop over the sockets of a room.
 *
 * `loop.ts bare` stores and checks nothing: all ratios are to it. The other two show the most that
 * the platform allows. `loop.ts durable FILE` stores messages in Deno KV before it sends them, all
 * that wait in one row: no server that stores first can be faster. `loop.ts batched` sends all messages
 * of a turn of the event loop in one frame, in lines like those of `chat.v1`: no server that writes
 * such lines can be faster.
 */
type Room = Set<WebSocket>;
type Show = (room: Room, nick: string, text: string) => void;

const [kind, file] = Deno.args;
const show = await shower();
const rooms = new Map<string, Room>();

async function shower(): Promise<Show> {
  if (kind === "bare") return (room, nick, text) => send(room, `${nick}: ${text}`);
  if (kind === "durable") return durable(await Deno.openKv(file));
  if (kind === "batched") return batched();
  throw new TypeError(`Unknown kind "${kind}": use bare, durable or batched`);
}

function send(room: Room, text: string): void {
  for (const each of room) if (each.readyState === WebSocket.OPEN) each.send(text);
}

function durable(kv: Deno.Kv): Show {
  let waiting: { room: Room; line: string }[] = [];
  let rows = 0;
  let isStoring = false;
  async function store(): Promise<void> {
    isStoring = true;
    while (waiting.length > 0) {
      const taken = waiting;
      waiting = [];
      await kv.set(["said", rows++], taken.map(({ line }) => line));
      for (const { room, line } of taken) send(room, line);
    }
    isStoring = false;
  }
  return (room, nick, text) => {
    waiting.push({ room, line: `${nick}: ${text}` });
    if (!isStoring) void store();
  };
}

function batched(): Show {
  const waiting = new Map<Room, string[]>();
  let isDue = false;
  function flush(): void {
    isDue = false;
    for (const [room, lines] of waiting) send(room, lines.join("\n"));
    waiting.clear();
  }
  return (room, nick, text) => {
    const id = "i29160000000", time = 1_795_372_236_123;
    const line =
      `{"type":"message","id":"${id}","room":"r","nick":"${nick}","text":"${text}","time":${time}}`;
    const lines = waiting.get(room);
    if (lines === undefined) waiting.set(room, [line]);
    else lines.push(line);
    if (isDue) return;
    isDue = true;
    setTimeout(flush, 0);
  };
}

const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
  if (request.headers.get("upgrade") !== "websocket") {
    return new Response("Expected a WebSocket handshake.");
  }
  const { socket, response } = Deno.upgradeWebSocket(request);
  let nick = "";
  let room: Room | undefined;
  socket.onmessage = ({ data }: MessageEvent<string>) => {
    if (nick === "") {
      nick = data;
      socket.send(`Using nickname: ${nick}`);
    } else if (data.startsWith("/join ")) {
      const name = data.slice(6);
      room?.delete(socket);
      room = rooms.get(name) ?? new Set();
      rooms.set(name, room.add(socket));
      for (const each of room) {
        each.send(each === socket ? `Joined chat room "${name}"` : `${nick} joined room.`);
      }
    } else if (room !== undefined) {
      show(room, nick, data);
    }
  };
  socket.onclose = () => room?.delete(socket);
  return response;
});
console.log(`listening ${server.addr.port}`);
