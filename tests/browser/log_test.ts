/// <reference lib="dom" />
/** What is drawn inside the log of a conversation: for screen readers, and where failed messages stand. */
import { assert, assertEquals } from "@std/assert";
import { TestServer } from "../support/test_server.ts";
import { addressOf, browserTests, BrowserUser, fillRoom } from "./browser.ts";
import { violationsFor } from "./checks.ts";

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

/** What the page keeps in {@linkcode holdFrames}. */
type Holding = { held: (() => void)[] };

/** Has the page receive the server's frames that contain a text only when the test wants them. */
async function holdFrames({ page }: BrowserUser, text: string) {
  await page.evaluateOnNewDocument((text) => {
    const held: (() => void)[] = [];
    const Real = WebSocket;
    class Holding extends Real {
      override set onmessage(listener: ((event: MessageEvent) => void) | null) {
        super.onmessage = listener && ((event) => {
          if (event.data.includes(text)) held.push(() => listener(event));
          else listener(event);
        });
      }
    }
    Object.assign(globalThis, { WebSocket: Holding, held });
  }, text);
  return {
    isHolding: () => page.waitForFunction(() => (globalThis as unknown as Holding).held.length > 0),
    release: () =>
      page.evaluate(() => {
        for (const each of (globalThis as unknown as Holding).held.splice(0)) each();
      }),
  };
}

browserTest(
  "screen readers find messages in a list, named by author and time, and hear only news",
  async (browser) => {
    await using server = await TestServer.open({ rateLimits: "off" });
    const bob = await fillRoom(server, "red", 120);
    const ann = await opened(browser, server, "Ann");
    await ann.waitForText("message 120", ".other .bubble");
    const heard = () => ann.textsOf(".conversation:not([hidden]) .news p");
    assertEquals(await heard(), []);
    await ann.page.evaluate(async () => {
      const log = document.querySelector(".log")!;
      const many = document.querySelectorAll(".other").length;
      while (document.querySelectorAll(".other").length === many) {
        log.scrollTop = 0;
        await new Promise((done) => requestAnimationFrame(done));
      }
    });
    // Older history is not news.
    assertEquals(await heard(), []);
    bob.send("one", "two", "/me waves");
    await ann.waitForTexts(".conversation:not([hidden]) .news p", [
      "Bob: one",
      "Bob: two",
      "Bob waves",
    ]);
    bob.send("w".repeat(400), ...Array.from({ length: 20 }, (_, n) => `more ${n}`));
    await ann.waitForText("more 19", ".other .bubble");
    // What is only read out takes no room, and is not read out without an end.
    assert((await heard()).length <= 10);
    assert(
      await ann.page.evaluate(() => {
        const page = document.documentElement;
        return page.scrollHeight <= page.clientHeight && page.scrollWidth <= page.clientWidth;
      }),
    );
    const parts = await ann.page.$$eval(
      ".log .rows > *",
      (all) => all.map((each) => `${each.parentElement!.role} ${each.role}`),
    );
    assertEquals([...new Set(parts)], ["list listitem"]);
    const names = await ann.page.$$eval(".other", (all) => all.map((each) => each.ariaLabel ?? ""));
    assert(names.every((name) => /^Bob, \d\d?:\d\d/.test(name)), names[0]);
    assertEquals(await ann.page.$eval(".log", (log) => log.ariaLive), "off");
    // What the user says is no news to the user.
    await ann.send("mine");
    await ann.waitForText("mine", ".own:not(.sending) .bubble");
    assert(!(await heard()).some((line) => line.includes("mine")));
    assertEquals(await violationsFor(ann), []);
    await ann.close();
  },
);

