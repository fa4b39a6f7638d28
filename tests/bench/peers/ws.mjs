/** A peer: `ws` on Node, with the same loop over the sockets of a room. Nothing is stored. */
import { createRequire } from "node:module";

// Not an import, so that this file can be checked where the package is not installed.
const { WebSocketServer } = createRequire(import.meta.url)("ws");

const rooms = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 4096 });
server.on("connection", (socket) => {
  let nick = "";
  let room;
  socket.on("error", () => {});
  socket.on("message", (bytes) => {
    const data = bytes.toString();
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
      for (const each of room) if (each.readyState === 1) each.send(text);
    }
  });
  socket.on("close", () => room?.delete(socket));
});
server.on("listening", () => console.log(`listening ${server.address().port}`));
