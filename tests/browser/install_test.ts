/// <reference lib="dom" />
/** The installed page: its manifest and icons, and the service worker, which serves it without a server. */
import { gzipSync } from "node:zlib";
import { assert, assertEquals } from "@std/assert";
import { type Asset, ASSETS } from "../../chat/http/assets.ts";
import { TestServer } from "../support/test_server.ts";
import { eventually } from "../support/wait.ts";
import { addressOf, browserTests, BrowserUser } from "./browser.ts";

const browserTest = await browserTests();

/** What the browser writes to the console while there is no server. */
const NO_SERVER = /ERR_CONNECTION_REFUSED|WebSocket|Failed to load resource/;

/** Opens the page in the room `red`, and waits until the service worker serves it. */
async function installed(
  browser: Parameters<typeof BrowserUser.open>[0],
  server: TestServer,
): Promise<BrowserUser> {
  const ann = await BrowserUser.open(browser);
  await ann.logIn(`${addressOf(server)}#red`, "Ann");
  await ann.waitForTitle("#red · Parley");
  await ann.page.waitForFunction(() => navigator.serviceWorker.controller?.state === "activated");
  return ann;
}

/** Loads a path in the page. Returns its status, and whether the service worker answered. */
async function load(ann: BrowserUser, path: string): Promise<[number, boolean]> {
  const [response] = await Promise.all([
    ann.page.waitForResponse((each) => new URL(each.url()).pathname === path),
    ann.page.evaluate((path) => fetch(path).then((each) => each.text()), path),
  ]);
  return [response.status(), response.fromServiceWorker()];
}

browserTest("the browser accepts the manifest, and its icons have their sizes", async (browser) => {
  await using server = await TestServer.open();
  const ann = await installed(browser, server);
  const session = await ann.page.createCDPSession();
  const { url, errors, data } = await session.send("Page.getAppManifest");
  assertEquals([url, errors], [`${addressOf(server)}manifest.webmanifest`, []]);
  const { name, display, start_url, icons } = JSON.parse(data!);
  assertEquals([name, display, start_url], ["Parley", "standalone", "/"]);
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  // A test's window has no storage that stays.
  const problems = installabilityErrors.map(({ errorId }) => errorId);
  assertEquals(problems.filter((each) => each !== "in-incognito"), []);
  const sizes = await ann.page.evaluate(
    (icons: { src: string }[]) =>
      Promise.all(icons.map(async ({ src }) => {
        const image = new Image();
        image.src = src;
        await image.decode();
        return `${image.naturalWidth}x${image.naturalHeight}`;
      })),
    icons,
  );
  assertEquals(sizes.slice(1), ["192x192", "512x512"]);
  assertEquals(icons.slice(1).map(({ sizes }: { sizes: string }) => sizes), sizes.slice(1));
  await ann.close();
});

browserTest(
  "without a server the page still opens and says so, and reconnects when the server is back",
  async (browser) => {
    const first = await TestServer.open();
    const ann = await installed(browser, first).finally(() => first[Symbol.asyncDispose]());
    await ann.waitForText("Offline.", "#status");
    await ann.page.reload();
    await ann.waitForText("Offline.", "#status");
    assert(
      await ann.page.$eval("link[rel=stylesheet]", (link) => {
        return (link as HTMLLinkElement).sheet !== null;
      }),
    );
    await using second = await TestServer.open({}, first.port);
    await eventually(() => second.chat.size === 1, "the page is connected", 60_000);
    await ann.waitForTitle("#red · Parley");
    await ann.send("hello again");
    await ann.waitForText("hello again", ".own:not(.sending) .bubble");
    await ann.close(NO_SERVER);
  },
);

browserTest("with a server the page is never older than the server's", async (browser) => {
  await using server = await TestServer.open();
  const ann = await installed(browser, server);
  await ann.page.reload();
  await ann.waitForTitle("#red · Parley");
  const path = "/page/page.js";
  const assets = ASSETS as Map<string, Asset>;
  const old = assets.get(path)!;
  const body = `${old.body}\nglobalThis.isNewVersion = true;`;
  try {
    assets.set(path, { ...old, body, gzip: new Uint8Array(gzipSync(body)), etag: 'W/"new"' });
    await ann.page.reload();
    await ann.waitForTitle("#red · Parley");
    assert(await ann.page.evaluate(() => "isNewVersion" in globalThis));
  } finally {
    assets.set(path, old);
  }
  await ann.close();
});

browserTest("the service worker answers for the page's files only", async (browser) => {
  await using server = await TestServer.open();
  const ann = await installed(browser, server);
  for (const path of ["/page/page.js", "/page/style.css", "/icon.svg", "/icon-192.png"]) {
    assertEquals([path, ...await load(ann, path)], [path, 200, true]);
  }
  for (const path of ["/healthz", "/client.js", "/client/client.js", "/manifest.webmanifest"]) {
    assertEquals([path, ...await load(ann, path)], [path, 200, false]);
  }
  // It is no navigation: the server answers with instructions.
  assertEquals(await load(ann, "/"), [200, false]);
  await ann.close();
});

browserTest("the page may run no other script as a worker", async (browser) => {
  await using server = await TestServer.open();
  const ann = await installed(browser, server);
  const refusals = await ann.page.evaluate(() => {
    const { trustedTypes } = globalThis as unknown as {
      trustedTypes: { createPolicy(name: string, rules: object): unknown };
    };
    const tries = [
      () => navigator.serviceWorker.register("/sw.js"),
      () => trustedTypes.createPolicy("parley-worker", {}),
      () => trustedTypes.createPolicy("another", {}),
    ];
    return Promise.all(tries.map(async (each) => {
      try {
        await each();
        return "allowed";
      } catch (error) {
        return (error as Error).name;
      }
    }));
  });
  assertEquals(refusals, ["TypeError", "TypeError", "TypeError"]);
  await ann.close(/Trusted|trusted/);
});
