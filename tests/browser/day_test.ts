/// <reference lib="dom" />
/** What people need who keep the page open all day: mentions, formatting, completion, failed messages. */
import { assert, assertEquals } from "@std/assert";
import { register, SECRET } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";
import { addressOf, browserTests, BrowserUser, PHONE } from "./browser.ts";
import { tooWideFor, violationsFor } from "./checks.ts";

const browserTest = await browserTests();

/** Opens a page in the room `red`. */
async function opened(
  browser: Parameters<typeof BrowserUser.open>[0],
  server: TestServer,
  nick: string,
) {
  const user = await BrowserUser.open(browser);
  await user.logIn(`${addressOf(server)}#red`, nick);
  await user.waitForTitle("#red · Parley");
  return user;
}

/** Returns what stands in the message field. */
function draftOf(user: BrowserUser): Promise<string> {
  return user.page.$eval("#text", (field) => (field as HTMLTextAreaElement).value);
}

browserTest(
  "a failed message keeps its place, and can be tried again, edited and discarded",
  async (browser) => {
    await using server = await TestServer.open({ limits: { maxMessageBytes: 100 } });
    const bob = await server.login("Bob", "red");
    const ann = await opened(browser, server, "Ann");
    await bob.expect("Ann joined room.");
    await ann.send("before");
    await bob.expect("Ann: before");
    await ann.send("x".repeat(101));
    await ann.waitForElement(".failed .failure");
    bob.send("after");
    await ann.waitForText("after", ".other .bubble");
    await ann.send("/help");
    await ann.waitForText("/help", ".note");
    const texts = await ann.textsOf(".conversation:not([hidden]) :is(.bubble, .note)");
    const places = ["before", "xxx", "after", "/help"].map((text) =>
      texts.findIndex((each) => each.includes(text))
    );
    assertEquals(places, places.toSorted((one, other) => one - other));
    const buttons = await ann.textsOf(".failed .failure button");
    assertEquals(buttons, ["Try again", "Edit", "Discard"]);
    await ann.page.click(".failed .failure button:last-of-type");
    assertEquals(await ann.page.$(".failed"), null);
    await bob.expect("Bob: after");
    await bob.expectNothingElse();
    await ann.close();
  },
);

browserTest("formatting is drawn as elements, and a copy is what was typed", async (browser) => {
  await using server = await TestServer.open();
  const ann = await opened(browser, server, "Ann");
  const typed = [
    "*bold* _soft_ `code *not bold*` **strong** 2*3*4 snake_case_name",
    "> quoted *too*",
    "- one",
    "2. two",
    "```ts",
    "const x = `<b>`;",
    "```",
    "www.example.org and mailto:ann@example.org <img src=x onerror=alert(1)>",
  ].join("\n");
  await ann.page.$eval("#text", (field, text) => {
    (field as HTMLTextAreaElement).value = text;
    field.dispatchEvent(new Event("input"));
  }, typed);
  await ann.page.keyboard.press("Enter");
  await ann.waitForElement(".own:not(.sending) .bubble pre");
  const texts = (selector: string) => ann.textsOf(`.own .text ${selector}`);
  assertEquals(await texts(":is(b, em)"), ["bold", "soft", "strong", "too"]);
  assertEquals(await texts("code"), ["code *not bold*", "const x = `<b>`;"]);
  assertEquals(await texts(".quote"), ["quoted too"]);
  assertEquals(await texts(".item"), ["- one", "2. two"]);
  const links = await ann.page.$$eval(
    ".own .text a",
    (all) => all.map((each) => (each as HTMLAnchorElement).href),
  );
  assertEquals(links, ["https://www.example.org/", "mailto:ann@example.org"]);
  assertEquals(await ann.page.$(".text img"), null);
  const copied = await ann.page.evaluate(() => {
    getSelection()!.selectAllChildren(document.querySelector(".own .text")!);
    const clipboardData = new DataTransfer();
    dispatchEvent(new ClipboardEvent("copy", { clipboardData, cancelable: true }));
    return clipboardData.getData("text/plain");
  });
  assertEquals(copied, typed);
  await ann.close();
});

