/**
 * Not a chat: accepts clients, then sends them frames that look like deliveries as fast as it can.
 *
 * It measures how much the generator can receive: it reads nothing after the handshake, and has no
 * rooms. `sink.ts N` puts N deliveries into each write: with `sink.ts 1` each one costs a read.
 */
const each = Number(Deno.args[0]);
const encoder = new TextEncoder();
const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; // For the key that the generator always sends.
const upgrade = encoder.encode(
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
);

function frame(text: string): Uint8Array {
  const bytes = encoder.encode(text);
  return new Uint8Array([0x81, bytes.length, ...bytes]);
}

/** Sender 9999999 does not exist, so the generator sends nothing in return. */
const delivery = frame(`u1: @9999999000000001@${"x".repeat(14)}`);
const chunk = new Uint8Array(delivery.length * each);
for (let i = 0; i < each; i++) chunk.set(delivery, i * delivery.length);

async function serve(connection: Deno.TcpConn): Promise<void> {
  try {
    connection.setNoDelay(true);
    const buffer = new Uint8Array(4096);
    for (const answer of [upgrade, frame("Using nickname: u"), frame('Joined chat room "r"')]) {
      await connection.read(buffer);
      await connection.write(answer);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    for (;;) await connection.write(chunk);
  } catch {
    // The generator has closed the connection.
  }
}

using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(`listening ${listener.addr.port}`);
for await (const connection of listener) void serve(connection);
