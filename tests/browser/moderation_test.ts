/// <reference lib="dom" />
/** Moderation on the page: what moderators do, what the users concerned see, ignoring and reporting. */
import { assert, assertEquals } from "@std/assert";
import type { Browser } from "puppeteer-core";
import { register, registeredReply, SECRET, welcomeReply } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";
import { addressOf, browserTests, BrowserUser, PHONE } from "./browser.ts";
import { tooSmallFor, tooWideFor, violationsFor } from "./checks.ts";

const browserTest = await browserTests();

/** The messages and the acts of the conversation that is shown. */
const SHOWN = ".conversation:not([hidden]) .text";
const ACTS = ".conversation:not([hidden]) .act";

/** The button of the menu of a member. */
function memberButton(nick: string): string {
  return `#members button[aria-label="Actions for ${nick}"]`;
}

/** Returns texts without the marks that isolate names. */
function plain(texts: string[]): string[] {
  return texts.map((text) => text.replace(/[\u2068\u2069]/g, ""));
}

/** Waits until the acts of the shown conversation are exactly these. */
async function waitForActs(user: BrowserUser, acts: string[]): Promise<void> {
  const shown = async () => plain(await user.textsOf(ACTS));
  await eventually(async () => (await shown()).length >= acts.length, `acts: ${acts.join(", ")}`);
  assertEquals(await shown(), acts);
}

/** Waits for the text of the notice. */
async function waitForNotice(user: BrowserUser, text: string): Promise<void> {
  await user.waitForElement("#notice");
  await eventually(
    async () => plain(await user.textsOf("#notice span"))[0] === text,
    `the notice is "${text}"`,
  );
}

/** Starts a server with the registered users Olga, an operator, and Mia, who moderates "red". */
async function openModerated(): Promise<TestServer> {
  const server = await TestServer.open({ operators: ["Olga"], operatorSecret: OPERATOR_SECRET });
  await register(server, "Olga");
  await register(server, "Mia");
  const olga = await server.connect();
  await olga.request("Olga", registeredReply("Olga"));
  await olga.request(`/identify ${SECRET}`, welcomeReply("Olga"));
  await olga.request("/join red", 'Joined chat room "red"');
  await olga.request("/mod Mia", "-- Olga made Mia a moderator");
  await olga.disconnect();
  return server;
}

const OPERATOR_SECRET = "a-secret-of-operators";

/** Opens the page for a registered user. */
async function signedIn(
  browser: Browser,
  server: TestServer,
  nick: string,
  options?: Parameters<typeof BrowserUser.open>[1],
): Promise<BrowserUser> {
  const user = await BrowserUser.open(browser, options);
  await user.signIn(`${addressOf(server)}#red`, nick, SECRET);
  await user.waitForTitle("#red · Parley");
  return user;
}

/** Opens the page for an unregistered user. */
async function loggedIn(browser: Browser, server: TestServer, nick: string): Promise<BrowserUser> {
  const user = await BrowserUser.open(browser);
  await user.logIn(`${addressOf(server)}#red`, nick);
  await user.waitForTitle("#red · Parley");
  return user;
}

/** The items of the menu of a room that everyone has. */
const FOR_EVERYONE = ["Invite people…", "Leave this room"];

/** Returns the items of the menu that a button opens. */
async function labelsOf(user: BrowserUser, button: string): Promise<string[]> {
  await user.waitForElement(button);
  await user.page.click(button);
  await user.waitForElement("[role=menu]:popover-open");
  const labels = await user.textsOf("[role=menu] [role=menuitem]");
  await user.page.keyboard.press("Escape");
  return labels;
}

