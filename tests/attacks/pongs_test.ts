/** Unsolicited control frames: the server disconnects a client that sends pongs without end. */
import { assertEquals } from "@std/assert";
import { TestServer } from "../support/test_server.ts";
import { eventually, withDeadline } from "../support/wait.ts";
import { frame, RawSocket, textFrame } from "../support/raw_socket.ts";

const PONG = frame(0x8a, new Uint8Array());

/** Returns `count` pong frames. */
function pongs(count: number): Uint8Array {
  const all = new Uint8Array(PONG.length * count);
  for (let i = 0; i < count; i++) all.set(PONG, i * PONG.length);
  return all;
}

Deno.test("Instance disconnects a client that sends pongs without end, and other clients are told that it left", async () => {
  await using server = await TestServer.open({ graceSeconds: 0 });
  const bob = await server.login("Bob", "red");
  const { raw } = await RawSocket.open(server.port);
  const closed = new Promise<void>((resolve) => raw.socket.once("close", () => resolve()));
  raw.socket.resume();
  await raw.write(textFrame("Eve"));
  await raw.write(textFrame("/join red"));
  await bob.expect("Eve joined room.");
  let sent = 0;
  while (sent < 2_000_000 && await raw.write(pongs(1000))) sent += 1000;
  await withDeadline(closed, "the end of the connection");
  await bob.expect("Eve left room.");
  await bob.request("/ls", "Bob");
});

Deno.test("Instance does not count messages as pongs, and keeps a client that sends 400 pongs", async () => {
  await using server = await TestServer.open({ rateLimits: "off" });
  const bob = await server.login("Bob", "red");
  const { raw } = await RawSocket.open(server.port);
  raw.socket.resume();
  await raw.write(textFrame("Ann"));
  await raw.write(textFrame("/join red"));
  await bob.expect("Ann joined room.");
  for (let i = 0; i < 600; i++) await raw.write(textFrame(`message ${i}`));
  for (let i = 0; i < 600; i++) await bob.expect(`Ann: message ${i}`);
  await raw.write(pongs(400));
  await raw.write(textFrame("still here"));
  await bob.expect("Ann: still here");
  assertEquals(raw.socket.destroyed, false);
  await raw.close();
  await bob.expect("Ann left room.");
  await eventually(() => server.chat.size === 1, "one client is left");
});