browserTest(
  "whatever is typed, nothing becomes markup, and a copy is the same",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await opened(browser, server, "Ann");
    const marks = [
      "*",
      "**",
      "_",
      "`",
      "```",
      "\n",
      "> ",
      "- ",
      "1. ",
      "<b>",
      "&amp;",
      "@Ann",
      "Ann",
      " ",
    ];
    const more = [
      "x",
      "https://a.example/",
      "www.",
      "javascript:alert(1)",
      "mailto:",
      "שלום",
      "\u202e",
      "](",
      "|",
    ];
    let seed = 7;
    const random = (many: number) => (seed = Math.imul(seed, 48_271) >>> 1) % many;
    const parts = [...marks, ...more];
    for (let n = 0; n < 30; n++) {
      const body = Array.from({ length: 3 + random(25) }, () => parts[random(parts.length)]).join(
        "",
      );
      const typed = `${n}:${body}`.trim().replace(/\s+$/, "");
      await ann.page.$eval("#text", (field, text) => {
        (field as HTMLTextAreaElement).value = text;
        field.dispatchEvent(new Event("input"));
        (field as HTMLTextAreaElement).form!.requestSubmit();
      }, typed);
      await ann.page.waitForFunction(
        (start) =>
          document.querySelector(".own:last-child:not(.sending) .text")?.textContent?.startsWith(
            start,
          ),
        {},
        `${n}:`,
      );
      const { copied, tags, hrefs } = await ann.page.evaluate(() => {
        const text = document.querySelector(".own:last-child .text")!;
        getSelection()!.selectAllChildren(text);
        const clipboardData = new DataTransfer();
        dispatchEvent(new ClipboardEvent("copy", { clipboardData, cancelable: true }));
        return {
          copied: clipboardData.getData("text/plain"),
          tags: [...new Set([...text.querySelectorAll("*")].map(({ tagName }) => tagName))],
          hrefs: [...text.querySelectorAll("a")].map(({ protocol }) => protocol),
        };
      });
      assertEquals(copied, typed);
      const known = ["A", "B", "BDI", "BUTTON", "CODE", "EM", "MARK", "PRE", "SPAN"];
      assert(tags.every((tag) => known.includes(tag)), tags.join());
      assert(hrefs.every((each) => ["http:", "https:", "mailto:"].includes(each)), hrefs.join());
    }
    await ann.close();
  },
);

browserTest(
  "a mention is marked, in the list of rooms, the title and the list of mentions",
  async (browser) => {
    await using server = await TestServer.open();
    const bob = await server.login("Bob", "red");
    const ann = await BrowserUser.open(browser);
    await ann.page.evaluateOnNewDocument(() => {
      // A browser without windows denies notifications.
      const shown: string[] = [];
      class Shown {
        static permission = "default";
        static requestPermission() {
          Shown.permission = "granted";
          return Promise.resolve("granted");
        }
        constructor(title: string, { body }: { body: string }) {
          shown.push(`${title}: ${body}`);
        }
      }
      Object.assign(globalThis, { Notification: Shown, shown });
    });
    await ann.logIn(`${addressOf(server)}#red`, "Ann");
    await ann.waitForTitle("#red · Parley");
    await ann.open("#blue", "blue");
    bob.send("hello @ann, and not Annette", "nothing for anybody");
    await ann.waitForText("@ 2", "#rooms .badge");
    await ann.waitForTitle("(@2) #blue · Parley");
    const shown = () =>
      ann.page.evaluate(() => (globalThis as unknown as { shown: string[] }).shown);
    assertEquals(await shown(), []);
    // The browser is asked only if the user wants it.
    await ann.waitForText("Be notified", "#notice");
    await ann.page.click("#notice button");
    assertEquals(await ann.page.$("#notice:not([hidden])"), null);
    bob.send("Ann?");
    await ann.waitForText("@ 3", "#rooms .badge");
    assertEquals(await shown(), ["Bob in #red: Ann?"]);
    await ann.choose("#me", "Mentions of you");
    await ann.waitForText("Bob in #red: hello @ann", "dialog");
    await ann.page.click("dialog li:last-child button.mention");
    await ann.waitForTitle("#red · Parley");
    assertEquals(await ann.textsOf("mark.own"), ["@ann", "Ann"]);
    await ann.waitForElement(".found");
    // At the end of the log it is seen.
    await ann.page.bringToFront();
    await ann.page.keyboard.press("Escape");
    bob.send("once more, Ann");
    await ann.waitForText("once more", ".mentioned");
    // It was seen.
    assertEquals((await shown()).length, 1);
    await ann.close();
  },
);

