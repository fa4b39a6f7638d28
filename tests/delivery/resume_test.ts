/** Sender when a session is resumed: which events are held, and which are left to history. */
import { assertEquals } from "@std/assert";
import {
  event,
  type FakeSubscriber,
  linesOf,
  TestSender,
  userRef,
} from "../support/test_sender.ts";

/** Lets a client resume a session, at the next event ID. */
function resume(
  test: TestSender,
  { subscriber }: FakeSubscriber,
  id: string,
  ...rooms: string[]
): void {
  test.sender.expect("token", subscriber);
  test.sender.attach({ id, user: `user of ${id}`, rooms }, "token", test.nextId());
}

const textsOf = ({ socket }: FakeSubscriber) =>
  linesOf(socket).map(({ text, type }) => text || type);

Deno.test("a client that resumes receives the held events after it caught up, each once", () => {
  const test = new TestSender();
  const { sender, deliver, enter } = test;
  const client = enter("b", "json");
  deliver(event("message", "9", "before"));
  resume(test, client, "1", "red", "blue");
  const known = test.nextId();
  sender.deliver(event("message", "9", "known"), known);
  deliver(event("message", "9", "in blue", "blue"), event("message", "9", "in red", "red"));
  deliver(event("direct", "9", "psst", "", { to: userRef("user of 1") }));
  assertEquals(client.socket.sent, []);
  sender.endCatchUp(client.subscriber, new Set([known]));
  deliver(event("message", "9", "later"));
  assertEquals(textsOf(client), ["in blue", "in red", "psst", "later"]);
});

Deno.test("events from before the resume, which another shard delivers later, are left to history", () => {
  const test = new TestSender();
  const { sender, deliver, enter } = test;
  const client = enter("b", "json");
  const earlier = [test.nextId(), test.nextId(), test.nextId(), test.nextId()];
  resume(test, client, "1", "red", "blue");
  sender.deliver(event("message", "9", "missed", "blue"), earlier[0]!);
  sender.deliver(event("direct", "9", "missed", "", { to: userRef("user of 1") }), earlier[1]!);
  // Its rooms are those at the resume: earlier moves of the session itself are in them already.
  sender.deliver(event("leave", "1", "", "red"), earlier[2]!);
  sender.deliver(event("join", "1", "", "green", { isQuiet: true }), earlier[3]!);
  deliver(event("message", "9", "held", "red"), event("message", "9", "elsewhere", "green"));
  sender.endCatchUp(client.subscriber, new Set());
  assertEquals(textsOf(client), ["held"]);
});

Deno.test("a client that resumes in the middle of a commit receives all later events", () => {
  const test = new TestSender();
  const { sender, deliver, enter } = test;
  test.enterRooms("1", "text", "red");
  test.enterRooms("2", "json", "red");
  const client = enter("new", "json");
  sender.deliver(event("message", "2", "before"), test.nextId());
  resume(test, client, "1", "red");
  sender.deliver(event("message", "2", "held"), test.nextId());
  sender.flush();
  sender.endCatchUp(client.subscriber, new Set());
  deliver(event("message", "2", "after"), event("message", "2", "more"));
  assertEquals(textsOf(client), ["held", "after", "more"]);
});

Deno.test("joins and leaves while a client catches up are held, and move it", () => {
  const test = new TestSender();
  const { sender, deliver, enter } = test;
  const client = enter("b", "json");
  resume(test, client, "1", "red");
  deliver(event("leave", "1", "", "red"), event("message", "9", "none of its business", "red"));
  deliver(event("join", "1", "", "blue", { isQuiet: true }), event("message", "9", "hi", "blue"));
  sender.endCatchUp(client.subscriber, new Set());
  assertEquals(textsOf(client), ["left", "joined", "hi"]);
});

Deno.test("the held events of all rooms together are bounded: too many close the client with 1013", () => {
  const test = new TestSender();
  const { deliver, enter } = test;
  const client = enter("b", "json");
  const rooms = Array.from({ length: 10 }, (_, i) => `room${i}`);
  resume(test, client, "1", ...rooms);
  for (const room of rooms) deliver(event("message", "9", "x".repeat(100_000), room));
  assertEquals(client.socket.closeCode, undefined);
  deliver(event("message", "9", "x".repeat(100_000), rooms[0]));
  assertEquals(client.socket.closeCode, 1013);
  assertEquals(client.subscriber.rooms, []);
});

Deno.test("a resume event whose subscriber has gone gives its rooms to no one", () => {
  const test = new TestSender();
  const client = test.enter("b", "json");
  test.sender.remove(client.subscriber);
  resume(test, client, "1", "red");
  test.deliver(event("message", "9", "hi"));
  assertEquals([client.socket.sent, test.sender.has("1")], [[], false]);
});
