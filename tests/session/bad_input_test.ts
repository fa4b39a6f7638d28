/** Wrong input over real sockets, and its effect on other clients. */
import { assert, assertEquals } from "@std/assert";
import { Random } from "../support/random.ts";
import { House, Person, soon } from "../support/test_server.ts";

Deno.test("a message over the limit is rejected with one line, and one at the limit is delivered", async () => {
  await using house = await House.open({ limits: { message: 1000 } });
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob", "red");
  await ann.hears("Bob joined room.");
  const longest = "é".repeat(500);
  await ann.asks(longest, `Ann: ${longest}`);
  await bob.hears(`Ann: ${longest}`);
  await ann.asks(
    `${longest}e`,
    "Too long: 1,001 of 1,000 bytes. Shorten it or send it in parts.",
  );
  await bob.hearsNothingElse();
});

Deno.test("a message of 16 KiB is delivered whole, whatever its characters are", async () => {
  await using house = await House.open({ flood: "off" });
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob", "red");
  await ann.hears("Bob joined room.");
  for (const letter of ["x", "\u0001", "é", "日", "😀", '"']) {
    const text = letter.repeat(Math.floor(16384 / new TextEncoder().encode(letter).length));
    ann.say(text);
    await bob.hears(`Ann: ${text.replaceAll("\u0001", "\u2401")}`);
  }
});

Deno.test("a binary frame closes the connection with 1003 and a huge one with 1009, and other clients see only a leave", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann", "red");
  const frames: [string | Uint8Array<ArrayBuffer>, number][] = [
    [new Uint8Array([1, 2, 3]), 1003],
    [new Uint8Array(0), 1003],
    ["x".repeat(64 * 1024 + 1), 1009],
    ["x".repeat(20_000_000), 1009],
  ];
  for (const [frame, code] of frames) {
    const bob = await house.enter("Bob", "red");
    await ann.hears("Bob joined room.");
    bob.say(frame, "after it");
    assertEquals((await soon(bob.closed, "the close")).code, code);
    await ann.hears("Bob left room.");
    await ann.hearsNothingElse();
  }
});

Deno.test("exactly one of two clients that take the same nickname at once gets it", async () => {
  await using house = await House.open();
  const people = await Promise.all(Array.from({ length: 20 }, () => house.connect()));
  for (const person of people) person.say("Ann");
  const answers = await Promise.all(people.map((person) => person.next()));
  const named = answers.filter((answer) => answer.startsWith("Using nickname: Ann\n"));
  const refused = answers.filter((answer) => answer.includes("is taken"));
  assertEquals([named.length, refused.length], [1, 19]);
});

Deno.test("a thousand silent connections do not disturb other clients", async () => {
  await using house = await House.open();
  const silent = await Promise.all(Array.from({ length: 1000 }, () => Person.connect(house.url)));
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob", "red");
  await ann.hears("Bob joined room.");
  await ann.asks("hello", "Ann: hello");
  await bob.hears("Ann: hello");
  assertEquals(house.chat.size, 1002);
  await Promise.all(silent.map((person) => person.leave()));
});

Deno.test("while hundreds of clients leave a room at once, every client that joins it succeeds", async () => {
  await using house = await House.open();
  const crowd = await Promise.all(Array.from({ length: 700 }, async (_, i) => {
    const person = await Person.connect(house.url);
    person.say(`p${i}`, "/join red");
    while (!(await person.next()).startsWith("Joined"));
    return person;
  }));
  const ended = crowd.map((person) => person.leave());
  const late = await Promise.all(Array.from({ length: 20 }, () => house.connect()));
  await Promise.all(late.map(async (person, i) => {
    await person.asks(`late${i}`, `Using nickname: late${i}\nType /help for list of commands.`);
    await person.asks(`/join room${i}`, `Joined chat room "room${i}"`);
  }));
  await Promise.all(ended);
});

Deno.test("a client that fills its inbox is disconnected, and other clients are not disturbed", async () => {
  await using house = await House.open({ flood: "off" });
  const ann = await house.enter("Ann", "red");
  const mad = await house.connect();
  for (let i = 0; i < 5000; i++) mad.say(`/nick x${i}`);
  const { code } = await soon(mad.closed, "the close");
  // Deno resets a connection whose client sends after a close: then the code may be unknown (0).
  assert(code === 1008 || code === 0, `closed with ${code}`);
  await ann.asks("still here", "Ann: still here");
});

Deno.test("every random line gets a reply, and other clients are not disturbed", async () => {
  await using house = await House.open({ flood: "off" });
  const ann = await house.enter("Ann", "red");
  const mad = await house.enter("Mad");
  const random = new Random(20261122);
  const parts = [
    "/",
    "join",
    "nick",
    "quit",
    "ls",
    "who",
    "me",
    " ",
    "\u0000",
    "\u202e",
    "é",
    "😀",
    "\n",
    "red",
  ];
  for (let i = 0; i < 500; i++) {
    const line = Array.from({ length: random.below(6) }, () => random.pick(parts)).join("");
    // In a room of its own, so that it receives no other client's events.
    mad.say(line.replaceAll("red", `room${i}`), "/nick Mad");
    let answers = 0;
    while ((await mad.next()) !== "Nickname is: Mad") answers++;
    assert(answers >= 1 && answers <= 3, `${JSON.stringify(line)} had ${answers} answers`);
  }
  await ann.asks("still here", "Ann: still here");
  assertEquals(house.warnings, []);
});
