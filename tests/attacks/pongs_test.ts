/** Control frames that nobody asked for: who sends pongs without end is cut, and others wait little. */
import { assertEquals } from "@std/assert";
import { eventually, House, soon } from "../support/test_server.ts";
import { frame, RawSocket } from "../support/raw_socket.ts";

const PONG = 0x8a, TEXT = 0x81;
const NOTHING = new Uint8Array();

const typed = (line: string) => frame(TEXT, new TextEncoder().encode(line));
const many = (bytes: Uint8Array, times: number) => {
  const all = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) all.set(bytes, i * bytes.length);
  return all;
};

Deno.test("Instance cuts a client that sends pongs without end, and the others see it leave", async () => {
  await using house = await House.open({ grace: 0 });
  const bob = await house.enter("Bob", "red");
  const { raw } = await RawSocket.open(house.port);
  const closed = new Promise<void>((resolve) => raw.socket.once("close", () => resolve()));
  raw.socket.resume();
  await raw.write(typed("Eve"));
  await raw.write(typed("/join red"));
  await bob.hears("Eve joined room.");
  let sent = 0;
  while (sent < 2_000_000 && await raw.write(many(frame(PONG, NOTHING), 1000))) sent += 1000;
  await soon(closed, "the connection to be cut");
  await bob.hears("Eve left room.");
  await bob.asks("/ls", "Bob");
});

Deno.test("Instance counts no message as a pong, and keeps a client that sends some pongs", async () => {
  await using house = await House.open({ flood: "off" });
  const bob = await house.enter("Bob", "red");
  const { raw } = await RawSocket.open(house.port);
  raw.socket.resume();
  await raw.write(typed("Ann"));
  await raw.write(typed("/join red"));
  await bob.hears("Ann joined room.");
  for (let i = 0; i < 600; i++) await raw.write(typed(`message ${i}`));
  for (let i = 0; i < 600; i++) await bob.hears(`Ann: message ${i}`);
  await raw.write(many(frame(PONG, NOTHING), 400));
  await raw.write(typed("still here"));
  await bob.hears("Ann: still here");
  assertEquals(raw.socket.destroyed, false);
  await raw.close();
  await bob.hears("Ann left room.");
  await eventually(() => house.chat.size === 1, "one is left");
});
