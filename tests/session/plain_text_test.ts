/** The plain-text protocol over real sockets: every row of the contract, and the sample's conversations. */
import { assert, assertEquals } from "@std/assert";
import { encodeText, further, reply } from "../../chat/delivery/text.ts";
import { House, type Person } from "../support/test_server.ts";

type Step = {
  step: ["open" | "close" | string, string] | [string, "say", string];
  frames: Record<string, string[]>;
};

const golden: Record<string, Step[]> = JSON.parse(
  await Deno.readTextFile(new URL("../golden/conversations.json", import.meta.url)),
);

/** The replies of the contract where the sample is silent or sends an empty frame. */
const BETTERED: Record<string, string> = {
  "/quit": "Not currently in a room. Type /join {room_name} to do so.",
  "/ls": "No rooms yet. Type /join {room} to start one.",
};

const HELP_BEGINS = "Commands available:\n    /help\n";

for (const [name, steps] of Object.entries(golden)) {
  Deno.test(`the sample's conversation "${name}" is held frame by frame`, async () => {
    await using house = await House.open();
    const people = new Map<string, Person>();
    for (const { step: [who, verb, text], frames } of steps) {
      if (verb === "open") people.set(who, await house.connect());
      const person = people.get(who)!;
      if (verb === "close") {
        await person.leave();
        people.delete(who);
      }
      if (verb === "say") person.say(text!);
      const silent = verb === "say" && (frames[who] ?? [""]).join() === "";
      const expected = silent ? { [who]: [BETTERED[text!]!] } : frames;
      for (const [hearer, wanted] of Object.entries(expected)) {
        for (const frame of wanted) {
          const heard = await people.get(hearer)!.next();
          if (frame.startsWith(HELP_BEGINS)) assert(heard.startsWith(`${frame}\n\n`), heard);
          else assertEquals(heard, frame);
        }
      }
    }
    for (const person of people.values()) await person.hearsNothingElse();
  });
}

Deno.test("the first line is the nickname, and an invalid one is rejected with one line", async () => {
  await using house = await House.open();
  const person = await house.connect();
  for (const bad of ["", "/help", "a\u0001b", "x".repeat(33)]) {
    person.say(bad);
    const answer = await person.next();
    assert(answer.endsWith("Type the nickname that you want to use."), answer);
    assertEquals(answer.split("\n").length, 1);
  }
  await person.asks("Mary Ann", "Using nickname: Mary Ann\nType /help for list of commands.");
  await person.hearsNothingElse();
});

Deno.test("the nickname of an online user is rejected at login and later, in every case and compatibility form", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann");
  const bob = await house.connect();
  await bob.asks("ＡＮＮ", '"ＡＮＮ" is taken. Choose another nickname.');
  await bob.asks("Bob", "Using nickname: Bob\nType /help for list of commands.");
  await bob.asks("/nick ann", '"ann" is taken. Choose another nickname.');
  await bob.asks("/nick", "Current nickname: Bob");
  await ann.hearsNothingElse();
});

Deno.test("command names are case-insensitive, and words after the first argument are ignored", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann");
  await ann.asks("/JOIN Red room", 'Joined chat room "Red"');
  await ann.asks("/RoOm now", "Red");
  await ann.asks("/nick Anna the Great", "Nickname is: Anna");
  await ann.asks("/nick ", "Current nickname: Anna");
  await ann.asks("/NICK", "Current nickname: Anna");
  await ann.asks("/ls -l", "Anna");
  await ann.asks("/Quit it", 'Left chat room "Red"');
});

Deno.test("the reply to an unknown command names it in lower case", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob", "red");
  await ann.hears("Bob joined room.");
  await ann.asks("/Dance the Tango", "Unknown command: dance");
  await ann.asks("/", "Unknown command: ");
  await ann.asks("/ help", "Unknown command: ");
  await ann.asks("//", "Unknown command: /");
  await bob.hearsNothingElse();
});

Deno.test("a command that cannot be carried out gets one line that says what to do", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann");
  await ann.asks("/join", "Which room? Type /join {room}.");
  await ann.asks("/join  ", "Which room? Type /join {room}.");
  await ann.asks("/join a\u0007b", "Room names cannot contain control characters.");
  await ann.asks(
    `/join ${"x".repeat(65)}`,
    "Room name too long: 65 characters, maximum 64.",
  );
  await ann.asks("/ls", "No rooms yet. Type /join {room} to start one.");
  await ann.asks("/quit", "Not currently in a room. Type /join {room_name} to do so.");
  await ann.asks("/room", "Not currently in a room. Type /join {room_name} to do so.");
  await ann.asks("hello", "Cannot send message if not in chatroom.");
  await ann.asks("", "Cannot send message if not in chatroom.");
  await ann.asks("/me", "Usage: /me {action}, for example /me waves");
  await ann.asks("/who", "Usage: /who {nickname}");
  await ann.asks("/nick /bob", 'Nicknames cannot start with "/".');
});