browserTest(
  "a moderator kicks and bans; the user is told why, and is refused with the time left",
  async (browser) => {
    await using server = await openModerated();
    const mia = await signedIn(browser, server, "Mia");
    const bob = await loggedIn(browser, server, "Bob");
    await mia.choose(memberButton("Bob"), "Kick…");
    await mia.answer({ Reason: "be nice" });
    await waitForNotice(bob, 'Mia kicked you from "red": be nice.');
    await bob.waitForText("You're not in a room");
    await waitForActs(mia, ["Mia kicked Bob: be nice"]);
    await bob.page.click("#notice button");
    await bob.open("#red", "red");
    await mia.choose(memberButton("Bob"), "Ban…");
    await mia.answer({ Time: "600", Reason: "<b>spam</b>" });
    await waitForNotice(bob, 'Mia banned you from "red" for 10 minutes: <b>spam</b>.');
    await waitForActs(mia, [
      "Mia kicked Bob: be nice",
      "Mia banned Bob for 10 minutes: <b>spam</b>",
    ]);
    await mia.waitForTexts("#members bdi", ["Mia"]);
    await bob.page.click("#notice button");
    await bob.fill("#joinRoom", "red");
    await bob.page.keyboard.press("Enter");
    await waitForNotice(bob, 'You are banned from "red" for another 10 minutes: <b>spam</b>');
    assertEquals(await bob.page.$("#chat b:not(#elsewhere)"), null);
    await mia.choose("#roomMenu", "Unban…");
    await mia.answer({ Nickname: "nobody at all" });
    await mia.waitForText('There is no user "nobody at all".', "dialog .failure");
    await mia.answer({ Nickname: "bob" });
    await mia.waitForText("Mia unbanned", ".act");
    await bob.page.click("#notice button");
    await bob.fill("#joinRoom", "red");
    await bob.page.keyboard.press("Enter");
    await bob.waitForTitle("#red · Parley");
    await mia.close();
    await bob.close();
  },
);

browserTest("a muted user sees that, and until when, and can write again", async (browser) => {
  await using server = await openModerated();
  const mia = await signedIn(browser, server, "Mia");
  const bob = await loggedIn(browser, server, "Bob");
  await mia.choose(memberButton("Bob"), "Mute…");
  await mia.answer({ Time: "3600", Reason: "calm down" });
  await bob.waitForText("You can only read here until", "#rules");
  await waitForActs(bob, ['Mia muted you in "red" for 1 hour: calm down']);
  await bob.send("hello?");
  await bob.waitForText('You are muted in "red" for another', ".failed .failure");
  await mia.choose(memberButton("Bob"), "Unmute");
  await bob.page.waitForSelector("#rules", { hidden: true });
  await bob.page.click(".failed .failure button");
  await mia.waitForTexts(SHOWN, ["hello?"]);
  await mia.choose("#roomMenu", "Mute everyone…");
  await mia.answer({ Time: "" });
  await bob.waitForText("You can only read here.", "#rules");
  await mia.send("moderators may write");
  await bob.waitForTexts(SHOWN, ["hello?", "moderators may write"]);
  assertEquals(await mia.page.$("#rules:not([hidden])"), null);
  await mia.choose("#roomMenu", "Unmute everyone");
  await bob.page.waitForSelector("#rules", { hidden: true });
  await mia.close();
  await bob.close();
});

browserTest(
  "a moderator deletes a message, and the last ones of a user, for everyone",
  async (browser) => {
    await using server = await openModerated();
    const mia = await signedIn(browser, server, "Mia");
    const bob = await loggedIn(browser, server, "Bob");
    for (const text of ["one", "two", "three", "four"]) await bob.send(text);
    await mia.waitForTexts(SHOWN, ["one", "two", "three", "four"]);
    const hover = async (index: number) => await (await mia.page.$$(".other"))[index]!.hover();
    await hover(2);
    await mia.choose(".more button", "Delete message…");
    await mia.waitForText("cannot be undone", "dialog");
    await mia.page.click("dialog .buttons button");
    await mia.page.waitForFunction(() => document.querySelector("dialog") === null);
    await hover(1);
    await mia.choose(".more button", "Delete message…");
    await mia.answer({ Reason: "not here" });
    for (const user of [mia, bob]) {
      await user.waitForTexts(SHOWN, ["one", "Message deleted", "three", "four"]);
    }
    await waitForActs(bob, ['Mia deleted a message by you in "red": not here']);
    await mia.choose(memberButton("Bob"), "Delete last messages…");
    await mia.answer({ "How many": "2" });
    for (const user of [mia, bob]) {
      await user.waitForTexts(SHOWN, [
        "one",
        "Message deleted",
        "Message deleted",
        "Message deleted",
      ]);
    }
    await waitForActs(mia, ["Mia deleted 2 messages by Bob"]);
    await mia.close();
    await bob.close();
  },
);

