/**
 * `deno task screenshot`: takes the screenshots of the README from the running page, while users talk.
 */
import { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";
import { BrowserUser, DESKTOP, launch, PHONE } from "./browser.ts";

const FOLDER = new URL("../../.screenshots/", import.meta.url);

/** Plays a conversation in which Ann takes part. */
async function talk(server: TestServer, ann: BrowserUser): Promise<void> {
  const ben = await server.login("Ben", "garden");
  const chloe = await server.login("Chloé", "garden");
  await server.login("Dana", "kitchen");
  const post = async (user: TextClient | BrowserUser, text: string) => {
    if (user instanceof BrowserUser) await user.send(text);
    else user.send(text);
    await ann.waitForText(text.replace(/^\/me |^\/msg \w+ /, ""), ".bubble, .conversation");
  };
  await post(ben, "Morning! The tomatoes made it through the night.");
  await post(chloe, "So did the snails, I am afraid.");
  await post(chloe, "There is a trick with copper: https://example.org/snails");
  await post(ann, "I have some copper tape left. Shall I bring it?");
  await post(ben, "/me puts the kettle on");
  await server.login("Noor", "garden");
  await ann.waitForText("Noor joined", ".membership");
  await post(chloe, "Yes please! And שלום, Noor.");
  await post(ann, "See you at ten then.");
  ben.send("/msg Ann Could you bring the big spade, too?");
  await ann.page.waitForSelector("#directs .badge");
}

await Deno.mkdir(FOLDER, { recursive: true });
const browser = await launch();
for (const [device, viewport] of Object.entries({ desk: DESKTOP, phone: PHONE })) {
  for (const dark of [false, true]) {
    await using server = await TestServer.open();
    const ann = await BrowserUser.open(browser, { viewport, dark });
    await ann.logIn(`http://127.0.0.1:${server.port}/#garden`, "Ann");
    await talk(server, ann);
    await new Promise((done) => setTimeout(done, 700));
    const file = new URL(`${device}-${dark ? "dark" : "light"}.webp`, FOLDER);
    await Deno.writeFile(file, await ann.page.screenshot({ type: "webp", quality: 80 }));
    await ann.close();
  }
}
await browser.close();