Deno.test("a message is delivered exactly as typed, to every member of the room and no other client", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob", "red");
  await ann.hears("Bob joined room.");
  const cy = await house.enter("Cy", "blue");
  const dora = await house.enter("Dora");
  for (const text of ["  two  spaces  ", "", " /not a command", "ё 😀 \t", "é\u0301"]) {
    ann.say(text);
    await ann.hears(`Ann: ${text}`);
    await bob.hears(`Ann: ${text}`);
  }
  await cy.hearsNothingElse();
  await dora.hearsNothingElse();
});

Deno.test("an event is one line in a terminal: live, in history and as a direct message", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob", "red");
  await ann.hears("Bob joined room.");
  const typed =
    "hi\nBob: I quit\r\n[from Bob] x\rBob: y \u001b[2K\u009d0;t\u0007\u2028\u2029\u0085\u007f\t.";
  const text = "hi\n    Bob: I quit\n    [from Bob] x␍Bob: y ␛[2K\ufffd0;t␇\ufffd\ufffd\ufffd␡\t.";
  await ann.asks(typed, `Ann: ${text}`);
  await bob.hears(`Ann: ${text}`);
  await ann.asks(`/me ${typed}`, `* Ann ${text}`);
  await bob.hears(`* Ann ${text}`);
  await ann.asks(`/msg Bob ${typed}`, `[to Bob] ${text}`);
  await bob.hears(`[from Ann] ${text}`);
  bob.say("/history");
  const past = (await bob.next()).replace(/^\[.{16}\] /gm, "");
  assertEquals(past, `Ann: ${text}\n* Ann ${text}`);
  await bob.asks("/dance\u001b[2K\nBob: hi", "Unknown command: dance␛[2k\n    bob:");
  await ann.hearsNothingElse();
  await bob.hearsNothingElse();
});

Deno.test("names that an older version stored are shown safely, too", () => {
  const event = { room: "r\nBob: x", id: "1", nick: "A\u001b", text: "n\n", time: 0, cid: "" };
  const lines = (["join", "leave", "nick"] as const).flatMap((kind) =>
    [true, false].map((own) => encodeText({ kind, ...event }, own))
  );
  const words = [
    further.isInRoom("A\u001b", "r\nBob: x"),
    reply.welcome("A\u001b"),
    reply.currentNickname("\r"),
  ];
  assertEquals([...lines, ...words], [
    'Joined chat room "r\n    Bob: x"',
    "A␛ joined room.",
    'Left chat room "r\n    Bob: x"',
    "A␛ left room.",
    "Nickname is: n\n    ",
    "A␛ is now known as n\n    .",
    'A␛ is in room "r\n    Bob: x".',
    "Using nickname: A␛\nType /help for list of commands.",
    "Current nickname: ␍",
  ]);
});

Deno.test("a nickname that reads like one of the server's lines is rejected, at login and later", async () => {
  await using house = await House.open();
  const ann = await house.connect();
  const why = "Nicknames cannot look like the beginning or end of one of the server's own lines.";
  await ann.asks("Bob: hi", `${why} Type the nickname that you want to use.`);
  await ann.asks("[from Bob]", `${why} Type the nickname that you want to use.`);
  await ann.asks("Ann", "Using nickname: Ann\nType /help for list of commands.");
  await ann.asks("/nick Bob:", why);
  await ann.asks("/nick Ann:Lee", "Nickname is: Ann:Lee");
});

Deno.test("the line break at the end of a frame is not part of the line", async () => {
  await using house = await House.open();
  const ann = await house.connect();
  await ann.asks("Ann\n", "Using nickname: Ann\nType /help for list of commands.");
  await ann.asks("/join red\r\n", 'Joined chat room "red"');
  await ann.asks("hi\n", "Ann: hi");
  await ann.asks("two\n\n", "Ann: two\n    ");
});

Deno.test("/join leaves the present room first, even if it is the same room", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann", "one");
  const bob = await house.enter("Bob", "one");
  await ann.hears("Bob joined room.");
  await bob.asks("/join one", 'Left chat room "one"', 'Joined chat room "one"');
  await ann.hears("Bob left room.", "Bob joined room.");
  await bob.asks("/join two", 'Left chat room "one"', 'Joined chat room "two"');
  await ann.hears("Bob left room.");
  await ann.asks("hello?", "Ann: hello?");
  await bob.hearsNothingElse();
});