browserTest(
  "an ordinary user has no moderator's items, and the keyboard opens, walks and closes the menu",
  async (browser) => {
    await using server = await openModerated();
    const cid = await server.login("Cid", "red");
    const ann = await loggedIn(browser, server, "Ann");
    await cid.expect("Ann joined room.");
    await cid.request("hello", "Cid: hello");
    await ann.waitForTexts(SHOWN, ["hello"]);
    assertEquals(await labelsOf(ann, "#roomMenu"), FOR_EVERYONE);
    const { keyboard } = ann.page;
    const focused = () => ann.page.evaluate(() => document.activeElement?.textContent);
    const aboutUser = ["Send a direct message", "Ignore", "Report…"];
    const aboutMessage = [..."👍 ❤️ 😂 🎉 😮 😢".split(" "), "Reply", "Copy text", "Copy link"];
    const menus: [string, string[]][] = [
      [memberButton("Cid"), aboutUser],
      [".more button", [...aboutMessage, ...aboutUser]],
    ];
    for (const [button, items] of menus) {
      await ann.waitForElement(button);
      await ann.page.focus(button);
      await keyboard.press("Enter");
      assertEquals(await ann.textsOf("[role=menu] [role=menuitem]"), items);
      assertEquals(await ann.page.$eval(button, (each) => each.ariaExpanded), "true");
      assertEquals(await focused(), items[0]);
      await keyboard.press("ArrowUp");
      assertEquals(await focused(), "Report…");
      await keyboard.press("ArrowDown");
      await keyboard.press("ArrowDown");
      assertEquals(await focused(), items[1]);
      await keyboard.press("Home");
      assertEquals(await focused(), items[0]);
      await keyboard.press("End");
      await keyboard.press("Escape");
      assertEquals(await ann.page.$("[role=menu]"), null);
      const isBack = await ann.page.$eval(button, (each) => document.activeElement === each);
      assert(isBack, "the focus is back on the button");
      assertEquals(await ann.page.$eval(button, (each) => each.ariaExpanded), "false");
    }
    // A dialog returns the focus, too, and Escape sends nothing.
    await keyboard.press("Space");
    await keyboard.press("End");
    await keyboard.press("Enter");
    await ann.waitForElement("dialog[open]");
    await keyboard.press("Escape");
    await ann.page.waitForFunction(() => document.querySelector("dialog") === null);
    const isBack = await ann.page.$eval(".more button", (each) => document.activeElement === each);
    assert(isBack, "the focus is back on the button");
    // With the mouse the name opens the menu.
    await ann.page.click(".other .who");
    await ann.waitForElement("[role=menu]");
    await ann.close();
  },
);

browserTest(
  "an ignored user's messages are hidden, also after a reload, until the user is ignored no longer",
  async (browser) => {
    await using server = await openModerated();
    const [bob, cid] = [await server.login("Bob", "red"), await server.login("Cid", "red")];
    await bob.request("one", "Cid joined room.", "Bob: one");
    await cid.request("two", "Bob: one", "Cid: two");
    const ann = await loggedIn(browser, server, "Ann");
    const visible = () =>
      ann.page.$$eval(
        ".text",
        (all) =>
          all.filter((each) => each.checkVisibility()).map((each) => each.textContent).join(),
      );
    await ann.waitForTexts(SHOWN, ["one", "two"]);
    await ann.choose(memberButton("Bob"), "Ignore");
    await ann.waitForText("You ignore", ".note");
    await eventually(async () => await visible() === "two", "what Bob wrote is hidden");
    assertEquals((await ann.textsOf(".day")).length, 1);
    await bob.request("three", "Cid: two", "Ann joined room.", "Bob: three");
    await cid.request("four", "Ann joined room.", "Bob: three", "Cid: four");
    await eventually(async () => await visible() === "two,four", "Cid is heard");
    await ann.page.reload();
    await eventually(async () => await visible() === "two,four", "the reload hides Bob");
    await ann.choose(memberButton("Bob"), "Stop ignoring");
    await eventually(async () => await visible() === "one,two,three,four", "Bob is shown");
    await ann.send("/ignore bob");
    await eventually(async () => await visible() === "two,four", "the command does the same");
    await ann.send("/ignore");
    await ann.waitForText("Bob", ".note:last-child");
    await ann.send("/unignore Bob");
    await eventually(async () => await visible() === "one,two,three,four", "Bob is shown");
    await ann.close();
  },
);

