/** Real processes on a real `denokv`: a crash, a graceful shutdown, and an outage of storage. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { DenoKv, runServer, ServerProcess, testWithProgram } from "../support/processes.ts";
import { JsonClient } from "../support/json_client.ts";
import { SECRET, takenReply } from "../support/registrations.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually, withDeadline } from "../support/wait.ts";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function start(kv: DenoKv, env: Record<string, string> = {}): Promise<ServerProcess> {
  const options = ["--kv", kv.url, "--limits", "off"];
  // Deno's KV client logs each of its own retries while denokv is down.
  return await ServerProcess.start(options, undefined, { ...kv.env, ...env }, "null");
}

/** Connects clients to a server, all in one room. Each waits for the confirmation of its own join. */
async function enter(server: ServerProcess, name: string, many: number): Promise<TextClient[]> {
  return await Promise.all(Array.from({ length: many }, async (_, i) => {
    const client = await TextClient.connect(server.url);
    client.send(`${name}${i}`, "/join red");
    await eventually(() => client.received.includes('Joined chat room "red"'), "they are in");
    return client;
  }));
}

/** Lets clients talk every 100 ms until stopped. Returns the messages with their times. */
function talk(people: TextClient[], what: string) {
  const said: { word: string; at: number }[] = [];
  let round = 0;
  const timer = setInterval(() => {
    round++;
    people.forEach((client, i) => {
      if (client.socket.readyState !== WebSocket.OPEN) return;
      const word = `${what} ${i} ${round}`;
      said.push({ word, at: Date.now() });
      client.send(word);
    });
  }, 100);
  return { said, stop: () => clearInterval(timer) };
}

/** Returns what a client received after the message that was sent when all had joined. */
function since(client: TextClient, word: string): string[] {
  const at = client.received.findIndex((frame) => frame.endsWith(`: ${word}`));
  assert(at >= 0, `a client did not receive ${word}`);
  return client.received.slice(at);
}

async function allHear(people: TextClient[], word: string): Promise<void> {
  const hears = ({ received: transcript }: TextClient) =>
    transcript.some((frame) => frame.endsWith(`: ${word}`));
  await eventually(() => people.every(hears), `all hear ${word}`);
}

testWithProgram(
  "denokv",
  "Processes: a kill -9 and a SIGINT under load lose no delivered message and leave no ghosts",
  async () => {
    await using kv = await DenoKv.start();
    await using a = await start(kv);
    await using b = await start(kv);
    await using c = await start(kv);
    const [as, bs, cs] = [
      await enter(a, "a", 10),
      await enter(b, "b", 10),
      await enter(c, "c", 10),
    ];
    await eventually(() => as[0]!.received.includes("c9 joined room."), "all are in");
    as[0]!.send("the beginning");
    await allHear([...as, ...bs, ...cs], "the beginning");

    const crashed = talk([...as, ...bs, ...cs], "word");
    await pause(1500);
    await c.stop("SIGKILL");
    const killed = Date.now();
    const survivors = [...as, ...bs];
    const gone = (name: string) => Array.from({ length: 10 }, (_, i) => `${name}${i} left room.`);
    const announced = ({ received: transcript }: TextClient) =>
      gone("c").every((line) => transcript.includes(line));
    await eventually(() => survivors.every(announced), "the dead are announced", 30_000);
    const took = Date.now() - killed;
    crashed.stop();
    assert(took < 30_000, `it took ${took} ms`);

    const drained = talk(survivors, "more");
    await pause(1500);
    const signalled = Date.now();
    assertEquals((await b.stop("SIGINT")).code, 0);
    const drain = Date.now() - signalled;
    drained.stop();
    assert(drain < 5000, `the drain took ${drain} ms`);
    for (const client of bs) {
      assertEquals((await withDeadline(client.closed, "the close")).code, 1012);
    }
    await eventually(
      () =>
        as.every(({ received: transcript }) =>
          gone("b").every((line) => transcript.includes(line))
        ),
      "those of the drained one are announced",
    );
    as[0]!.send("the end");
    await allHear(as, "the end");

    const log = since(as[0]!, "the beginning");
    for (const client of as) assertEquals(since(client, "the beginning"), log);
    // Disconnected clients received the same up to then: no delivered message is missing.
    for (const client of [...bs, ...cs]) {
      const seen = since(client, "the beginning");
      assertEquals(seen, log.slice(0, seen.length));
    }
    for (const line of [...gone("b"), ...gone("c")]) {
      assertEquals(log.filter((each) => each === line).length, 1, line);
    }
    const words = log.map((frame) => frame.replace(/^\w+: /, ""));
    const heard = new Set(words);
    // Every message exists once; of disconnected clients, all that were not under way just then.
    assertEquals(
      words.filter((word) => /^(word|more) /.test(word)).length,
      [...heard].filter((word) => /^(word|more) /.test(word)).length,
    );
    for (const { word, at } of crashed.said) {
      const ofTheDead = Number(word.split(" ")[1]) >= 20;
      if (!ofTheDead || at < killed - 500) assert(heard.has(word), `${word} was lost`);
    }
    for (const { word, at } of drained.said) {
      const ofTheDrained = Number(word.split(" ")[1]) >= 10;
      if (!ofTheDrained || at < signalled - 500) assert(heard.has(word), `${word} was lost`);
    }
    const before = as[0]!.received.length;
    as[0]!.send("/ls");
    await eventually(() => as[0]!.received.length > before, "the list");
    assertEquals(
      as[0]!.received.at(-1)!.split("\n").sort(),
      Array.from({ length: 10 }, (_, i) => `a${i}`),
    );
    await Promise.all(as.map((client) => client.disconnect()));
  },
);

