/// <reference lib="dom" />
/** Users on the page: several rooms, several tabs and devices, nicknames that change hands, own messages. */
import { assertEquals } from "@std/assert";
import { ServerProcess } from "../support/processes.ts";
import { register, SECRET } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";
import { addressOf, browserTests, BrowserUser } from "./browser.ts";

const browserTest = await browserTests();

/** The messages of the conversation that is shown. */
const SHOWN = ".conversation:not([hidden]) .text";

browserTest(
  "a user hears several rooms, sees what is unread in each, and leaves one without the others",
  async (browser) => {
    await using server = await TestServer.open();
    const bob = await server.login("Bob", "red");
    const cid = await server.login("Cid", "lobby");
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf(server), "Ann");
    await cid.expect("Ann joined room.");
    await ann.waitForText("red", "#otherRooms");
    await ann.page.click("#otherRooms a");
    await bob.expect("Ann joined room.");
    await ann.waitForTitle("#red · Parley");
    await ann.waitForTexts("#rooms bdi", ["lobby", "red"]);
    await ann.open("#lobby", "lobby");
    bob.send("one", "/me waves");
    await ann.waitForTexts("#rooms .badge", ["2"]);
    await ann.waitForTitle("(2) #lobby · Parley");
    await cid.request("hello", "Cid: hello");
    await ann.waitForTexts(SHOWN, ["hello"]);
    await ann.open("#red", "red");
    await ann.waitForTexts(SHOWN, ["one", "Bob waves"]);
    await ann.waitForTitle("#red · Parley");
    await bob.expect("Bob: one", "* Bob waves");
    await ann.page.click("#leave");
    await bob.expect("Ann left room.");
    await ann.waitForTitle("#lobby · Parley");
    await ann.waitForTexts("#rooms bdi", ["lobby"]);
    assertEquals(await ann.page.evaluate(() => location.hash), "#lobby");
    await ann.send("still here");
    await cid.expect("Ann: still here");
    await cid.expectNothingElse();
    await ann.close();
  },
);

browserTest("unread counts and rooms survive a reload", async (browser) => {
  await using server = await TestServer.open();
  const bob = await server.login("Bob", "red");
  const ann = await BrowserUser.open(browser);
  await ann.logIn(`${addressOf(server)}#red`, "Ann");
  await bob.expect("Ann joined room.");
  await ann.open("#lobby", "lobby");
  bob.send("one", "two", "/msg Ann psst");
  await ann.waitForTexts("#rooms .badge", ["2"]);
  await ann.waitForTexts("#directs .badge", ["1"]);
  await ann.page.reload();
  await ann.waitForTexts("#rooms .badge", ["2"]);
  await ann.waitForTexts("#directs .badge", ["1"]);
  await ann.waitForTitle("(3) #lobby · Parley");
  await bob.request("three", "Bob: one", "Bob: two", "[to Ann] psst", "Bob: three");
  await ann.waitForTexts("#rooms .badge", ["3"]);
  await ann.open("#red", "red");
  await ann.waitForTexts(SHOWN, ["one", "two", "three"]);
  await ann.close();
});

