// @ts-check
/// <reference lib="dom" />
/** Asks the server why it accepts no WebSocket: browsers do not say. */

import { browserStorage } from "./dom.js";

/**
 * Why the server refuses. `seconds`: when it may accept one again; 0: unknown.
 *
 * @typedef {{ status: number, text: string, seconds: number }} Refusal
 */

/**
 * Returns why the server refuses a connection with the access token that the page keeps.
 *
 * @returns {Promise<Refusal>}
 * @throws {TypeError} if the server cannot be reached
 */
export async function refusalFor() {
  const token = browserStorage.get("token");
  // The browser sends the origin with a WebSocket, but not with this request.
  const headers = { authorization: `Bearer ${token}`, "x-page-origin": location.origin };
  const answer = await fetch("/ws", { headers });
  const seconds = Number(answer.headers.get("retry-after")) || 0;
  return { status: answer.status, text: (await answer.text()).trim(), seconds };
}
