/**
 * The service worker, served as /sw.js: shows a page of its own when the server cannot be reached, and does nothing else.
 *
 * Everything comes from the network. Only the offline page and its parts are kept, and they are used only where the network fails, so
 * that no page ever runs with modules of another version.
 */

/** Another name makes browsers fetch the parts again; they do so as well when this file changes in any other way. */
const CACHE = "antiphon-offline-1";
const PAGE = "/app/offline/index.html";
const PARTS = [PAGE, "/app/offline/offline.css", "/app/offline/offline.js", "/app/offline/text.js", "/app/icon.svg"];

const worker = /** @type {any} */ (self);

worker.addEventListener("install", (/** @type {any} */ event) => event.waitUntil(fill()));
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(forgetOlder()));
worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (request.mode === "navigate") event.respondWith(fetch(request).catch(() => kept(PAGE)));
  else if (isPart(request.url)) event.respondWith(fetch(request).catch(() => kept(request.url)));
});

async function fill() {
  const cache = await caches.open(CACHE);
  await cache.addAll(PARTS.map((part) => new Request(part, { cache: "reload" })));
  await worker.skipWaiting();
}

async function forgetOlder() {
  for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
  await worker.clients.claim();
}

/** @param {string} url */
async function kept(url) {
  return (await caches.match(url)) ?? Response.error();
}

/** @param {string} url */
function isPart(url) {
  const { origin, pathname } = new URL(url);
  return origin === location.origin && PARTS.includes(pathname);
}
