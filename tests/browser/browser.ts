/// <reference lib="dom" />
/**
 * Chromium for tests of the page: the one that CHROME_PATH names, or the one from npm. Warnings and
 * errors in the console, and violations of the content security policy, fail the test.
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
import type { TestServer } from "../support/test_server.ts";
import type { TextClient } from "../support/text_client.ts";
import { eventually } from "../support/wait.ts";

/** The package's arguments for small servers, without those that make this browser unlike a user's. */
const ARGS = chromium.args.filter((arg) =>
  !/web-security|insecure-content|single-process|zygote|site-isolation|features=|headless/.test(arg)
);

/** How long a test waits for the page: long, because a loaded machine is slow. */
const TIMEOUT_MS = 30_000;

/**
 * Starts a browser.
 *
 * @throws {Error} if none can be started
 */
export async function launch(): Promise<Browser> {
  const own = Deno.env.get("CHROME_PATH");
  return await puppeteer.launch({
    ...own === undefined ? await fromNpm() : { executablePath: own },
    args: [...ARGS, "--no-sandbox", "--lang=en-GB"],
    headless: "shell",
    // The test process handles signals.
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  });
}

/**
 * Unpacks the browser from npm. It needs libraries and fonts that a bare machine lacks. The package
 * brings those of AWS Lambda, and unpacks them where it believes to run there.
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
 * Starts a browser for the tests of a file, and returns a function that declares a test in it. Without
 * a browser the tests are ignored and their names say why; in CI they fail.
 */
export async function browserTests(): Promise<
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
      // The browser outlives each test, and Puppeteer talks to it between tests.
      sanitizeOps: false,
      sanitizeResources: false,
      fn() {
        if (typeof browser === "string") throw new Error(browser);
        return run(browser);
      },
    });
  };
}

/** Returns the page's address. */
export function addressOf({ port }: { port: number }): string {
  return `http://127.0.0.1:${port}/`;
}

/** Posts many messages to a room. Returns their author. */
export async function fillRoom(
  server: TestServer,
  room: string,
  many: number,
): Promise<TextClient> {
  const bob = await server.login("Bob", room);
  for (let i = 1; i <= many; i++) {
    bob.send(`message ${i}`);
    if (i % 200 === 0) {
      await eventually(() => bob.unreadCount >= i, "the messages are posted", 60_000);
    }
  }
  await eventually(() => bob.unreadCount >= many, "all messages are posted", 60_000);
  return bob;
}

/** The window of a user, and the user's preferences. */
export interface WindowOptions {
  readonly viewport?: Viewport;
  readonly dark?: boolean;
  /** False: the user prefers reduced motion. */
  readonly allowsMotion?: boolean;
}

/** A window of a desktop. */
export const DESKTOP: Viewport = { width: 1180, height: 740 };
/** A screen of a phone. */
export const PHONE: Viewport = { width: 360, height: 740, hasTouch: true, isMobile: true };

/** The menu that is open. */
const MENU = "[role=menu]:popover-open";

/** A user with the page in a browser context of their own. */
export class BrowserUser {
  readonly page: Page;
  readonly #context: BrowserContext;
  /** Warnings, errors and dialogs of the page. */
  readonly problems: string[] = [];
  /** The user answers the next dialog with "OK". */
  confirmsNext = false;

