// What the page shows, and what it does about it.

import type { Conversation, Failure, HistoryItem } from "@roost/client";
import { act, ask, onNews } from "./device/device";
import type { Snapshot, Stage } from "./device/wire";
import { languages, type Language, type Word } from "./words";

/** Messages that a conversation shows first, and more each time. */
const PAGE = 60;
/** Changes within this are shown together, ms. */
const TOGETHER_MS = 30;

export type Theme = "auto" | "light" | "dark" | "contrast";

const stored = <T extends string>(key: string, fallback: T): T => (localStorage.getItem(key) as T | null) ?? fallback;

class App {
  stage = $state<Stage | null>(null);
  snapshot = $state.raw<Snapshot | null>(null);
  /** The conversation that is open. */
  open = $state<string | null>(null);
  /** Of a new account: shown until it was confirmed. */
  recoveryCode = $state<string | null>(null);
  digits = $state<string | null>(null);
  /** Somebody to whom nothing was written yet. */
  starting = $state.raw<Conversation | null>(null);
  pane = $state<"details" | "settings" | null>(null);
  notice = $state<string | null>(null);
  theme = $state<Theme>(stored("theme", "auto"));
  language = $state<Language>(stored("language", "en"));
  max = $state(PAGE);

  private due: ReturnType<typeof setTimeout> | undefined;
  private asking = false;
  private again = false;

  readonly conversations = $derived(this.snapshot?.conversations ?? []);
  readonly current = $derived(this.starting ?? this.conversations.find((one) => one.id === this.open) ?? null);
  readonly items = $derived<HistoryItem[]>(
    this.snapshot?.talk?.id === this.open ? [...(this.snapshot?.talk?.page.items ?? [])].reverse() : [],
  );
  readonly hasEarlier = $derived(this.snapshot?.talk?.id === this.open && this.snapshot?.talk?.page.before !== null);
  readonly unread = $derived(this.conversations.reduce((sum, one) => sum + one.unread, 0));

  constructor() {
    onNews((news) => {
      if (news.news === "stage") {
        this.stage = news.stage;
        if (news.stage.is === "open") this.refresh();
        else this.snapshot = null;
      } else if (news.news === "changed" || news.news === "message") {
        this.refresh();
      } else {
        this.digits = news.digits;
      }
    });
  }

  /** A word in the person's language; `{n}` is what it is about. */
  say(word: Word, about: string | number = ""): string {
    return languages[this.language].words[word].replace("{n}", String(about));
  }

  /** Looks again, soon. */
  refresh() {
    clearTimeout(this.due);
    this.due = setTimeout(() => void this.load(), TOGETHER_MS);
  }

  async show(id: string | null) {
    if (this.open && this.open !== id) this.watchNoLonger();
    this.open = id;
    this.starting = null;
    this.max = PAGE;
    this.pane = this.pane === "settings" ? null : this.pane;
    await this.load();
    const current = this.current;
    if (current?.account) void act("watch", current.account).catch(() => undefined);
    await this.read();
  }

  /** A conversation of two that may have nothing in it yet. */
  beginWith(handle: string, account: string) {
    const known = this.conversations.find((one) => one.account === account);
    if (known) return void this.show(known.id);
    const nothing = { name: null, unread: 0, newest: null, verified: false, key_changed: false, typing: [], presence: null };
    this.starting = { id: account, to: handle, account, draft: null, group: null, ...nothing };
    this.open = account;
  }

  /** Tells a new conversation's name once its hub has let it stand. */
  async nameWhenItStands(id: string, name: string) {
    const stands = () => this.conversations.find((one) => one.id === id)?.group?.standing ?? false;
    for (let tries = 0; tries < 120 && !stands(); tries++) {
      await new Promise((done) => setTimeout(done, 500));
      this.refresh();
    }
    await this.attempt(act("setAbout", id, name, undefined));
  }

  async earlier() {
    this.max += PAGE;
    await this.load();
  }

  /** What is on the screen counts as read. */
  async read() {
    const current = this.current;
    if (current && current.unread > 0 && document.visibilityState === "visible") {
      await act("markRead", current.account ?? current.id).catch(() => undefined);
    }
  }

  /** Does something; a failure becomes the notice. */
  async attempt<T>(done: Promise<T>): Promise<T | undefined> {
    try {
      this.notice = null;
      return await done;
    } catch (error) {
      this.notice = explain(error);
      return undefined;
    }
  }

  setTheme(theme: Theme) {
    this.theme = theme;
    localStorage.setItem("theme", theme);
  }

  private watchNoLonger() {
    const account = this.current?.account;
    if (account) void act("unwatch", account).catch(() => undefined);
  }

  private async load() {
    if (this.stage?.is !== "open") return;
    if (this.asking) {
      this.again = true;
      return;
    }
    this.asking = true;
    try {
      this.snapshot = await ask("snapshot", this.open, this.max);
      const begun = this.starting && this.snapshot.conversations.find((one) => one.account === this.starting?.account);
      if (begun) {
        this.open = begun.id;
        this.starting = null;
        this.again = true;
      }
    } catch (error) {
      this.notice = explain(error);
    } finally {
      this.asking = false;
    }
    if (this.again) {
      this.again = false;
      await this.load();
    }
  }
}

export function explain(error: unknown): string {
  const { message, hint } = error as Failure;
  const sentence = message ? message[0].toUpperCase() + message.slice(1) : String(error);
  return hint ? `${sentence}. ${hint[0].toUpperCase()}${hint.slice(1)}.` : `${sentence}.`;
}

export const app = new App();

/** What a conversation is called. */
export function title(one: Conversation): string {
  if (one.name) return one.name;
  if (one.group) {
    const me = app.snapshot?.status.handle;
    const others = one.group.participants.map((person) => person.name).filter((name) => name !== me);
    return others.map(short).join(", ") || app.say("you");
  }
  return short(one.to);
}

/** A handle without its organisation, or the beginning of an id. */
export function short(name: string): string {
  return name.includes("@") ? name.split("@")[0] : name.slice(0, 8);
}
