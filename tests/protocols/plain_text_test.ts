/** The plain-text protocol over real sockets: every row of the contract, and the sample's conversations. */
import { assert, assertEquals } from "@std/assert";
import { encodeText, fixedReply, ownReply } from "../../chat/delivery/text.ts";
import { takenReply } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";

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
    await using server = await TestServer.open();
    const people = new Map<string, TextClient>();
    for (const { step: [who, verb, text], frames } of steps) {
      if (verb === "open") people.set(who, await server.connect());
      const client = people.get(who)!;
      if (verb === "close") {
        await client.disconnect();
        people.delete(who);
      }
      if (verb === "say") client.send(text!);
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
    for (const client of people.values()) await client.expectNothingElse();
  });
}

Deno.test("the first line is the nickname, and an invalid one is rejected with one line", async () => {
  await using server = await TestServer.open();
  const client = await server.connect();
  for (const bad of ["", "/help", "a\u0001b", "x".repeat(33)]) {
    client.send(bad);
    const answer = await client.next();
    assert(answer.endsWith("Type the nickname that you want to use."), answer);
    assertEquals(answer.split("\n").length, 1);
  }
  await client.request("Mary Ann", "Using nickname: Mary Ann\nType /help for list of commands.");
  await client.expectNothingElse();
});

Deno.test("the nickname of an online user is rejected at login and later, in every case and compatibility form", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann");
  const bob = await server.connect();
  await bob.request("ＡＮＮ", takenReply("ＡＮＮ"));
  await bob.request("Bob", "Using nickname: Bob\nType /help for list of commands.");
  await bob.request("/nick ann", takenReply("ann"));
  await bob.request("/nick", "Current nickname: Bob");
  await ann.expectNothingElse();
});

Deno.test("command names are case-insensitive, and words after the first argument are ignored", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann");
  await ann.request("/JOIN Red room", 'Joined chat room "Red"');
  await ann.request("/RoOm now", "Red");
  await ann.request("/nick Anna the Great", "Nickname is: Anna");
  await ann.request("/nick ", "Current nickname: Anna");
  await ann.request("/NICK", "Current nickname: Anna");
  await ann.request("/ls -l", "Anna");
  await ann.request("/Quit it", 'Left chat room "Red"');
});

Deno.test("the reply to an unknown command names it in lower case", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  const bob = await server.login("Bob", "red");
  await ann.expect("Bob joined room.");
  await ann.request("/Dance the Tango", "Unknown command: dance");
  await ann.request("/", "Unknown command: ");
  await ann.request("/ help", "Unknown command: ");
  await ann.request("//", "Unknown command: /");
  await bob.expectNothingElse();
});

Deno.test("a command that cannot be carried out gets one line that says what to do", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann");
  await ann.request("/join", "Which room? Type /join {room}.");
  await ann.request("/join  ", "Which room? Type /join {room}.");
  await ann.request("/join a\u0007b", "Room names cannot contain control characters.");
  await ann.request(
    `/join ${"x".repeat(65)}`,
    "Room name too long: 65 characters, maximum 64.",
  );
  await ann.request("/ls", "No rooms yet. Type /join {room} to start one.");
  await ann.request("/quit", "Not currently in a room. Type /join {room_name} to do so.");
  await ann.request("/room", "Not currently in a room. Type /join {room_name} to do so.");
  await ann.request("hello", "Cannot send message if not in chatroom.");
  await ann.request("", "Cannot send message if not in chatroom.");
  await ann.request("/me", "Usage: /me {action}, for example /me waves");
  await ann.request("/who", "Usage: /who {nickname}");
  await ann.request("/nick /bob", 'Nicknames cannot start with "/".');
});