  private constructor(context: BrowserContext, page: Page) {
    this.#context = context;
    this.page = page;
    page.setDefaultTimeout(TIMEOUT_MS);
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warn") {
        this.problems.push(message.text());
      }
    });
    page.on("pageerror", (error) => this.problems.push(String(error)));
    page.on("dialog", (dialog) => {
      if (this.confirmsNext) {
        this.confirmsNext = false;
        return void dialog.accept();
      }
      this.problems.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
  }

  /** Opens a window without a page. */
  static async open(
    browser: Browser,
    { viewport = DESKTOP, dark = false, allowsMotion: moves = false }: WindowOptions = {},
  ) {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    await page.setViewport(viewport);
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
      { name: "prefers-reduced-motion", value: moves ? "no-preference" : "reduce" },
    ]);
    return new BrowserUser(context, page);
  }

  /** Opens another tab of the same browser, without a page. `close` of either closes both. */
  async openTab(): Promise<BrowserUser> {
    const page = await this.#context.newPage();
    await page.setViewport(DESKTOP);
    return new BrowserUser(this.#context, page);
  }

  /** Opens an address and logs in. */
  async logIn(url: string, nick: string): Promise<void> {
    await this.page.goto(url);
    await this.fill("#loginNick", nick);
    await this.page.keyboard.press("Enter");
    await this.waitForElement("#chat:not([hidden])");
  }

  /** Opens an address and signs in to a registered nickname. */
  async signIn(url: string, nick: string, password: string): Promise<void> {
    await this.page.goto(url);
    await this.fill("#loginNick", nick);
    await this.page.keyboard.press("Enter");
    await this.fill("#loginPassword", password);
    await this.page.keyboard.press("Enter");
    await this.waitForElement("#chat:not([hidden])");
  }

  /** Chooses an item of the menu that a button opens. */
  async choose(button: string, item: string): Promise<void> {
    // A dialog that is about to close still covers the page.
    await this.page.waitForSelector("dialog[open]", { hidden: true });
    await this.waitForElement(button);
    await this.page.click(button);
    await this.waitForElement(MENU);
    const labels = await this.textsOf(`${MENU} button`);
    const index = labels.indexOf(item);
    if (index < 0) throw new Error(`The menu has no "${item}", but ${labels.join(", ")}`);
    await (await this.page.$$(`${MENU} button`))[index]!.click();
  }

  /** Answers the open dialog: fills its fields, which are named by their labels, and submits it. */
  async answer(fields: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.waitForElement("dialog[open]");
    for (const [label, value] of Object.entries(fields)) {
      const field = await this.page.waitForSelector(
        `::-p-xpath(//dialog//label[starts-with(., ${
          JSON.stringify(label)
        })]/*[self::input or self::select])`,
      );
      const kind = await field!.evaluate((element) => (element as HTMLInputElement).type);
      if (kind === "select-one") await field!.select(value);
      else if (kind === "checkbox") await field!.click();
      else {
        await field!.evaluate((element) => (element as HTMLInputElement).select());
        await field!.type(value);
      }
    }
    await this.page.click("dialog .main");
  }

  /** Opens a conversation by its address. */
  async open(fragment: string, title: string): Promise<void> {
    await this.page.evaluate((fragment) => location.hash = fragment, fragment);
    await this.waitForText(title, "#title");
  }

  /** Replaces the text of a field. */
  async fill(selector: string, text: string): Promise<void> {
    const field = await this.page.waitForSelector(selector, { visible: true });
    await field!.evaluate((element) => (element as { select?: () => void }).select?.());
    await field!.type(text);
  }

  /** Types a message and sends it. */
  async send(text: string): Promise<void> {
    await this.fill("#text", text);
    await this.page.keyboard.press("Enter");
  }

  /** Waits until an element is visible. */
  async waitForElement(selector: string): Promise<void> {
    await this.page.waitForSelector(selector, { visible: true });
  }

  /** Waits until a text is visible inside an element that matches `within`. */
  async waitForText(text: string, within = "body"): Promise<void> {
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
      throw new Error(`"${text}" does not appear in ${within}. The page shows: ${shown}`);
    }
  }

  /** Minimizes the window, or restores it. */
  async setVisible(isVisible: boolean): Promise<void> {
    const session = await this.page.createCDPSession();
    const { windowId } = await session.send("Browser.getWindowForTarget");
    const windowState = isVisible ? "normal" : "minimized";
    await session.send("Browser.setWindowBounds", { windowId, bounds: { windowState } });
    await session.detach();
    await eventually(
      async () => isVisible !== await this.page.evaluate(() => document.hidden),
      `the window is ${windowState}`,
    );
  }

  /** Returns the texts of all elements that match. */
  async textsOf(selector: string): Promise<string[]> {
    return await this.page.$$eval(selector, (all) => all.map((each) => each.textContent ?? ""));
  }

  /** Returns the text of a field. */
  async valueOf(selector: string): Promise<string> {
    return await this.page.$eval(selector, (field) => (field as HTMLInputElement).value);
  }

  /** Waits until the elements that match have exactly these texts. */
  async waitForTexts(selector: string, texts: string[]): Promise<void> {
    const shown = async () => JSON.stringify(await this.textsOf(selector));
    await eventually(async () => await shown() === JSON.stringify(texts), `${selector}: ${texts}`);
  }

  /** Waits for the title of the tab. */
  async waitForTitle(title: string): Promise<void> {
    await eventually(async () => await this.page.title() === title, `the title is ${title}`);
  }

  /** Closes the browser context. Asserts that the page had no problems, except those that match. */
  async close(expected = /^$/): Promise<void> {
    await this.#context.close();
    assertEquals(this.problems.filter((each) => !expected.test(each)), []);
  }
}
