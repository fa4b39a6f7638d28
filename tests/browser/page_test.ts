/// <reference lib="dom" />
/** The page itself: login, security, accessibility, and the served files. */
import { Buffer } from "node:buffer";
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { ASSETS } from "../../chat/http/assets.ts";
import { PROJECT, ServerProcess } from "../support/processes.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";
import { addressOf, browserTests, BrowserUser, PHONE } from "./browser.ts";
import { tooSmallFor, tooWideFor, violationsFor } from "./checks.ts";

const browserTest = await browserTests();

browserTest(
  "the login form shows that the server is unreachable, and logs in when it is back",
  async (browser) => {
    const first = await TestServer.open();
    const { port } = first;
    const ann = await BrowserUser.open(browser);
    await ann.page.goto(addressOf({ port }));
    await first.chat.close();
    await ann.fill("#loginNick", "Ann");
    await ann.page.keyboard.press("Enter");
    await ann.waitForText("The server is restarting.", "#loginError");
    assertEquals(await ann.page.$("#chat:not([hidden])"), null);
    await first[Symbol.asyncDispose]();
    await using _server = await ServerProcess.start(["--port", String(port), "--kv", ":memory:"]);
    await ann.waitForText("You're the first one here", "#chat");
    await ann.close(/WebSocket connection|ERR_CONNECTION_RE(FUSED|SET)| 503 /);
  },
);

browserTest("text from the network is never parsed as HTML", async (browser) => {
  await using server = await TestServer.open();
  const evil = "<img/src=x/onerror=alert(1)>";
  const ann = await BrowserUser.open(browser);
  await ann.logIn(`${addressOf(server)}#${encodeURIComponent(evil)}`, "Ann");
  const bob = await server.connect();
  bob.send("<b>Bob</b>", `/join ${evil}`);
  const cid = await server.connect();
  cid.send("<script>alert(2)</script>", `/join ${evil}`);
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
  ) bob.send(text);
  bob.send("/msg Ann <iframe src=/ws></iframe>", "the last");
  await ann.waitForText("the last", ".text");
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
  await ann.close();
});

browserTest("the page shows an address that is not UTF-8 unchanged", async (browser) => {
  await using server = await TestServer.open();
  const ann = await BrowserUser.open(browser);
  const address = `${addressOf(server)}?%ff#lobby`;
  await ann.logIn(address, "Ann");
  await ann.waitForText("You're the first one here", "#chat");
  await ann.waitForText(address, "#chat");
  await ann.close();
});

browserTest("the page can be used with the keyboard alone", async (browser) => {
  await using server = await TestServer.open();
  const bob = await server.login("Bob", "red");
  const ann = await BrowserUser.open(browser);
  const { keyboard } = ann.page;
  const focused = () =>
    ann.page.evaluate(() =>
      document.activeElement?.id || document.activeElement?.textContent || ""
    );
  await ann.page.goto(addressOf(server));
  await ann.waitForElement("#loginNick");
  await keyboard.type("Ann");
  await keyboard.press("Enter");
  await ann.waitForElement("#text");
  await eventually(async () => await focused() === "text", "the message field has the focus");
  await keyboard.type("first");
  await keyboard.down("Shift");
  await keyboard.press("Enter");
  await keyboard.up("Shift");
  await keyboard.type("second");
  await keyboard.press("Enter");
  await ann.waitForText("first\nsecond", ".own:not(.sending) .bubble");
  await ann.waitForText("red", "#otherRooms");
  await keyboard.down("Shift");
  await eventually(async () => {
    await keyboard.press("Tab");
    return (await focused()).includes("red");
  }, "the link of the other room has the focus");
  await keyboard.up("Shift");
  await keyboard.press("Enter");
  await ann.waitForText("Bob", "#members");
  await bob.expect("Ann joined room.");
  // Without a text nothing can be sent, so the button is left out.
  await keyboard.press("Tab");
  assertEquals((await focused()).includes("Bob"), true, await focused());
  await keyboard.press("Enter");
  await ann.waitForText("You and Bob");
  await keyboard.press("Escape");
  await keyboard.type("psst");
  await keyboard.press("Enter");
  await bob.expect("[from Ann] psst");
  await ann.close();
});