browserTest(
  "a message that fails late stands where it was sent, also after older messages are loaded",
  async (browser) => {
    await using server = await TestServer.open({
      rateLimits: "off",
      limits: { maxMessageBytes: 100 },
    });
    const bob = await fillRoom(server, "red", 120);
    const ann = await BrowserUser.open(browser);
    const { isHolding, release } = await holdFrames(ann, '"too-long"');
    await ann.logIn(`${addressOf(server)}#red`, "Ann");
    await ann.waitForText("message 120", ".other .bubble");
    await ann.send("x".repeat(101));
    await isHolding();
    bob.send("said meanwhile");
    await ann.waitForText("said meanwhile", ".other .bubble");
    await release();
    await ann.waitForElement(".failed .failure");
    const around = async () => {
      const texts = await ann.textsOf(".rows .text");
      const index = texts.findIndex((text) => text.startsWith("xxx"));
      return [texts[index - 1], texts[index + 1]];
    };
    assertEquals(await around(), ["message 120", "said meanwhile"]);
    await ann.page.evaluate(async () => {
      const log = document.querySelector(".log")!;
      while (log.querySelector(".text")!.textContent !== "message 1") {
        log.scrollTop = 0;
        await new Promise((done) => requestAnimationFrame(done));
      }
    });
    assertEquals(await around(), ["message 120", "said meanwhile"]);
    await ann.close();
  },
);

browserTest("a selection over several messages is copied with their authors", async (browser) => {
  await using server = await TestServer.open();
  const bob = await server.login("Bob", "red");
  const ann = await opened(browser, server, "Ann");
  bob.send("*one*", "/me waves", "> three");
  await ann.waitForText("three", ".other .bubble");
  const copied = await ann.page.evaluate(() => {
    getSelection()!.selectAllChildren(document.querySelector(".conversation:not([hidden]) .rows")!);
    const clipboardData = new DataTransfer();
    dispatchEvent(new ClipboardEvent("copy", { clipboardData, cancelable: true }));
    return clipboardData.getData("text/plain");
  });
  assertEquals(copied, "Bob: *one*\nBob waves\nBob: > three");
  await ann.close();
});

browserTest(
  "that a user sends too fast is said beside the message field, and counted down",
  async (browser) => {
    await using server = await TestServer.open({
      rateLimits: { messages: { count: 3, seconds: 9 } },
    });
    const bob = await server.login("Bob", "red");
    const ann = await opened(browser, server, "Ann");
    await bob.expect("Ann joined room.");
    for (let n = 1; n <= 5; n++) await ann.send(`line ${n}`);
    await ann.waitForText("You are sending too fast.", "#status");
    const seconds = () =>
      ann.page.$eval("#status", (line) => Number(/in (\d+) s/.exec(line.textContent ?? "")?.[1]));
    const first = await seconds();
    assert(first > 0, `${first}`);
    const [logs, status, composer] = await Promise.all(
      ["#logs", "#status", "#composer"].map((each) =>
        ann.page.$eval(each, (element) => {
          const { top, bottom } = element.getBoundingClientRect();
          return { top, bottom };
        })
      ),
    );
    assert(logs!.bottom <= status!.top && status!.bottom <= composer!.top);
    await ann.page.waitForFunction(
      (first) => !document.querySelector("#status")!.textContent!.includes(`in ${first} s`),
      {},
      first,
    );
    for (let n = 1; n <= 5; n++) await bob.expect(`Ann: line ${n}`);
    await ann.page.waitForFunction(() => !document.querySelector(".sending, .failed"));
    await ann.page.waitForFunction(() => !document.querySelector("#status")!.textContent!.trim());
    await ann.close();
  },
);

browserTest(
  "a message that fails stands below one that was sent before it and is confirmed after it",
  async (browser) => {
    await using server = await TestServer.open({ limits: { maxMessageBytes: 100 } });
    const bob = await server.login("Bob", "red");
    const ann = await BrowserUser.open(browser);
    const { isHolding, release } = await holdFrames(ann, '"first"');
    await ann.logIn(`${addressOf(server)}#red`, "Ann");
    await ann.waitForTitle("#red · Parley");
    await ann.send("first");
    await isHolding();
    await ann.send("x".repeat(101));
    await ann.waitForElement(".failed .failure");
    await release();
    bob.send("last");
    await ann.waitForText("last", ".other .bubble");
    await ann.waitForTexts(".rows .text", ["first", "x".repeat(101), "last"]);
    await ann.close();
  },
);