testWithProgram(
  "denokv",
  "Processes: during an outage of storage clients stay connected and are told, then all recovers",
  async () => {
    await using kv = await DenoKv.start();
    await using a = await start(kv);
    await using b = await start(kv);
    const [ann] = await enter(a, "a", 1);
    const [bob] = await enter(b, "b", 1);
    const both = [ann!, bob!];
    ann!.send("the beginning");
    await allHear(both, "the beginning");
    const away = async (what: string, back: () => Promise<void>) => {
      const asks = (client: TextClient, line: string, answer: RegExp) => {
        const from = client.received.length;
        client.send(line);
        const answered = () => client.received.slice(from).some((frame) => answer.test(frame));
        return () => eventually(answered, `an answer to ${line}`);
      };
      const line = `into the void ${what}`;
      const shownOrReported = asks(ann!, line, new RegExp(`^(Not sent.*|a0: ${line})$`));
      await pause(1000);
      const answered = asks(bob!, "/who nobody", /^(That did not work|No one named "nobody")/);
      await back();
      await shownOrReported();
      await answered();
      // Without other members, and for both.
      await eventually(
        async () => {
          ann!.send(`back after ${what}`);
          await pause(300);
          return both.every(({ received: transcript }) =>
            transcript.includes(`a0: back after ${what}`)
          );
        },
        "it works again",
        30_000,
      );
      for (const { socket } of both) assertEquals(socket.readyState, WebSocket.OPEN);
    };
    kv.signal("SIGSTOP");
    await away("a pause", async () => {
      await pause(9000);
      kv.signal("SIGCONT");
    });
    await away("a restart", () => kv.restart(5000));
    // Both received the same in the same order.
    ann!.send("the end");
    await allHear(both, "the end");
    const said = (client: TextClient) =>
      since(client, "the beginning").filter((frame) => /^[ab]0: /.test(frame));
    assertEquals(said(ann!), said(bob!));
    await Promise.all(both.map((client) => client.disconnect()));
  },
);

testWithProgram(
  "denokv",
  "Processes: two processes share rooms, members and nicknames",
  async () => {
    await using kv = await DenoKv.start();
    const servers = await Promise.all([start(kv), start(kv)]);
    await using a = servers[0]!;
    await using b = servers[1]!;
    const ann = await TextClient.connect(a.url);
    const bob = await TextClient.connect(b.url);
    await ann.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
    await bob.request("ann", takenReply("ann"));
    await bob.request("Bob", "Using nickname: Bob\nType /help for list of commands.");
    await ann.request("/join red", 'Joined chat room "red"');
    await bob.request("/ls", "red");
    await bob.request("/who Ann", 'Ann is in room "red".');
    await bob.request("/join red", 'Joined chat room "red"');
    await ann.expect("Bob joined room.");
    await ann.request("/ls", "Ann\nBob");
    await bob.request("/nick Rob", "Nickname is: Rob");
    await ann.expect("Bob is now known as Rob.");
    await ann.request("hello", "Ann: hello");
    await bob.expect("Ann: hello");
    await bob.request("/msg Ann psst", "[to Ann] psst");
    await ann.expect("[from Rob] psst");
    await bob.disconnect();
    await ann.expect("Rob left room.");
    await ann.disconnect();
  },
);

