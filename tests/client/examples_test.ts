/** The programs in CLIENT.md do what it says: the bot in Deno and in Node, and the page. */
import { assert, assertEquals } from "@std/assert";
import { PROJECT, runDeno, testWithProgram } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually, withDeadline } from "../support/wait.ts";

/** The address in the examples. */
const EXAMPLE_URL = "ws://127.0.0.1:8000/";

/** Lines of the bot, at most: it is the first thing that an author reads. */
const MAX_BOT_LINES = 20;

/** Returns the programs in CLIENT.md: the bot and the page. */
async function examples(): Promise<{ bot: string; page: string }> {
  const document = await Deno.readTextFile(new URL("chat/docs/CLIENT.md", PROJECT));
  const [bot, page, ...others] = [...document.matchAll(/```js\n([^]*?)```/g)]
    .map(([, code]) => code!);
  assertEquals(others.length, 0, "every program in CLIENT.md is tested");
  return { bot: bot!, page: page! };
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

/** Runs the bot with a program, and talks to it until it has ended. */
async function talkToBot(program: string, args: readonly string[]): Promise<void> {
  const { bot } = await examples();
  await using server = await TestServer.open();
  const bob = await server.login("Bob", "chalice");
  const cy = await server.login("Cy", "lobby");
  const folder = await folderWithBot(bot, server.url);
  const process = new Deno.Command(program, {
    args: [...args, "bot.js"],
    cwd: folder,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
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

Deno.test("the bot in CLIENT.md has at most 20 lines", async () => {
  const { bot } = await examples();
  assert(bot.trimEnd().split("\n").length <= MAX_BOT_LINES, bot);
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
