// The worker of a tab. One tab holds the device, by a lock; the others ask it over a channel and hear what it tells.

import { Session, link, load, restore, signUp, type Blocked, type Conversation, type Failure, type Found, type Gap, type Page, type Request, type Settings, type Status, type Stretch } from "@roost/client";
import { IndexedRows } from "@roost/client/indexeddb";
import wasm from "@roost/client/roost.wasm?url";
import type { Answer, Call, News, Snapshot, Stage } from "./wire";

const DATABASE = "roost";
const tabs = new BroadcastChannel("roost");
/** Calls of this tab's page that another tab carries out. */
const asked = new Map<string, Call>();

let store: IndexedRows | null = null;
let session: Session | null = null;
let stage: Stage = { is: "empty" };
let holding = false;
/** Whether every message has been read for the search. */
let searchable = false;

/** Messages that are read for the search at a time: a few milliseconds, so that nobody waits. */
const READ_AT_A_TIME = 400;

const failure = (error: unknown): Failure => {
  const known = error as Partial<Failure> | null;
  if (known && typeof known.code === "string" && typeof known.message === "string") {
    return { code: known.code, message: known.message, hint: known.hint ?? "" };
  }
  return { code: "internal", message: error instanceof Error ? error.message : String(error), hint: "Reload the page." };
};

function tell(news: News) {
  postMessage(news);
  if (holding) tabs.postMessage(news);
}

function enter(next: Stage) {
  stage = next;
  tell({ news: "stage", stage });
}

async function open() {
  session = await Session.open(store!);
  session.on("change", () => tell({ news: "changed" }));
  session.on("message", (message) => {
    tell({ news: "message", message });
    void session?.act((device) => device.markShown(message.id));
  });
  session.on("revoked", () => enter({ is: "revoked" }));
  session.on("failed", (error) => enter({ is: "broken", error }));
  enter({ is: "open" });
  void readForSearch(session);
}

async function readForSearch(of: Session) {
  searchable = false;
  while (session === of && !searchable) {
    searchable = await of.act((device) => device.prepareSearch(READ_AT_A_TIME)).catch(() => true);
    await new Promise((done) => setTimeout(done));
  }
}

/** Methods that are the worker's own; all others are the core's. */
const own: Record<string, (...args: never[]) => unknown> = {
  stage: () => stage,

  snapshot: (wanted: string | null, from: string | null, max: number) =>
    session!.act((device): Snapshot => {
      const conversations = device.conversations() as Conversation[];
      const status = device.status() as Status;
      const found = conversations.find((one) => one.id === wanted || one.to === wanted);
      const place = found?.account ?? found?.id;
      const talk = () => {
        if (!found || !place) return null;
        if (!from) {
          const { items, before } = device.history(place, undefined, max) as Page;
          return { id: found.id, items, newer: false, older: before !== null };
        }
        const { items, more } = device.historyFrom(place, from, max) as Stretch;
        return { id: found.id, items, newer: more, older: (device.history(place, from, 1) as Page).items.length > 0 };
      };
      const members = found?.group?.participants.map((one) => one.account) ?? [];
      return {
        conversations,
        status,
        requests: device.requests() as Request[],
        settings: device.settings() as Settings,
        gaps: device.gaps() as Gap[],
        blocked: device.blocked() as Blocked[],
        pictures: device.pictures([status.account, ...members]) as Record<string, string>,
        talk: talk(),
        caughtUp: device.hasCaughtUp(),
      };
    }),

  search: async (text: string, of: string | undefined, max: number) => {
    const found = await session!.act((device) => device.search(text, of, max) as Found);
    return { ...found, ready: searchable };
  },

  signUp: async (server: string, handle: string, invite: string | undefined) => {
    const made = await signUp(store!, server, handle, invite);
    await open();
    return { handle: made.handle, recoveryCode: made.recoveryCode };
  },

  link: async (code: string, name: string) => {
    await link(store!, code, name, (digits) => tell({ news: "digits", digits }));
    await open();
    await session!.act((device) => device.nameDevice(name));
  },

  restore: async (server: string, code: string, revokeOthers: boolean) => {
    await restore(store!, server, code, revokeOthers);
    await open();
  },

  lookup: (handle: string) => session!.lookup(handle),

  reconnect: () => session?.reconnect(),

  pushKey: () => session!.pushKey(),

  pushTest: () => session!.testPush(),

  /** Everything that this browser keeps goes. */
  forget: async () => {
    session?.close();
    session = null;
    await store!.destroy();
    store = await IndexedRows.open(DATABASE);
    enter({ is: "empty" });
  },
};

async function carryOut({ id, method, args }: Call): Promise<Answer> {
  try {
    if (method in own) return { id, value: await own[method](...(args as never[])) };
    if (!session) throw { code: "closed", message: "no device is open here", hint: "sign up first" };
    const value = await session.act((device) => {
      const act = device[method as keyof typeof device] as unknown;
      if (typeof act !== "function") throw { code: "bad_argument", message: `no method ${method}`, hint: "" };
      return act.apply(device, args) as unknown;
    });
    return { id, value };
  } catch (error) {
    return { id, error: failure(error) };
  }
}

onmessage = async ({ data }: MessageEvent<Call>) => {
  if (holding) return postMessage(await carryOut(data));
  asked.set(data.id, data);
  tabs.postMessage(data);
};

tabs.onmessage = async ({ data }: MessageEvent<Call | Answer | News>) => {
  if ("method" in data) {
    if (holding) tabs.postMessage(await carryOut(data));
  } else if ("news" in data) {
    if (!holding) {
      if (data.news === "stage") stage = data.stage;
      postMessage(data);
    }
  } else if (asked.delete(data.id)) {
    postMessage(data);
  }
};

void navigator.locks.request("roost-device", async () => {
  try {
    await load(new URL(wasm, self.location.href));
    store = await IndexedRows.open(DATABASE);
    const { keys } = await store.load();
    holding = true;
    if (keys.length > 0) await open();
    else enter({ is: "empty" });
  } catch (error) {
    holding = true;
    enter({ is: "broken", error: failure(error) });
  }
  // What was asked of a tab that has closed meanwhile.
  for (const call of [...asked.values()]) {
    asked.delete(call.id);
    postMessage(await carryOut(call));
  }
  self.addEventListener("online", () => session?.reconnect());
  // Held for as long as the tab lives.
  await new Promise(() => {});
});

// A tab that finds the lock taken hears from its holder how it stands.
setTimeout(() => {
  if (!holding) {
    const call: Call = { id: crypto.randomUUID(), method: "stage", args: [] };
    asked.set(call.id, call);
    const heard = ({ data }: MessageEvent<Answer>) => {
      if (data.id !== call.id) return;
      tabs.removeEventListener("message", heard as never);
      stage = data.value as Stage;
      postMessage({ news: "stage", stage } satisfies News);
    };
    tabs.addEventListener("message", heard as never);
    tabs.postMessage(call);
  }
}, 50);
