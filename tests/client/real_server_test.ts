/** The client against a real server. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { ChatClient, ChatError } from "../../chat/client/client.js";
import type { ChatEvent } from "../../chat/client/client.js";
import { PROJECT, runDeno } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually, withDeadline } from "../support/wait.ts";

Deno.test("two users exchange messages through a server", async () => {
  await using server = await TestServer.open();
  const ann = new ChatClient(server.url, { nick: "Ann", room: "red" });
  await using _ = closing(ann);
  await withDeadline(ann.say("hello"), "an answer");
  const bob = await server.login("Bob", "red");
  const received = withDeadline(
    new Promise<string>((resolve) => ann.on("message", ({ text }) => resolve(text))),
    "a message",
  );
  await bob.request("Hello, Ann", "Bob: Hello, Ann");
  assertEquals(await received, "Hello, Ann");
  assertEquals((await ann.members()).nicks, ["Ann", "Bob"]);
  assertEquals(await ann.who("bob"), { nick: "Bob", room: "red" });
  assertEquals(await ann.rooms(), [{ room: "red", people: 2 }]);
  await ann.rename("Anna");
  await bob.expect("Ann is now known as Anna.");
  await ann.tell("Bob", "psst");
  await bob.expect("[from Anna] psst");
  await ann.close();
  await bob.expect("Anna left room.");
});

Deno.test("a registered nickname is refused to others and regained by its password", async () => {
  await using server = await TestServer.open();
  {
    const ann = new ChatClient(server.url, { nick: "Ann", room: "red" });
    await using _ = closing(ann);
    await withDeadline(ann.register("correct-horse"), "an answer");
  }
  const hasLeft = async () => typeof (await server.kv.get(["nick", "ann"])).value === "object";
  await eventually(hasLeft, "she has left");
  const eve = new ChatClient(server.url, { nick: "ANN", room: "red" });
  await using _ = closing(eve);
  const refused = new Promise<ChatEvent>((resolve) => eve.on("error", resolve));
  const event = await withDeadline(refused, "a refusal");
  assert(event.type === "error" && event.error.code === "nickname-registered");
  await assertRejects(
    () => withDeadline(eve.identify("Ann", "wrong-horse"), "an answer"),
    ChatError,
  );
  await withDeadline(eve.identify("Ann", "correct-horse"), "an answer");
  await withDeadline(eve.say("It is me"), "an answer");
  await eve.close();
  await eventually(hasLeft, "she has left again");
  const ann = new ChatClient(server.url, { nick: "Ann", password: "correct-horse", room: "red" });
  await using __ = closing(ann);
  await withDeadline(ann.say("Me, too"), "an answer");
  assertEquals(ann.nick, "Ann");
});

Deno.test("a client that loses its connection misses nothing and posts everything once", async () => {
  await using server = await TestServer.open();
  const sockets: WebSocket[] = [];
  const shown: string[] = [];
  const ann = new ChatClient(server.url, {
    nick: "Ann",
    room: "red",
    connect: (url, protocol) => {
      const socket = new WebSocket(url, protocol);
      sockets.push(socket);
      return socket;
    },
  });
  ann.on("message", ({ nick, text }) => shown.push(`${nick}: ${text}`));
  await using _ = closing(ann);
  const resumed = new Promise<ChatEvent>((resolve) => ann.on("resumed", resolve));
  await withDeadline(ann.say("one"), "an answer");
  const bob = await server.login("Bob", "red");
  const gone = new Promise((resolve) => sockets[0]!.addEventListener("close", resolve));
  sockets[0]!.close(4999);
  await withDeadline(gone, "the end of the first connection");
  await bob.request("two", "Bob: two");
  await withDeadline(ann.say("three"), "an answer");
  await bob.expect("Ann: three");
  const { type, ...rest } = await withDeadline(resumed, "the end of what was missed");
  assertEquals([type, rest], ["resumed", { recovered: true, missed: 1 }]);
  assertEquals(shown, ["Ann: one", "Bob: two", "Ann: three"]);
  await bob.expectNothingElse();
});

Deno.test("a client that exceeds the rate limit posts everything in order and stays connected", async () => {
  await using server = await TestServer.open({
    rateLimits: { messages: { count: 40, seconds: 1 } },
  });
  const states: string[] = [];
  const shown: string[] = [];
  const ann = new ChatClient(server.url, { nick: "Ann", room: "red" });
  await using _ = closing(ann);
  ann.on("state", ({ state }) => states.push(state));
  ann.on("message", ({ text }) => shown.push(text));
  const words = Array.from({ length: 150 }, (_, i) => `word ${i}`);
  await withDeadline(Promise.all(words.map((word) => ann.say(word))), "the answers");
  assertEquals(shown, words);
  assertEquals(states, ["online"]);
});

Deno.test("the examples in CLIENT.md do what they say", async () => {
  const document = await Deno.readTextFile(new URL("chat/docs/CLIENT.md", PROJECT));
  const [deno, browser, ...others] = [...document.matchAll(/```js\n([^]*?)```/g)]
    .map(([, code]) => code!);
  assertEquals(others.length, 0);
  await using server = await TestServer.open();
  assertEquals(await outputOf(deno!, server), 'Clerk: Good morning\n[ "Clerk" ]\n');
  // The user leaves the page after a message, and loads it again.
  const page = `${browser}
    await client.say("Hi");
    dispatchEvent(new Event("pagehide"));
    const again = new ChatClient("ws://127.0.0.1:8000/", { nick: "", session });
    await again.say("I am back");
    await again.close();`;
  assertEquals(await outputOf(page, server), "online\nAnn: Hi\nclosed\n");
  await eventually(() => server.chat.size === 0, "all have left");
});

/** Closes a client when the test ends. */
function closing(client: ChatClient): AsyncDisposable {
  return { [Symbol.asyncDispose]: () => client.close() };
}

/** Runs an example against a server and returns its output. */
async function outputOf(example: string, server: TestServer): Promise<string> {
  assert(example.includes("ws://127.0.0.1:8000/"));
  const code = example.replaceAll("ws://127.0.0.1:8000/", server.url)
    .replace(
      /"[^"]*\/client\.js"/,
      JSON.stringify(String(new URL("chat/client/client.js", PROJECT))),
    );
  const args = ["run", "--no-config", "-A", "--location", "http://chat.example/", "--ext=js", "-"];
  const { code: exitCode, stdout, stderr } = await runDeno(args, {}, code);
  assertEquals(exitCode, 0, stderr);
  return stdout;
}
