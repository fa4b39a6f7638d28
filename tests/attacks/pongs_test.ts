/** Unsolicited control frames: the server disconnects a client that sends pongs without end. */
import { assertEquals } from "@std/assert";
import { eventually, House, soon } from "../support/test_server.ts";
import { frame, RawSocket, textFrame } from "../support/raw_socket.ts";

const PONG = frame(0x8a, new Uint8Array());

/** Returns `count` pong frames. */
function pongs(count: number): Uint8Array {
  const all = new Uint8Array(PONG.length * count);
  for (let i = 0; i < count; i++) all.set(PONG, i * PONG.length);
  return all;
}

Deno.test("Instance disconnects a client that sends pongs without end, and other clients are told that it left", async () => {
  await using house = await House.open({ grace: 0 });
  const bob = await house.enter("Bob", "red");
  const { raw } = await RawSocket.open(house.port);
  const closed = new Promise<void>((resolve) => raw.socket.once("close", () => resolve()));
  raw.socket.resume();
  await raw.write(textFrame("Eve"));
  await raw.write(textFrame("/join red"));
  await bob.hears("Eve joined room.");
  let sent = 0;
  while (sent < 2_000_000 && await raw.write(pongs(1000))) sent += 1000;
  await soon(closed, "the end of the connection");
  await bob.hears("Eve left room.");
  await bob.asks("/ls", "Bob");
});

Deno.test("Instance does not count messages as pongs, and keeps a client that sends 400 pongs", async () => {
  await using house = await House.open({ flood: "off" });
  const bob = await house.enter("Bob", "red");
  const { raw } = await RawSocket.open(house.port);
  raw.socket.resume();
  await raw.write(textFrame("Ann"));
  await raw.write(textFrame("/join red"));
  await bob.hears("Ann joined room.");
  for (let i = 0; i < 600; i++) await raw.write(textFrame(`message ${i}`));
  for (let i = 0; i < 600; i++) await bob.hears(`Ann: message ${i}`);
  await raw.write(pongs(400));
  await raw.write(textFrame("still here"));
  await bob.hears("Ann: still here");
  assertEquals(raw.socket.destroyed, false);
  await raw.close();
  await bob.hears("Ann left room.");
  await eventually(() => house.chat.size === 1, "one client is left");
});
