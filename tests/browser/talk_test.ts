/// <reference lib="dom" />
/** Talking on the page: rooms, direct messages, commands and reconnecting. */
import { assertEquals } from "@std/assert";
import { ServerProcess } from "../support/processes.ts";
import { register, registeredReply, SECRET } from "../support/registrations.ts";
import { TestServer } from "../support/test_server.ts";
import { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";
import { addressOf, browserTests, BrowserUser } from "./browser.ts";

const browserTest = await browserTests();

browserTest("two users of the page and one of plain text talk in a room", async (browser) => {
  await using server = await TestServer.open();
  const [ann, bob] = [await BrowserUser.open(browser), await BrowserUser.open(browser)];
  await ann.logIn(addressOf(server), "Ann");
  await ann.waitForText("You're the first one here");
  await bob.logIn(`${addressOf(server)}#lobby`, "Bob");
  const cid = await server.login("Cid", "lobby");
  await ann.waitForText("Cid joined");
  await ann.waitForTexts("#members bdi", ["Ann", "Bob", "Cid"]);
  await ann.send("Hello there");
  await bob.waitForText("Hello there", ".other .bubble");
  await ann.waitForElement(".own .bubble");
  await cid.expect("Ann: Hello there");
  await bob.send("/me waves");
  await ann.waitForText("Bob waves", ".action");
  await cid.request("/nick Cecil", "* Bob waves", "Nickname is: Cecil");
  await ann.waitForText("Cid is now Cecil", ".membership");
  await bob.send("/msg Cecil just between us");
  await cid.expect("[from Bob] just between us");
  await bob.waitForText("just between us", ".own .bubble");
  cid.send("/msg Bob yes");
  await bob.waitForText("yes", ".other .bubble");
  await ann.send("/quit");
  await ann.waitForText("You're not in a room");
  await bob.page.click("#rooms a");
  await bob.waitForText("Ann left", ".membership");
  assertEquals(await ann.page.$eval("#composer", (form) => (form as HTMLElement).hidden), true);
  await ann.close();
  await bob.close();
});

browserTest(
  "a message appears at once, and shows why it could not be sent",
  async (browser) => {
    await using server = await TestServer.open({ limits: { maxMessageBytes: 100 } });
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf(server), "Ann");
    await ann.send("x".repeat(101));
    await ann.waitForElement(".failed .failure");
    await ann.waitForText("Not sent", ".failed .failure");
    await ann.page.click(".failed .failure button:nth-of-type(2)");
    assertEquals(
      await ann.page.$eval("#text", (text) => (text as HTMLTextAreaElement).value.length),
      101,
    );
    await ann.fill("#text", "short");
    await ann.page.keyboard.press("Enter");
    await ann.waitForText("short", ".own:not(.sending) .bubble");
    assertEquals(await ann.textsOf(".failed"), []);
    await ann.send("/dance");
    await ann.waitForText("Unknown command: dance", ".note");
    await ann.close();
  },
);

browserTest(
  "after a killed server the page reconnects without a gap",
  async (browser) => {
    const folder = await Deno.makeTempDir();
    const flags = ["--kv", `${folder}/kv`];
    let server = await ServerProcess.start(flags, undefined, undefined, "null");
    const { port } = server;
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf({ port }), "Ann");
    await ann.send("before");
    await ann.waitForText("before", ".own:not(.sending) .bubble");
    await server.stop("SIGKILL");
    await ann.waitForText("Offline.", "#status");
    await ann.send("meanwhile");
    await ann.waitForText("meanwhile", ".sending .bubble");
    server = await ServerProcess.start(["--port", String(port), ...flags]);
    const bob = await TextClient.connect(server.url);
    bob.send("Bob", "/join lobby", "are you there?");
    await ann.waitForText("Back online", "#status");
    await ann.waitForText("meanwhile", ".own:not(.sending) .bubble");
    await ann.waitForText("are you there?", ".other .bubble");
    const said = await ann.textsOf(".text");
    assertEquals(said.toSorted(), ["are you there?", "before", "meanwhile"]);
    assertEquals(await ann.textsOf(".gap"), []);
    await eventually(
      async () => (await ann.textsOf("#members bdi")).toSorted().join() === "Ann,Bob",
      "both are members",
    );
    await ann.page.reload();
    await ann.waitForText("meanwhile", ".bubble");
    assertEquals((await ann.textsOf(".text")).toSorted(), said.toSorted());
    await bob.disconnect();
    await ann.close(/ERR_CONNECTION_RE(FUSED|SET)|WebSocket connection| 503 /);
    await server.stop();
    await Deno.remove(folder, { recursive: true });
  },
);

