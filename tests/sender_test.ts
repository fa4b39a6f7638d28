import { assert, assertEquals } from "@std/assert";
import { systemClock } from "../chat/clock.ts";
import type { RoomEvent } from "../chat/events.ts";
import { limitsFrom } from "../chat/limits.ts";
import { Sender, type Socket, type Wire } from "../chat/sender.ts";

class FakeSocket implements Socket {
  readyState = 1;
  bufferedAmount = 0;
  readonly sent: string[] = [];
  closed: number | undefined;
  /** Whether the other side takes what is sent. */
  reads = true;
  send(text: string): void {
    this.sent.push(text);
    if (!this.reads) this.bufferedAmount += new TextEncoder().encode(text).length;
  }
  close(code: number): void {
    this.closed = code;
    this.readyState = 2;
  }
}

/** A sender that delivers, each event as a commit of its own unless told otherwise. */
function house() {
  const sender = new Sender(limitsFrom(), { ...systemClock, monotonicMs: () => 0 });
  let ids = 0;
  const deliver = (...events: RoomEvent[]) => {
    for (const each of events) sender.deliver(each, `id${ids++}`);
    sender.flush();
  };
  const gone: string[] = [];
  const enter = (id: string, wire: Wire = "text") => {
    const socket = new FakeSocket();
    const peer = sender.add(socket, wire, () => gone.push(id));
    sender.bind(peer, id);
    return { socket, peer };
  };
  return { sender, deliver, gone, enter };
}

/** Everybody is in the room, and has heard nothing yet. */
function open(...ids: string[]) {
  const { sender, deliver, gone, enter } = house();
  const people = ids.map((id) => {
    const person = enter(id);
    deliver(event("join", id));
    return person;
  });
  const sockets = people.map(({ socket }) => socket);
  for (const socket of sockets) socket.sent.length = 0;
  return { sender, deliver, enter, sockets, gone, peers: people.map(({ peer }) => peer) };
}

function event(kind: RoomEvent["kind"], id: string, text = "", room = "red"): RoomEvent {
  return { kind, room, id, nick: `nick${id}`, text, time: 0, cid: "" };
}

Deno.test("a slow reader is closed and the others keep receiving", () => {
  const { bufferedBytes } = limitsFrom();
  for (const letter of ["a", "ä", "語", "😀"]) {
    const { deliver, sockets: [ann, slow, cy], gone } = open("1", "2", "3");
    slow!.reads = false;
    const text = letter.repeat(100);
    let most = 0;
    for (let i = 0; i < 20_000; i++) {
      deliver(event("message", "1", text));
      most = Math.max(most, slow!.bufferedAmount);
    }
    assertEquals(slow!.closed, 1013);
    assertEquals(gone, ["2"]);
    // Neither before the bound nor long after it.
    assert(most > bufferedBytes && most < bufferedBytes + 1024, `${most} bytes were waiting`);
    for (const socket of [ann!, cy!]) {
      assertEquals([socket.sent.length, socket.closed], [20_000, undefined]);
    }
  }
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
  sender.close(peers[1]!, 1008, "late");
  assertEquals([bob!.sent, bob!.closed, gone], [[], undefined, []]);
  assertEquals(ann!.sent, ["nick1: hi"]);
});

Deno.test("a muted sender shows no events, and still closes everybody", () => {
  const { sender, deliver, sockets, gone } = open("1", "2");
  sender.mute();
  deliver(event("leave", "1"));
  deliver(event("message", "2", "hi"));
  sender.closeAll(1012, "restart");
  assertEquals(sockets.map(({ closed }) => closed), [1012, 1012]);
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
    sender.arrive("1", "token", "red", "");
    deliver(event("message", "9", "seen"), event("message", "9", "new"));
    deliver({ ...event("direct", "1", "psst"), room: "" });
    assertEquals((peer === text.peer ? text : json).socket.sent, []);
    sender.release(peer, new Set(["id1", "id4"]));
    deliver(event("message", "9", "later"));
    // The next one takes its place.
    sender.remove(peer);
  }
  assertEquals(text.socket.sent, ["id2 nick9: new", "id3 [from nick1] psst", "id4 nick9: later"]);
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
  sender.arrive("1", "token", "red", "");
  sender.deliver(event("message", "2", "held"), "a2");
  sender.flush();
  sender.release(peer, new Set());
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
  sender.arrive("1", "token", "red", "");
  sender.release(peer, new Set());
  deliver(event("message", "1", "hi"));
  assertEquals([old!.closed, old!.sent], [4001, []]);
  assertEquals(socket.sent.length, 1);
});
