// The page's policy: workers are made of these addresses only.

import worker from "./worker.ts?worker&url";

/** The service worker's address, which never changes: its content does. */
export const SERVICE_WORKER = "/sw.js";

const policy = window.trustedTypes?.createPolicy("roost-worker", {
  createScriptURL: (url: string) => {
    if (url !== worker && url !== SERVICE_WORKER) throw new TypeError("no worker of ours");
    return url;
  },
});

export const trusted = (url: string) => (policy?.createScriptURL(url) ?? url) as string;