browserTest(
  "two tabs of a user are one member; what one says or reads, the other shows",
  async (browser) => {
    await using server = await TestServer.open();
    await register(server, "Ann");
    const bob = await server.login("Bob", "red");
    const one = await BrowserUser.open(browser);
    await one.signIn(`${addressOf(server)}#red`, "Ann", SECRET);
    await bob.expect("Ann joined room.");
    // The nickname is known here, the password is not.
    const other = await one.openTab();
    await other.page.goto(`${addressOf(server)}#lobby`);
    await other.fill("#loginPassword", SECRET);
    await other.page.keyboard.press("Enter");
    await other.waitForTitle("#lobby · Parley");
    await other.waitForTexts("#rooms bdi", ["lobby", "red"]);
    await one.page.bringToFront();
    await one.send("from the first tab");
    await bob.expect("Ann: from the first tab");
    await other.page.bringToFront();
    await other.open("#red", "red");
    await other.waitForTexts(".own .text", ["from the first tab"]);
    await other.send("from the second tab");
    await bob.expect("Ann: from the second tab");
    await one.waitForTexts(".own .text", ["from the first tab", "from the second tab"]);
    assertEquals(await one.textsOf("#members bdi"), ["Bob", "Ann"]);
    // What is read in one tab is not unread in the other.
    await other.open("#lobby", "lobby");
    await one.page.bringToFront();
    await one.open("#green", "green");
    await bob.request("do you see me?", "Bob: do you see me?");
    await one.waitForTexts("#rooms .badge", ["1"]);
    await other.waitForTexts("#rooms .badge", ["1"]);
    await one.open("#red", "red");
    await one.waitForTexts("#rooms .badge", []);
    await other.waitForTexts("#rooms .badge", []);
    // The user leaves with the last tab.
    await one.send("/quit");
    await one.waitForTitle("#green · Parley");
    await other.page.bringToFront();
    await other.open("#red", "red");
    await other.send("still here");
    await bob.expect("Ann: still here");
    await other.send("/quit");
    await bob.expect("Ann left room.");
    await bob.expectNothingElse();
    assertEquals(other.problems, []);
    await one.close();
  },
);

browserTest(
  "a nickname that changed hands is another user: in direct messages and in the log",
  async (browser) => {
    await using server = await TestServer.open({ graceSeconds: 0 });
    const first = await server.login("Bob", "lobby");
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf(server), "Ann");
    await first.expect("Ann joined room.");
    first.send("/msg Ann I am the first", "from the first");
    await ann.waitForTexts("#directs bdi", ["Bob"]);
    await ann.waitForText("from the first", ".other .bubble");
    await first.disconnect();
    await ann.waitForTexts("#members bdi", ["Ann"]);
    // The second Bob sees the messages of the first one, which are not Bob's own.
    const bob = await BrowserUser.open(browser);
    await bob.logIn(addressOf(server), "Bob");
    await bob.waitForTexts(".other .text", ["from the first"]);
    assertEquals(await bob.textsOf(".own"), []);
    await bob.send("from the second");
    await ann.waitForText("from the second", ".other .bubble");
    // One name above both messages would say that one user wrote them.
    const names = await ann.page.$$eval(
      ".conversation:not([hidden]) .who",
      (all) => all.map((who) => who.checkVisibility()),
    );
    assertEquals(names, [true, true]);
    await bob.send("/msg Ann I am the second");
    await ann.waitForTexts("#directs bdi", ["Bob", "Bob"]);
    await ann.page.click("#directs li:last-child a");
    await ann.waitForTexts(SHOWN, ["I am the second"]);
    await ann.page.click("#directs li:first-child a");
    await ann.waitForTexts(SHOWN, ["I am the first"]);
    await ann.send("who are you?");
    await ann.waitForText("Bob is offline.", ".failure");
    // A rename changes the name of the conversation.
    await bob.send("/nick Robert");
    await ann.waitForTexts("#directs bdi", ["Bob", "Robert"]);
    await ann.close();
    await bob.close();
  },
);

