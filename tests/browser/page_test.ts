/// <reference lib="dom" />
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import axe from "axe-core";
import type { Browser } from "puppeteer-core";
import { loadAssets } from "../../chat/assets.ts";
import { eventually, House, Person, ServerProcess } from "../house.ts";
import { launch, PHONE, Visitor } from "./browser.ts";

const browser: Browser | string = await launch().catch((error) => String(error).split("\n")[0]!);

/** A test in the one browser: ignored with its reason where none runs, but not in CI. */
function inBrowser(name: string, run: (browser: Browser) => Promise<void>): void {
  const missing = typeof browser === "string" ? browser : undefined;
  const ignore = missing !== undefined && Deno.env.get("CI") === undefined;
  Deno.test({
    name: ignore ? `${name} (ignored: no browser: ${missing})` : name,
    ignore,
    // The browser outlives each test, and what puppeteer does with it goes on between tests.
    sanitizeOps: false,
    sanitizeResources: false,
    fn() {
      if (typeof browser === "string") throw new Error(browser);
      return run(browser);
    },
  });
}

if (typeof browser !== "string") Deno.test.afterAll(() => browser.close());

function addressOf({ port }: { port: number }): string {
  return `http://127.0.0.1:${port}/`;
}

/** Fills a room with what was said before. */
async function talkMuch(house: House, room: string, many: number): Promise<Person> {
  const bob = await house.enter("Bob", room);
  for (let i = 1; i <= many; i++) {
    bob.say(`message ${i}`);
    if (i % 200 === 0) { while (bob.waiting < i) await new Promise((done) => setTimeout(done, 5)); }
  }
  while (bob.waiting < many) await new Promise((done) => setTimeout(done, 5));
  return bob;
}

inBrowser("two pages and somebody with plain text have a conversation", async (browser) => {
  await using house = await House.open();
  const [ann, bob] = [await Visitor.come(browser), await Visitor.come(browser)];
  await ann.enter(addressOf(house), "Ann");
  await ann.reads("Nobody else is here yet");
  await bob.enter(`${addressOf(house)}#lobby`, "Bob");
  const cid = await house.enter("Cid", "lobby");
  await ann.reads("Cid joined");
  await ann.shows("#members bdi", ["Ann", "Bob", "Cid"]);
  await ann.say("Hello there");
  await bob.reads("Hello there", ".other .bubble");
  await ann.sees(".own .bubble");
  await cid.hears("Ann: Hello there");
  await bob.say("/me waves");
  await ann.reads("Bob waves", ".action");
  await cid.asks("/nick Cecil", "* Bob waves", "Nickname is: Cecil");
  await ann.reads("Cid is now Cecil", ".quiet");
  await bob.say("/msg Cecil just between us");
  await cid.hears("[from Bob] just between us");
  await bob.reads("just between us", ".own .bubble");
  cid.say("/msg Bob yes");
  await bob.reads("yes", ".other .bubble");
  await ann.say("/quit");
  await ann.reads("No room yet");
  await bob.page.click("#rooms a");
  await bob.reads("Ann left", ".quiet");
  assertEquals(await ann.page.$eval("#composer", (form) => (form as HTMLElement).hidden), true);
  await ann.go();
  await bob.go();
});

inBrowser(
  "what is written is on the page at once, and what cannot be sent says so",
  async (browser) => {
    await using house = await House.open({ limits: { message: 100 } });
    const ann = await Visitor.come(browser);
    await ann.enter(addressOf(house), "Ann");
    await ann.say("x".repeat(101));
    await ann.sees(".failed .fate");
    await ann.reads("Not sent", ".failed .fate");
    await ann.page.click(".failed .fate button:last-child");
    assertEquals(
      await ann.page.$eval("#text", (text) => (text as HTMLTextAreaElement).value.length),
      101,
    );
    await ann.fill("#text", "short");
    await ann.page.keyboard.press("Enter");
    await ann.reads("short", ".own:not(.sending) .bubble");
    assertEquals(await ann.texts(".failed"), []);
    await ann.say("/dance");
    await ann.reads("Unknown command: dance", ".note");
    await ann.go();
  },
);