browserTest(
  "a report reaches the moderator in another conversation, and stands in the record, by pages",
  async (browser) => {
    await using server = await openModerated();
    const bob = await server.login("Bob", "red");
    const mia = await signedIn(browser, server, "Mia");
    await bob.expect("Mia joined room.");
    await mia.open("#green", "green");
    const ann = await loggedIn(browser, server, "Ann");
    await ann.choose(memberButton("Bob"), "Report…");
    await ann.page.click("dialog .main");
    // The reason is required: nothing was sent.
    await ann.waitForElement("dialog input:invalid");
    await ann.answer({ Reason: "spam" });
    await ann.waitForText("You reported", ".note");
    await waitForNotice(mia, 'Ann reported Bob in "red": spam.');
    await mia.open("#red", "red");
    await waitForActs(mia, ["Ann reported Bob: spam"]);
    for (let i = 1; i <= 55; i++) await mia.send(`/topic ${i}`);
    await mia.waitForText("55", "#topic");
    await mia.choose("#roomMenu", "Record of this room");
    const acts = async () => plain(await mia.textsOf("dialog li"));
    await eventually(async () => (await acts()).length === 50, "a page of the record");
    assert((await acts())[0]!.endsWith("Mia set the topic: 55"));
    const older = "dialog .buttons button:first-child";
    await mia.page.click(older);
    await eventually(async () => (await acts()).length === 57, "the whole record");
    assert((await acts()).at(-2)!.endsWith('Ann reported Bob in "red": spam'));
    assert((await acts()).at(-1)!.endsWith('Olga made Mia a moderator of "red"'));
    assertEquals(await mia.page.$eval(older, (each) => (each as HTMLElement).hidden), true);
    await mia.page.keyboard.press("Escape");
    await ann.send("/modlog");
    await ann.waitForText('You are not a moderator of "red".', "dialog");
    await mia.close();
    await ann.close();
  },
);

browserTest(
  "the header shows the topic, and below it stands what moderators have decided",
  async (browser) => {
    await using server = await openModerated();
    const ann = await loggedIn(browser, server, "Ann");
    const mia = await signedIn(browser, server, "Mia");
    await mia.choose("#roomMenu", "Topic…");
    await mia.answer({ Topic: "<i>Tea</i> and https://example.org/" });
    await mia.choose("#roomMenu", "Slow mode…");
    await mia.answer({ "One message in": "30" });
    await mia.choose("#roomMenu", "Lock: registered users only");
    await mia.choose("#roomMenu", "Make private: invited users only");
    const rules = "Slow mode: one message in 30 seconds. Locked: only registered users may join. " +
      "Private: only invited users may join.";
    for (const user of [ann, mia]) {
      await user.waitForTexts("#topic", ["<i>Tea</i> and https://example.org/"]);
      await user.waitForTexts("#rules", [rules]);
    }
    await waitForActs(ann, [
      "Mia set the topic: <i>Tea</i> and https://example.org/",
      "Mia set slow mode: one message in 30 seconds",
      "Mia locked the room: only registered users may join",
      "Mia made the room private: only invited users may join",
    ]);
    assertEquals(await ann.page.$("#chat i"), null);
    // It is also there after a reload, and in another room it is not.
    await ann.page.reload();
    await ann.waitForTexts("#rules", [rules]);
    await ann.open("#green", "green");
    assertEquals(await ann.page.$("#topic:not([hidden])"), null);
    assertEquals(await ann.page.$("#rules:not([hidden])"), null);
    const bob = await BrowserUser.open(browser);
    await bob.logIn(`${addressOf(server)}#red`, "Bob");
    await bob.waitForElement("#notice");
    await bob.waitForText('may join "red".', "#notice");
    await mia.choose("#roomMenu", "Unlock");
    await mia.choose("#roomMenu", "Invite…");
    await mia.answer({ Nickname: "Bob" });
    await waitForNotice(bob, 'Mia invited you to "red".');
    await bob.fill("#joinRoom", "red");
    await bob.page.keyboard.press("Enter");
    await bob.waitForTitle("#red · Parley");
    await mia.choose("#roomMenu", "Make public");
    await mia.choose("#roomMenu", "Slow mode…");
    await mia.answer({ "One message in": "0" });
    await mia.choose("#roomMenu", "Topic…");
    await mia.page.keyboard.press("Backspace");
    await mia.answer({ Topic: " " });
    await bob.page.waitForSelector("#rules", { hidden: true });
    await bob.page.waitForSelector("#topic", { hidden: true });
    await mia.choose(memberButton("Bob"), "Kick…");
    await mia.answer();
    await waitForNotice(bob, 'Mia kicked you from "red".');
    for (const user of [ann, bob, mia]) await user.close();
  },
);

