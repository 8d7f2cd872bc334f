/// <reference lib="webworker" />
// The service worker: the page opens without a network, from the files of one version; a newer version waits until the person
// uses it. It sees no key and no message; what travels to the node goes past it.

declare const self: ServiceWorkerGlobalScope;
/** Every file of this version, and a hash over all of them (vite.sw.config.ts). */
declare const FILES: string[];
declare const VERSION: string;

// Wake-ups, where they are built in: the module listens by itself.
import.meta.glob("./push.ts", { eager: true });

const PREFIX = "roost-";
const CACHE = PREFIX + VERSION;
const PAGE = "/";

self.addEventListener("install", (event) => {
  const wanted = [PAGE, ...FILES].map((file) => new Request(file, { cache: "no-cache" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(wanted)));
});

self.addEventListener("activate", (event) => {
  const old = (name: string) => name.startsWith(PREFIX) && name !== CACHE;
  const tidy = async () => {
    for (const name of await caches.keys()) if (old(name)) await caches.delete(name);
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener("message", (event) => {
  if (event.data === "use") void self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  const file = request.mode === "navigate" && url.pathname === PAGE ? PAGE : url.pathname;
  if (file !== PAGE && !FILES.includes(file)) return;
  // Only this version's files: two versions are never mixed.
  const held = caches.open(CACHE).then((cache) => cache.match(file));
  event.respondWith(held.then((response) => response ?? fetch(request)));
});
