import { assert, assertEquals } from "@std/assert";
import { CLOSE } from "../../chat/base/close_codes.ts";
import type { RoomEvent } from "../../chat/feed/events.ts";
import { limitsFrom } from "../../chat/base/limits.ts";
import { Sender } from "../../chat/delivery/sender.ts";
import type { WireFormat } from "../../chat/delivery/subscriber.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { FakeSocket } from "../support/fake_socket.ts";

/** A sender that delivers, each event as a commit of its own unless told otherwise. */
function house() {
  const time = new FakeClock();
  const sender = new Sender(limitsFrom(), time);
  let ids = 0;
  const deliver = (...events: RoomEvent[]) => {
    for (const each of events) sender.deliver(each, `id${ids++}`);
    sender.flush();
  };
  const gone: string[] = [];
  const enter = (id: string, wire: WireFormat = "text") => {
    const socket = new FakeSocket();
    const peer = sender.add(socket, wire, () => gone.push(id));
    sender.bind(peer, id);
    return { socket, peer };
  };
  return { sender, deliver, gone, enter, time };
}

/** Everybody is in the room, and has heard nothing yet. */
function open(...ids: string[]) {
  const { sender, deliver, gone, enter, time } = house();
  const people = ids.map((id) => {
    const person = enter(id);
    deliver(event("join", id));
    return person;
  });
  const sockets = people.map(({ socket }) => socket);
  for (const socket of sockets) socket.sent.length = 0;
  return { sender, deliver, enter, sockets, gone, time, peers: people.map(({ peer }) => peer) };
}

function event(kind: RoomEvent["kind"], id: string, text = "", room = "red"): RoomEvent {
  return { kind, room, id, nick: `nick${id}`, text, time: 0, cid: "" };
}

Deno.test("a reader who takes nothing is sent nothing more, is closed after 30 s, and the others keep receiving", () => {
  const { bufferedBytes } = limitsFrom();
  for (const letter of ["a", "ä", "語", "😀"]) {
    const { deliver, sockets: [ann, slow, cy], gone, time } = open("1", "2", "3");
    slow!.reads = false;
    const text = letter.repeat(100);
    for (let i = 0; i < 20_000; i++) deliver(event("message", "1", text));
    // Neither before the bound nor long after it.
    const most = slow!.bufferedAmount;
    assert(most > bufferedBytes && most < bufferedBytes + 1024, `${most} bytes were waiting`);
    time.advance(29_000);
    assertEquals(slow!.closeCode, undefined);
    time.advance(1_100);
    assertEquals([slow!.closeCode, gone], [1013, ["2"]]);
    for (const socket of [ann!, cy!]) {
      assertEquals([socket.sent.length, socket.closeCode], [20_000, undefined]);
    }
    assertEquals(time.timerCount, 0);
  }
});

/** Fills the queue of somebody who does not read; returns how many messages that took. */
function fill(deliver: (event: RoomEvent) => void, socket: FakeSocket, from: string): number {
  socket.reads = false;
  let many = 0;
  for (let before = -1; before < socket.sent.length; many++) {
    before = socket.sent.length;
    deliver(event("message", from, "x".repeat(10_000)));
  }
  return many;
}

/** Everything that waits is read. */
function drain(socket: FakeSocket): void {
  socket.reads = true;
  socket.bufferedAmount = 0;
  socket.sent.length = 0;
}

const json = (socket: FakeSocket) =>
  socket.sent.flatMap((frame) => frame.split("\n")).map((line) => JSON.parse(line));

Deno.test("a reader of lines who fell behind stays, is told how much it missed, and hears what comes after", () => {
  const { deliver, sockets: [ann, slow], time, gone } = open("1", "2", "3");
  fill(deliver, slow!, "1");
  for (let i = 0; i < 1_233; i++) deliver(event("message", "1", "missed"));
  deliver(event("leave", "3"));
  drain(slow!);
  deliver(event("message", "1", "not yet"));
  time.advance(200);
  deliver(event("message", "1", "again"));
  assertEquals(slow!.sent, [
    "You missed 1,235 messages: your connection is too slow. Type /history to read them.",
    "nick1: again",
  ]);
  assertEquals([ann!.closeCode, slow!.closeCode, gone, time.timerCount], [
    undefined,
    undefined,
    [],
    0,
  ]);
});