browserTest(
  "a taken nickname is asked for again; nickname and drafts survive a reload",
  async (browser) => {
    await using server = await TestServer.open();
    await server.login("Bob", "red");
    const ann = await BrowserUser.open(browser);
    await ann.page.goto(addressOf(server));
    await ann.fill("#loginNick", "bob");
    await ann.page.keyboard.press("Enter");
    await ann.waitForText("taken", "#loginError");
    await ann.fill("#loginNick", "Ann");
    await ann.page.keyboard.press("Enter");
    await ann.waitForElement("#text");
    await ann.send("I was here");
    await ann.waitForText("I was here", ".own:not(.sending) .bubble");
    await ann.fill("#text", "not yet said");
    await ann.page.reload();
    await ann.waitForText("I was here", ".bubble");
    assertEquals(
      await ann.page.$eval("#text", (text) => (text as HTMLTextAreaElement).value),
      "not yet said",
    );
    await ann.waitForTexts("#members bdi", ["Ann"]);
    await ann.page.evaluate(() => location.hash = "#red");
    await ann.waitForText("Bob", "#members");
    assertEquals(await ann.page.$eval("#text", (text) => (text as HTMLTextAreaElement).value), "");
    await ann.page.goBack();
    await ann.waitForText("I was here", ".bubble");
    await ann.choose("#me", "Change nickname…");
    await ann.answer({ Nickname: "Anna" });
    await ann.waitForText("Anna", "#members");
    assertEquals(await ann.page.evaluate(() => localStorage.getItem("parley.nick")), '"Anna"');
    await ann.close();
  },
);

browserTest(
  "messages that arrive while the page is hidden are counted in the title",
  async (browser) => {
    await using server = await TestServer.open();
    const bob = await server.login("Bob", "lobby");
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf(server), "Ann");
    await bob.expect("Ann joined room.");
    await ann.waitForTitle("#lobby · Parley");
    bob.send("seen at once");
    await ann.waitForText("seen at once", ".bubble");
    await ann.waitForTitle("#lobby · Parley");
    await ann.setVisible(false);
    bob.send("one", "/me waves", "/msg Ann three");
    await server.login("Cid", "lobby");
    await ann.waitForTitle("(3) #lobby · Parley");
    await ann.setVisible(true);
    await ann.waitForTitle("(1) #lobby · Parley");
    await ann.waitForText("New messages", ".other:has(.new) + .other, .other:has(.new)");
    await ann.waitForTexts("#directs .badge", ["1"]);
    await ann.page.click("#directs a");
    await ann.waitForText("three", ".bubble");
    await ann.waitForTitle("Bob · Parley");
    await ann.close();
  },
);

browserTest(
  "the page marks where messages may be missing",
  async (browser) => {
    const first = await ServerProcess.start(["--kv", ":memory:"], undefined, undefined, "null");
    const { port } = first;
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf({ port }), "Ann");
    await ann.send("/join red");
    await ann.waitForTitle("#red · Parley");
    // The IDs of the next server start again, far below these.
    const cid = await TextClient.connect(first.url);
    cid.send("Cid", "/join blue", ...Array.from({ length: 20 }, (_, i) => `message ${i}`));
    while (await cid.next() !== "Cid: message 19");
    await cid.disconnect();
    await ann.send("before");
    await ann.waitForText("before", ".own:not(.sending) .bubble");
    await first.stop("SIGKILL");
    await ann.waitForText("Offline.", "#status.bad");
    // This server has none of the messages.
    const flags = ["--port", String(port), "--kv", ":memory:"];
    await using server = await ServerProcess.start(flags);
    const bob = await TextClient.connect(server.url);
    bob.send("Bob", "/join red");
    await ann.waitForText("Back online. Older messages may be missing.", "#status");
    await ann.send("after");
    await ann.waitForText("after", ".own:not(.sending) .bubble");
    bob.send("and on");
    await ann.waitForText("and on", ".other .bubble");
    assertEquals(await ann.textsOf(".text, .gap"), [
      ...["before", "Older messages may be missing here.", "after", "and on"],
    ]);
    await bob.disconnect();
    await ann.close(/ERR_CONNECTION_RE(FUSED|SET)|WebSocket connection| 503 /);
  },
);

