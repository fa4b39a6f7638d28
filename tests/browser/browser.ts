/// <reference lib="dom" />
/**
 * A real Chromium for tests of the page: the one that CHROME_PATH names, or the one that comes from
 * npm. What a page complains about, in its console or to the policy, is a failure.
 */
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { assertEquals } from "@std/assert";
import chromium from "@sparticuz/chromium";
import puppeteer, {
  type Browser,
  type BrowserContext,
  type Page,
  type Viewport,
} from "puppeteer-core";
import { eventually, type House, type Person } from "../support/test_server.ts";

/** What the package asks for so that it runs on a small server, without what makes it unlike others. */
const ARGS = chromium.args.filter((arg) =>
  !/web-security|insecure-content|single-process|zygote|site-isolation|features=|headless/.test(arg)
);

/** Milliseconds after which what was waited for counts as missing: a loaded machine is slow. */
const PATIENCE = 30_000;

/** Starts one; what it throws says why that cannot be. */
export async function launch(): Promise<Browser> {
  const own = Deno.env.get("CHROME_PATH");
  return await puppeteer.launch({
    ...own === undefined ? await fromNpm() : { executablePath: own },
    args: [...ARGS, "--no-sandbox", "--lang=en-GB"],
    headless: "shell",
    // What it says goes nowhere, and signals are ours.
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  });
}

/**
 * The browser that comes from npm. A bare machine lacks libraries and fonts that it needs: the
 * package has those for Amazon's machines, and unpacks them together with the browser.
 */
async function fromNpm(): Promise<{ executablePath: string; env?: Record<string, string> }> {
  try {
    Deno.dlopen("libnss3.so", {}).close();
    return { executablePath: await chromium.executablePath() };
  } catch (error) {
    if (!String(error).includes("libnss3")) throw error;
  }
  const folder = tmpdir();
  const libraries = `${folder}/al2023/lib`;
  if (!existsSync(libraries)) await Deno.remove(`${folder}/chromium`).catch(() => {});
  Deno.env.set("AWS_EXECUTION_ENV", "22.x");
  const executablePath = await chromium.executablePath();
  Deno.env.delete("AWS_EXECUTION_ENV");
  const env = { LD_LIBRARY_PATH: libraries, FONTCONFIG_PATH: `${folder}/fonts` };
  return { executablePath, env: { ...Deno.env.toObject(), ...env } };
}

/**
 * Starts one for the tests of a file, and returns what makes a test in it: ignored with its reason
 * where none runs, but not in CI.
 */
export async function openBrowser(): Promise<
  (name: string, run: (browser: Browser) => Promise<void>) => void
> {
  const browser: Browser | string = await launch().catch((error) => String(error).split("\n")[0]!);
  if (typeof browser !== "string") Deno.test.afterAll(() => browser.close());
  return (name, run) => {
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
  };
}

/** The page's address. */
export function addressOf({ port }: { port: number }): string {
  return `http://127.0.0.1:${port}/`;
}

/** Fills a room with what was said before. */
export async function talkMuch(house: House, room: string, many: number): Promise<Person> {
  const bob = await house.enter("Bob", room);
  for (let i = 1; i <= many; i++) {
    bob.say(`message ${i}`);
    if (i % 200 === 0) await eventually(() => bob.waiting >= i, "it is said", 60_000);
  }
  await eventually(() => bob.waiting >= many, "all is said", 60_000);
  return bob;
}

/** What a window is like. */
export interface Look {
  readonly viewport?: Viewport;
  readonly dark?: boolean;
  /** Whether things may move. */
  readonly moves?: boolean;
}

export const DESK: Viewport = { width: 1180, height: 740 };
export const PHONE: Viewport = { width: 360, height: 740, hasTouch: true, isMobile: true };

/** Somebody who sits before a browser of their own. */
export class Visitor {
  readonly page: Page;
  readonly #context: BrowserContext;
  /** What the page complained about. */
  readonly complaints: string[] = [];

  private constructor(context: BrowserContext, page: Page) {
    this.#context = context;
    this.page = page;
    page.setDefaultTimeout(PATIENCE);
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warn") {
        this.complaints.push(message.text());
      }
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("dialog", (dialog) => {
      this.complaints.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
  }

  static async come(browser: Browser, { viewport = DESK, dark = false, moves = false }: Look = {}) {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    await page.setViewport(viewport);
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
      { name: "prefers-reduced-motion", value: moves ? "no-preference" : "reduce" },
    ]);
    return new Visitor(context, page);
  }

  /** Opens an address, and comes in under a nickname. */
  async enter(url: string, nick: string): Promise<void> {
    await this.page.goto(url);
    await this.fill("#loginNick", nick);
    await this.page.keyboard.press("Enter");
    await this.sees("#chat:not([hidden])");
  }

  /** Replaces what stands in a field. */
  async fill(selector: string, text: string): Promise<void> {
    const field = await this.page.waitForSelector(selector, { visible: true });
    await field!.evaluate((element) => (element as { select?: () => void }).select?.());
    await field!.type(text);
  }

  /** Types something, and sends it. */
  async say(text: string): Promise<void> {
    await this.fill("#text", text);
    await this.page.keyboard.press("Enter");
  }

  /** Waits until something is there to be seen. */
  async sees(selector: string): Promise<void> {
    await this.page.waitForSelector(selector, { visible: true });
  }

  /** Waits until a text is there to be read. */
  async reads(text: string, within = "body"): Promise<void> {
    try {
      await this.page.waitForFunction(
        (text: string, within: string) =>
          [...document.querySelectorAll<HTMLElement>(within)].some((each) =>
            each.innerText.includes(text)
          ),
        {},
        text,
        within,
      );
    } catch {
      const shown = await this.page.evaluate(() => document.body.innerText);
      throw new Error(`"${text}" is not to be read in ${within}, but: ${shown}`);
    }
  }

  /** Looks at the page again, or elsewhere: then its window is minimized. */
  async looks(isLooking: boolean): Promise<void> {
    const session = await this.page.createCDPSession();
    const { windowId } = await session.send("Browser.getWindowForTarget");
    const windowState = isLooking ? "normal" : "minimized";
    await session.send("Browser.setWindowBounds", { windowId, bounds: { windowState } });
    await session.detach();
    await eventually(
      async () => isLooking !== await this.page.evaluate(() => document.hidden),
      `the window is ${windowState}`,
    );
  }

  /** The texts of all elements of a kind. */
  async texts(selector: string): Promise<string[]> {
    return await this.page.$$eval(selector, (all) => all.map((each) => each.textContent ?? ""));
  }

  /** What stands in a field. */
  async valueOf(selector: string): Promise<string> {
    return await this.page.$eval(selector, (field) => (field as HTMLInputElement).value);
  }

  /** Waits until the elements of a kind say exactly this. */
  async shows(selector: string, texts: string[]): Promise<void> {
    const shown = async () => JSON.stringify(await this.texts(selector));
    await eventually(async () => await shown() === JSON.stringify(texts), `${selector}: ${texts}`);
  }

  /** Waits until the tab is titled so. */
  async isTitled(title: string): Promise<void> {
    await eventually(async () => await this.page.title() === title, `the title is ${title}`);
  }

  /** Goes, having complained about nothing but what is passed over. */
  async go(except = /^$/): Promise<void> {
    await this.#context.close();
    assertEquals(this.complaints.filter((each) => !except.test(each)), []);
  }
}
