/**
 * The types of the client: `client.d.ts` describes the JavaScript, and TypeScript programs are checked
 * against it. The JavaScript takes the types of its methods from there, so a wrong one does not compile.
 */
import { assert, assertEquals } from "@std/assert";
import type * as implementation from "../../chat/client/chat_client.js";
import type * as errors from "../../chat/client/protocol.js";
import * as declared from "../../chat/client/client.js";
import { PROJECT, runDeno } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";

/** `true` if two types are identical; without private members, which the declarations leave out. */
type IsSame<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;
type Public<T> = { readonly [K in keyof T]: T[K] };

Deno.test("client.d.ts declares the public members of the JavaScript classes, and no others", () => {
  const client: IsSame<Public<implementation.ChatClient>, Public<declared.ChatClient>> = true;
  const options: IsSame<
    ConstructorParameters<typeof implementation.ChatClient>,
    ConstructorParameters<typeof declared.ChatClient>
  > = true;
  const error: IsSame<Public<errors.ChatError>, Public<declared.ChatError>> = true;
  const errorFields: IsSame<
    ConstructorParameters<typeof errors.ChatError>,
    ConstructorParameters<typeof declared.ChatError>
  > = true;
  assert(client && options && error && errorFields);
  assertEquals(Object.keys(declared).toSorted(), ["ChatClient", "ChatError"]);
});

const CLIENT = String(new URL("chat/client/client.js", PROJECT));

/** Type-checks a program that imports the client from a URL. Returns the codes of the errors. */
async function check(program: string, client = CLIENT): Promise<string[]> {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, `import { ChatClient, ChatError } from "${client}";\n${program}`);
  const args = ["check", "--no-config", "--no-lock", "--allow-import", `--reload=${client}`, file];
  const { code, stderr } = await runDeno(args);
  await Deno.remove(file);
  const codes = [...stderr.matchAll(/TS\d+/g)].map(([code]) => code);
  assertEquals(code === 0, codes.length === 0, stderr);
  return codes;
}

Deno.test("a TypeScript program that uses the client correctly compiles", async () => {
  const program = `
    const client = new ChatClient("ws://localhost:8000/", { nick: "Ann", room: "red" });
    const stop: () => void = client.on("message", ({ nick, text }) => console.log(nick, text));
    client.on("state", (event) => {
      if (event.state === "offline") console.log(event.retryAt, event.code);
    });
    for await (const event of client.events({ limit: 10 })) {
      if (event.type === "gap") console.log(event.filled);
      break;
    }
    try {
      const { id }: { id: string } = await client.say("Hello");
      const { events } = await client.history({ before: id, limit: 10 });
      console.log(events.map(({ text }) => text.length), (await client.members()).nicks);
    } catch (error) {
      if (error instanceof ChatError) console.log(error.code, error.retryAfter);
    }
    stop();
    await client.close();`;
  assertEquals(await check(program), []);
});

Deno.test("each mistake in a TypeScript program that uses the client is an error", async () => {
  const mistakes = {
    'new ChatClient("ws://localhost/", {});': "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).shout("Hello");': "TS2339",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).say(7);': "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).on("mesage", () => {});': "TS2345",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).on("left", ({ text }) => text);': "TS2339",
    'new ChatClient("ws://localhost/", { nick: "Ann" }).nick = "Bob";': "TS2540",
    'const id: number = (await new ChatClient("", { nick: "" }).say("")).id; id;': "TS2322",
  };
  assertEquals(await check(Object.keys(mistakes).join("\n")), Object.values(mistakes));
});

Deno.test("a program that imports /client.js from a server runs, and has the types", async () => {
  await using server = await TestServer.open();
  const url = `http://127.0.0.1:${server.port}/client.js`;
  const program = `import { ChatClient } from "${url}";
    const client = new ChatClient("${server.url}", { nick: "Ann", room: "red" });
    await client.say("Hello");
    console.log(await client.rooms());
    await client.close();`;
  const args = [
    "run",
    "--no-config",
    "--no-lock",
    "--check",
    "-A",
    `--reload=${url}`,
    "--ext=ts",
    "-",
  ];
  const { stdout, stderr } = await runDeno(args, {}, program);
  assertEquals(stdout, '[ { room: "red", people: 1 } ]\n', stderr);
  const mistake = 'new ChatClient("ws://localhost/", { nick: "Ann" }).say(7); ChatError;';
  assertEquals(await check(mistake, url), ["TS2345"]);
});