browserTest(
  "an operator appoints and removes a moderator, whose menus follow at once",
  async (browser) => {
    await using server = await openModerated();
    await register(server, "Ann");
    const olga = await signedIn(browser, server, "Olga");
    const ann = await signedIn(browser, server, "Ann");
    assertEquals(await labelsOf(ann, "#roomMenu"), FOR_EVERYONE);
    await olga.choose(memberButton("Ann"), "Make moderator");
    await waitForActs(ann, ['Olga made you a moderator of "red"']);
    await ann.choose(memberButton("Olga"), "Kick…");
    await ann.answer();
    await ann.waitForText("You cannot do that to Olga.", "dialog .failure");
    await ann.page.keyboard.press("Escape");
    await olga.choose(memberButton("Ann"), "Remove as moderator");
    await waitForActs(ann, [
      'Olga made you a moderator of "red"',
      'Olga removed you as a moderator of "red"',
    ]);
    assertEquals(await labelsOf(ann, "#roomMenu"), FOR_EVERYONE);
    await olga.close();
    await ann.close();
  },
);

browserTest(
  "a user who is banned from the whole chat is told why, and cannot come back",
  async (browser) => {
    await using server = await openModerated();
    await register(server, "Bob");
    const olga = await signedIn(browser, server, "Olga");
    const bob = await signedIn(browser, server, "Bob");
    await olga.choose(memberButton("Bob"), "Kick…");
    await olga.answer({ Reason: "first", "In the whole chat": "" });
    await bob.waitForText("Olga kicked you from the chat: first.", "#loginError");
    // The client knows the password until the page is closed.
    await bob.page.click("#loginButton");
    await bob.waitForElement("#chat:not([hidden])");
    await bob.open("#red", "red");
    await olga.choose(memberButton("Bob"), "Ban…");
    await olga.answer({ Time: "86400", Reason: "again", "In the whole chat": "" });
    await bob.waitForText("Olga banned you from the chat for 1 day: again.", "#loginError");
    await waitForActs(olga, [
      "Olga kicked Bob from the chat: first",
      "Olga banned Bob from the chat for 1 day: again",
    ]);
    await bob.page.click("#loginButton");
    await bob.waitForText("You are banned from this chat for another", "#loginError");
    await bob.page.reload();
    await bob.fill("#loginPassword", SECRET);
    await bob.page.keyboard.press("Enter");
    await bob.waitForText("You are banned from this chat for another", "#loginError");
    await olga.choose("#roomMenu", "Record of the whole chat");
    await olga.waitForText("from the chat for 1 day: again", "dialog li");
    await olga.close();
    await bob.close();
  },
);

browserTest(
  "a user whose address is banned is told why, now and after a reload",
  async (browser) => {
    await using server = await openModerated();
    const olga = await signedIn(browser, server, "Olga");
    const ann = await loggedIn(browser, server, "Ann");
    await olga.send("/ban 127.0.0.1 1h the whole house");
    for (const user of [olga, ann]) {
      await user.waitForText("Your address is banned from this chat for another", "#loginError");
      await user.waitForText("the whole house", "#loginError");
    }
    await ann.page.reload();
    await ann.waitForText("the whole house", "#status");
    await ann.close(/WebSocket connection| 403 /);
    await olga.close(/WebSocket connection| 403 /);
  },
);

browserTest("/op is neither sent as a message nor kept, and makes an operator", async (browser) => {
  await using server = await openModerated();
  const bob = await server.login("Bob", "red");
  const ann = await loggedIn(browser, server, "Ann");
  await bob.expect("Ann joined room.");
  const stored = () =>
    ann.page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
  for (const wrong of ["/op wrong-secret-of-operators", " /OP wrong-secret-of-operators"]) {
    await ann.fill("#text", wrong);
    assert(!(await stored()).includes("wrong-secret"), await stored());
    await ann.page.keyboard.press("Enter");
    await ann.page.waitForFunction(() => document.querySelectorAll(".note").length > 0);
    assertEquals(await ann.valueOf("#text"), "");
  }
  await ann.fill("#text", `/op ${OPERATOR_SECRET}`);
  // A reload forgets what was typed.
  await ann.page.reload();
  await ann.waitForTitle("#red · Parley");
  assertEquals(await ann.valueOf("#text"), "");
  await ann.send(`/op ${OPERATOR_SECRET}`);
  await ann.waitForText("You are an operator now.", ".note");
  await ann.waitForElement("#roomMenu");
  assert(!(await stored()).includes(OPERATOR_SECRET), await stored());
  await ann.send("hello");
  await bob.expect("Ann: hello");
  await bob.expectNothingElse();
  await ann.close();
});

