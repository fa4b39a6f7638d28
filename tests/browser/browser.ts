/// <reference lib="dom" />
/**
 * A real Chromium for tests of the page: the one that CHROME_PATH names, or the one that comes from
 * npm. What a page complains about, in its console or to the policy, is a failure.
 */
import { assertEquals } from "@std/assert";
import chromium from "@sparticuz/chromium";
import puppeteer, {
  type Browser,
  type BrowserContext,
  type Page,
  type Viewport,
} from "puppeteer-core";

import { eventually } from "../house.ts";

/** What the package asks for so that it runs on a small server, without what makes it unlike others. */
const ARGS = chromium.args.filter((arg) =>
  !/web-security|insecure-content|single-process|zygote|site-isolation|features=|headless/.test(arg)
);

/** Milliseconds after which what was waited for counts as missing: a loaded machine is slow. */
const PATIENCE = 4_000;

/** Starts one, or says why that cannot be. */
export async function launch(): Promise<Browser> {
  return await puppeteer.launch({
    executablePath: Deno.env.get("CHROME_PATH") ?? await chromium.executablePath(),
    args: [...ARGS, "--no-sandbox", "--lang=en-GB"],
    headless: "shell",
    // What it says goes nowhere, and signals are ours.
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  });
}

/** What a window is like. */
export interface Look {
  readonly viewport?: Viewport;
  readonly dark?: boolean;
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

  static async come(browser: Browser, { viewport = DESK, dark = false }: Look = {}) {
    const context = await browser.createBrowserContext();
    const page = await context.newPage();
    await page.setViewport(viewport);
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
      { name: "prefers-reduced-motion", value: "reduce" },
    ]);
    return new Visitor(context, page);
  }

  /** Opens an address, and comes in under a nickname. */
  async enter(url: string, nick: string): Promise<void> {
    await this.page.goto(url);
    await this.fill("#doorNick", nick);
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

  /** The texts of all elements of a kind. */
  async texts(selector: string): Promise<string[]> {
    return await this.page.$$eval(selector, (all) => all.map((each) => each.textContent ?? ""));
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
