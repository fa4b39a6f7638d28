/**
 * `deno task screenshot`: takes the screenshots of the README from the running page, while users talk.
 */
import { House, type Person } from "../support/test_server.ts";
import { BrowserUser, DESKTOP, launch, PHONE } from "./browser.ts";

const FOLDER = new URL("../../.screenshots/", import.meta.url);

/** Plays a conversation in which Ann takes part. */
async function talk(house: House, ann: BrowserUser): Promise<void> {
  const ben = await house.enter("Ben", "garden");
  const chloe = await house.enter("Chloé", "garden");
  await house.enter("Dana", "kitchen");
  const post = async (user: Person | BrowserUser, text: string) => {
    if (user instanceof BrowserUser) await user.send(text);
    else user.say(text);
    await ann.waitForText(text.replace(/^\/me |^\/msg \w+ /, ""), ".bubble, .conversation");
  };
  await post(ben, "Morning! The tomatoes made it through the night.");
  await post(chloe, "So did the snails, I am afraid.");
  await post(chloe, "There is a trick with copper: https://example.org/snails");
  await post(ann, "I have some copper tape left. Shall I bring it?");
  await post(ben, "/me puts the kettle on");
  await house.enter("Noor", "garden");
  await ann.waitForText("Noor joined", ".membership");
  await post(chloe, "Yes please! And שלום, Noor.");
  await post(ann, "See you at ten then.");
  ben.say("/msg Ann Could you bring the big spade, too?");
  await ann.page.waitForSelector("#directs .badge");
}

await Deno.mkdir(FOLDER, { recursive: true });
const browser = await launch();
for (const [device, viewport] of Object.entries({ desk: DESKTOP, phone: PHONE })) {
  for (const dark of [false, true]) {
    await using house = await House.open();
    const ann = await BrowserUser.open(browser, { viewport, dark });
    await ann.logIn(`http://127.0.0.1:${house.port}/#garden`, "Ann");
    await talk(house, ann);
    await new Promise((done) => setTimeout(done, 700));
    const file = new URL(`${device}-${dark ? "dark" : "light"}.webp`, FOLDER);
    await Deno.writeFile(file, await ann.page.screenshot({ type: "webp", quality: 80 }));
    await ann.close();
  }
}
await browser.close();
