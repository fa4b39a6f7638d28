// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** Tells the server when the user is away: for ten minutes without input, also because the page is hidden. */

/** @import { ChatClient } from "../client/client.js" */

/** Milliseconds without input after which the user is away. */
const AWAY_MS = 600_000;
/** What a user who is there causes. A hidden page receives no input. New messages scroll, too. */
const INPUTS = ["keydown", "pointerdown", "pointermove", "wheel", "visibilitychange"];

/** Tells the server from now on. @param {ChatClient} client */
export function tellAway(client) {
  let isAway = false;
  let wasAway = false;
  // If it fails, the next connection says it again.
  const tell = () => client.setAway(isAway).catch(() => {});
  const leave = () => {
    isAway = wasAway = true;
    tell();
  };
  let timer = setTimeout(leave, AWAY_MS);
  const stay = () => {
    clearTimeout(timer);
    timer = setTimeout(leave, AWAY_MS);
    if (!isAway || document.hidden) return;
    isAway = false;
    tell();
  };
  for (const type of INPUTS) {
    document.addEventListener(type, stay, { capture: true, passive: true });
  }
  // A new session is not away, and the server may not have received the last call.
  client.on("welcome", () => {
    if (wasAway) tell();
  });
}