Deno.test("a message is delivered exactly as typed, to every member of the room and no other client", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  const bob = await server.login("Bob", "red");
  await ann.expect("Bob joined room.");
  const cy = await server.login("Cy", "blue");
  const dora = await server.login("Dora");
  for (const text of ["  two  spaces  ", "", " /not a command", "ё 😀 \t", "é\u0301"]) {
    ann.send(text);
    await ann.expect(`Ann: ${text}`);
    await bob.expect(`Ann: ${text}`);
  }
  await cy.expectNothingElse();
  await dora.expectNothingElse();
});

Deno.test("an event is one line in a terminal: live, in history and as a direct message", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  const bob = await server.login("Bob", "red");
  await ann.expect("Bob joined room.");
  const typed =
    "hi\nBob: I quit\r\n[from Bob] x\rBob: y \u001b[2K\u009d0;t\u0007\u2028\u2029\u0085\u007f\t.";
  const text = "hi\n    Bob: I quit\n    [from Bob] x␍Bob: y ␛[2K\ufffd0;t␇\ufffd\ufffd\ufffd␡\t.";
  await ann.request(typed, `Ann: ${text}`);
  await bob.expect(`Ann: ${text}`);
  await ann.request(`/me ${typed}`, `* Ann ${text}`);
  await bob.expect(`* Ann ${text}`);
  await ann.request(`/msg Bob ${typed}`, `[to Bob] ${text}`);
  await bob.expect(`[from Ann] ${text}`);
  bob.send("/history");
  const past = (await bob.next()).replace(/^\[.{16}\] /gm, "");
  assertEquals(past, `Ann: ${text}\n* Ann ${text}`);
  await bob.request("/dance\u001b[2K\nBob: hi", "Unknown command: dance␛[2k\n    bob:");
  await ann.expectNothingElse();
  await bob.expectNothingElse();
});

Deno.test("names that an older version stored are shown safely, too", () => {
  const author = { id: "1", account: "", nick: "A\u001b" };
  const event = { room: "r\nBob: x", ...author, text: "", time: 0, cid: "" };
  const to = { user: "1", nick: "n\n", isRegistered: false };
  const lines = (["join", "leave", "nick"] as const).flatMap((kind) =>
    [true, false].map((own) =>
      encodeText({ kind, ...event, ...kind === "nick" ? { to } : {} }, own)
    )
  );
  const words = [
    ownReply.isInRoom("A\u001b", "r\nBob: x"),
    fixedReply.welcome("A\u001b"),
    fixedReply.currentNickname("\r"),
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
  await using server = await TestServer.open();
  const ann = await server.connect();
  const why = "Nicknames cannot look like the beginning or end of one of the server's own lines.";
  await ann.request("Bob: hi", `${why} Type the nickname that you want to use.`);
  await ann.request("[from Bob]", `${why} Type the nickname that you want to use.`);
  await ann.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
  await ann.request("/nick Bob:", why);
  await ann.request("/nick Ann:Lee", "Nickname is: Ann:Lee");
});

Deno.test("the line break at the end of a frame is not part of the line", async () => {
  await using server = await TestServer.open();
  const ann = await server.connect();
  await ann.request("Ann\n", "Using nickname: Ann\nType /help for list of commands.");
  await ann.request("/join red\r\n", 'Joined chat room "red"');
  await ann.request("hi\n", "Ann: hi");
  await ann.request("two\n\n", "Ann: two\n    ");
});

Deno.test("/join leaves the present room first, even if it is the same room", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "one");
  const bob = await server.login("Bob", "one");
  await ann.expect("Bob joined room.");
  await bob.request("/join one", 'Left chat room "one"', 'Joined chat room "one"');
  await ann.expect("Bob left room.", "Bob joined room.");
  await bob.request("/join two", 'Left chat room "one"', 'Joined chat room "two"');
  await ann.expect("Bob left room.");
  await ann.request("hello?", "Ann: hello?");
  await bob.expectNothingElse();
});