browserTest(
  "axe finds no serious accessibility problem in light and dark, on a desktop and a phone",
  async (browser) => {
    await using server = await TestServer.open();
    const bob = await server.login("Bob", "lobby");
    let visits = 0;
    for (const dark of [false, true]) {
      for (const viewport of [undefined, PHONE]) {
        const ann = await BrowserUser.open(browser, { dark, viewport });
        const check = async (where: string) => {
          const found = await violationsFor(ann);
          assertEquals(found, [], `${where}, ${dark ? "dark" : "light"}`);
        };
        await ann.page.goto(addressOf(server));
        await ann.waitForElement("#loginNick");
        await check("the login form");
        await ann.logIn(addressOf(server), `Ann${++visits}`);
        await ann.send("hello https://example.org/");
        await ann.send("/help");
        bob.send("/me waves", "hello", `/msg Ann${visits} psst`);
        await ann.waitForText("hello", ".other");
        // The contrast of a message is lower until the server confirms it.
        await ann.page.waitForFunction(() => document.querySelector(".sending") === null);
        await ann.send("/register correct-horse");
        await ann.waitForText("is registered", ".note");
        for (const text of ["to be deleted", "to be edited"]) {
          await ann.send(text);
          await ann.waitForText(text, ".own:not(.sending)");
        }
        await ann.page.hover(".own:nth-last-child(2) .bubble");
        ann.confirmsNext = true;
        await ann.page.click(".tools button:last-child");
        await ann.waitForText("Message deleted", ".text");
        await ann.page.hover(".own:last-child .bubble");
        await check("a room, with the buttons of a message");
        await ann.page.click(".tools .edit");
        await ann.waitForElement(".editor");
        await check("a message that is edited");
        await ann.page.keyboard.type(".");
        await ann.page.keyboard.press("Enter");
        await ann.waitForText("edited", ".own:last-child small");
        await check("a room");
        if (viewport) await ann.page.click("#openPlaces");
        await check("the lists");
        await ann.close();
      }
    }
  },
);

browserTest(
  "on a phone of 320 pixels nothing overflows, buttons are large, and the lists open",
  async (browser) => {
    await using server = await TestServer.open({ graceSeconds: 0 });
    const bob = await server.login("Bob", "lobby");
    const ann = await BrowserUser.open(browser, { viewport: { ...PHONE, width: 320 } });
    await ann.logIn(addressOf(server), "A nickname as long as it can be.");
    const cid = await server.login("Cid");
    await ann.open("#@Cid", "Cid");
    await cid.disconnect();
    await ann.send("hello");
    await ann.waitForElement(".failure button");
    await ann.open("#lobby", "lobby");
    bob.send("w".repeat(500), "https://example.org/" + "long/".repeat(60), "שלום ".repeat(20));
    await ann.send("m".repeat(300));
    await ann.waitForText("שלום", ".bubble");
    const wide = () => tooWideFor(ann);
    const small = () => tooSmallFor(ann);
    assertEquals(await wide(), []);
    assertEquals(await small(), []);
    await ann.waitForElement(".conversation:not([hidden]) .tools");
    await ann.page.tap(".conversation:not([hidden]) .own .bubble");
    // The browser may say only after the tap that the message is under the pointer.
    await ann.page.waitForFunction(() =>
      getComputedStyle(document.querySelector(".conversation:not([hidden]) .tools")!).opacity ===
        "1"
    );
    await ann.page.tap(".conversation:not([hidden]) .tools .edit");
    await ann.waitForElement(".editor");
    assertEquals(await wide(), []);
    assertEquals(await small(), []);
    await ann.page.tap(".editor button:last-child");
    await ann.page.click("#openPeople");
    await ann.waitForElement("#people #members");
    assertEquals(await small(), []);
    await ann.page.keyboard.press("Escape");
    await ann.page.click("#openPlaces");
    await ann.waitForElement("#rooms");
    assertEquals(await small(), []);
    await ann.fill("#joinRoom", "another");
    await ann.page.keyboard.press("Enter");
    await ann.waitForText("another", "#title");
    await ann.waitForText("You're the first one here");
    assertEquals(await wide(), []);
    await ann.close();
  },
);