Deno.test("a reader of lines who missed no message is told that it missed who came and went", () => {
  const { sender, deliver, sockets: [, slow], peers, time, enter } = open("1", "2");
  slow!.reads = false;
  while (slow!.bufferedAmount < 1_050_000) sender.reply(peers[1]!, "x".repeat(10_000));
  enter("3");
  deliver(event("join", "3"));
  drain(slow!);
  time.advance(200);
  assertEquals(slow!.sent, [
    "You missed who joined and left: your connection is too slow. Type /ls to see who is here.",
  ]);
});

Deno.test("the place of a reader who fell behind names no event that it was not sent", () => {
  const { deliver, enter, time } = house();
  enter("1");
  const { socket } = enter("2", "text with ids");
  deliver(event("join", "1"), event("join", "2"));
  fill(deliver, socket, "1");
  const last = socket.sent.at(-1)!.split(" ", 1)[0];
  deliver(event("message", "1", "missed"), event("direct", "2", "psst", ""));
  assertEquals(socket.sent.at(-1)!.split(" ", 1)[0]!.split("_")[0], last);
  drain(socket);
  time.advance(200);
  deliver(event("message", "1", "again"));
  assert(socket.sent.at(-1)!.endsWith(" nick1: again"), socket.sent.at(-1));
  assert(!socket.sent.at(-1)!.startsWith(`${last}_`), socket.sent.at(-1));
});

Deno.test("a reader of JSON who fell behind is told between which ids, and each event comes once or is counted", () => {
  const { deliver, enter, time } = house();
  const [ann, slow] = [enter("1"), enter("2", "json")];
  deliver(event("join", "1"));
  deliver(event("join", "2"));
  slow.socket.reads = false;
  const last = () => json(slow.socket).at(-1).id;
  let sent = "", before = -1;
  while (before < slow.socket.sent.length) {
    before = slow.socket.sent.length;
    sent = last();
    deliver(event("message", "1", "x".repeat(10_000)), event("message", "1", "y"));
  }
  deliver(event("message", "1", "missed"), event("leave", "1"));
  drain(slow.socket);
  time.advance(200);
  deliver(event("join", "1"), event("message", "1", "again"));
  const [gap, ...rest] = json(slow.socket);
  const number = (id: string) => Number(id.slice(2));
  const { after, until, missed, ...others } = gap;
  assertEquals(others, { type: "gap", room: "red" });
  assertEquals([after, missed], [sent, 4]);
  assertEquals(number(until), number(after) + 4);
  assertEquals(rest.map(({ type, id }) => [type, number(id)]), [
    ["joined", number(until) + 1],
    ["message", number(until) + 2],
  ]);
  assertEquals(ann.socket.closeCode, undefined);
});

Deno.test("what is about the slow reader itself is never left out, and comes after the gap before it", () => {
  for (const wire of ["text", "json"] as const) {
    const { deliver, enter, time } = house();
    const [slow] = [enter("2", wire), enter("1")];
    deliver(event("join", "1"));
    deliver(event("join", "2"));
    fill(deliver, slow.socket, "1");
    slow.socket.sent.length = 0;
    deliver(event("nick", "2", "Anna"), event("message", "1", "missed"), event("leave", "2"));
    deliver(event("message", "1", "none of its business"));
    const told = wire === "json"
      ? json(slow.socket).map(({ type, missed }) => `${type} ${missed ?? ""}`.trim())
      : slow.socket.sent.map((line) => line.replace(/:.*/, ""));
    assertEquals(
      told,
      wire === "json" ? ["gap 1", "nick", "gap 1", "left"] : [
        "You missed 1 message",
        "Nickname is",
        "You missed 1 message",
        'Left chat room "red"',
      ],
    );
    assertEquals(time.timerCount, 0, "outside of the room nothing more is to be told");
    // In another room it begins afresh, with its own joining.
    drain(slow.socket);
    deliver(event("join", "2", "", "blue"), event("message", "2", "hi", "blue"));
    assertEquals(slow.socket.sent.length > 0, true);
    const all = slow.socket.sent.join("\n");
    assert(wire === "json" ? all.includes('"joined"') : all.startsWith("Joined"), all);
  }
});

