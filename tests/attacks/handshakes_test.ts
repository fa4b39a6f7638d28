/** Handshakes that the client resets before the answer: they take no place in the chat for good. */
import { assert, assertEquals } from "@std/assert";
import { connect } from "node:net";
import { descriptorsOf, eventually, Person, ServerProcess } from "../support/test_server.ts";
import { handshake, RawSocket } from "../support/raw_socket.ts";

/** Sends a handshake, and resets the connection (RST) after so many milliseconds. */
async function reset(port: number, afterMs: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await new Promise<void>((resolve) => socket.write(handshake(port), () => resolve()));
  if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs));
  socket.resetAndDestroy();
  await closed;
}

const FLAGS = ["--kv", ":memory:", "--max-connections", "120", "--max-per-address", "110"];
const CONNECTIONS = "connections=1000000/1s";

const options = { ignore: Deno.build.os !== "linux" };

Deno.test("the server gives back the place of a handshake that was reset", options, async () => {
  await using server = await ServerProcess.start([...FLAGS, "--limits", CONNECTIONS]);
  const before = descriptorsOf(server.process.pid);
  let refused = 0;
  // Reset at once, and about when the answer is written: some of the latter never open.
  for (let i = 0; i < 400; i++) {
    await reset(server.port, i < 100 ? 0 : 9 + i % 10);
    if (i % 50 !== 49) continue;
    const { raw, status } = await RawSocket.open(server.port);
    if (status !== 101) refused++;
    await raw.close();
  }
  await eventually(async () => {
    const { raw, status } = await RawSocket.open(server.port);
    await raw.close();
    return status === 101;
  }, "a client is let in");
  // All 100 places that are asked for are there.
  const enough = async () => {
    const all = await Promise.all(Array.from({ length: 100 }, () => RawSocket.open(server.port)));
    await Promise.all(all.map(({ raw }) => raw.close()));
    return all.every(({ status }) => status === 101);
  };
  await eventually(enough, "all places are free");
  const ann = await Person.connect(server.url);
  ann.say("Ann");
  assertEquals(await ann.next(), "Using nickname: Ann\nType /help for list of commands.");
  await ann.leave();
  const descriptors = descriptorsOf(server.process.pid);
  console.log({ refused, before, descriptors });
});

Deno.test("a handshake that is reset at once costs no descriptor", options, async () => {
  await using server = await ServerProcess.start([...FLAGS, "--limits", CONNECTIONS]);
  const { raw } = await RawSocket.open(server.port);
  await raw.close();
  const before = descriptorsOf(server.process.pid);
  for (let i = 0; i < 100; i++) await reset(server.port, 0);
  // Those before it have been accepted when it is.
  await (await RawSocket.open(server.port)).raw.close();
  const left = () => descriptorsOf(server.process.pid) - before;
  await eventually(() => left() < 20, "the descriptors are closed", 5_000).catch(() => {});
  assert(left() < 20, `${left()} descriptors of 100 are left`);
});