browserTest("the page has the commands of the terminal for acts", async (browser) => {
  await using server = await openModerated();
  const mia = await signedIn(browser, server, "Mia");
  const bob = await server.connect();
  await bob.request(
    "Bob the Builder",
    "Using nickname: Bob the Builder\nType /help for list of commands.",
  );
  await bob.request("/join red", 'Joined chat room "red"');
  await mia.send('/mute "bob the builder" 10m too loud');
  await bob.expect('-- Mia muted you in "red" for 10 minutes: too loud');
  await mia.send('/ban "bob the builder" 10x');
  await mia.waitForText("A time is a number with s, m, h or d", ".note");
  await mia.send("/ban");
  await mia.waitForText("/ban nickname time reason", ".note");
  await mia.send("/slow soon");
  await mia.waitForText("/slow seconds", ".note");
  await mia.send("/ban nobody");
  await mia.waitForText('There is no user "nobody".', ".note");
  await mia.send("/bann nobody");
  await mia.waitForText("Unknown command: bann", ".note");
  await mia.send("/lock");
  await mia.send("/topic tea");
  await waitForActs(mia, [
    "Mia muted Bob the Builder for 10 minutes: too loud",
    "Mia locked the room: only registered users may join",
    "Mia set the topic: tea",
  ]);
  await mia.send("/help");
  await mia.waitForText("/purge nickname count reason", ".note");
  await mia.close();
});

browserTest(
  "axe finds no serious problem in menus, dialogs and the record, and on a phone all of it fits",
  async (browser) => {
    await using server = await openModerated();
    const bob = await server.login("Bob", "red");
    const nick = "A nickname as long as it can be.";
    const long = await server.login(nick, "red");
    bob.send("w".repeat(300));
    await long.expect(`Bob: ${"w".repeat(300)}`);
    for (const dark of [false, true]) {
      for (const viewport of [undefined, { ...PHONE, width: 320 }]) {
        const mia = await signedIn(browser, server, "Mia", { dark, viewport });
        const check = async (where: string) => {
          const what = `${where}, ${dark ? "dark" : "light"}`;
          assertEquals(await violationsFor(mia), [], what);
          if (viewport === undefined) return;
          assertEquals(await tooWideFor(mia), [], what);
          assertEquals(await tooSmallFor(mia), [], what);
        };
        const open = async (button: string) => {
          await mia.page.click(button);
          await mia.waitForElement("[role=menu]");
        };
        await mia.waitForElement("#roomMenu");
        await mia.send(`/topic a topic ${"w".repeat(100)} https://example.org/`);
        await mia.send("/slow 10");
        await mia.send("/lock");
        await mia.send("/private");
        await mia.waitForText("Private", "#rules");
        await check("the rules of a room");
        await open("#roomMenu");
        await check("the menu of a room");
        await mia.page.keyboard.press("Escape");
        await mia.waitForElement(".other .bubble");
        await mia.page.hover(".other .bubble");
        await open(".more button");
        await check("the menu of a message");
        await mia.page.keyboard.press("Escape");
        if (viewport) {
          await mia.page.click("#openPeople");
          await mia.waitForElement("#people:popover-open");
        }
        await mia.choose(`#members button[aria-label="Actions for ${nick}"]`, "Ban…");
        await mia.waitForElement("dialog[open]");
        await check("a dialog");
        await mia.page.keyboard.press("Escape");
        await mia.page.keyboard.press("Escape");
        if (viewport) await mia.page.waitForSelector("#people", { hidden: true });
        long.send("/report Bob spam");
        await mia.open("#green", "green");
        long.send("/report Bob spam");
        await mia.waitForElement("#notice");
        await check("a notice");
        await mia.page.click("#notice button");
        await mia.open("#red", "red");
        await mia.choose("#roomMenu", "Record of this room");
        await mia.waitForElement("dialog li");
        await check("the record");
        await mia.page.keyboard.press("Escape");
        await mia.send("/public");
        await mia.send("/unlock");
        await mia.send("/slow 0");
        await mia.close();
      }
    }
  },
);