Deno.test("a commit with an event about a JSON reader itself is sent even when it falls behind just then", () => {
  const { sender, deliver, enter, time } = house();
  const { socket, peer } = enter("2", "json");
  deliver(event("join", "2"));
  socket.reads = false;
  while (socket.bufferedAmount < 1_050_000) sender.reply(peer, "x".repeat(10_000));
  socket.sent.length = 0;
  deliver(event("message", "1", "before"), event("nick", "2", "Anna"));
  deliver(event("message", "1", "missed"));
  assertEquals(json(socket).map(({ type }) => type), ["message", "nick"]);
  const last = json(socket)[1].id;
  drain(socket);
  time.advance(200);
  assertEquals(json(socket).map(({ type, after, missed }) => [type, after, missed]), [
    ["gap", last, 1],
  ]);
});

Deno.test("replies and direct messages to a slow reader are not left out; if even they do not fit it is closed", () => {
  const { sender, deliver, sockets: [, slow], peers } = open("1", "2");
  fill(deliver, slow!, "1");
  slow!.sent.length = 0;
  sender.reply(peers[1]!, "a reply");
  deliver({ ...event("direct", "2", "psst"), room: "" });
  deliver(event("message", "1", "missed"));
  assertEquals(slow!.sent, ["a reply", "[from nick2] psst"]);
  for (let i = 0; i < 50; i++) sender.reply(peers[1]!, "x".repeat(10_000));
  assertEquals(slow!.closeCode, 1013);
});

Deno.test("who leaves, or hangs up, while it cannot keep up leaves no timer behind", () => {
  const { sender, deliver, sockets: [, slow], peers, time } = open("1", "2");
  fill(deliver, slow!, "1");
  assertEquals(time.timerCount, 1);
  sender.remove(peers[1]!);
  assertEquals(time.timerCount, 0);
  deliver(event("message", "1", "on it goes"));
});

Deno.test("nothing is sent to those outside the room, nor after leaving it", () => {
  const { deliver, enter, sockets: [ann, bob] } = open("1", "2");
  const { socket: outsider } = enter("9");
  deliver(event("join", "9", "", "blue"));
  deliver(event("leave", "2"));
  deliver(event("message", "1", "hi"));
  assertEquals(outsider.sent, ['Joined chat room "blue"']);
  assertEquals(bob!.sent, ['Left chat room "red"']);
  assertEquals(ann!.sent, ["nick2 left room.", "nick1: hi"]);
});

Deno.test("membership begins and ends where the feed says so", () => {
  const { deliver, enter } = house();
  const { socket } = enter("1");
  deliver(event("message", "2", "before"));
  deliver(event("join", "1"));
  deliver(event("message", "2", "during"));
  deliver(event("leave", "1"));
  deliver(event("message", "2", "after"));
  assertEquals(socket.sent, ['Joined chat room "red"', "nick2: during", 'Left chat room "red"']);
});

Deno.test("a change of nickname is told to its owner and to the others, each in their words", () => {
  const { deliver, sockets: [ann, bob] } = open("1", "2");
  deliver(event("nick", "1", "Anna"));
  assertEquals(ann!.sent, ["Nickname is: Anna"]);
  assertEquals(bob!.sent, ["nick1 is now known as Anna."]);
});

Deno.test("what a closed socket would have got is dropped, whoever closed it", () => {
  const { sender, deliver, sockets: [ann, bob], peers, gone } = open("1", "2");
  bob!.readyState = 3;
  deliver(event("message", "1", "hi"));
  sender.remove(peers[1]!);
  sender.reply(peers[1]!, "late");
  sender.close(peers[1]!, CLOSE.inboxFull);
  assertEquals([bob!.sent, bob!.closeCode, gone], [[], undefined, []]);
  assertEquals(ann!.sent, ["nick1: hi"]);
});

Deno.test("a muted sender shows no events, and still closes everybody", () => {
  const { sender, deliver, sockets, gone } = open("1", "2");
  sender.mute();
  deliver(event("leave", "1"));
  deliver(event("message", "2", "hi"));
  sender.closeAll(CLOSE.restart);
  assertEquals(sockets.map(({ closeCode }) => closeCode), [1012, 1012]);
  assertEquals(sockets.map(({ sent }) => sent), [[], []]);
  assertEquals([gone, sender.size], [["1", "2"], 0]);
});

