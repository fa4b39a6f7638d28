/** Imitation: nicknames that make a line of plain text look like one of the server's. */
import { assert } from "@std/assert";
import { Imitation } from "../../chat/nicknames/imitation.ts";
import { Confusables } from "../../chat/nicknames/confusables.ts";

const imitation = new Imitation(new Confusables());

Deno.test("Imitation finds nicknames that read as the beginning or end of a line of the server", () => {
  const lines = [
    ...["Bob: hi", "Bob:", "* Bob", "*", "[from Bob]", "[to Bob] x", "Bob] hi [x"],
    "Bob left room.",
    "Bob left room",
    "Bob joined room.",
    "X is now known as Y.",
    "Nickname is",
    "Using nickname",
    "Current nickname",
    "Unknown command",
    "Not sent",
    'Joined chat room "x"',
    'Left chat room "x"',
    'Bob is in room "x".',
    ...["[2026-11-24 23:33] Bob", "UNKNOWN COMMAND"],
  ];
  for (const nick of lines) assert(imitation.matches(nick), nick);
});

Deno.test("Imitation finds the same in confusable letters and signs", () => {
  for (
    const nick of ["Bob： hi", "Bob꞉ hi", "Bob lеft room.", "＊ Bob", "[frоm Bob]", "Nоt sent"]
  ) {
    assert(imitation.matches(nick), nick);
  }
});

Deno.test("Imitation accepts nicknames that only contain such words, brackets or colons", () => {
  const names = [
    ...["Bob", "Mary Ann", "john_doe", "Bob:hi", "[TAG] Bob", "Bob [away]", "*Bob", "12:30", "Not"],
    "room",
    "joined",
    "From Bob",
    "You",
    "feedface",
    '"Bob"',
    "Привет",
    "❤️",
    "日本語",
    "g1a0000000 Bob",
    "*** x",
  ];
  for (const nick of names) assert(!imitation.matches(nick), nick);
});

Deno.test("Imitation accepts every nickname of the golden conversations", async () => {
  const golden = await Deno.readTextFile(new URL("../golden/conversations.json", import.meta.url));
  for (const [, nick] of golden.matchAll(/Using nickname: (.+?)\\n/g)) {
    assert(!imitation.matches(nick!), nick);
  }
});
