/** A peer: Bun's `publish`, the fastest fan-out in memory that we know. Nothing is stored. */
const server = globalThis.Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    if (server.upgrade(request, { data: { nick: "", room: "" } })) return;
    return new Response("Expected a WebSocket handshake.");
  },
  websocket: {
    // Bun drops messages beyond this limit, and they would count as lost.
    backpressureLimit: 1 << 26,
    message(socket, data) {
      const person = socket.data;
      if (person.nick === "") {
        person.nick = data;
        socket.send(`Using nickname: ${data}`);
      } else if (data.startsWith("/join ")) {
        if (person.room !== "") socket.unsubscribe(person.room);
        person.room = data.slice(6);
        server.publish(person.room, `${person.nick} joined room.`);
        socket.subscribe(person.room);
        socket.send(`Joined chat room "${person.room}"`);
      } else if (person.room !== "") {
        server.publish(person.room, `${person.nick}: ${data}`);
      }
    },
  },
});
console.log(`listening ${server.port}`);
