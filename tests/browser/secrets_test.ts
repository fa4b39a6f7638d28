/** The page where secrets are asked for: the access token of a private chat, passwords. */
import { assert, assertEquals } from "@std/assert";
import { House } from "../support/test_server.ts";
import { addressOf, openBrowser, Visitor } from "./browser.ts";

const inBrowser = await openBrowser();

const TOKEN = "a-token-of-ours";
const PASSWORD = "correct-horse";
const REFUSED = /WebSocket connection| 401 /;

inBrowser(
  "a private chat asks for its access token until it is right, and once",
  async (browser) => {
    await using house = await House.open({ access: { token: TOKEN } });
    const ann = await Visitor.come(browser);
    await ann.page.goto(`${addressOf(house)}#red`);
    await ann.fill("#loginNick", "Ann");
    await ann.page.keyboard.press("Enter");
    await ann.reads("This chat is private", "#loginError");
    await ann.fill("#loginPassword", "not-that-one");
    await Promise.all([ann.page.waitForNavigation(), ann.page.keyboard.press("Enter")]);
    await ann.reads("Wrong access token.", "#loginError");
    assertEquals(house.chat.size, 0);
    await ann.fill("#loginPassword", TOKEN);
    await Promise.all([ann.page.waitForNavigation(), ann.page.keyboard.press("Enter")]);
    await ann.reads("You're the first one here", "#chat");
    assertEquals(await ann.page.$eval("#title", (title) => title.textContent), "red");
    await ann.page.reload();
    await ann.reads("You're the first one here", "#chat");
    assert(!ann.page.url().includes(TOKEN));
    await ann.go(REFUSED);
  },
);

inBrowser("a registered nickname asks at the door for its password", async (browser) => {
  await using house = await House.open({ passwordRounds: 1_000, grace: 0 });
  const owner = await house.enter("Ann", "red");
  owner.say(`/register ${PASSWORD}`);
  await owner.hears(
    'The nickname "Ann" is yours. To use it another time, type it, and then ' +
      "/identify {password}.",
  );
  await owner.leave();
  // Whoever does not know it comes in under another one.
  const bob = await Visitor.come(browser);
  await bob.page.goto(`${addressOf(house)}#red`);
  await bob.fill("#loginNick", "Ann");
  await bob.page.keyboard.press("Enter");
  await bob.reads('"Ann" is registered', "#loginError");
  await bob.fill("#loginNick", "Bob");
  await bob.page.keyboard.press("Enter");
  await bob.sees("#chat:not([hidden])");
  const ann = await Visitor.come(browser);
  await ann.page.goto(`${addressOf(house)}#red`);
  await ann.fill("#loginNick", "Ann");
  await ann.page.keyboard.press("Enter");
  await ann.reads('"Ann" is registered', "#loginError");
  await ann.fill("#loginPassword", "wrong-horse");
  await ann.page.keyboard.press("Enter");
  await ann.reads("The password is wrong.", "#loginError");
  await ann.fill("#loginPassword", PASSWORD);
  await ann.page.keyboard.press("Enter");
  await bob.shows("#members bdi", ["Bob", "Ann"]);
  await ann.go();
  await bob.go();
});

inBrowser("passwords are commands, and never said", async (browser) => {
  await using house = await House.open({ passwordRounds: 1_000 });
  const bob = await house.enter("Bob", "red");
  const ann = await Visitor.come(browser);
  await ann.enter(`${addressOf(house)}#red`, "Ann");
  await bob.hears("Ann joined room.");
  for (
    const [line, answer] of [
      [" /register two words", "/register password"],
      [`/register ${PASSWORD}`, "Ann is registered. You'll need the password next time."],
      ["/nick Bea", "Nickname is: Bea"],
      ["/nick Ann", '"Ann" is registered. If it\'s yours: /identify Ann {password}'],
      ["/identify Ann wrong-horse", "The password is wrong."],
      [`/identify Ann ${PASSWORD}`, "You are signed in as Ann."],
      [`/password ${PASSWORD} another-horse`, "Password changed."],
      [`/unregister ${PASSWORD}`, "The password is wrong."],
      ["/unregister another-horse", "Ann is no longer registered."],
    ] as const
  ) {
    await ann.say(line);
    await ann.reads(answer, ".log");
  }
  await ann.say("hello");
  await bob.hears("Ann is now known as Bea.", "Bea is now known as Ann.", "Ann: hello");
  await ann.go();
});
