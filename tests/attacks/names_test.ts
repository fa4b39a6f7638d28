/** Names and lines that are expensive to process: another client of the same server does not notice. */
import { assert } from "@std/assert";
import { ServerProcess } from "../support/processes.ts";
import { TextClient } from "../support/text_client.ts";
import { sleep, withDeadline } from "../support/wait.ts";

/** The longest wait of the other client. Before names were limited it was 11 s, or minutes. */
const MAX_WAIT_MS = 2_000;

const ROUNDS = 5;

/** 62,000 combining marks of each of two kinds, which NFC has to sort. */
const MARKS = `a${"\u0301".repeat(62_000)}${"\u0323".repeat(62_000)}`;

/** The subprotocol and the frames of each attacker; each has a connection of its own. */
const ATTACKS: [string, string[]][] = [
  ["chat.v1", [JSON.stringify({ type: "login", nick: MARKS })]],
  ["chat.v1", [JSON.stringify({ type: "identify", nick: MARKS, password: MARKS })]],
  ["chat.v1", [JSON.stringify({ type: "resume", token: MARKS })]],
  ["chat.v1", [JSON.stringify({ type: "resume", token: "x", last: { [MARKS]: "g1a0000000" } })]],
  ...["join", "leave", "members", "message", "history", "edit", "delete", "react", "read"].map(
    (type): [string, string[]] => [
      "chat.v1",
      [
        '{"type":"login","nick":"Eve"}',
        JSON.stringify({ type, room: MARKS, id: "x", text: "x", emoji: "👍" }),
      ],
    ],
  ),
  ...["who", "nick", "direct"].map((type): [string, string[]] => [
    "chat.v1",
    ['{"type":"login","nick":"Eve"}', JSON.stringify({ type, nick: MARKS, to: MARKS, text: "x" })],
  ]),
  ...["end", "who", "history"].map((type): [string, string[]] => [
    "chat.v1",
    [
      '{"type":"login","nick":"Eve"}',
      JSON.stringify({ type, session: MARKS, user: MARKS, with: MARKS }),
    ],
  ]),
  ["chat.v1", ["\n".repeat(256 * 1024)]],
  ["chat.v1", ["{}\n".repeat(80_000)]],
  ["chat.v1", ["[".repeat(256 * 1024)]],
  ["", [`/identify ${" ".repeat(16_000)}`]],
  ["", [`/identify a${" ".repeat(8_000)}b ${" ".repeat(7_000)}c`]],
  ["", [`/identify ${"x".repeat(16_000)} y`]],
  ["", [`a${"\u0301".repeat(4_000)}${"\u0323".repeat(4_000)}`]],
  ["", ["Eve", `/join a${"\u0301".repeat(4_000)}${"\u0323".repeat(4_000)}`]],
  ["", ["Eve", `/msg ${" ".repeat(8_000)}"${" ".repeat(8_000)}`]],
];

Deno.test("no name and no line makes another client of the server wait for 2 seconds", async () => {
  // Without limits, so that every attack reaches the code that processes it.
  const flags = ["--kv", ":memory:", "--limits", "off"];
  await using server = await ServerProcess.start(flags);
  const ann = await TextClient.connect(server.url);
  ann.send("Ann", "/join red");
  while (!(await ann.next()).startsWith("Joined"));
  const waits: number[] = [];
  let ended = false;
  const talking = (async () => {
    while (!ended) {
      const before = performance.now();
      ann.send("hi");
      await ann.next();
      waits.push(performance.now() - before);
      await sleep(5);
    }
  })();
  const attackers: TextClient[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const all = await Promise.all(ATTACKS.map(async ([protocol, frames], i) => {
      const eve = await TextClient.connect(server.url, protocol === "" ? [] : protocol);
      eve.send(...frames.map((frame) => frame.replace("Eve", `Eve${round}x${i}`)));
      // Line breaks alone get no reply.
      eve.send(protocol === "" ? "/nick" : '{"type":"ping","ref":1}');
      await withDeadline(Promise.race([eve.next(), eve.closed]), "an answer");
      return eve;
    }));
    attackers.push(...all);
  }
  ended = true;
  await talking;
  await Promise.all([ann, ...attackers].map((client) => client.disconnect()));
  const worst = Math.max(...waits);
  assert(waits.length >= ROUNDS, `${waits.length} answers`);
  assert(worst < MAX_WAIT_MS, `the other client waited for ${worst.toFixed(0)} ms`);
  console.log(`the longest wait of ${waits.length}: ${worst.toFixed(0)} ms`);
});
