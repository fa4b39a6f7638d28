/** Command-line WebSocket clients, as processes: each must be able to hold the sample's session. */
import { testWithProgram } from "./support/processes.ts";
import { TestServer } from "./support/test_server.ts";
import { eventually } from "./support/wait.ts";

// Colours and cursor movements, which some clients print between the messages.
// deno-lint-ignore no-control-regex -- escape sequences begin with a control character
const ESCAPE_SEQUENCES = /\u001b\[[0-9;]*[A-Za-z]/g;

const CLIENTS: Record<string, string[]> = {
  websocat: [],
  wscat: ["-c"],
  wsdump: [],
};

for (const [program, args] of Object.entries(CLIENTS)) {
  testWithProgram(
    program,
    `${program} can hold the sample's session: log in, join, chat, leave`,
    async () => {
      await using server = await TestServer.open();
      const jenny = await server.login("Jenny");
      const john = new Deno.Command(program, {
        args: [...args, server.url],
        env: { PYTHONUNBUFFERED: "1" },
        stdin: "piped",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      let output = "";
      const listening = (async () => {
        for await (const text of john.stdout.pipeThrough(new TextDecoderStream())) output += text;
      })();
      const keys = john.stdin.getWriter();
      const shows = async (text: string) => {
        const plain = () => output.replace(ESCAPE_SEQUENCES, "");
        await eventually(() => plain().includes(text), `${program} shows ${text}: ${plain()}`);
        output = plain().slice(plain().indexOf(text) + text.length);
      };
      const types = async (line: string, ...answers: string[]) => {
        await keys.write(new TextEncoder().encode(`${line}\n`));
        for (const answer of answers) await shows(answer);
      };
      await eventually(() => server.chat.size === 2, `${program} is connected`);
      await types("John", "Using nickname: John", "Type /help for list of commands.");
      await types("/help", "Commands available:", "/quit", "sent to everyone else in the room.");
      await types("/ls", "No rooms yet.");
      await types("/join chalice", 'Joined chat room "chalice"');
      await jenny.request("/join chalice", 'Joined chat room "chalice"');
      await shows("Jenny joined room.");
      await jenny.request("/ls", "Jenny\nJohn");
      await types("Hi", "John: Hi");
      await jenny.expect("John: Hi");
      await jenny.request("Hello, John", "Jenny: Hello, John");
      await shows("Jenny: Hello, John");
      await jenny.request("/nick JennyJones", "Nickname is: JennyJones");
      await shows("Jenny is now known as JennyJones.");
      await types("/quit", 'Left chat room "chalice"');
      await jenny.expect("John left room.");
      await types("/room", "Not currently in a room. Type /join {room_name} to do so.");
      await types("/ls", "chalice");
      john.kill();
      await keys.close().catch(() => {});
      await john.status;
      await listening;
      await jenny.expectNothingElse();
    },
  );
}