testWithProgram(
  "denokv",
  "Processes: a user with sessions on two processes is one member, and stays one after a kill -9 of one",
  async () => {
    await using kv = await DenoKv.start();
    await using a = await start(kv);
    const b = await start(kv);
    const connect = async ({ url }: ServerProcess) =>
      new JsonClient(await TextClient.connect(url, "chat.v1"));
    const [ann, bob, other] = [await connect(a), await connect(a), await connect(b)];
    await ann.request({ type: "login", nick: "Ann" });
    const { user } = await ann.request({ type: "register", password: SECRET });
    await bob.request({ type: "login", nick: "Bob" });
    for (const client of [ann, bob]) await client.requestAll({ type: "join", room: "red" });
    await ann.expect({ type: "joined", nick: "Bob" });
    const welcome = await other.request({ type: "identify", nick: "Ann", password: SECRET });
    assertEquals([welcome.user, welcome.rooms[0].room], [user, "red"]);
    const joining = await other.requestAll({ type: "join", room: "red" });
    assertEquals(joining.map(({ type }) => type), ["joined", "ok"]);

    // Bob is told of no second Ann, and both of hers receive what she and he say.
    await other.requestAll({ type: "message", room: "red", text: "hi" });
    await bob.expect({ type: "message", user, nick: "Ann", text: "hi" });
    await ann.expect({ type: "message", user, text: "hi" });
    await bob.requestAll({ type: "direct", to: "Ann", text: "psst" });
    for (const client of [ann, other]) await client.expect({ type: "direct", text: "psst" });
    const { members } = await bob.request({ type: "members", room: "red" });
    assertEquals(members.map(({ nick }: { nick: string }) => nick), ["Ann", "Bob"]);

    await b.stop("SIGKILL");
    await eventually(
      async () => (await ann.request({ type: "sessions" })).sessions.length === 1,
      "the session of the dead process is gone",
      30_000,
    );
    await bob.expectNothingElse();
    await ann.requestAll({ type: "leave", room: "red" });
    await bob.expect({ type: "left", user, nick: "Ann" });
    await Promise.all([ann, bob].map(({ connection }) => connection.disconnect()));
  },
);

testWithProgram(
  "denokv",
  "Processes: a ban given on one process holds on the other at once, while the banned user talks",
  async () => {
    const secret = "secret of operators";
    await using kv = await DenoKv.start();
    await using a = await start(kv, { CHAT_OPERATOR_SECRET: secret });
    await using b = await start(kv, { CHAT_OPERATOR_SECRET: secret });
    const connect = async ({ url }: ServerProcess) =>
      new JsonClient(await TextClient.connect(url, "chat.v1"));
    const [op, bob, cy] = [await connect(a), await connect(b), await connect(b)];
    for (const [client, nick] of [[op, "Op"], [bob, "Bob"], [cy, "Cy"]] as const) {
      await client.request({ type: "login", nick });
      if (client === bob) await bob.request({ type: "register", password: SECRET });
      await client.requestAll({ type: "join", room: "red" });
    }
    for (const nick of ["Bob", "Cy"]) await op.expect({ type: "joined", nick });
    assertEquals((await op.requestAll({ type: "op", secret })).at(-1)!.role, "operator");
    const { user } = bob;

    let count = 0;
    const timer = setInterval(() => {
      bob.send({ type: "message", room: "red", text: `word ${++count}` });
    }, 2);
    const kinds = (client: JsonClient) =>
      client.connection.received.flatMap((frame) => frame.split("\n"))
        .map((line) => JSON.parse(line))
        .filter((line) => line.type === "act" || (line.type === "message" && line.user === user));
    try {
      await eventually(() => kinds(op).length > 20, "Bob is heard");
      op.send({ type: "ban", room: "red", user, reason: "spam" });
      await eventually(
        () => [op, cy].every((each) => kinds(each).some(({ type }) => type === "act")),
        "both are told",
      );
      // He goes on for a while.
      await pause(500);
    } finally {
      clearInterval(timer);
    }
    for (const client of [op, cy]) {
      assertEquals(kinds(client).at(-1).type, "act", "nothing of Bob's follows the ban");
    }
    assertEquals(kinds(cy), kinds(op));
    const again = await connect(a);
    await again.request({ type: "identify", nick: "Bob", password: SECRET });
    for (const client of [again, bob]) {
      client.send({ type: "join", room: "red", ref: "back" });
      const refused = () =>
        client.connection.received.some((frame) =>
          frame.includes('"ref":"back"') && frame.includes('"code":"banned"')
        );
      await eventually(refused, "he cannot come back");
    }
    await Promise.all([op, bob, cy, again].map(({ connection }) => connection.disconnect()));
  },
);

testWithProgram(
  "denokv",
  "Processes: a wrong access token gives one line and exit code 1",
  async () => {
    await using kv = await DenoKv.start();
    const env = { DENO_KV_ACCESS_TOKEN: "not-the-token" };
    const { code, stderr } = await runServer(["--port", "0", "--kv", kv.url], env);
    assertEquals(code, 1);
    assertMatch(stderr, /^[^\n]*Check its address[^\n]*\n$/);
  },
);
