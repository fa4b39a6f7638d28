/** Unsent data: what is counted, and which client exceeds a limit. */
import { assert, assertEquals } from "@std/assert";
import { Backpressure, UNCHECKED_BYTES } from "../../chat/delivery/backpressure.ts";
import { limitsFrom } from "../../chat/base/limits.ts";
import { Sender } from "../../chat/delivery/sender.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { FakeSocket } from "../support/fake_socket.ts";

const MIB = 1024 * 1024;

function queue(bufferedAmount = UNCHECKED_BYTES + 1) {
  return { bufferedAmount };
}

/** Returns a Backpressure whose clock advances at every look, by default beyond the grace. */
function backpressureOf(mostInAll: number, perLook = 2_000) {
  const clock = new FakeClock();
  clock.readMs = perLook;
  return new Backpressure(MIB, mostInAll, clock);
}

/** Adds frames to a queue until the limit is exceeded. Returns the number of frames. */
function fill(backpressure: Backpressure, length: number, socket = queue()): number {
  for (let frames = 1;; frames++) {
    if (backpressure.exceedsLimit(socket, length)) return frames;
    socket.bufferedAmount += length;
  }
}

Deno.test("Backpressure counts an overhead for each frame: small frames reach the limit earlier", () => {
  const large = fill(backpressureOf(Infinity), 16_000) * 16_000;
  assert(large > 0.9 * MIB && large < 1.1 * MIB, `${large} bytes`);
  const small = fill(backpressureOf(Infinity), 36) * 36;
  assert(small > 50_000 && small < 100_000, `${small} bytes`);
});

Deno.test("Backpressure ignores the overhead of the frames of one commit, but not a moment later", () => {
  const socket = queue();
  const backpressure = backpressureOf(Infinity, 0.1);
  const frames = fill(backpressure, 36, socket);
  assert(frames > 2_400 && frames < 2_600, `${frames} frames`);
  // The bytes of the text itself are counted at once.
  assert(fill(backpressureOf(Infinity, 0.1), 16_000) < 70);
});

Deno.test("Backpressure never rejects a client that reads slowly but steadily", () => {
  const backpressure = backpressureOf(Infinity);
  const socket = queue();
  for (let i = 0; i < 100_000; i++) {
    assert(!backpressure.exceedsLimit(socket, 36));
    socket.bufferedAmount += 36;
    if (socket.bufferedAmount > 40_000) socket.bufferedAmount = UNCHECKED_BYTES + 1;
  }
});

Deno.test("Backpressure does not count one long page as many short frames", () => {
  const backpressure = backpressureOf(Infinity);
  const socket = queue(520_000);
  for (let i = 0; i < 100; i++) {
    assert(!backpressure.exceedsLimit(socket, 36));
    socket.bufferedAmount += 36;
  }
});

Deno.test("Backpressure rejects the clients with the most unsent data when all together have too much", () => {
  const backpressure = backpressureOf(10 * MIB);
  const slow = Array.from({ length: 30 }, (_, i) => queue(i % 3 === 0 ? 900_000 : 150_000));
  for (const socket of slow) backpressure.exceedsLimit(socket, 1_000);
  const gone = slow.filter((socket) => backpressure.exceedsLimit(socket, 1_000));
  assertEquals(gone, slow.filter(({ bufferedAmount }) => bufferedAmount === 900_000));
  // A client with little unsent data is not rejected.
  assert(!backpressure.exceedsLimit(queue(20_000), 1_000));
});

Deno.test("Backpressure counts the unsent data of a closed socket until the socket is removed", () => {
  const backpressure = backpressureOf(Infinity);
  const closed = queue(500_000), open = queue(500_000);
  backpressure.exceedsLimit(closed, 1_000);
  backpressure.exceedsLimit(open, 1_000);
  backpressure.closing(closed);
  // As Deno does after a close.
  closed.bufferedAmount = 0;
  const before = backpressure.totalBytes;
  assert(before > 1_000_000);
  backpressure.remove(open);
  assert(backpressure.totalBytes > 500_000 && backpressure.totalBytes < before);
  backpressure.remove(closed);
  backpressure.remove(closed);
  assertEquals(backpressure.totalBytes, 0);
});

Deno.test("Backpressure stops counting clients that caught up when others need the room", () => {
  const backpressure = backpressureOf(4 * MIB);
  const sockets = Array.from({ length: 16 }, () => queue(300_000));
  for (const socket of sockets) backpressure.exceedsLimit(socket, 1_000);
  for (const socket of sockets) socket.bufferedAmount = 0;
  const slow = queue(900_000);
  for (let i = 0; i < 30; i++) backpressure.exceedsLimit(slow, 1_000);
  assert(!backpressure.exceedsLimit(slow, 1_000));
  assert(backpressure.totalBytes < 2 * MIB, `${backpressure.totalBytes}`);
});

Deno.test("Sender stops counting the unsent data of a socket that has ended", () => {
  const sender = new Sender(limitsFrom());
  const socket = new FakeSocket();
  socket.bufferedAmount = 2 * MIB;
  const gone: number[] = [];
  const subscriber = sender.add(socket, "text", (code) => gone.push(code));
  sender.reply(subscriber, "x".repeat(30_000));
  assertEquals([socket.closeCode, gone], [1013, [1013]]);
  sender.socketClosed(socket);
  sender.socketClosed(socket);
});

Deno.test("Backpressure.reserve counts a reply for all clients together until it is released", () => {
  const backpressure = backpressureOf(4 * MIB);
  const releases = Array.from({ length: 16 }, () => backpressure.reserve(queue(0), MIB / 4));
  assert(releases.every((release) => release !== undefined));
  assertEquals(backpressure.reserve(queue(0), 1), undefined, "the 4 MiB are spoken for");
  releases[0]!();
  // A second release does nothing.
  releases[0]!();
  assert(backpressure.reserve(queue(0), MIB / 4) !== undefined);
  assertEquals(backpressure.reserve(queue(0), 1), undefined);
});

Deno.test("Backpressure.reserve refuses a reply that does not fit behind the socket's unsent data", () => {
  const backpressure = backpressureOf(Infinity);
  const socket = queue(MIB - 1_000);
  assertEquals(backpressure.reserve(socket, 1_001), undefined);
  assert(backpressure.reserve(socket, 1_000) !== undefined);
});

Deno.test("Backpressure.reserve counts again when all together have too much", () => {
  const backpressure = backpressureOf(4 * MIB);
  const sockets = Array.from({ length: 5 }, () => queue(900_000));
  for (const socket of sockets) backpressure.exceedsLimit(socket, 1_000);
  assertEquals(backpressure.reserve(queue(0), MIB / 4), undefined);
  for (const socket of sockets) socket.bufferedAmount = 0;
  assert(backpressure.reserve(queue(0), MIB / 4) !== undefined);
});
