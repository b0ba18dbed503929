// The terminal without a network: its page in both languages and its files lie on the phone, and are shown from there. The
// node puts VERSION, PAGES and FILES in front of this; another version is another cache.

const CACHE = `terminal-${VERSION}`;

/** Which language was chosen last; not of a version. */
const CHOSEN = "terminal-language";

self.addEventListener("install", (event) => {
  const fill = async () => {
    const cache = await caches.open(CACHE);
    const all = [...Object.values(PAGES), ...FILES].map((path) => new Request(path, { cache: "no-cache" }));
    await cache.addAll(all);
    await self.skipWaiting();
  };
  event.waitUntil(fill());
});

self.addEventListener("activate", (event) => {
  const tidy = async () => {
    const old = (await caches.keys()).filter((name) => name !== CACHE && name !== CHOSEN);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

async function page() {
  const chosen = await (await caches.open(CHOSEN)).match("/terminal/language");
  const language = chosen ? await chosen.text() : "";
  return caches.match(PAGES[language] ?? Object.values(PAGES)[0], { cacheName: CACHE });
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (request.mode === "navigate" && url.pathname === "/terminal") {
    event.respondWith(page().then((known) => known ?? fetch(request)));
  } else if (FILES.includes(url.pathname)) {
    event.respondWith(caches.match(request, { cacheName: CACHE }).then((known) => known ?? fetch(request)));
  }
});
