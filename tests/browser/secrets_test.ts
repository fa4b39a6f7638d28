/** Access tokens and passwords on the page. */
import { assert, assertEquals } from "@std/assert";
import { TestServer } from "../support/test_server.ts";
import { addressOf, browserTests, BrowserUser } from "./browser.ts";

const browserTest = await browserTests();

const TOKEN = "a-token-of-ours";
const PASSWORD = "correct-horse";
const REFUSED = /WebSocket connection| 401 /;

browserTest(
  "a private server asks for its access token until it is right, and not again after a reload",
  async (browser) => {
    await using server = await TestServer.open({ access: { token: TOKEN } });
    const ann = await BrowserUser.open(browser);
    await ann.page.goto(`${addressOf(server)}#red`);
    await ann.fill("#loginNick", "Ann");
    await ann.page.keyboard.press("Enter");
    await ann.waitForText("This chat is private", "#loginError");
    await ann.fill("#loginPassword", "not-that-one");
    await Promise.all([ann.page.waitForNavigation(), ann.page.keyboard.press("Enter")]);
    await ann.waitForText("Wrong access token.", "#loginError");
    assertEquals(server.chat.size, 0);
    await ann.fill("#loginPassword", TOKEN);
    await Promise.all([ann.page.waitForNavigation(), ann.page.keyboard.press("Enter")]);
    await ann.waitForText("You're the first one here", "#chat");
    assertEquals(await ann.page.$eval("#title", (title) => title.textContent), "red");
    await ann.page.reload();
    await ann.waitForText("You're the first one here", "#chat");
    assert(!ann.page.url().includes(TOKEN));
    await ann.close(REFUSED);
  },
);

browserTest("the login form asks for the password of a registered nickname", async (browser) => {
  await using server = await TestServer.open({ passwordRounds: 1_000, graceSeconds: 0 });
  const owner = await server.login("Ann", "red");
  owner.send(`/register ${PASSWORD}`);
  await owner.expect(
    '"Ann" is now registered to you. Next time, enter it as your nickname, then type ' +
      "/identify {password}.",
  );
  await owner.disconnect();
  // A user without the password logs in with another nickname.
  const bob = await BrowserUser.open(browser);
  await bob.page.goto(`${addressOf(server)}#red`);
  await bob.fill("#loginNick", "Ann");
  await bob.page.keyboard.press("Enter");
  await bob.waitForText('"Ann" is registered', "#loginError");
  await bob.fill("#loginNick", "Bob");
  await bob.page.keyboard.press("Enter");
  await bob.waitForElement("#chat:not([hidden])");
  const ann = await BrowserUser.open(browser);
  await ann.page.goto(`${addressOf(server)}#red`);
  await ann.fill("#loginNick", "Ann");
  await ann.page.keyboard.press("Enter");
  await ann.waitForText('"Ann" is registered', "#loginError");
  await ann.fill("#loginPassword", "wrong-horse");
  await ann.page.keyboard.press("Enter");
  await ann.waitForText("Wrong password.", "#loginError");
  await ann.fill("#loginPassword", PASSWORD);
  await ann.page.keyboard.press("Enter");
  await bob.waitForTexts("#members bdi", ["Bob", "Ann"]);
  await ann.close();
  await bob.close();
});

browserTest("commands with passwords are never sent as messages", async (browser) => {
  await using server = await TestServer.open({ passwordRounds: 1_000 });
  const bob = await server.login("Bob", "red");
  const ann = await BrowserUser.open(browser);
  await ann.logIn(`${addressOf(server)}#red`, "Ann");
  await bob.expect("Ann joined room.");
  for (
    const [line, answer] of [
      [" /register two words", "/register password"],
      [`/register ${PASSWORD}`, "Ann is registered. You'll need the password next time."],
      ["/nick Bea", "Nickname is: Bea"],
      ["/nick Ann", '"Ann" is registered. If it\'s yours: /identify Ann {password}'],
      ["/identify Ann wrong-horse", "Wrong password."],
      [`/identify Ann ${PASSWORD}`, "You are signed in as Ann."],
      [`/password ${PASSWORD} another-horse`, "Password changed."],
      [`/unregister ${PASSWORD}`, "Wrong password."],
      ["/unregister another-horse", "Ann is no longer registered."],
    ] as const
  ) {
    await ann.send(line);
    await ann.waitForText(answer, ".log");
  }
  await ann.send("hello");
  await bob.expect("Ann is now known as Bea.", "Bea is now known as Ann.", "Ann: hello");
  await ann.close();
});
