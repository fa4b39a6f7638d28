// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The window that helps to invite people to a room: its link, to copy or share, and as a QR code. */
import { encode } from "uqr";
import { closeButton, show } from "./dialog.js";
import { make } from "./dom.js";
import { readable } from "./lists.js";

/** Modules of quiet space around a QR code (ISO 18004, 9.1). */
const QUIET = 4;
const SVG = "http://www.w3.org/2000/svg";

/**
 * Shows the window.
 *
 * @param {string} href the address of the room
 * @param {string} token the access token of the chat; empty: none
 */
export function showInvitation(href, token) {
  const address = make("code.address", { dir: "ltr", tabIndex: 0 });
  const code = make("div.code", {});
  const done = make("p", { role: "status" });
  const withToken = /** @type {HTMLInputElement} */ (make("input", { type: "checkbox" }));
  const link = () => withToken.checked ? `${href}&${new URLSearchParams({ token })}` : href;
  const draw = () => {
    address.textContent = withToken.checked ? link() : readable(href);
    code.replaceChildren(drawCode(link()));
    done.textContent = "";
  };
  const copy = () => {
    // The clipboard API exists only on pages served over HTTPS.
    getSelection()?.selectAllChildren(address);
    done.textContent = document.execCommand("copy") ? "Copied." : "Copy the selected link.";
  };
  const share = () => void navigator.share({ url: link() }).catch(() => {});
  withToken.onchange = draw;
  draw();
  const secret =
    "Include the access token: whoever has the link can enter, and the chat cannot tell who.";
  show(
    "Invite people",
    make(
      "div.invitation",
      {},
      make("h2", {}, "Invite people"),
      make("p", {}, "Whoever opens this link comes to this room."),
      address,
      ...token ? [make("label.check", {}, withToken, secret)] : [],
      code,
      done,
      make(
        "div.buttons",
        {},
        closeButton("Close"),
        ..."share" in navigator ? [make("button", { onclick: share }, "Share…")] : [],
        make("button.main", { onclick: copy }, "Copy link"),
      ),
    ),
  );
}

/** Draws a QR code. @param {string} text */
function drawCode(text) {
  const { data, size } = encode(text, { border: 0 });
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `${-QUIET} ${-QUIET} ${size + 2 * QUIET} ${size + 2 * QUIET}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "QR code of the link");
  const path = document.createElementNS(SVG, "path");
  const squares = data.flatMap((row, y) =>
    row.flatMap((dark, x) => dark ? [`M${x} ${y}h1v1h-1z`] : [])
  );
  path.setAttribute("d", squares.join(""));
  svg.append(path);
  return svg;
}