Deno.test("/ls lists a room's members in the order in which they connected", async () => {
  await using server = await TestServer.open();
  const zoe = await server.login("Zoe");
  const ann = await server.login("Ann", "red");
  await zoe.request("/join red", 'Joined chat room "red"');
  await ann.expect("Zoe joined room.");
  await ann.request("/ls", "Zoe\nAnn");
  await zoe.request("/nick Aaron", "Nickname is: Aaron");
  await ann.expect("Zoe is now known as Aaron.");
  await ann.request("/ls", "Aaron\nAnn");
});

Deno.test("/ls lists rooms to a client in no room, and names that differ in case are different rooms", async () => {
  await using server = await TestServer.open();
  await server.login("Ann", "Red");
  await server.login("Bob", "red");
  await server.login("Cy", "Żółw");
  const dora = await server.login("Dora");
  await dora.request("/ls", "Red\nred\nŻółw");
});

Deno.test("a client that disconnects leaves its room once, and its nickname is free", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  const bob = await server.login("Bob", "red");
  await ann.expect("Bob joined room.");
  await bob.disconnect();
  await ann.expect("Bob left room.");
  await ann.request("/ls", "Ann");
  await server.login("Bob");
  await ann.expectNothingElse();
});

Deno.test("a client receives no events of a room after it has left", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  const bob = await server.login("Bob", "red");
  await ann.expect("Bob joined room.");
  await bob.request("/quit", 'Left chat room "red"');
  await ann.expect("Bob left room.");
  await ann.request("are you there?", "Ann: are you there?");
  await bob.expectNothingElse();
});

Deno.test("lines sent at once get their replies in order, messages and commands alike", async () => {
  await using server = await TestServer.open();
  const ann = await server.connect();
  ann.send(
    "Ann",
    "/join red",
    "one",
    "two",
    "/room",
    "three",
    "/join blue",
    "four",
    "/ls",
    "/quit",
  );
  await ann.expect(
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
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  const bob = await server.login("Bob Brown", "red");
  await ann.expect("Bob Brown joined room.");
  await ann.request("/me waves  twice", "* Ann waves  twice");
  await bob.expect("* Ann waves  twice");
  await ann.request("/who BOB brown", 'Bob Brown is in room "red".');
  await bob.request("/quit", 'Left chat room "red"');
  await ann.expect("Bob Brown left room.");
  await ann.request("/who Bob Brown", "Bob Brown is online, but not in a room.");
  await ann.request("/who Cy", 'No one named "Cy" is online.');
  await bob.request("/me waves", "Cannot send message if not in chatroom.");
  await bob.expectNothingElse();
});

Deno.test("/msg reaches one user, in any room or none, and no other client", async () => {
  await using server = await TestServer.open();
  const ann = await server.login("Ann", "red");
  const bob = await server.login("Bob", "red");
  await ann.expect("Bob joined room.");
  const mary = await server.login("Mary Ann");
  await ann.request("/msg bob  two  spaces ", "[to Bob]  two  spaces ");
  await bob.expect("[from Ann]  two  spaces ");
  await bob.request('/msg "mary ann" hello', "[to Mary Ann] hello");
  await mary.expect("[from Bob] hello");
  await mary.request("/msg Mary hello", 'No one named "Mary" is online.');
  for (const line of ["/msg", "/msg Bob", "/msg Bob ", '/msg "" hello', '/msg "Bob hello']) {
    ann.send(line);
    const answer = await ann.next();
    assert(/^(Usage: \/msg|Nicknames cannot|No one named)/.test(answer), `${line}: ${answer}`);
  }
  for (const client of [ann, bob, mary]) await client.expectNothingElse();
});

Deno.test("the chat is at /ws, too, and no rows remain after every client has left", async () => {
  await using server = await TestServer.open();
  const ann = await server.connect("ws");
  await ann.request("Ann", "Using nickname: Ann\nType /help for list of commands.");
  await ann.request("/join red", 'Joined chat room "red"');
  await ann.disconnect();
  const left = async () => (await server.connectionKeys()).map(([first]) => first);
  while ((await left()).some((first) => first !== "instance" && first !== "beat")) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
});
