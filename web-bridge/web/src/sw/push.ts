/// <reference lib="webworker" />
// What the service worker does with a push: shows that something is new, and opens the conversation when it is clicked.
//
// A push says nothing of what is new, and the device's rows are sealed: so this opens no store and decrypts nothing. The tag of a
// conversation collapses its notifications; only the page, whose device is open, can tell which conversation it is.

import { keptPushWords, pushAddress, type PushWords } from "./wake";

declare const self: ServiceWorkerGlobalScope;

/** `{roost: 1, tag}` for news, `{roost: 1, test: true}` for a test; spaces behind it. */
interface Wake {
  roost: number;
  tag?: unknown;
  test?: unknown;
}

const WORDS: PushWords = {
  news: "New messages",
  newsText: "Open Roost to read them.",
  test: "Notifications work",
  testText: "This is the test that you asked for.",
};
const TAG = /^[0-9a-f]{32}$/;

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

async function show({ test, tag }: { test: boolean; tag: string | null }) {
  const say = await keptPushWords(WORDS);
  await self.registration.showNotification(test ? say.test : say.news, {
    body: test ? say.testText : say.newsText,
    tag: test ? "roost-test" : `roost-${tag ?? "news"}`,
    data: { tag },
  });
}

async function open(tag: string | null) {
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = windows.find((one) => one.visibilityState === "visible") ?? windows[0];
  if (!there) return void (await self.clients.openWindow(pushAddress(tag)));
  if (tag !== null) there.postMessage({ roost: "push", tag });
  await there.focus();
}

self.addEventListener("push", (event) => event.waitUntil(show(read(event.data))));

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open((event.notification.data as { tag?: string | null } | null)?.tag ?? null));
});
