/** A peer: socket.io on Node, with the WebSocket transport and its own rooms. Nothing is stored. */
import { createServer } from "node:http";
import { createRequire } from "node:module";

// Not an import, so that this file can be checked where the package is not installed.
const { Server } = createRequire(import.meta.url)("socket.io");

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });
io.on("connection", (socket) => {
  let nick = "";
  let room;
  socket.on("login", (name) => {
    nick = name;
    socket.emit("message", `Using nickname: ${nick}`);
  });
  socket.on("join", (name) => {
    if (room !== undefined) socket.leave(room);
    room = name;
    socket.join(room);
    socket.emit("message", `Joined chat room "${room}"`);
    socket.to(room).emit("message", `${nick} joined room.`);
  });
  socket.on("message", (text) => io.to(room).emit("message", `${nick}: ${text}`));
});
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening ${http.address().port}`);
});