inBrowser("a killed server is noticed, and the page comes back without a gap", async (browser) => {
  const folder = await Deno.makeTempDir();
  const flags = ["--kv", `${folder}/kv`];
  let server = await ServerProcess.start(flags, undefined, undefined, "null");
  const { port } = server;
  const ann = await Visitor.come(browser);
  await ann.enter(addressOf({ port }), "Ann");
  await ann.say("before");
  await ann.reads("before", ".own:not(.sending) .bubble");
  await server.stop("SIGKILL");
  await ann.reads("Offline.", "#line");
  await ann.say("meanwhile");
  await ann.reads("meanwhile", ".sending .bubble");
  server = await ServerProcess.start(["--port", String(port), ...flags]);
  const bob = await Person.connect(server.url);
  bob.say("Bob", "/join lobby", "are you there?");
  await ann.reads("Back online", "#line");
  await ann.reads("meanwhile", ".own:not(.sending) .bubble");
  await ann.reads("are you there?", ".other .bubble");
  const said = await ann.texts(".text");
  assertEquals(said.toSorted(), ["are you there?", "before", "meanwhile"]);
  assertEquals(await ann.texts(".gap"), []);
  await eventually(
    async () => (await ann.texts("#members bdi")).toSorted().join() === "Ann,Bob",
    "both are there",
  );
  await ann.page.reload();
  await ann.reads("meanwhile", ".bubble");
  assertEquals((await ann.texts(".text")).toSorted(), said.toSorted());
  await bob.leave();
  await ann.go(/ERR_CONNECTION_REFUSED|WebSocket connection/);
  await server.stop();
  await Deno.remove(folder, { recursive: true });
});

inBrowser(
  "history comes as one scrolls up, and what is looked at keeps its place",
  async (browser) => {
    await using house = await House.open();
    await talkMuch(house, "lobby", 180);
    const ann = await Visitor.come(browser);
    await ann.enter(addressOf(house), "Ann");
    await ann.reads("message 180", ".bubble");
    assert(!(await ann.texts(".text")).includes("message 1"));
    const top = () => ann.page.$eval(".log", (log) => log.scrollTop);
    await eventually(async () => await top() > 500, "the newest is shown");
    const shift = await ann.page.evaluate(async () => {
      const log = document.querySelector(".log")!;
      log.scrollTop = 200;
      const seen = [...document.querySelectorAll(".text")].find((each) =>
        each.getBoundingClientRect().top > log.getBoundingClientRect().top
      )!;
      const before = seen.getBoundingClientRect().top;
      const rows = document.querySelectorAll(".text").length;
      while (document.querySelectorAll(".text").length === rows) {
        await new Promise((done) => setTimeout(done, 20));
      }
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      return Math.abs(seen.getBoundingClientRect().top - before);
    });
    assert(shift <= 2, `what was looked at moved by ${shift}`);
    for (let i = 0; i < 4; i++) {
      await ann.page.$eval(".log", (log) => log.scrollTop = 0);
      await new Promise((done) => setTimeout(done, 150));
    }
    await ann.reads("The beginning of what is kept", ".top");
    const said = await ann.texts(".text");
    assertEquals(said, Array.from({ length: 180 }, (_, i) => `message ${i + 1}`));
    await ann.go();
  },
);

inBrowser(
  "what is new while one reads elsewhere is counted, divided, and one key away",
  async (browser) => {
    await using house = await House.open();
    const bob = await talkMuch(house, "lobby", 60);
    const ann = await Visitor.come(browser);
    await ann.enter(addressOf(house), "Ann");
    await ann.reads("message 60", ".bubble");
    await eventually(
      async () => await ann.page.$eval(".log", (log) => log.scrollTop) > 500,
      "the newest is shown",
    );
    await ann.page.$eval(".log", (log) => log.scrollTop = 400);
    await ann.sees(".jump");
    bob.say("one more", "and another");
    await ann.reads("2 new messages", ".jump");
    await ann.isTitled("(2) #lobby · Parley");
    assertEquals(
      await ann.page.$eval(".new", (line) => line.parentElement!.innerText.includes("one more")),
      true,
    );
    await ann.page.keyboard.press("Escape");
    await ann.isTitled("#lobby · Parley");
    await ann.go();
  },
);

inBrowser("of thousands of messages the older ones leave the document", async (browser) => {
  await using house = await House.open();
  const ann = await Visitor.come(browser);
  await ann.enter(addressOf(house), "Ann");
  await talkMuch(house, "lobby", 1400);
  await ann.reads("message 1400", ".text:last-child, .rows > :last-child");
  const rows = await ann.page.$$eval(".rows > *", (all) => all.length);
  assert(rows <= 1000 && rows >= 500, `${rows}`);
  await ann.go();
});

