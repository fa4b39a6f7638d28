/** Handshakes that the client resets before the response: they must not use up connection slots. */
import { assert, assertEquals } from "@std/assert";
import { connect } from "node:net";
import { openDescriptors, ServerProcess } from "../support/processes.ts";
import { RawSocket, upgradeRequest } from "../support/raw_socket.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually, sleep } from "../support/wait.ts";

/** Sends a handshake, and resets the connection (RST) after `afterMs` milliseconds. */
async function reset(port: number, afterMs: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await new Promise<void>((resolve) => socket.write(upgradeRequest(port), () => resolve()));
  if (afterMs > 0) await sleep(afterMs);
  socket.resetAndDestroy();
  await closed;
}

const FLAGS = ["--kv", ":memory:", "--max-connections", "120", "--max-per-address", "110"];
const CONNECTIONS = "connections=1000000/1s";

const options = { ignore: Deno.build.os !== "linux" };

Deno.test("the server frees the slot of a handshake that the client reset", options, async () => {
  await using server = await ServerProcess.start([...FLAGS, "--limits", CONNECTIONS]);
  const before = openDescriptors(server.process.pid);
  let refused = 0;
  // Some are reset at once, the others about when the response is written: some sockets never open.
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
  }, "the server accepts a client");
  // 100 clients at the same time are accepted.
  const enough = async () => {
    const all = await Promise.all(Array.from({ length: 100 }, () => RawSocket.open(server.port)));
    await Promise.all(all.map(({ raw }) => raw.close()));
    return all.every(({ status }) => status === 101);
  };
  await eventually(enough, "all slots are free");
  const ann = await TextClient.connect(server.url);
  ann.send("Ann");
  assertEquals(await ann.next(), "Using nickname: Ann\nType /help for list of commands.");
  await ann.disconnect();
  const descriptors = openDescriptors(server.process.pid);
  console.log({ refused, before, descriptors });
});

Deno.test(
  "the server closes the descriptor of a handshake that the client reset at once",
  options,
  async () => {
    await using server = await ServerProcess.start([...FLAGS, "--limits", CONNECTIONS]);
    const { raw } = await RawSocket.open(server.port);
    await raw.close();
    const before = openDescriptors(server.process.pid);
    for (let i = 0; i < 100; i++) await reset(server.port, 0);
    // When this handshake is accepted, the server has accepted those before it.
    await (await RawSocket.open(server.port)).raw.close();
    const left = () => openDescriptors(server.process.pid) - before;
    await eventually(() => left() < 20, "the descriptors are closed", 5_000).catch(() => {});
    assert(left() < 20, `${left()} of 100 descriptors are open`);
  },
);
