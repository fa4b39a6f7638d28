/** What waits for those who do not read: what is counted, and whose it is when it is too much. */
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

/** A backlog, in a time in which nothing is a matter of a moment. */
function backlogOf(mostInAll: number, perLook = 2_000) {
  const clock = new FakeClock();
  clock.readMs = perLook;
  return new Backpressure(MIB, mostInAll, clock);
}

/** Frames of a length go in, and nothing comes out, until that is too much. Returns how many did. */
function fill(backlog: Backpressure, length: number, socket = queue()): number {
  for (let frames = 1;; frames++) {
    if (backlog.exceedsLimit(socket, length)) return frames;
    socket.bufferedAmount += length;
  }
}

Deno.test("large frames are too much at the bound, small ones long before: each has its own cost", () => {
  const large = fill(backlogOf(Infinity), 16_000) * 16_000;
  assert(large > 0.9 * MIB && large < 1.1 * MIB, `${large} bytes`);
  const small = fill(backlogOf(Infinity), 36) * 36;
  assert(small > 50_000 && small < 100_000, `${small} bytes`);
});

Deno.test("thousands of frames in one commit are no reason, a moment later they are", () => {
  const socket = queue();
  const backlog = backlogOf(Infinity, 0.1);
  const frames = fill(backlog, 36, socket);
  assert(frames > 2_400 && frames < 2_600, `${frames} frames`);
  // Unless they are too long themselves.
  assert(fill(backlogOf(Infinity, 0.1), 16_000) < 70);
});

Deno.test("somebody who reads, but slowly, is never let go", () => {
  const backlog = backlogOf(Infinity);
  const socket = queue();
  for (let i = 0; i < 100_000; i++) {
    assert(!backlog.exceedsLimit(socket, 36));
    socket.bufferedAmount += 36;
    if (socket.bufferedAmount > 40_000) socket.bufferedAmount = UNCHECKED_BYTES + 1;
  }
});

Deno.test("one long page, and something short after it, is not many short ones", () => {
  const backlog = backlogOf(Infinity);
  const socket = queue(520_000);
  for (let i = 0; i < 100; i++) {
    assert(!backlog.exceedsLimit(socket, 36));
    socket.bufferedAmount += 36;
  }
});

Deno.test("when it is too much in all, those for whom most waits are let go, and not the others", () => {
  const backlog = backlogOf(10 * MIB);
  const slow = Array.from({ length: 30 }, (_, i) => queue(i % 3 === 0 ? 900_000 : 150_000));
  for (const socket of slow) backlog.exceedsLimit(socket, 1_000);
  const gone = slow.filter((socket) => backlog.exceedsLimit(socket, 1_000));
  assertEquals(gone, slow.filter(({ bufferedAmount }) => bufferedAmount === 900_000));
  // Who only has a hiccup stays.
  assert(!backlog.exceedsLimit(queue(20_000), 1_000));
});

Deno.test("what a closed socket keeps is counted until it is gone, and what was read is not", () => {
  const backlog = backlogOf(Infinity);
  const closed = queue(500_000), open = queue(500_000);
  backlog.exceedsLimit(closed, 1_000);
  backlog.exceedsLimit(open, 1_000);
  backlog.closing(closed);
  // As Deno does.
  closed.bufferedAmount = 0;
  const before = backlog.totalBytes;
  assert(before > 1_000_000);
  backlog.remove(open);
  assert(backlog.totalBytes > 500_000 && backlog.totalBytes < before);
  backlog.remove(closed);
  backlog.remove(closed);
  assertEquals(backlog.totalBytes, 0);
});

Deno.test("those who have caught up make room for others when it is needed", () => {
  const backlog = backlogOf(4 * MIB);
  const sockets = Array.from({ length: 16 }, () => queue(300_000));
  for (const socket of sockets) backlog.exceedsLimit(socket, 1_000);
  for (const socket of sockets) socket.bufferedAmount = 0;
  const slow = queue(900_000);
  for (let i = 0; i < 30; i++) backlog.exceedsLimit(slow, 1_000);
  assert(!backlog.exceedsLimit(slow, 1_000));
  assert(backlog.totalBytes < 2 * MIB, `${backlog.totalBytes}`);
});

Deno.test("a sender forgets what waited for a socket when that has ended", () => {
  const sender = new Sender(limitsFrom());
  const socket = new FakeSocket();
  socket.bufferedAmount = 2 * MIB;
  const gone: number[] = [];
  const peer = sender.add(socket, "text", (code) => gone.push(code));
  sender.reply(peer, "x".repeat(30_000));
  assertEquals([socket.closeCode, gone], [1013, [1013]]);
  sender.socketClosed(socket);
  sender.socketClosed(socket);
});

Deno.test("a reply that is being made counts for all together, until it is sent", () => {
  const backlog = backlogOf(4 * MIB);
  const releases = Array.from({ length: 16 }, () => backlog.reserve(queue(0), MIB / 4));
  assert(releases.every((release) => release !== undefined));
  assertEquals(backlog.reserve(queue(0), 1), undefined, "the 4 MiB are spoken for");
  releases[0]!();
  // To give it back twice is to give it back once.
  releases[0]!();
  assert(backlog.reserve(queue(0), MIB / 4) !== undefined);
  assertEquals(backlog.reserve(queue(0), 1), undefined);
});

Deno.test("a large reply does not fit behind what waits for the same socket, and fits when that is read", () => {
  const backlog = backlogOf(Infinity);
  const socket = queue(MIB - 1_000);
  assertEquals(backlog.reserve(socket, 1_001), undefined);
  assert(backlog.reserve(socket, 1_000) !== undefined);
});

Deno.test("room that was taken by those who have read meanwhile is found again", () => {
  const backlog = backlogOf(4 * MIB);
  const sockets = Array.from({ length: 5 }, () => queue(900_000));
  for (const socket of sockets) backlog.exceedsLimit(socket, 1_000);
  assertEquals(backlog.reserve(queue(0), MIB / 4), undefined);
  for (const socket of sockets) socket.bufferedAmount = 0;
  assert(backlog.reserve(queue(0), MIB / 4) !== undefined);
});