inBrowser(
  "who scrolls up far lets the newest go, and gets it back: by scrolling, and by a key",
  async (browser) => {
    await using house = await House.open();
    const bob = await talkMuch(house, "lobby", 1300);
    const ann = await Visitor.come(browser);
    await ann.enter(addressOf(house), "Ann");
    await ann.reads("message 1300", ".rows > :last-child");
    const scroll = (to: "up" | "down", until: string) =>
      ann.page.evaluate(
        async (to, until) => {
          const log = document.querySelector(".log")!;
          const end = () =>
            (to === "up" ? log.querySelector(".text") : [...log.querySelectorAll(".text")].at(-1))
              ?.textContent;
          for (let i = 0; i < 400 && end() !== until; i++) {
            log.scrollTop = to === "up" ? 0 : log.scrollHeight;
            await new Promise((done) => setTimeout(done, 15));
          }
          return end();
        },
        to,
        until,
      );
    assertEquals(await scroll("up", "message 1"), "message 1");
    const held = await ann.texts(".text");
    assert(held.length <= 1000 && !held.includes("message 1300"), `${held.length}`);
    bob.say("message 1301");
    await ann.reads("1 new message", ".jump");
    assertEquals(await scroll("down", "message 1301"), "message 1301");
    const again = await ann.texts(".text");
    assertEquals(
      again,
      Array.from({ length: again.length }, (_, i) => `message ${1302 - again.length + i}`),
    );
    assertEquals(await scroll("up", "message 1"), "message 1");
    await ann.page.keyboard.press("Escape");
    await ann.reads("message 1301", ".rows > :last-child");
    bob.say("message 1302");
    await ann.reads("message 1302", ".rows > :last-child");
    const last = await ann.texts(".text");
    assertEquals(
      last,
      Array.from({ length: last.length }, (_, i) => `message ${1303 - last.length + i}`),
    );
    await ann.go();
  },
);

inBrowser("the door says when the server is away, and opens when it is back", async (browser) => {
  const first = await House.open();
  const { port } = first;
  const ann = await Visitor.come(browser);
  await ann.page.goto(addressOf({ port }));
  await first.chat.close();
  await ann.fill("#doorNick", "Ann");
  await ann.page.keyboard.press("Enter");
  await ann.reads("Offline.", "#doorError");
  assertEquals(await ann.page.$("#chat:not([hidden])"), null);
  await first[Symbol.asyncDispose]();
  await using _server = await ServerProcess.start(["--port", String(port), "--kv", ":memory:"]);
  await ann.reads("Nobody else is here yet", "#chat");
  await ann.go(/WebSocket connection|ERR_CONNECTION_REFUSED/);
});

inBrowser("whatever comes from the network is text, never markup", async (browser) => {
  await using house = await House.open();
  const evil = "<img/src=x/onerror=alert(1)>";
  const ann = await Visitor.come(browser);
  await ann.enter(`${addressOf(house)}#${encodeURIComponent(evil)}`, "Ann");
  const bob = await house.connect();
  bob.say("<b>Bob</b>", `/join ${evil}`);
  const cid = await house.connect();
  cid.say("<script>alert(2)</script>", `/join ${evil}`);
  for (
    const text of [
      evil,
      "<script>alert(3)</script>",
      "javascript:alert(4)",
      'https://example.org/"onmouseover="alert(5)',
      "https://example.org/<svg/onload=alert(6)>",
      "data:text/html,<script>alert(7)</script>",
      "see (https://example.org/a_(b)). And https://xn--e1afmkfd.xn--p1ai/?q=1#x!",
    ]
  ) bob.say(text);
  bob.say("/msg Ann <iframe src=/ws></iframe>", "the last");
  await ann.reads("the last", ".text");
  assertEquals(
    await ann.page.$$eval(
      "#chat img, #chat iframe, #chat script, #chat b:not(#elsewhere)",
      (all) => all.length,
    ),
    0,
  );
  const links = await ann.page.$$eval(
    ".text a",
    (all) =>
      all.map((a) =>
        [(a as HTMLAnchorElement).href, a.getAttribute("rel"), a.getAttribute("target")].join(" ")
      ),
  );
  assertEquals(links, [
    "https://example.org/ noopener noreferrer nofollow _blank",
    "https://example.org/ noopener noreferrer nofollow _blank",
    "https://example.org/a_(b) noopener noreferrer nofollow _blank",
    "https://xn--e1afmkfd.xn--p1ai/?q=1#x noopener noreferrer nofollow _blank",
  ]);
  assertEquals(await ann.page.$eval("#title", (title) => title.textContent), evil);
  await ann.go();
});