browserTest("a failed message shows the reason, and Try again sends it", async (browser) => {
  await using server = await TestServer.open({ graceSeconds: 0 });
  await register(server, "Bob");
  const bob = await server.connect();
  await bob.request("Bob", registeredReply("Bob"));
  bob.send(`/identify ${SECRET}`);
  const ann = await BrowserUser.open(browser);
  await ann.logIn(addressOf(server), "Ann");
  await ann.open("#@bob", "Bob");
  await bob.disconnect();
  await eventually(async () => {
    await ann.send("are you there?");
    await ann.page.waitForFunction(() => document.querySelector(".sending") === null);
    return (await ann.textsOf(".failed")).length > 0;
  }, "Bob is offline");
  await ann.waitForText(
    "Bob is offline. Messages to offline users are not stored.",
    ".failed .failure",
  );
  const again = await server.connect();
  await again.request("Bob", registeredReply("Bob"));
  again.send(`/identify ${SECRET}`);
  await again.next();
  await ann.page.click(".failed .failure button");
  await again.expect("[from Ann] are you there?");
  await ann.waitForText("are you there?", ".own:not(.sending, .failed) .bubble");
  assertEquals(await ann.textsOf(".failure"), []);
  await ann.close();
});

browserTest("a /msg to nobody is given back to the user", async (browser) => {
  await using server = await TestServer.open();
  const ann = await BrowserUser.open(browser);
  await ann.logIn(addressOf(server), "Ann");
  const line = '/msg "Bob the Builder" are you there?';
  await ann.send(line);
  await ann.waitForText('No one named "Bob the Builder" is online.', ".note");
  assertEquals(await ann.valueOf("#text"), line);
  const bob = await server.login("Bob the Builder");
  await ann.page.keyboard.press("Enter");
  await bob.expect("[from Ann] are you there?");
  await ann.waitForTitle("Bob the Builder · Parley");
  await ann.waitForTexts(".text", ["are you there?"]);
  await ann.close();
});

browserTest(
  "direct messages are private, survive a reload, and are found by a nickname in any case",
  async (browser) => {
    await using server = await TestServer.open();
    const [bob, cid] = [await server.login("Bob", "lobby"), await server.login("Cid", "lobby")];
    await bob.expect("Cid joined room.");
    const ann = await BrowserUser.open(browser);
    await ann.logIn(`${addressOf(server)}#@bob`, "Ann");
    await ann.waitForTitle("Bob · Parley");
    for (const each of [bob, cid]) await each.expect("Ann joined room.");
    await ann.send("psst");
    await bob.expect("[from Ann] psst");
    bob.send("/msg Ann what is it?");
    await bob.expect("[to Ann] what is it?");
    await ann.waitForText("what is it?", ".other .bubble");
    await ann.send("/msg Bob come to #red");
    await bob.expect("[from Ann] come to #red");
    await ann.waitForTexts("#directs bdi", ["Bob"]);
    // While a message is being sent, the browser would ask before it reloads.
    await ann.waitForText("come to #red", ".own:not(.sending, .failed) .bubble");
    await ann.page.reload();
    await ann.waitForTexts(".text", ["psst", "what is it?", "come to #red"]);
    await ann.waitForTitle("Bob · Parley");
    await ann.send("/me waves");
    await ann.waitForText("/me works in rooms only.", ".note");
    await cid.expectNothingElse();
    await ann.close();
  },
);

browserTest(
  "an address opens its room, in any script; back and forward work",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await BrowserUser.open(browser);
    await ann.logIn(`${addressOf(server)}#${encodeURIComponent("café 東京")}`, "Ann");
    await ann.waitForTitle("#café 東京 · Parley");
    await ann.waitForText("You're the first one here", "#empty");
    await ann.waitForText("#café 東京", "#address");
    await ann.page.click("#share button");
    await ann.waitForText("Link copied.", "#status");
    await ann.send("in the first");
    await ann.waitForText("in the first", ".own:not(.sending) .bubble");
    await ann.fill("#joinRoom", "red");
    await ann.page.keyboard.press("Enter");
    await ann.waitForTitle("#red · Parley");
    await ann.fill("#text", "a draft");
    await ann.page.goBack();
    await ann.waitForTitle("#café 東京 · Parley");
    await ann.waitForTexts(".text", ["in the first"]);
    assertEquals(await ann.valueOf("#text"), "");
    await ann.page.goForward();
    await ann.waitForTitle("#red · Parley");
    await ann.waitForText("You're the first one here", "#empty");
    assertEquals(await ann.valueOf("#text"), "a draft");
    assertEquals(await ann.page.evaluate(() => location.hash), "#red");
    // A known nickname is not asked for: the login form stays closed.
    const again = await ann.page.browserContext().newPage();
    await ann.page.close();
    await again.goto(`${addressOf(server)}#blue`);
    await again.waitForFunction(() => document.title === "#blue · Parley");
    assertEquals(await again.$("#login:not([hidden])"), null);
    await ann.close();
  },
);