browserTest("a registered nickname has a mark that screen readers read", async (browser) => {
  await using server = await TestServer.open();
  await register(server, "Ann");
  const ann = await BrowserUser.open(browser);
  await ann.signIn(addressOf(server), "Ann", SECRET);
  await ann.send("hello");
  const bob = await BrowserUser.open(browser);
  await bob.logIn(addressOf(server), "Bob");
  await bob.waitForText("hello", ".other .bubble");
  await bob.waitForTexts("#members bdi", ["Ann", "Bob"]);
  const marked = () =>
    bob.page.$$eval(
      ".mark",
      (all) =>
        all.filter((mark) => mark.checkVisibility({ visibilityProperty: true })).map((mark) => {
          const { role, ariaLabel } = mark;
          return [mark.previousElementSibling?.textContent, role, ariaLabel].join(" ");
        }),
    );
  // Above the message, and among the members.
  assertEquals(await marked(), Array(2).fill("Ann img registered"));
  await bob.send("/msg Ann psst");
  await bob.waitForTitle("Ann · Parley");
  // In the list of direct messages, and in the title.
  assertEquals(await marked(), Array(2).fill("Ann img registered"));
  await bob.send("/register correct-horse");
  await bob.waitForElement("#me .mark");
  await ann.waitForText("Bob is signed in now", ".membership");
  // It is the same conversation: Ann has seen who has registered.
  await ann.waitForTexts("#directs bdi", ["Bob"]);
  await ann.waitForElement("#directs .mark");
  await ann.close();
  await bob.close();
});

browserTest(
  "a user edits and deletes an own message with the keyboard; others see it at once and later",
  async (browser) => {
    await using server = await TestServer.open();
    const cid = await server.login("Cid", "lobby");
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf(server), "Ann");
    const bob = await BrowserUser.open(browser);
    await bob.logIn(addressOf(server), "Bob");
    await cid.expect("Ann joined room.", "Bob joined room.");
    for (const text of ["a secret", "helo"]) {
      await ann.send(text);
      await cid.expect(`Ann: ${text}`);
    }
    await bob.waitForTexts(".text", ["a secret", "helo"]);
    assertEquals(await bob.page.$(".tools"), null);
    const { keyboard } = ann.page;
    const focused = () => ann.page.evaluate(() => document.activeElement?.textContent ?? "");
    const goTo = async (name: string) => {
      await keyboard.down("Shift");
      await eventually(async () => {
        await keyboard.press("Tab");
        return await focused() === name;
      }, `${name} has the focus`);
      await keyboard.up("Shift");
    };
    await goTo("Edit");
    await keyboard.press("Enter");
    await ann.waitForElement(".editor textarea");
    await keyboard.press("Escape");
    await ann.page.waitForFunction(() => document.querySelector(".editor") === null);
    await goTo("Edit");
    await keyboard.press("Enter");
    await keyboard.press("End");
    await keyboard.type(", world");
    await keyboard.press("Enter");
    for (const user of [ann, bob]) {
      await user.waitForTexts(".text", ["a secret", "helo, world"]);
      await user.waitForText("edited", ".bubble small");
    }
    await goTo("Delete");
    await keyboard.press("ArrowUp");
    ann.confirmsNext = true;
    await keyboard.press("Enter");
    for (const user of [ann, bob]) {
      await user.waitForTexts(".text", ["Message deleted", "helo, world"]);
    }
    for (const user of [ann, bob]) {
      await user.page.reload();
      await user.waitForTexts(".text", ["Message deleted", "helo, world"]);
      await user.waitForText("edited", ".bubble small");
    }
    // Plain text shows nothing of it.
    await cid.expectNothingElse();
    await ann.close();
    await bob.close();
  },
);

browserTest("where messages cannot be edited, one's own have no buttons", async (browser) => {
  await using server = await TestServer.open({ editSeconds: 0 });
  const ann = await BrowserUser.open(browser);
  await ann.logIn(addressOf(server), "Ann");
  await ann.send("forever");
  await ann.waitForText("forever", ".own:not(.sending) .bubble");
  assertEquals(await ann.page.$(".tools"), null);
  await ann.close();
});