inBrowser("the keyboard alone suffices", async (browser) => {
  await using house = await House.open();
  const bob = await house.enter("Bob", "red");
  const ann = await Visitor.come(browser);
  const { keyboard } = ann.page;
  const focused = () =>
    ann.page.evaluate(() =>
      document.activeElement?.id || document.activeElement?.textContent || ""
    );
  await ann.page.goto(addressOf(house));
  await ann.sees("#doorNick");
  await keyboard.type("Ann");
  await keyboard.press("Enter");
  await ann.sees("#text");
  await eventually(async () => await focused() === "text", "one can write at once");
  await keyboard.type("first");
  await keyboard.down("Shift");
  await keyboard.press("Enter");
  await keyboard.up("Shift");
  await keyboard.type("second");
  await keyboard.press("Enter");
  await ann.reads("first\nsecond", ".own:not(.sending) .bubble");
  await ann.reads("red", "#rooms");
  await keyboard.down("Shift");
  await eventually(async () => {
    await keyboard.press("Tab");
    return (await focused()).includes("red");
  }, "the other room is reached");
  await keyboard.up("Shift");
  await keyboard.press("Enter");
  await ann.reads("Bob", "#members");
  await bob.hears("Ann joined room.");
  await keyboard.press("Tab");
  await keyboard.press("Tab");
  assertEquals((await focused()).includes("Bob"), true, await focused());
  await keyboard.press("Enter");
  await ann.reads("You and Bob");
  await keyboard.press("Escape");
  await keyboard.type("psst");
  await keyboard.press("Enter");
  await bob.hears("[from Ann] psst");
  await ann.go();
});

inBrowser(
  "a reload, a draft and a nickname are kept, and a taken nickname is asked for again",
  async (browser) => {
    await using house = await House.open();
    await house.enter("Bob", "red");
    const ann = await Visitor.come(browser);
    await ann.page.goto(addressOf(house));
    await ann.fill("#doorNick", "bob");
    await ann.page.keyboard.press("Enter");
    await ann.reads("taken", "#doorError");
    await ann.fill("#doorNick", "Ann");
    await ann.page.keyboard.press("Enter");
    await ann.sees("#text");
    await ann.say("I was here");
    await ann.reads("I was here", ".own:not(.sending) .bubble");
    await ann.fill("#text", "not yet said");
    await ann.page.reload();
    await ann.reads("I was here", ".bubble");
    assertEquals(
      await ann.page.$eval("#text", (text) => (text as HTMLTextAreaElement).value),
      "not yet said",
    );
    await ann.shows("#members bdi", ["Ann"]);
    await ann.page.evaluate(() => location.hash = "#red");
    await ann.reads("Bob", "#members");
    assertEquals(await ann.page.$eval("#text", (text) => (text as HTMLTextAreaElement).value), "");
    await ann.page.goBack();
    await ann.reads("I was here", ".bubble");
    await ann.page.click("#me");
    await ann.fill("#doorNick", "Anna");
    await ann.page.keyboard.press("Enter");
    await ann.reads("Anna", "#members");
    assertEquals(await ann.page.evaluate(() => localStorage.getItem("parley.nick")), '"Anna"');
    await ann.go();
  },
);

inBrowser("a machine finds nothing serious that keeps anybody out", async (browser) => {
  await using house = await House.open();
  const bob = await house.enter("Bob", "lobby");
  let visits = 0;
  for (const dark of [false, true]) {
    for (const viewport of [undefined, PHONE]) {
      const ann = await Visitor.come(browser, { dark, viewport });
      const check = async (where: string) => {
        await ann.page.evaluate(axe.source);
        const found = await ann.page.evaluate(async () => {
          const { violations } = await (globalThis as unknown as { axe: typeof axe }).axe.run();
          return violations.filter(({ impact }) => impact === "serious" || impact === "critical")
            .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
        });
        assertEquals(found, [], `${where}, ${dark ? "dark" : "light"}`);
      };
      await ann.page.goto(addressOf(house));
      await ann.sees("#doorNick");
      await check("the door");
      await ann.enter(addressOf(house), `Ann${++visits}`);
      await ann.say("hello https://example.org/");
      await ann.say("/help");
      bob.say("/me waves", "hello", `/msg Ann${visits} psst`);
      await ann.reads("hello", ".other");
      await check("a room");
      if (viewport) await ann.page.click("#openPlaces");
      await check("the lists");
      await ann.go();
    }
  }
});

