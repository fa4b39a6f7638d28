/**
 * The service worker: serves the page while the server cannot be reached, as the server last sent it.
 *
 * It asks the network first, so that a page is never older than its server. It leaves every other
 * request alone: the WebSocket, the health check, and the modules of the client.
 */

/** The files of this version of the page. build.ts replaces the names and the version. */
const FILES = "PAGE_FILES".split(" ");
const CACHE = "parley PAGE_VERSION";

addEventListener("install", (event) => {
  // Open pages run on: this version of the worker serves them as well.
  skipWaiting();
  event.waitUntil(keepAll());
});

addEventListener("activate", (event) => event.waitUntil(takeOver()));

addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== location.origin) return;
  const isPage = pathname === "/" && mode === "navigate";
  if (isPage || /^\/(page\/|icon)/.test(pathname)) event.respondWith(answer(event, pathname));
});

addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(showPage());
});

/** Keeps the page: the first load is over before the worker sees a request. */
async function keepAll() {
  const cache = await caches.open(CACHE);
  // The server sends the page at "/" only to those who take HTML.
  const headers = { accept: "text/html" };
  await cache.addAll(FILES.map((each) => new Request(each, { headers, cache: "no-cache" })));
}

/** Deletes what earlier versions kept, and serves the pages that are open. */
async function takeOver() {
  for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
  await clients.claim();
}

/** Returns the server's answer; without one, what the server answered last. */
async function answer(event, pathname) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(event.request);
    // Without space for it the page still works.
    if (response.ok) event.waitUntil(cache.put(pathname, response.clone()).catch(() => {}));
    return response;
  } catch (error) {
    // A navigation accepts other types than the request that was kept.
    const kept = await cache.match(pathname, { ignoreVary: true });
    if (kept) return kept;
    throw error;
  }
}

/** Focuses a page of the chat, or opens one. */
async function showPage() {
  const [page] = await clients.matchAll({ type: "window" });
  await (page ? page.focus() : clients.openWindow("/"));
}
