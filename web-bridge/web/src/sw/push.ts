// What the service worker does with a push: shows that something is new, and opens the conversation when it is clicked.
//
// A push says nothing of what is new, and the device's rows are sealed: so this opens no store and decrypts nothing. The tag of a
// conversation collapses its notifications; only the page, whose device is open, can tell which conversation it is.

/** `{roost: 1, tag}` for news, `{roost: 1, test: true}` for a test; spaces behind it. */
interface Wake {
  roost: number;
  tag?: string;
  test?: boolean;
}

/** What the page leaves here, for it may be closed when a push comes: the words in the person's language. */
export interface PushWords {
  news: string;
  newsText: string;
  test: string;
  testText: string;
}

const WORDS: PushWords = {
  news: "New messages",
  newsText: "Open Roost to read them.",
  test: "Notifications work",
  testText: "This is the test that you asked for.",
};
const CACHE = "roost-push";
const WORDS_AT = "/push-words.json";
const TAG = /^[0-9a-f]{32}$/;

/** Keeps the words for pushes that come later; called by the page. */
export async function keepPushWords(words: PushWords): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.put(WORDS_AT, new Response(JSON.stringify(words), { headers: { "content-type": "application/json" } }));
}

/** Where a click on a notification leads: the page reads the tag. */
export function pushAddress(tag: string | null): string {
  return tag === null ? "/" : `/#push=${tag}`;
}

/** The tag in the page's address, once. */
export function takePushTag(): string | null {
  const tag = /^#push=([0-9a-f]{32})$/.exec(location.hash)?.[1] ?? null;
  if (tag !== null) history.replaceState(null, "", location.pathname + location.search);
  return tag;
}

function read(data: PushMessageData | null): { test: boolean; tag: string | null } {
  try {
    const wake = data?.json() as Wake | null;
    if (wake?.roost !== 1) return { test: false, tag: null };
    return { test: wake.test === true, tag: typeof wake.tag === "string" && TAG.test(wake.tag) ? wake.tag : null };
  } catch {
    // Something came all the same: a browser wants every push to be shown.
    return { test: false, tag: null };
  }
}

async function words(): Promise<PushWords> {
  try {
    const kept = await (await caches.open(CACHE)).match(WORDS_AT);
    return { ...WORDS, ...(kept ? ((await kept.json()) as Partial<PushWords>) : {}) };
  } catch {
    return WORDS;
  }
}

/** Listens, in a service worker. */
export function handlePushes(worker: ServiceWorkerGlobalScope) {
  worker.addEventListener("push", (event) => {
    const { test, tag } = read(event.data);
    event.waitUntil(
      words().then((say) =>
        worker.registration.showNotification(test ? say.test : say.news, {
          body: test ? say.testText : say.newsText,
          tag: test ? "roost-test" : `roost-${tag ?? "news"}`,
          data: { tag },
        }),
      ),
    );
  });

  worker.addEventListener("notificationclick", (event) => {
    event.notification.close();
    const tag = (event.notification.data as { tag?: string | null } | null)?.tag ?? null;
    event.waitUntil(open(worker, tag));
  });
}

async function open(worker: ServiceWorkerGlobalScope, tag: string | null) {
  const windows = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = windows.find((one) => one.visibilityState === "visible") ?? windows[0];
  if (!there) return void (await worker.clients.openWindow(pushAddress(tag)));
  if (tag !== null) there.postMessage({ roost: "push", tag });
  await there.focus();
}