browserTest("Tab and typing complete nicknames, rooms, commands and emoji", async (browser) => {
  await using server = await TestServer.open();
  await server.login("Bertram", "red");
  const bob = await server.login("Bob", "red");
  const ann = await opened(browser, server, "Ann");
  await ann.waitForText("Bertram", "#members");
  const { keyboard } = ann.page;
  await ann.page.focus("#text");
  await keyboard.type("@be");
  await ann.waitForTexts("#suggestions bdi", ["@Bertram"]);
  await keyboard.press("Enter");
  assertEquals(await draftOf(ann), "@Bertram ");
  await keyboard.type("bo");
  await keyboard.press("Tab");
  assertEquals(await draftOf(ann), "@Bertram Bob ");
  await keyboard.type(":tad");
  await ann.waitForText("🎉", "#suggestions");
  await keyboard.press("Tab");
  assertEquals(await draftOf(ann), "@Bertram Bob 🎉 ");
  await keyboard.press("Enter");
  await bob.expect("Ann joined room.", "Ann: @Bertram Bob 🎉");
  await keyboard.type("/hel");
  await ann.waitForText("show this list", "#suggestions");
  await keyboard.press("Escape");
  assertEquals(await ann.page.$("#suggestions:not([hidden])"), null);
  await keyboard.type("p");
  await keyboard.press("Enter");
  await ann.waitForText("/join", ".note");
  await keyboard.type("see #re");
  await ann.waitForTexts("#suggestions bdi", ["#red"]);
  await ann.close();
});

browserTest(
  "ArrowUp edits the last message, and the menu of a message replies and copies",
  async (browser) => {
    await using server = await TestServer.open();
    const bob = await server.login("Bob", "red");
    const ann = await opened(browser, server, "Ann");
    await ann.send("first");
    await ann.waitForText("first", ".own:not(.sending) .bubble");
    await ann.page.focus("#text");
    await ann.page.keyboard.press("ArrowUp");
    await ann.waitForElement(".editor textarea");
    await ann.page.keyboard.type("!");
    await ann.page.keyboard.press("Enter");
    await ann.waitForText("first!", ".own .bubble");
    bob.send("what now?");
    await ann.waitForText("what now?", ".other .bubble");
    await ann.page.hover(".other .bubble");
    await ann.choose(".more button", "Reply");
    assertEquals(await draftOf(ann), "> Bob: what now?\n");
    await ann.page.hover(".other .bubble");
    await ann.choose(".more button", "Copy link");
    await ann.waitForText("copied", "#status");
    await ann.close();
  },
);

browserTest(
  "a tab that is taken over says so, keeps what is typed, and takes the chat back",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await opened(browser, server, "Ann");
    await ann.page.focus("#text");
    await ann.page.keyboard.type("half a sentence");
    const other = await ann.openTab();
    const storage = await ann.page.evaluate(() => JSON.stringify(sessionStorage));
    // A tab that the browser duplicates has a copy of the storage.
    await other.page.goto(addressOf(server) + "healthz");
    await other.page.evaluate((items) => {
      for (const [key, value] of Object.entries(JSON.parse(items))) {
        sessionStorage.setItem(key, String(value));
      }
    }, storage);
    await other.page.goto(`${addressOf(server)}#red`);
    await other.waitForTitle("#red · Parley");
    await ann.waitForText("The chat goes on in another tab", "#status");
    assertEquals(await ann.page.$("#composer:not([hidden])"), null);
    await Promise.all([ann.page.waitForNavigation(), ann.page.click("#status button")]);
    await ann.waitForTitle("#red · Parley");
    assertEquals(await draftOf(ann), "half a sentence");
    await other.waitForText("The chat goes on in another tab", "#status");
    await eventually(() => server.chat.size === 1, "there is one session");
    await ann.close();
  },
);

browserTest(
  "the nickname has its menu: register, sign in, change the password, sign out",
  async (browser) => {
    await using server = await TestServer.open({ passwordRounds: 1_000 });
    await register(server, "Bob");
    const ann = await opened(browser, server, "Ann");
    await ann.choose("#me", "Change nickname…");
    await ann.page.keyboard.press("Escape");
    await ann.choose("#me", "Register this nickname…");
    const kinds = await ann.page.$$eval(
      "dialog input",
      (all) =>
        all.map((each) =>
          `${(each as HTMLInputElement).type} ${(each as HTMLInputElement).autocomplete}`
        ),
    );
    assertEquals(kinds, ["text username", "password new-password"]);
    await ann.answer({ Password: "correct-horse" });
    await ann.waitForText("Ann is registered", ".note");
    await ann.waitForElement("#me .mark");
    await ann.choose("#me", "Change password…");
    await ann.answer({ "Present password": "wrong-password", "New password": "battery-staple" });
    await ann.waitForElement("dialog .failure:not(:empty)");
    await ann.answer({ "Present password": "correct-horse" });
    await ann.waitForText("Password changed.", ".note");
    await Promise.all([ann.page.waitForNavigation(), ann.choose("#me", "Sign out")]);
    await ann.waitForElement("#loginNick");
    assertEquals(
      await ann.page.$eval("#loginNick", (field) => (field as HTMLInputElement).value),
      "",
    );
    await ann.fill("#loginNick", "Cid");
    await ann.page.keyboard.press("Enter");
    await ann.waitForElement("#text");
    await ann.choose("#me", "Sign in…");
    await ann.answer({ Nickname: "Bob", Password: SECRET });
    await ann.waitForText("You are signed in as Bob.", ".note");
    await ann.close();
  },
);

