// Notifications while the page is closed: between the browser's push service and the home, on the page's side.

import type { PushReport, PushTestReport } from "@roost/client";
import { keepPushWords, takePushTag, type PushWords } from "../sw/wake";
import { act, ask } from "./device";

export type Standing =
  /** This browser has no push service for pages, or none for this one. */
  | "unsupported"
  /** The person, or the browser, has said no. */
  | "denied"
  | "off"
  | "on";

/** How long the service worker may take to be there, ms. */
const READY_MS = 5_000;

async function registration(): Promise<ServiceWorkerRegistration | null> {
  if (!("serviceWorker" in navigator) || !("PushManager" in window) || !("Notification" in window)) return null;
  const late = new Promise<null>((done) => setTimeout(() => done(null), READY_MS));
  return Promise.race([navigator.serviceWorker.ready, late]);
}

/** How it stands in this browser and at the home. */
export async function pushStanding(): Promise<{ is: Standing; report: PushReport }> {
  const report = await act<PushReport>("pushReport");
  const worker = await registration();
  if (!worker) return { is: "unsupported", report };
  if (Notification.permission === "denied") return { is: "denied", report };
  const subscription = await worker.pushManager.getSubscription();
  return { is: subscription && subscription.endpoint === report.endpoint ? "on" : "off", report };
}

/** Asks the person, subscribes at the browser's push service, and tells the home. */
export async function enablePushes(words: PushWords): Promise<Standing> {
  const worker = await registration();
  if (!worker) return "unsupported";
  if ((await Notification.requestPermission()) !== "granted") return "denied";
  const key = Uint8Array.from(await ask("pushKey"));
  await keepPushWords(words);
  // A subscription for another home's key is none for this one.
  await (await worker.pushManager.getSubscription())?.unsubscribe();
  const subscription = await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  const [p256dh, auth] = [subscription.getKey("p256dh"), subscription.getKey("auth")];
  if (!p256dh || !auth) return "unsupported";
  await act("subscribePush", subscription.endpoint, new Uint8Array(p256dh), new Uint8Array(auth));
  return "on";
}

/** Both are told: the home first, for it would go on pushing. */
export async function disablePushes(): Promise<void> {
  await act("unsubscribePush");
  await (await (await registration())?.pushManager.getSubscription())?.unsubscribe();
}

/** Has the home push once. */
export function testPushes(): Promise<PushTestReport> {
  return ask("pushTest");
}

/** Calls with a conversation's id when a notification of it was clicked: now, and while the page is open. */
export function onPushClicked(open: (conversation: string) => void) {
  const found = (tag: string) =>
    void act<string | undefined>("conversationOfPush", tag).then((id) => id !== undefined && open(id), () => undefined);
  const tag = takePushTag();
  if (tag !== null) found(tag);
  navigator.serviceWorker?.addEventListener("message", ({ data }: MessageEvent<{ roost?: string; tag?: string } | null>) => {
    if (data?.roost === "push" && typeof data.tag === "string") found(data.tag);
  });
}