browserTest(
  "a room that cannot be entered shows the reason, and the user stays where they were",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await BrowserUser.open(browser);
    await ann.logIn(`${addressOf(server)}#${"x".repeat(300)}`, "Ann");
    await ann.waitForText("Room name", "#status");
    await ann.waitForText("You're not in a room", "#empty");
    assertEquals(await ann.page.$("#composer:not([hidden])"), null);
    await ann.fill("#joinRoom", "lobby");
    await ann.page.keyboard.press("Enter");
    await ann.waitForTitle("#lobby · Parley");
    await ann.send(`/join ${"x".repeat(300)}`);
    await ann.waitForText("Room name", ".note");
    await ann.waitForTitle("#lobby · Parley");
    await ann.close();
  },
);

browserTest("the page has the commands of plain text, with answers", async (browser) => {
  await using server = await TestServer.open();
  await server.login("Bob", "red");
  const ann = await BrowserUser.open(browser);
  await ann.logIn(addressOf(server), "Ann");
  for (
    const [line, answer] of [
      ["/help", "/join room – join or create a room"],
      ["/NICK", "Current nickname: Ann"],
      ["/nick Anna", "Nickname is: Anna"],
      ["/nick bob", '"bob" is taken.'],
      ["/nick", "Current nickname: Anna"],
      ["/room", "lobby"],
      ["/ls", "Anna"],
      ["/who Bob", 'Bob is in room "red".'],
      ["/who", "/who name – show which rooms a user is in"],
      ["/history 0", "/history n – load n older messages, from 1 to 100"],
      ["/msg Bob", "/msg name text – send a private message"],
      ["/sessions", "1. chat.v1, since "],
      ["/end", "/end n – end a session that /sessions has listed"],
      ["/end 1", "This is the session that you are using."],
      ["/end 2", "There is no such session. Type /sessions to list them."],
      ["/constructor", "Unknown command: constructor"],
    ] as const
  ) {
    const before = (await ann.textsOf(".note")).length;
    await ann.send(line);
    await eventually(async () => (await ann.textsOf(".note")).length > before, `${line} answers`);
    const said = (await ann.textsOf(".note")).at(-1)!;
    assertEquals(said.slice(0, answer.length), answer);
  }
  await ann.send("/history 5");
  await ann.send("/quit");
  await ann.waitForText("You're not in a room", "#empty");
  await ann.close();
});

browserTest(
  "a session that another tab resumes ends in this one, which says so",
  async (browser) => {
    await using server = await TestServer.open();
    const ann = await BrowserUser.open(browser);
    await ann.logIn(addressOf(server), "Ann");
    await ann.send("here");
    await ann.waitForText("here", ".own:not(.sending) .bubble");
    const session = await ann.page.evaluate(() => sessionStorage.getItem("parley.session")!);
    const twin = await ann.page.browserContext().newPage();
    await twin.evaluateOnNewDocument((session) => {
      sessionStorage.setItem("parley.session", session);
    }, session);
    await twin.goto(addressOf(server));
    await twin.waitForFunction(() => document.querySelector(".own .bubble"));
    await ann.waitForText("The chat goes on in another tab or window.", "#status");
    await ann.close();
  },
);

browserTest("the page works with a server that keeps no history", async (browser) => {
  await using server = await TestServer.open({ historySeconds: 0 });
  const bob = await server.login("Bob", "lobby");
  const ann = await BrowserUser.open(browser);
  await ann.logIn(addressOf(server), "Ann");
  await ann.waitForText("No messages yet", "#empty");
  bob.send("hello");
  await ann.waitForText("hello", ".bubble");
  assertEquals(await ann.textsOf(".top"), [""]);
  await ann.close();
});