browserTest(
  "the page says why the server refuses it, and the log says it once",
  async (browser) => {
    const warnings: string[] = [];
    const warn = (line: string) => void warnings.push(line);
    const log = { info() {}, warn, error: warn };
    await using server = await TestServer.open({ log, access: { hosts: ["chat.example"] } });
    const ann = await BrowserUser.open(browser);
    await ann.page.setRequestInterception(true);
    // As behind a proxy that does not pass the Host header.
    ann.page.on("request", (request) => {
      if (!request.url().endsWith("/ws")) return void request.continue();
      const headers = { ...request.headers(), "x-page-origin": "https://chat.other.example" };
      void request.continue({ headers });
    });
    await ann.page.evaluateOnNewDocument(() => {
      const Real = WebSocket;
      Object.assign(globalThis, {
        WebSocket: class extends Real {
          constructor() {
            super(`ws://${location.host}/nowhere`);
          }
        },
      });
    });
    await ann.page.goto(addressOf(server));
    await ann.fill("#loginNick", "Ann");
    await ann.page.keyboard.press("Enter");
    await ann.waitForText("--origin https://chat.other.example", "#status, #loginError");
    await eventually(() => warnings.length > 0, "the log has a line");
    assertEquals(warnings.length, 1);
    assert(warnings[0]!.includes("Host header"), warnings[0]);
    await ann.close(/WebSocket connection|Failed to load/);
  },
);

browserTest(
  "invitations have a QR code, and take the access token along if wanted",
  async (browser) => {
    const token = "a-token-of-ours";
    await using server = await TestServer.open({ access: { token } });
    const ann = await BrowserUser.open(browser);
    await ann.page.goto(`${addressOf(server)}#red&token=${token}`);
    await ann.fill("#loginNick", "Ann");
    await ann.page.keyboard.press("Enter");
    await ann.waitForTitle("#red · Parley");
    assert(!ann.page.url().includes(token), ann.page.url());
    await ann.choose("#roomMenu", "Invite people…");
    await ann.waitForElement("dialog svg path");
    assertEquals(await ann.textsOf("dialog .address"), [`${addressOf(server)}#red`]);
    await ann.page.click("dialog input[type=checkbox]");
    assertEquals(await ann.textsOf("dialog .address"), [`${addressOf(server)}#red&token=${token}`]);
    assertEquals(await violationsFor(ann), []);
    await ann.page.click("dialog .main");
    await ann.waitForText("Copied.", "dialog");
    await ann.close();
  },
);

browserTest(
  "many departures are one line; rooms are in natural order; long lists have a filter",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await opened(browser, server, "Ann");
    const people = [];
    for (let n = 1; n <= 20; n++) {
      people.push(
        await server.login(`P${n}`, n === 20 ? "red" : "red"),
      );
    }
    await ann.waitForText("21 online", "#peopleTitle");
    await ann.fill("#findMember", "p1");
    const shown = () =>
      ann.page.$$eval("#members li", (all) => all.filter((each) => each.checkVisibility()).length);
    assertEquals(await shown(), 11);
    for (const each of people) await each.disconnect();
    await ann.waitForText("and 18 others left", ".membership");
    for (const room of ["room-10", "room-2"]) await server.login(`In ${room}`, room);
    await ann.waitForText("room-10", "#otherRooms");
    await ann.waitForTexts("#otherRooms bdi", ["room-2", "room-10"]);
    await ann.close();
  },
);

browserTest(
  "at 320 pixels the name of the room can be read, and completions fit",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await BrowserUser.open(browser, { viewport: { ...PHONE, width: 320 } });
    await ann.logIn(`${addressOf(server)}#a-room-with-a-name`, "Ann");
    await ann.waitForTitle("#a-room-with-a-name · Parley");
    const width = await ann.page.$eval("#title", (title) => title.getBoundingClientRect().width);
    assert(width >= 110, `${width} pixels`);
    await ann.page.focus("#text");
    await ann.page.keyboard.type("/m");
    await ann.waitForElement("#suggestions:not([hidden])");
    assertEquals(await tooWideFor(ann), []);
    assertEquals(await violationsFor(ann), []);
    await ann.close();
  },
);

