import { assertEquals } from "@std/assert";
import type { RoomEvent } from "../chat/events.ts";
import { limitsFrom } from "../chat/limits.ts";
import { Sender, type Socket } from "../chat/sender.ts";

class FakeSocket implements Socket {
  readyState = 1;
  bufferedAmount = 0;
  readonly sent: string[] = [];
  closed: number | undefined;
  send(text: string): void {
    this.sent.push(text);
  }
  close(code: number): void {
    this.closed = code;
    this.readyState = 2;
  }
}

function open(...ids: string[]) {
  const sender = new Sender(limitsFrom());
  const gone: string[] = [];
  const sockets = ids.map((id) => {
    const socket = new FakeSocket();
    sender.add(id, socket, () => gone.push(id));
    sender.deliver(event("join", id));
    socket.sent.length = 0;
    return socket;
  });
  for (const socket of sockets) socket.sent.length = 0;
  return { sender, sockets, gone };
}

function event(kind: RoomEvent["kind"], id: string, text = "", room = "red"): RoomEvent {
  return { kind, room, id, nick: `nick${id}`, text, time: 0 };
}

Deno.test("a slow reader is closed and the others keep receiving", () => {
  const { sender, sockets: [ann, slow, cy], gone } = open("1", "2", "3");
  slow!.bufferedAmount = limitsFrom().bufferedBytes + 1;
  sender.deliver(event("message", "1", "hi"));
  sender.deliver(event("message", "1", "again"));
  assertEquals(slow!.closed, 1013);
  assertEquals(slow!.sent, []);
  assertEquals(gone, ["2"]);
  for (const socket of [ann!, cy!]) assertEquals(socket.sent, ["nick1: hi", "nick1: again"]);
});

Deno.test("nothing is sent to those outside the room, nor after leaving it", () => {
  const { sender, sockets: [ann, bob] } = open("1", "2");
  const outsider = new FakeSocket();
  sender.add("9", outsider, () => {});
  sender.deliver(event("join", "9", "", "blue"));
  sender.deliver(event("leave", "2"));
  sender.deliver(event("message", "1", "hi"));
  assertEquals(outsider.sent, ['Joined chat room "blue"']);
  assertEquals(bob!.sent, ['Left chat room "red"']);
  assertEquals(ann!.sent, ["nick2 left room.", "nick1: hi"]);
});

Deno.test("membership begins and ends where the feed says so", () => {
  const sender = new Sender(limitsFrom());
  const socket = new FakeSocket();
  sender.add("1", socket, () => {});
  sender.deliver(event("message", "2", "before"));
  sender.deliver(event("join", "1"));
  sender.deliver(event("message", "2", "during"));
  sender.deliver(event("leave", "1"));
  sender.deliver(event("message", "2", "after"));
  assertEquals(socket.sent, ['Joined chat room "red"', "nick2: during", 'Left chat room "red"']);
});

Deno.test("a change of nickname is told to its owner and to the others, each in their words", () => {
  const { sender, sockets: [ann, bob] } = open("1", "2");
  sender.deliver(event("nick", "1", "Anna"));
  assertEquals(ann!.sent, ["Nickname is: Anna"]);
  assertEquals(bob!.sent, ["nick1 is now known as Anna."]);
});

Deno.test("what a closed socket would have got is dropped, whoever closed it", () => {
  const { sender, sockets: [ann, bob], gone } = open("1", "2");
  bob!.readyState = 3;
  sender.deliver(event("message", "1", "hi"));
  sender.remove("2");
  sender.reply("2", "late");
  sender.close("2", 1008, "late");
  assertEquals([bob!.sent, bob!.closed, gone], [[], undefined, []]);
  assertEquals(ann!.sent, ["nick1: hi"]);
});

Deno.test("a muted sender shows no events, and still closes everybody", () => {
  const { sender, sockets, gone } = open("1", "2");
  sender.mute();
  sender.deliver(event("leave", "1"));
  sender.deliver(event("message", "2", "hi"));
  sender.closeAll(1012, "restart");
  assertEquals(sockets.map(({ closed }) => closed), [1012, 1012]);
  assertEquals(sockets.map(({ sent }) => sent), [[], []]);
  assertEquals([gone, sender.size], [["1", "2"], 0]);
});
