// The page without a network: its service worker, and a newer version that waits.

import { app } from "./app.svelte";
import { SERVICE_WORKER, trusted } from "./device/trusted";

/** Between two looks for a newer version, ms. */
const LOOK_MS = 3_600_000;

function offer(waiting: ServiceWorker | null) {
  if (!waiting) return;
  app.update = () => {
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    waiting.postMessage("use");
  };
}

async function begin() {
  const registration = await navigator.serviceWorker.register(trusted(SERVICE_WORKER));
  if (registration.waiting && navigator.serviceWorker.controller) offer(registration.waiting);
  registration.addEventListener("updatefound", () => {
    const coming = registration.installing;
    coming?.addEventListener("statechange", () => {
      if (coming.state === "installed" && navigator.serviceWorker.controller) offer(coming);
    });
  });
  setInterval(() => void registration.update().catch(() => undefined), LOOK_MS);
}

/** Nothing of the page waits for it. In a build that is being developed there is none. */
export function shell() {
  if (import.meta.env.PROD && "serviceWorker" in navigator) void begin().catch(() => undefined);
}
