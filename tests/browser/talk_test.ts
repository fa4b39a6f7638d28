/// <reference lib="dom" />
/** Talking on the page: rooms, direct messages, being away and coming back. */
import { assertEquals } from "@std/assert";
import { eventually, House, Person, ServerProcess } from "../support/test_server.ts";
import { addressOf, openBrowser, Visitor } from "./browser.ts";

const inBrowser = await openBrowser();

inBrowser("two pages and somebody with plain text have a conversation", async (browser) => {
  await using house = await House.open();
  const [ann, bob] = [await Visitor.come(browser), await Visitor.come(browser)];
  await ann.enter(addressOf(house), "Ann");
  await ann.reads("You're the first one here");
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
  await ann.reads("Cid is now Cecil", ".membership");
  await bob.say("/msg Cecil just between us");
  await cid.hears("[from Bob] just between us");
  await bob.reads("just between us", ".own .bubble");
  cid.say("/msg Bob yes");
  await bob.reads("yes", ".other .bubble");
  await ann.say("/quit");
  await ann.reads("You're not in a room");
  await bob.page.click("#rooms a");
  await bob.reads("Ann left", ".membership");
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
    await ann.sees(".failed .failure");
    await ann.reads("Not sent", ".failed .failure");
    await ann.page.click(".failed .failure button:last-child");
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
  await ann.reads("Offline.", "#status");
  await ann.say("meanwhile");
  await ann.reads("meanwhile", ".sending .bubble");
  server = await ServerProcess.start(["--port", String(port), ...flags]);
  const bob = await Person.connect(server.url);
  bob.say("Bob", "/join lobby", "are you there?");
  await ann.reads("Back online", "#status");
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
  "a reload, a draft and a nickname are kept, and a taken nickname is asked for again",
  async (browser) => {
    await using house = await House.open();
    await house.enter("Bob", "red");
    const ann = await Visitor.come(browser);
    await ann.page.goto(addressOf(house));
    await ann.fill("#loginNick", "bob");
    await ann.page.keyboard.press("Enter");
    await ann.reads("taken", "#loginError");
    await ann.fill("#loginNick", "Ann");
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
    await ann.fill("#loginNick", "Anna");
    await ann.page.keyboard.press("Enter");
    await ann.reads("Anna", "#members");
    assertEquals(await ann.page.evaluate(() => localStorage.getItem("parley.nick")), '"Anna"');
    await ann.go();
  },
);

inBrowser("what comes while one looks elsewhere is counted in the title", async (browser) => {
  await using house = await House.open();
  const bob = await house.enter("Bob", "lobby");
  const ann = await Visitor.come(browser);
  await ann.enter(addressOf(house), "Ann");
  await bob.hears("Ann joined room.");
  await ann.isTitled("#lobby · Parley");
  bob.say("seen at once");
  await ann.reads("seen at once", ".bubble");
  await ann.isTitled("#lobby · Parley");
  await ann.looks(false);
  bob.say("one", "/me waves", "/msg Ann three");
  await house.enter("Cid", "lobby");
  await ann.isTitled("(3) #lobby · Parley");
  await ann.looks(true);
  await ann.isTitled("(1) #lobby · Parley");
  await ann.reads("New messages", ".other:has(.new) + .other, .other:has(.new)");
  await ann.shows("#directs .badge", ["1"]);
  await ann.page.click("#directs a");
  await ann.reads("three", ".bubble");
  await ann.isTitled("Bob · Parley");
  await ann.go();
});

inBrowser(
  "where something may have been missed the page says so, and the talk goes on below",
  async (browser) => {
    const first = await ServerProcess.start(["--kv", ":memory:"], undefined, undefined, "null");
    const { port } = first;
    const ann = await Visitor.come(browser);
    await ann.enter(addressOf({ port }), "Ann");
    await ann.say("/join red");
    await ann.isTitled("#red · Parley");
    await ann.say("before");
    await ann.reads("before", ".own:not(.sending) .bubble");
    await first.stop("SIGKILL");
    await ann.reads("Offline.", "#status.bad");
    // This one knows nothing of what was said before.
    const flags = ["--port", String(port), "--kv", ":memory:"];
    await using server = await ServerProcess.start(flags);
    const bob = await Person.connect(server.url);
    bob.say("Bob", "/join red");
    await ann.reads("Back online. Older messages may be missing.", "#status");
    await ann.say("after");
    await ann.reads("after", ".own:not(.sending) .bubble");
    bob.say("and on");
    await ann.reads("and on", ".other .bubble");
    assertEquals(await ann.texts(".text, .gap"), [
      ...["before", "Older messages may be missing here.", "after", "and on"],
    ]);
    await bob.leave();
    await ann.go(/ERR_CONNECTION_REFUSED|WebSocket connection/);
  },
);

inBrowser("what was not sent says why, and is sent when it is tried again", async (browser) => {
  await using house = await House.open();
  const ann = await Visitor.come(browser);
  await ann.enter(addressOf(house), "Ann");
  await ann.say('/msg "Bob the Builder" are you there?');
  await ann.reads(
    "Bob the Builder is offline. Messages to offline users are not stored.",
    ".failed .failure",
  );
  const bob = await house.enter("Bob the Builder");
  await ann.page.click(".failed .failure button");
  await bob.hears("[from Ann] are you there?");
  await ann.reads("are you there?", ".own:not(.sending, .failed) .bubble");
  await ann.shows(".text", ["are you there?"]);
  assertEquals(await ann.texts(".failure"), []);
  await ann.go();
});

inBrowser(
  "direct messages are between two, survive a reload, and do not care for case",
  async (browser) => {
    await using house = await House.open();
    const [bob, cid] = [await house.enter("Bob", "lobby"), await house.enter("Cid", "lobby")];
    await bob.hears("Cid joined room.");
    const ann = await Visitor.come(browser);
    await ann.enter(`${addressOf(house)}#@bob`, "Ann");
    for (const each of [bob, cid]) await each.hears("Ann joined room.");
    await ann.say("psst");
    await bob.hears("[from Ann] psst");
    bob.say("/msg Ann what is it?");
    await bob.hears("[to Ann] what is it?");
    await ann.reads("what is it?", ".other .bubble");
    await ann.say("/msg Bob come to #red");
    await bob.hears("[from Ann] come to #red");
    await ann.shows("#directs bdi", ["bob"]);
    // Or the browser would ask whether to leave what is not sent.
    await ann.reads("come to #red", ".own:not(.sending, .failed) .bubble");
    await ann.page.reload();
    await ann.shows(".text", ["psst", "what is it?", "come to #red"]);
    await ann.isTitled("Bob · Parley");
    await ann.say("/me waves");
    await ann.reads("/me works in rooms only.", ".note");
    await cid.hearsNothingElse();
    await ann.go();
  },
);

inBrowser(
  "an address leads into a room, whatever its script; back and forward lead on",
  async (browser) => {
    await using house = await House.open();
    const ann = await Visitor.come(browser);
    await ann.enter(`${addressOf(house)}#${encodeURIComponent("café 東京")}`, "Ann");
    await ann.isTitled("#café 東京 · Parley");
    await ann.reads("You're the first one here", "#empty");
    await ann.reads("#café 東京", "#address");
    const copy = () =>
      ann.page.evaluate(() => {
        document.querySelector<HTMLElement>("#share button")!.click();
        return String(getSelection());
      });
    // Whoever is there is being asked for: until the answer comes it may not be shown.
    await eventually(
      async () => decodeURI(await copy()) === `${addressOf(house)}#café 東京`,
      "the address is copied",
    );
    await ann.say("in the first");
    await ann.reads("in the first", ".own:not(.sending) .bubble");
    await ann.fill("#joinRoom", "red");
    await ann.page.keyboard.press("Enter");
    await ann.isTitled("#red · Parley");
    await ann.fill("#text", "a draft");
    await ann.page.goBack();
    await ann.isTitled("#café 東京 · Parley");
    await ann.shows(".text", ["in the first"]);
    assertEquals(await ann.valueOf("#text"), "");
    await ann.page.goForward();
    await ann.isTitled("#red · Parley");
    await ann.reads("You're the first one here", "#empty");
    assertEquals(await ann.valueOf("#text"), "a draft");
    assertEquals(await ann.page.evaluate(() => location.hash), "#red");
    // A nickname that is known is not asked for, and nobody's door stands in the way.
    const again = await ann.page.browserContext().newPage();
    await ann.page.close();
    await again.goto(`${addressOf(house)}#blue`);
    await again.waitForFunction(() => document.title === "#blue · Parley");
    assertEquals(await again.$("#login:not([hidden])"), null);
    await ann.go();
  },
);

inBrowser("who is not let into a room is told why, and stays outside", async (browser) => {
  await using house = await House.open();
  const ann = await Visitor.come(browser);
  await ann.enter(`${addressOf(house)}#${"x".repeat(300)}`, "Ann");
  await ann.reads("room name", "#status");
  await ann.reads("You're not in a room", "#empty");
  assertEquals(await ann.page.$("#composer:not([hidden])"), null);
  await ann.fill("#joinRoom", "lobby");
  await ann.page.keyboard.press("Enter");
  await ann.isTitled("#lobby · Parley");
  await ann.say(`/join ${"x".repeat(300)}`);
  await ann.reads("room name", ".note");
  await ann.isTitled("#lobby · Parley");
  await ann.go();
});

inBrowser("the commands of plain text work here, and answer", async (browser) => {
  await using house = await House.open();
  await house.enter("Bob", "red");
  const ann = await Visitor.come(browser);
  await ann.enter(addressOf(house), "Ann");
  for (
    const [line, answer] of [
      ["/help", "/join room – join or create a room"],
      ["/NICK", "Current nickname: Ann"],
      ["/nick Anna", "Nickname is: Anna"],
      ["/nick bob", 'The nickname "bob" is taken.'],
      ["/nick", "Current nickname: Anna"],
      ["/room", "lobby"],
      ["/ls", "Anna"],
      ["/who Bob", 'Bob is in room "red".'],
      ["/who", "/who name – show which room a user is in"],
      ["/history 0", "/history n – load n older messages, from 1 to 100"],
      ["/msg Bob", "/msg name text – send a private message"],
      ["/constructor", "Unknown command: constructor"],
    ] as const
  ) {
    const before = (await ann.texts(".note")).length;
    await ann.say(line);
    await eventually(async () => (await ann.texts(".note")).length > before, `${line} answers`);
    const said = (await ann.texts(".note")).at(-1)!;
    assertEquals(said.slice(0, answer.length), answer);
  }
  await ann.say("/history 5");
  await ann.say("/quit");
  await ann.reads("You're not in a room", "#empty");
  await ann.go();
});

inBrowser("a tab that is opened twice goes on in one of them, and says so", async (browser) => {
  await using house = await House.open();
  const ann = await Visitor.come(browser);
  await ann.enter(addressOf(house), "Ann");
  await ann.say("here");
  await ann.reads("here", ".own:not(.sending) .bubble");
  const session = await ann.page.evaluate(() => sessionStorage.getItem("parley.session")!);
  const twin = await ann.page.browserContext().newPage();
  await twin.evaluateOnNewDocument((session) => {
    sessionStorage.setItem("parley.session", session);
  }, session);
  await twin.goto(addressOf(house));
  await twin.waitForFunction(() => document.querySelector(".own .bubble"));
  await ann.reads("Parley is open in another tab.", "#status");
  await ann.go();
});

inBrowser("a server that keeps no history has a page that works", async (browser) => {
  await using house = await House.open({ history: 0 });
  const bob = await house.enter("Bob", "lobby");
  const ann = await Visitor.come(browser);
  await ann.enter(addressOf(house), "Ann");
  await ann.reads("No messages yet", "#empty");
  bob.say("hello");
  await ann.reads("hello", ".bubble");
  assertEquals(await ann.texts(".top"), [""]);
  await ann.go();
});
