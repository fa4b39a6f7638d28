/** The programs in CLIENT.md do what it says: the bots in Deno and in Node, and the page. */
import { assert, assertEquals } from "@std/assert";
import { PROJECT, runDeno, testWithProgram } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually, withDeadline } from "../support/wait.ts";
import { answer, connect } from "./connected.ts";

/** The address in the examples. */
const EXAMPLE_URL = "ws://127.0.0.1:8000/";

/** Lines of a bot, at most: they are the first things that an author reads. */
const MAX_BOT_LINES = 20;

/** The password of the bot that moderates a room. */
const PASSWORD = "correct-horse";

/** How CLIENT.md says to run it. */
const GUARD_FLAGS = ["run", "--allow-net", "--allow-env=PASSWORD"];

const OPERATOR_SECRET = "a secret of the operators";

/** Returns the programs in CLIENT.md: the bot, the page, and the bot that moderates a room. */
async function examples(): Promise<{ bot: string; page: string; guard: string }> {
  const document = await Deno.readTextFile(new URL("chat/docs/CLIENT.md", PROJECT));
  const [bot, page, guard, ...others] = [...document.matchAll(/```js\n([^]*?)```/g)]
    .map(([, code]) => code!);
  assertEquals(others.length, 0, "every program in CLIENT.md is tested");
  return { bot: bot!, page: page!, guard: guard! };
}

/** Lays out the files as CLIENT.md says: the bot beside the folder chat. Returns the folder. */
async function folderWithBot(bot: string, url: string): Promise<string> {
  const folder = await Deno.makeTempDir();
  const client = `${folder}/chat/client`;
  await Deno.mkdir(client, { recursive: true });
  for await (const { name } of Deno.readDir(new URL("chat/client/", PROJECT))) {
    await Deno.copyFile(new URL(`chat/client/${name}`, PROJECT), `${client}/${name}`);
  }
  assert(bot.includes(EXAMPLE_URL));
  await Deno.writeTextFile(`${folder}/bot.js`, bot.replace(EXAMPLE_URL, url));
  await Deno.writeTextFile(`${folder}/package.json`, '{ "type": "module" }');
  return folder;
}

