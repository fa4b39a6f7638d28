/// <reference lib="dom" />
/** What must be true of every view of the page: accessibility, widths, and sizes of touch targets. */
import axe from "axe-core";
import type { BrowserUser } from "./browser.ts";

/** Returns the serious accessibility problems that axe finds, each with its elements. */
export async function violationsFor({ page }: BrowserUser): Promise<string[]> {
  await page.evaluate(axe.source);
  return await page.evaluate(async () => {
    const { violations } = await (globalThis as unknown as { axe: typeof axe }).axe.run();
    return violations.filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  });
}

/** Returns the parts of the page whose content, or who themselves, are wider than the window. */
export async function tooWideFor({ page }: BrowserUser): Promise<string[]> {
  return await page.evaluate(() =>
    [
      document.documentElement,
      ...document.querySelectorAll(
        ".log, .bubble, .tools, .editor, #talk, #composer, header, #notice, #rules, .menu, dialog",
      ),
    ]
      .filter((each) => each.checkVisibility())
      .filter((each) =>
        each.scrollWidth > each.clientWidth + 1 ||
        each.getBoundingClientRect().left < -1 ||
        each.getBoundingClientRect().right > innerWidth + 1
      )
      .map((each) => each.className || each.id || each.tagName)
  );
}

/** Returns the touch targets that are smaller than 44 pixels, except links in text. */
export async function tooSmallFor({ page }: BrowserUser): Promise<string[]> {
  return await page.$$eval(
    "button, input:not([type=checkbox]), select, textarea, .check, #chat li > a, #chat li > span",
    (all) =>
      all.filter((each) => each.checkVisibility()).filter((each) => {
        const { width, height } = each.getBoundingClientRect();
        return width < 44 || height < 44;
      }).map((each) => each.outerHTML),
  );
}