browserTest("an edit that the server refuses says why and keeps the text", async (browser) => {
  await using server = await TestServer.open({ limits: { maxMessageBytes: 100 } });
  const ann = await BrowserUser.open(browser);
  await ann.logIn(addressOf(server), "Ann");
  await ann.send("short");
  await ann.waitForText("short", ".own:not(.sending) .bubble");
  await ann.page.hover(".own .bubble");
  await ann.page.click(".tools .edit");
  await ann.fill(".editor textarea", "x".repeat(101));
  await ann.page.keyboard.press("Enter");
  await ann.waitForText("Too long", ".editor .failure");
  assertEquals(await ann.valueOf(".editor textarea"), "x".repeat(101));
  await ann.fill(".editor textarea", "shorter");
  await ann.page.keyboard.press("Enter");
  await ann.waitForTexts(".text", ["shorter"]);
  assertEquals(await ann.page.$(".failure"), null);
  await ann.close();
});

browserTest(
  "a new device finds the user's rooms and what is unread, and opens the room of its address",
  async (browser) => {
    await using server = await TestServer.open();
    await register(server, "Ann");
    const bob = await server.login("Bob", "red");
    const old = await BrowserUser.open(browser);
    await old.signIn(`${addressOf(server)}#red`, "Ann", SECRET);
    await bob.expect("Ann joined room.");
    await bob.request("read this", "Bob: read this");
    await old.waitForTexts(SHOWN, ["read this"]);
    await old.open("#blue", "blue");
    await bob.request("one", "Bob: one");
    await bob.request("two", "Bob: two");
    await old.waitForTexts("#rooms .badge", ["2"]);
    const device = await BrowserUser.open(browser);
    await device.signIn(`${addressOf(server)}#blue`, "Ann", SECRET);
    await device.waitForTitle("(2) #blue · Parley");
    await device.waitForTexts("#rooms bdi", ["blue", "red"]);
    await device.waitForTexts("#rooms .badge", ["2"]);
    await bob.request("three", "Bob: three");
    await device.waitForTexts("#rooms .badge", ["3"]);
    await device.page.bringToFront();
    await device.open("#red", "red");
    await device.waitForTexts(SHOWN, ["read this", "one", "two", "three"]);
    await old.waitForTexts("#rooms .badge", []);
    await bob.expectNothingElse();
    await old.close();
    await device.close();
  },
);

browserTest("what a hidden page shows is not read, until the user looks at it", async (browser) => {
  await using server = await TestServer.open();
  await register(server, "Ann");
  const bob = await server.login("Bob", "red");
  const [hidden, seen] = [await BrowserUser.open(browser), await BrowserUser.open(browser)];
  for (const ann of [seen, hidden]) {
    await ann.signIn(`${addressOf(server)}#red`, "Ann", SECRET);
    await ann.waitForTitle("#red · Parley");
  }
  await bob.expect("Ann joined room.");
  await seen.open("#blue", "blue");
  await hidden.setVisible(false);
  await bob.request("hello", "Bob: hello");
  await hidden.waitForTitle("(1) #red · Parley");
  await seen.waitForTitle("(1) #blue · Parley");
  // A marker that were sent in spite of it would arrive before the second message.
  await bob.request("again", "Bob: again");
  await seen.waitForTitle("(2) #blue · Parley");
  await hidden.setVisible(true);
  await hidden.page.bringToFront();
  await hidden.waitForTitle("#red · Parley");
  await seen.waitForTitle("#blue · Parley");
  await hidden.close();
  await seen.close();
});

