/**
 * A peer: the least a chat on Deno can be. `Deno.serve`, and a loop over the sockets of a room.
 *
 * Nothing is stored, checked or ordered beyond what one thread gives. All ratios are against it.
 */
const rooms = new Map<string, Set<WebSocket>>();
const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
  if (request.headers.get("upgrade") !== "websocket") return new Response("a WebSocket, please");
  const { socket, response } = Deno.upgradeWebSocket(request);
  let nick = "";
  let room: Set<WebSocket> | undefined;
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
      const text = `${nick}: ${data}`;
      for (const each of room) if (each.readyState === WebSocket.OPEN) each.send(text);
    }
  };
  socket.onclose = () => room?.delete(socket);
  return response;
});
console.log(`listening ${server.addr.port}`);