Deno.test("the files are served with security headers, and with 304 if they have not changed", async () => {
  await using server = await TestServer.open();
  const html = { headers: { accept: "text/html" } };
  const page = await fetch(addressOf(server), html);
  assertEquals(page.headers.get("content-type"), "text/html; charset=utf-8");
  assert(page.headers.get("vary")!.includes("accept"));
  const policy = page.headers.get("content-security-policy")!;
  for (
    const part of [
      "default-src 'none'",
      "script-src 'self'",
      "frame-ancestors 'none'",
      "manifest-src 'self'",
      "worker-src 'self'",
      "require-trusted-types-for 'script'",
      `ws://127.0.0.1:${server.port}`,
    ]
  ) {
    assert(policy.includes(part), policy);
  }
  assert(!policy.includes("unsafe"), policy);
  // One policy, which accepts the address of the service worker only.
  assert(policy.endsWith("; trusted-types parley-worker"), policy);
  assertNotEquals((await page.text()).length, 0);
  for (const path of ASSETS.keys()) {
    const url = addressOf(server) + path.slice(1);
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

browserTest(
  "the first view loads at most 110,000 bytes, 40,000 compressed, and from its own server only",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf(server), "Ann");
    const loaded = await ann.page.evaluate(() =>
      ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type))
        .map((entry) => entry as PerformanceResourceTiming)
        .filter(({ name }) => !name.startsWith("data:"))
        .map(({ name, encodedBodySize }): [string, number] => [name, encodedBodySize])
    );
    // The first view is the document and what it names. What is loaded when it is needed is no part of it.
    const document = String(ASSETS.get("/")!.body);
    const first = loaded.filter(([url]) => {
      const { pathname } = new URL(url);
      return pathname === "/" || document.includes(`"${pathname}"`);
    });
    const sizes = first.map(([url, gzip]) => {
      const asset = ASSETS.get(new URL(url).pathname);
      if (asset === undefined || gzip === 0) throw new Error(`${url} is no file of the page`);
      return [url, Buffer.from(asset.body).length, gzip] as const;
    });
    const sum = (index: 1 | 2) => sizes.reduce((sum, each) => sum + each[index], 0);
    assert(sizes.length >= 3 && sum(1) <= 110_000 && sum(2) <= 40_000, JSON.stringify(sizes));
    await ann.close();
  },
);

browserTest("nothing is animated for users who prefer reduced motion", async (browser) => {
  await using server = await TestServer.open();
  for (const [moves, animations] of [[true, 1], [false, 0]] as const) {
    const ann = await BrowserUser.open(browser, { viewport: PHONE, allowsMotion: moves });
    await ann.logIn(addressOf(server), `Ann ${animations}`);
    await ann.page.click("#openPlaces");
    const found = await ann.page.$eval("#places", (list) => list.getAnimations().length);
    assertEquals(found, animations);
    await ann.close();
  }
});

Deno.test("every module of the client is served exactly as it stands in the tree", async () => {
  for (const [path, { body }] of ASSETS) {
    if (!path.startsWith("/client/")) continue;
    assertEquals(body, await Deno.readTextFile(new URL(`chat${path}`, PROJECT)), path);
  }
});

Deno.test("the page that is served is what its sources make", async () => {
  const task = ["task", "--cwd", PROJECT.pathname, "page", "--check"];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args: task }).output();
  assert(success, new TextDecoder().decode(stderr));
});