browserTest(
  "direct messages of registered users wait for the receiver, on every device",
  async (browser) => {
    await using server = await TestServer.open();
    for (const nick of ["Ann", "Bob"]) await register(server, nick);
    const bob = await BrowserUser.open(browser);
    await bob.signIn(addressOf(server), "Bob", SECRET);
    await bob.send("/msg Ann one");
    await bob.waitForTitle("Ann · Parley");
    await bob.send("two");
    await bob.waitForTexts(SHOWN, ["one", "two"]);
    await bob.page.waitForFunction(() => document.querySelector(".sending") === null);
    const [first, second] = [await BrowserUser.open(browser), await BrowserUser.open(browser)];
    for (const ann of [first, second]) {
      await ann.signIn(addressOf(server), "Ann", SECRET);
      await ann.waitForTexts("#directs .badge", ["2"]);
    }
    await first.page.bringToFront();
    await first.page.click("#directs a");
    await first.waitForTexts(SHOWN, ["one", "two"]);
    await second.waitForTexts("#directs .badge", []);
    await second.page.reload();
    await second.waitForTexts("#directs bdi", ["Bob"]);
    await second.open("#@bob", "Bob");
    await second.waitForTexts(SHOWN, ["one", "two"]);
    await bob.page.reload();
    await bob.waitForTexts(SHOWN, ["one", "two"]);
    await bob.page.hover(".conversation:not([hidden]) .own:last-child .bubble");
    bob.confirmsNext = true;
    await bob.page.click(".tools button:last-child");
    for (const user of [bob, first, second]) {
      await user.waitForTexts(SHOWN, ["one", "Message deleted"]);
    }
    for (const user of [bob, first, second]) await user.close();
  },
);

browserTest(
  "a session that is ended on another device says so, and offers to log in again",
  async (browser) => {
    await using server = await TestServer.open();
    await register(server, "Ann");
    const [ann, lost] = [await BrowserUser.open(browser), await BrowserUser.open(browser)];
    await lost.signIn(addressOf(server), "Ann", SECRET);
    await ann.signIn(addressOf(server), "Ann", SECRET);
    await ann.send("/sessions");
    await ann.waitForText("2. chat.v1, since", ".note");
    const lines = (await ann.textsOf(".note")).at(-1)!.split("\n");
    assertEquals(lines.length, 2);
    const isOwn = lines.map((line) => line.endsWith("(this one)"));
    await ann.send(`/end ${isOwn.indexOf(true) + 1}`);
    await ann.waitForText("This is the session that you are using.", ".note");
    const number = isOwn.indexOf(false) + 1;
    await ann.send(`/end ${number}`);
    await ann.waitForText(`Session ${number} has ended.`, ".note");
    await lost.waitForText("This session was ended from another device.", "#status");
    assertEquals(await lost.page.$("#composer:not([hidden])"), null);
    await lost.page.click("#status button");
    await lost.waitForText('"Ann" is registered', "#loginError");
    await lost.fill("#loginPassword", SECRET);
    await lost.page.keyboard.press("Enter");
    await lost.waitForTitle("#lobby · Parley");
    await ann.close();
    await lost.close();
  },
);

browserTest(
  "a lost session leaves no mark where history has all that was missed",
  async (browser) => {
    const folder = await Deno.makeTempDir();
    const flags = ["--kv", `${folder}/kv`, "--grace", "off"];
    let server = await ServerProcess.start(flags, undefined, undefined, "null");
    const { port } = server;
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf({ port }), "Ann");
    await ann.open("#red", "red");
    await ann.open("#lobby", "lobby");
    await ann.send("before");
    await ann.waitForText("before", ".own:not(.sending) .bubble");
    await server.stop("SIGKILL");
    await ann.waitForText("Offline.", "#status");
    server = await ServerProcess.start(["--port", String(port), ...flags]);
    const bob = await TextClient.connect(server.url);
    bob.send("Bob", "/join lobby", "are you there?", "/join red", "and here?");
    await ann.waitForText("are you there?", ".other .bubble");
    await ann.waitForTexts("#rooms bdi", ["lobby", "red"]);
    await ann.open("#red", "red");
    await ann.waitForTexts(SHOWN, ["and here?"]);
    await ann.open("#lobby", "lobby");
    await ann.waitForTexts(SHOWN, ["before", "are you there?"]);
    assertEquals(await ann.textsOf(".gap"), []);
    await bob.disconnect();
    await ann.close(/ERR_CONNECTION_RE(FUSED|SET)|WebSocket connection| 503 /);
    await server.stop();
    await Deno.remove(folder, { recursive: true });
  },
);
