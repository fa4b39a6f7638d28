/** The lists of error codes and close codes are those of chat/docs/PROTOCOL.md. */
import { assert, assertEquals } from "@std/assert";
import { CLOSE, type CloseReason, frameTooLarge } from "../../chat/base/close_codes.ts";
import { ERROR_CODES } from "../../chat/base/rejections.ts";
import { PROJECT } from "../support/processes.ts";

const DOCUMENT = await Deno.readTextFile(new URL("chat/docs/PROTOCOL.md", PROJECT));

/** Returns the table rows of a section of the document, each as its cells without backticks. */
function rowsOf(heading: string): string[][] {
  const section = DOCUMENT.split(/^###? /m).find((each) => each.startsWith(`${heading}\n`)) ?? "";
  return section.split("\n").filter((line) => line.startsWith("| "))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", "")))
    .filter(([first]) => first !== "code" && !first!.startsWith("-"));
}

Deno.test("PROTOCOL.md lists every error code, whether it carries retryAfter and when it is used", () => {
  const expected = Object.entries(ERROR_CODES)
    .map(([code, { when, retryAfter }]) => [code, retryAfter ? "yes" : "", when]);
  assertEquals(rowsOf("Errors"), expected);
});

Deno.test("PROTOCOL.md lists every close code, its reason and whether a client should reconnect", () => {
  const reasons: CloseReason[] = [...Object.values(CLOSE), frameTooLarge(65_536)];
  const expected = reasons
    .map(({ code, reason, reconnect }) => [
      `${code}`,
      reason.replace("65536", "{n}"),
      reconnect ? "yes" : "no",
    ])
    .toSorted();
  const documented = rowsOf("Close codes").map((cells) => cells.slice(0, 3)).toSorted();
  assertEquals(documented, expected);
});

Deno.test("a close reason fits into a close frame", () => {
  for (const { reason } of [...Object.values(CLOSE), frameTooLarge(4_194_304)]) {
    assert(new TextEncoder().encode(reason).length <= 123, reason);
  }
});