/** Starts a bot with a program, in its folder. */
function startBot(program: string, args: readonly string[], cwd: string): Deno.ChildProcess {
  return new Deno.Command(program, {
    args: [...args, "bot.js"],
    cwd,
    env: { NO_COLOR: "1", PASSWORD },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Runs the bot with a program, and talks to it until it has ended. */
async function talkToBot(program: string, args: readonly string[]): Promise<void> {
  const { bot } = await examples();
  await using server = await TestServer.open();
  const bob = await server.login("Bob", "chalice");
  const cy = await server.login("Cy", "lobby");
  const folder = await folderWithBot(bot, server.url);
  const process = startBot(program, args, folder);
  const output = process.output();
  try {
    await bob.expect("Echo joined room.");
    await cy.expect("Echo joined room.");
    await bob.request("hello", "Bob: hello", "Echo: Bob says: hello");
    await cy.request("hi", "Cy: hi", "Echo: Cy says: hi");
    await bob.request("/msg Echo psst", "[to Echo] psst", "[from Echo] psst");
    await bob.request("/msg Echo join attic", "[to Echo] join attic");
    await eventually(async () => {
      bob.send("/who Echo");
      return (await bob.next()).includes("attic");
    }, "the bot enters the attic");
    await bob.request("/msg Echo stop", "[to Echo] stop", "Echo left room.");
    const { code, stdout, stderr } = await withDeadline(output, "the bot to end");
    const decoder = new TextDecoder();
    assertEquals([code, decoder.decode(stdout)], [0, "I am Echo.\n"], decoder.decode(stderr));
    assertEquals(decoder.decode(stderr), "");
  } catch (error) {
    process.kill("SIGKILL");
    await output;
    throw error;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("each bot in CLIENT.md has at most 20 lines", async () => {
  const { bot, guard } = await examples();
  for (const each of [bot, guard]) {
    assert(each.trimEnd().split("\n").length <= MAX_BOT_LINES, each);
  }
});

Deno.test("the bot that moderates a room in CLIENT.md deletes advertisements, mutes their author, and then bans the author", async () => {
  const { guard } = await examples();
  await using server = await TestServer.open({ operatorSecret: OPERATOR_SECRET });
  await using owner = connect(server, "Guard", { rooms: ["chalice"] });
  await answer(owner.client.register(PASSWORD));
  await using ann = connect(server, "Ann", { rooms: ["chalice"] });
  const room = ann.client.room("chalice");
  await answer(ann.client.op(OPERATOR_SECRET));
  await answer(room.act("mod", { nick: "Guard" }));
  await owner.client.close();
  await ann.next("left", ({ nick }) => nick === "Guard");
  const folder = await folderWithBot(guard, server.url);
  const process = startBot(Deno.execPath(), GUARD_FLAGS, folder);
  const output = process.output();
  try {
    await ann.next("joined", ({ nick }) => nick === "Guard");
    await using bob = connect(server, "Bob", { rooms: ["chalice"] });
    await answer(bob.client.room("chalice").say("hello"));
    const { id } = await answer(bob.client.room("chalice").say("FREE COINS here"));
    assertEquals((await ann.next("deleted")).target, id);
    const mute = await ann.next("act", ({ act }) => act === "mute");
    assertEquals([mute.on?.user, mute.until! - mute.time], [bob.client.user, 600_000]);
    await answer(room.act("unmute", { nick: "Bob" }));
    await answer(bob.client.room("chalice").say("Free coins again"));
    const ban = await ann.next("act", ({ act }) => act === "ban");
    assertEquals([ban.on?.user, ban.reason], [bob.client.user, "advertising"]);
    await bob.next("left");
  } finally {
    process.kill("SIGTERM");
    const { stdout, stderr } = await output;
    await Deno.remove(folder, { recursive: true });
    const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
    assertEquals(new TextDecoder().decode(stderr), "");
    assertEquals(lines, [
      "Guard mute Bob advertising",
      "Ann unmute Bob undefined",
      "Guard ban Bob advertising",
    ]);
  }
});

Deno.test("the bot in CLIENT.md echoes what it is told in rooms and directly, in Deno", async () => {
  await talkToBot(Deno.execPath(), ["run", "--allow-net"]);
});

testWithProgram(
  "node",
  "the bot in CLIENT.md echoes what it is told in rooms and directly, in Node",
  async () => {
    const { stdout } = await new Deno.Command("node", { args: ["--version"] }).output();
    const major = Number(/^v(\d+)/.exec(new TextDecoder().decode(stdout))![1]);
    // Node 22 is the first that needs no flag for WebSocket.
    await talkToBot("node", major < 22 ? ["--experimental-websocket"] : []);
  },
);

Deno.test("the page in CLIENT.md resumes its session after a reload", async () => {
  const { page } = await examples();
  await using server = await TestServer.open();
  // The user leaves the page after a message, and loads it again.
  const program = `${page}
    await room.say("Hi");
    dispatchEvent(new Event("pagehide"));
    const again = new ChatClient("${EXAMPLE_URL}", { nick: "", session });
    await again.room("chalice").say("I am back");
    console.log(again.rooms);
    await again.close();`;
  const client = JSON.stringify(String(new URL("chat/client/client.js", PROJECT)));
  const code = program.replaceAll(EXAMPLE_URL, server.url).replace('"./client.js"', client);
  const args = ["run", "--no-config", "-A", "--location", "http://chat.example/", "--ext=js", "-"];
  const { code: exitCode, stdout, stderr } = await runDeno(args, {}, code);
  assertEquals([exitCode, stdout], [0, 'online\nAnn: Hi\nclosed\n[ "chalice" ]\n'], stderr);
  await eventually(() => server.chat.size === 0, "all have left");
});