Deno.test("/ls lists a room's members in the order in which they connected", async () => {
  await using house = await House.open();
  const zoe = await house.enter("Zoe");
  const ann = await house.enter("Ann", "red");
  await zoe.asks("/join red", 'Joined chat room "red"');
  await ann.hears("Zoe joined room.");
  await ann.asks("/ls", "Zoe\nAnn");
  await zoe.asks("/nick Aaron", "Nickname is: Aaron");
  await ann.hears("Zoe is now known as Aaron.");
  await ann.asks("/ls", "Aaron\nAnn");
});

Deno.test("/ls lists rooms to a client in no room, and names that differ in case are different rooms", async () => {
  await using house = await House.open();
  await house.enter("Ann", "Red");
  await house.enter("Bob", "red");
  await house.enter("Cy", "Żółw");
  const dora = await house.enter("Dora");
  await dora.asks("/ls", "Red\nred\nŻółw");
});

Deno.test("a client that disconnects leaves its room once, and its nickname is free", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob", "red");
  await ann.hears("Bob joined room.");
  await bob.leave();
  await ann.hears("Bob left room.");
  await ann.asks("/ls", "Ann");
  await house.enter("Bob");
  await ann.hearsNothingElse();
});

Deno.test("a client receives no events of a room after it has left", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob", "red");
  await ann.hears("Bob joined room.");
  await bob.asks("/quit", 'Left chat room "red"');
  await ann.hears("Bob left room.");
  await ann.asks("are you there?", "Ann: are you there?");
  await bob.hearsNothingElse();
});

Deno.test("lines sent at once get their replies in order, messages and commands alike", async () => {
  await using house = await House.open();
  const ann = await house.connect();
  ann.say("Ann", "/join red", "one", "two", "/room", "three", "/join blue", "four", "/ls", "/quit");
  await ann.hears(
    "Using nickname: Ann\nType /help for list of commands.",
    'Joined chat room "red"',
    "Ann: one",
    "Ann: two",
    "red",
    "Ann: three",
    'Left chat room "red"',
    'Joined chat room "blue"',
    "Ann: four",
    "Ann",
    'Left chat room "blue"',
  );
});

Deno.test("/me shows an action to the room, and /who finds any online user", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob Brown", "red");
  await ann.hears("Bob Brown joined room.");
  await ann.asks("/me waves  twice", "* Ann waves  twice");
  await bob.hears("* Ann waves  twice");
  await ann.asks("/who BOB brown", 'Bob Brown is in room "red".');
  await bob.asks("/quit", 'Left chat room "red"');
  await ann.hears("Bob Brown left room.");
  await ann.asks("/who Bob Brown", "Bob Brown is online, but not in a room.");
  await ann.asks("/who Cy", 'No one named "Cy" is online.');
  await bob.asks("/me waves", "Cannot send message if not in chatroom.");
  await bob.hearsNothingElse();
});

Deno.test("/msg reaches one user, in any room or none, and no other client", async () => {
  await using house = await House.open();
  const ann = await house.enter("Ann", "red");
  const bob = await house.enter("Bob", "red");
  await ann.hears("Bob joined room.");
  const mary = await house.enter("Mary Ann");
  await ann.asks("/msg bob  two  spaces ", "[to Bob]  two  spaces ");
  await bob.hears("[from Ann]  two  spaces ");
  await bob.asks('/msg "mary ann" hello', "[to Mary Ann] hello");
  await mary.hears("[from Bob] hello");
  await mary.asks("/msg Mary hello", 'No one named "Mary" is online.');
  for (const line of ["/msg", "/msg Bob", "/msg Bob ", '/msg "" hello', '/msg "Bob hello']) {
    ann.say(line);
    const answer = await ann.next();
    assert(/^(Usage: \/msg|Nicknames cannot|No one named)/.test(answer), `${line}: ${answer}`);
  }
  for (const person of [ann, bob, mary]) await person.hearsNothingElse();
});

Deno.test("the chat is at /ws, too, and no rows remain after every client has left", async () => {
  await using house = await House.open();
  const ann = await house.connect("ws");
  await ann.asks("Ann", "Using nickname: Ann\nType /help for list of commands.");
  await ann.asks("/join red", 'Joined chat room "red"');
  await ann.leave();
  const left = async () => (await house.rows()).map(([first]) => first);
  while ((await left()).some((first) => first !== "instance" && first !== "beat")) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
});