browserTest(
  "after an absence the view lands where the new messages begin, which are read at the end",
  async (browser) => {
    await using server = await TestServer.open({ rateLimits: "off" });
    const bob = await server.login("Bob", "red");
    const ann = await opened(browser, server, "Ann");
    bob.send("seen");
    await ann.waitForText("seen", ".other .bubble");
    await ann.setVisible(false);
    for (let n = 1; n <= 60; n++) bob.send(`line ${n}`);
    await ann.waitForTitle("(60) #red · Parley");
    await ann.setVisible(true);
    await ann.waitForText("60 new messages", ".jump");
    const isInView = (selector: string) =>
      ann.page.$eval(selector, (each) => {
        const { top, bottom } = each.getBoundingClientRect();
        return top >= 0 && bottom <= innerHeight;
      });
    assert(await isInView(".new"));
    await ann.waitForTitle("(60) #red · Parley");
    await ann.page.click(".jump");
    await ann.waitForTitle("#red · Parley");
    await ann.close();
  },
);

browserTest(
  "a user who sends too fast is told for how long, and the rest is sent by itself",
  async (browser) => {
    await using server = await TestServer.open({
      rateLimits: { messages: { count: 3, seconds: 4 } },
    });
    const bob = await server.login("Bob", "red");
    const ann = await opened(browser, server, "Ann");
    await bob.expect("Ann joined room.");
    for (let n = 1; n <= 5; n++) await ann.send(`line ${n}`);
    await ann.waitForText("You are sending too fast.", "#status");
    for (let n = 1; n <= 5; n++) await bob.expect(`Ann: line ${n}`);
    await ann.page.waitForFunction(() => !document.querySelector(".sending, .failed"));
    await ann.close();
  },
);

browserTest(
  "reactions are counted below a message, for all members, and after a reload",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await opened(browser, server, "Ann");
    const bob = await opened(browser, server, "Bob");
    await ann.send("hello");
    await bob.waitForText("hello", ".other .bubble");
    await bob.page.hover(".other .bubble");
    await bob.choose(".more button", "👍");
    for (const user of [ann, bob]) await user.waitForTexts(".reaction", ["👍 1"]);
    await ann.page.click(".reaction");
    for (const user of [ann, bob]) await user.waitForTexts(".reaction", ["👍 2"]);
    await bob.page.reload();
    await bob.waitForTexts(".reaction", ["👍 2"]);
    assertEquals(await bob.page.$eval(".reaction", (each) => each.ariaPressed), "true");
    assertEquals(await violationsFor(bob), []);
    await bob.page.click(".reaction");
    for (const user of [ann, bob]) await user.waitForTexts(".reaction", ["👍 1"]);
    await ann.close();
    await bob.close();
  },
);

browserTest(
  "the others see who is typing, until the message arrives or it is over",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await opened(browser, server, "Ann");
    const bob = await opened(browser, server, "Bob");
    await ann.page.bringToFront();
    await ann.page.focus("#text");
    await ann.page.keyboard.type("hello");
    await bob.waitForText("Ann is typing…", "#typing");
    assertEquals(await ann.page.$eval("#typing", (line) => line.textContent), "");
    await ann.page.keyboard.press("Enter");
    await bob.waitForText("hello", ".other .bubble");
    assertEquals(await bob.page.$eval("#typing", (line) => line.textContent), "");
    await ann.close();
    await bob.close();
  },
);

browserTest(
  "the list of members shows who is away, and the row keeps the focus",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await opened(browser, server, "Ann");
    // Ten minutes are short, from the next input on.
    await ann.page.evaluate(() => {
      const real = setTimeout;
      const short = (run: () => void, ms?: number) => real(run, ms === 600_000 ? 300 : ms);
      Object.assign(globalThis, { setTimeout: short });
    });
    const bob = await opened(browser, server, "Bob");
    await bob.waitForText("Ann", "#members a");
    await bob.page.focus("#members a");
    await ann.page.bringToFront();
    await ann.page.focus("#text");
    await ann.page.keyboard.press("a");
    await bob.waitForElement("#members .awayMember a");
    const word = await bob.page.$eval(
      ".awayMember a",
      (link) => getComputedStyle(link, "::after").content,
    );
    assertEquals(word, '" away"');
    await ann.page.keyboard.press("b");
    await bob.waitForElement("#members li:not(.awayMember) a");
    const focused = await bob.page.evaluate(() => document.activeElement?.matches("#members a"));
    assertEquals(focused, true);
    await ann.close();
    await bob.close();
  },
);