inBrowser(
  "on a phone of 360 pixels nothing sticks out, and the lists come when they are called",
  async (browser) => {
    await using house = await House.open();
    const bob = await house.enter("Bob", "lobby");
    const ann = await Visitor.come(browser, { viewport: PHONE });
    await ann.enter(addressOf(house), "A nickname as long as it can be.");
    bob.say("w".repeat(500), "https://example.org/" + "long/".repeat(60), "שלום ".repeat(20));
    await ann.say("m".repeat(300));
    await ann.reads("שלום", ".bubble");
    const wide = () =>
      ann.page.evaluate(() =>
        [
          document.documentElement,
          ...document.querySelectorAll(".log, .bubble, #talk, #composer, header"),
        ]
          .filter((each) =>
            each.scrollWidth > each.clientWidth + 1 ||
            each.getBoundingClientRect().right > innerWidth + 1
          )
          .map((each) => each.className || each.id || each.tagName)
      );
    assertEquals(await wide(), []);
    const small = await ann.page.$$eval(
      "#talk button",
      (all) =>
        all.map((each) => each.getBoundingClientRect()).filter(({ width, height }) =>
          width > 0 && (width < 40 || height < 40)
        ).length,
    );
    assertEquals(small, 0);
    await ann.page.click("#openPeople");
    await ann.sees("#people #members");
    await ann.page.keyboard.press("Escape");
    await ann.page.click("#openPlaces");
    await ann.sees("#rooms");
    await ann.fill("#joinRoom", "another");
    await ann.page.keyboard.press("Enter");
    await ann.reads("another", "#title");
    await ann.reads("Nobody else is here yet");
    assertEquals(await wide(), []);
    await ann.go();
  },
);

Deno.test("the page is served with what keeps it safe, and asked again only for what has changed", async () => {
  await using house = await House.open();
  const html = { headers: { accept: "text/html" } };
  const page = await fetch(addressOf(house), html);
  assertEquals(page.headers.get("content-type"), "text/html; charset=utf-8");
  assert(page.headers.get("vary")!.includes("accept"));
  const policy = page.headers.get("content-security-policy")!;
  for (
    const part of [
      "default-src 'none'",
      "script-src 'self'",
      "frame-ancestors 'none'",
      `ws://127.0.0.1:${house.port}`,
    ]
  ) {
    assert(policy.includes(part), policy);
  }
  assert(!policy.includes("unsafe"), policy);
  assertNotEquals((await page.text()).length, 0);
  for (const path of (await loadAssets()).keys()) {
    const url = addressOf(house) + path.slice(1);
    const first = await fetch(url, html);
    await first.body?.cancel();
    const { headers } = first;
    assertEquals([first.status, headers.get("cache-control")], [200, "no-cache"]);
    assertEquals([headers.get("x-content-type-options"), headers.get("referrer-policy")], [
      "nosniff",
      "no-referrer",
    ]);
    const again = await fetch(url, {
      headers: { ...html.headers, "if-none-match": headers.get("etag")! },
    });
    assertEquals([again.status, await again.text(), again.headers.get("etag")], [
      304,
      "",
      headers.get("etag"),
    ]);
  }
});

Deno.test("the page is small: without its client, which is a module for all, under 60 KB", async () => {
  const sizes = [...await loadAssets()].map(([path, { body }]): [string, number] => [
    path,
    new TextEncoder().encode(body).length,
  ]);
  const gzip = [...(await loadAssets()).values()].reduce((sum, { gzip }) => sum + gzip.length, 0);
  assert(gzip < 30_000, `${gzip}`);
  const sum = (some: [string, number][]) => some.reduce((sum, [, size]) => sum + size, 0);
  assert(sum(sizes.filter(([path]) => path !== "/client.js")) < 60_000, JSON.stringify(sizes));
  assert(sum(sizes) < 85_000, JSON.stringify(sizes));
});