Deno.test("who speaks JSON gets the events of a commit in one frame, who speaks text each in its own", () => {
  const { deliver, enter, sockets: [ann] } = open("1");
  const { socket } = enter("2", "json");
  deliver(event("join", "2"));
  deliver(event("message", "1", "one"), event("message", "1", "two"));
  assertEquals(socket.sent.map((frame) => frame.split("\n").length), [1, 2]);
  assertEquals(ann!.sent, ["nick2 joined room.", "nick1: one", "nick1: two"]);
});

Deno.test("in a shared frame everybody gets what happened while they were in, and no more", () => {
  const { deliver, enter } = house();
  const [ann, bob, cy] = [enter("1", "json"), enter("2", "json"), enter("3", "json")];
  deliver(event("join", "1"), event("join", "3"));
  ann.socket.sent.length = cy.socket.sent.length = 0;
  deliver(
    event("message", "1", "before"),
    event("join", "2"),
    event("message", "1", "during"),
    event("leave", "2"),
    event("message", "1", "after"),
  );
  const types = ({ socket }: typeof ann) =>
    socket.sent.flatMap((frame) => frame.split("\n")).map((line) => {
      const { type, text } = JSON.parse(line);
      return text ?? type;
    });
  assertEquals(types(ann), ["before", "joined", "during", "left", "after"]);
  assertEquals(types(bob), ["joined", "during", "left"]);
  assertEquals(types(cy), types(ann));
  assertEquals(cy.socket.sent.length, 1);
});

Deno.test("who comes back hears nothing until they caught up, then all of it, and nothing twice", () => {
  const { sender, deliver, enter } = house();
  const [text, json] = [enter("a", "text with ids"), enter("b", "json")];
  deliver(event("message", "9", "id0"));
  for (const { peer } of [text, json]) {
    sender.expect("token", peer);
    sender.attach("1", "token", "red", "");
    deliver(event("message", "9", "seen"), event("message", "9", "new"));
    deliver({ ...event("direct", "1", "psst"), room: "" });
    assertEquals((peer === text.peer ? text : json).socket.sent, []);
    sender.endCatchUp(peer, new Set(["id1", "id4"]));
    deliver(event("message", "9", "later"));
    // The next one takes its place.
    sender.remove(peer);
  }
  assertEquals(text.socket.sent, [
    "id2 nick9: new",
    "id2_id3 [from nick1] psst",
    "id4_id3 nick9: later",
  ]);
  const heard = json.socket.sent.flatMap((frame) => frame.split("\n")).map((line) =>
    JSON.parse(line).text
  );
  assertEquals(heard, ["seen", "new", "psst", "later"]);
});

Deno.test("who comes back in the middle of a commit hears all of the next ones", () => {
  const { sender, deliver, enter } = house();
  const { peer, socket } = enter("new", "json");
  deliver(event("join", "1"));
  enter("2", "json");
  deliver(event("join", "2"));
  sender.deliver(event("message", "2", "before"), "a1");
  sender.expect("token", peer);
  sender.attach("1", "token", "red", "");
  sender.deliver(event("message", "2", "held"), "a2");
  sender.flush();
  sender.endCatchUp(peer, new Set());
  deliver(event("message", "2", "after"), event("message", "2", "more"));
  const heard = socket.sent.flatMap((frame) => frame.split("\n")).map((line) =>
    JSON.parse(line).text
  );
  assertEquals(heard, ["held", "after", "more"]);
});

Deno.test("of two sockets for one connection the one that came last has it, the other is closed", () => {
  const { sender, deliver, sockets: [old], enter } = open("1");
  const { peer, socket } = enter("new", "json");
  sender.expect("token", peer);
  sender.attach("1", "token", "red", "");
  sender.endCatchUp(peer, new Set());
  deliver(event("message", "1", "hi"));
  assertEquals([old!.closeCode, old!.sent], [4001, []]);
  assertEquals(socket.sent.length, 1);
});
