// @ts-check
/// <reference lib="dom" />
/**
 * Makes the page installable: has the browser run sw.js, which keeps the page for the time without a server.
 *
 * Without HTTPS, or in a browser without service workers, the page works without it.
 */

/** The only script that the page may run as a worker. */
const WORKER = "/sw.js";

/** Registers the service worker. A failure changes nothing for the user, and the next load tries again. */
export function installWorker() {
  if (!isSecureContext || !("serviceWorker" in navigator)) return;
  navigator.serviceWorker.register(workerAddress()).catch(() => {});
}

/**
 * Returns the address in the form that the content security policy demands.
 *
 * @returns {string}
 */
function workerAddress() {
  // Not in the types of the DOM, and not in every browser.
  const { trustedTypes } = /** @type {any} */ (globalThis);
  return trustedTypes?.createPolicy("parley-worker", {
    /** @param {string} address */
    createScriptURL(address) {
      if (address !== WORKER) throw new TypeError(`Not the service worker: ${address}`);
      return address;
    },
  }).createScriptURL(WORKER) ?? WORKER;
}
