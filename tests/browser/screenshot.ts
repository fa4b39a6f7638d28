/**
 * `deno task screenshot`: takes the pictures in the README from the running page.
 *
 * Nothing is drawn for the occasion: people talk, and the page is looked at.
 */
import { House } from "../support/test_server.ts";
import { DESK, launch, PHONE, Visitor } from "./browser.ts";

const FOLDER = new URL("../../.screenshots/", import.meta.url);

async function talk(house: House, ann: Visitor): Promise<void> {
  const ben = await house.enter("Ben", "garden");
  const chloe = await house.enter("Chloé", "garden");
  await house.enter("Dana", "kitchen");
  const said = async (who: { say(text: string): unknown }, text: string) => {
    await who.say(text);
    await ann.reads(text.replace(/^\/me |^\/msg \w+ /, ""), ".bubble, .conversation");
  };
  await said(ben, "Morning! The tomatoes made it through the night.");
  await said(chloe, "So did the snails, I am afraid.");
  await said(chloe, "There is a trick with copper: https://example.org/snails");
  await said(ann, "I have some copper tape left. Shall I bring it?");
  await said(ben, "/me puts the kettle on");
  await house.enter("Noor", "garden");
  await ann.reads("Noor joined", ".membership");
  await said(chloe, "Yes please! And שלום, Noor.");
  await said(ann, "See you at ten then.");
  ben.say("/msg Ann Could you bring the big spade, too?");
  await ann.page.waitForSelector("#directs .badge");
}

await Deno.mkdir(FOLDER, { recursive: true });
const browser = await launch();
for (const [where, viewport] of Object.entries({ desk: DESK, phone: PHONE })) {
  for (const dark of [false, true]) {
    await using house = await House.open();
    const ann = await Visitor.come(browser, { viewport, dark });
    await ann.enter(`http://127.0.0.1:${house.port}/#garden`, "Ann");
    await talk(house, ann);
    await new Promise((done) => setTimeout(done, 700));
    const file = new URL(`${where}-${dark ? "dark" : "light"}.webp`, FOLDER);
    await Deno.writeFile(file, await ann.page.screenshot({ type: "webp", quality: 80 }));
    await ann.go();
  }
}
await browser.close();
