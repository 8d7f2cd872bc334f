// What the page and its service worker have in common about pushes: the words, and where a click leads.

/** What the page leaves for the service worker, for it may be closed when a push comes: the words in the person's language. */
export interface PushWords {
  news: string;
  newsText: string;
  test: string;
  testText: string;
}

/** Not of the service worker's versions: it stays when another comes. */
const CACHE = "push-words";
const WORDS_AT = "/push-words.json";

/** Keeps the words for pushes that come later. */
export async function keepPushWords(words: PushWords): Promise<void> {
  const headers = { "content-type": "application/json" };
  await (await caches.open(CACHE)).put(WORDS_AT, new Response(JSON.stringify(words), { headers }));
}

/** The words that the page left, or these. */
export async function keptPushWords(otherwise: PushWords): Promise<PushWords> {
  try {
    const kept = await (await caches.open(CACHE)).match(WORDS_AT);
    return { ...otherwise, ...(kept ? ((await kept.json()) as Partial<PushWords>) : {}) };
  } catch {
    return otherwise;
  }
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
