// What the page shows, and what it does about it.

import type { Conversation, Failure, HistoryItem } from "@roost/client";
import { act, ask, onNews } from "./device/device";
import type { Snapshot, Stage } from "./device/wire";
import { tick } from "svelte";
import { en } from "./words/en";
import { languages, phrase, preferred, type Language, type Word, type Words } from "./words";

/** Messages that a conversation shows first, and more each time. */
const PAGE = 60;
/** Messages of a conversation that the page holds at a time, however many there are. */
const WINDOW = 300;
/** Changes within this are shown together, ms. */
const TOGETHER_MS = 30;
/** A connection may be gone for so long before that is said, ms: a node that starts anew is no news. */
const OFFLINE_MS = 2_500;

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
  language = $state<Language>("en");
  private words = $state.raw<Words>(en);
  /** No connection for so long that it is said. */
  offline = $state(false);
  /** A newer version of the page waits to be used. */
  update = $state.raw<(() => void) | null>(null);
  /** The conversation that is searched; `null`: all are. */
  scope = $state.raw<{ place: string; name: string } | null>(null);
  /** A message that is to be looked at. */
  sought = $state<string | null>(null);
  /** The oldest message that is held; `null`: the newest ones are. */
  private from = $state<string | null>(null);
  private most = $state(WINDOW);

  private due: ReturnType<typeof setTimeout> | undefined;
  private late: ReturnType<typeof setTimeout> | undefined;
  private loading: Promise<void> | null = null;
  private again = false;

  readonly conversations = $derived(this.snapshot?.conversations ?? []);
  readonly current = $derived(this.starting ?? this.conversations.find((one) => one.id === this.open) ?? null);
  private readonly talk = $derived(this.snapshot?.talk?.id === this.open ? (this.snapshot?.talk ?? null) : null);
  /** Oldest first. */
  readonly items = $derived<HistoryItem[]>(
    (this.talk?.items ?? []).filter((item) => !this.from || item.id >= this.from).reverse().slice(0, this.most),
  );
  readonly hasOlder = $derived(this.talk?.older ?? false);
  readonly hasNewer = $derived(this.talk?.newer ?? false);
  readonly unread = $derived(this.conversations.reduce((sum, one) => sum + one.unread, 0));

  constructor() {
    void this.setLanguage(stored("language", preferred(navigator.languages)));
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

  /** A word in the person's language, about something: a name, or how many; and something else. */
  say(word: Word, about: string | number = "", also = ""): string {
    return phrase(this.words, this.language, word, about, also);
  }

  async setLanguage(language: Language) {
    const known = language in languages ? language : "en";
    this.words = await languages[known].load();
    this.language = known;
  }

  chooseLanguage(language: Language) {
    localStorage.setItem("language", language);
    void this.setLanguage(language);
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
    this.from = this.sought = null;
    this.most = WINDOW;
    this.pane = this.pane === "settings" ? null : this.pane;
    await this.load();
    const current = this.current;
    if (current?.account) void act("watch", current.account).catch(() => undefined);
    await this.read();
  }

  /** Opens a conversation at one of its messages. */
  async showAt(id: string, message: string) {
    if (this.open !== id) await this.show(id);
    const place = this.current?.account ?? id;
    const before = await ask("history", place, message, PAGE / 2).catch(() => null);
    this.sought = message;
    this.from = before?.items.at(-1)?.id ?? message;
    await this.load();
    if (!this.items.some((item) => item.id === message)) this.sought = null;
  }

  /** A conversation of two that may have nothing in it yet. */
  beginWith(handle: string, account: string) {
    const known = this.conversations.find((one) => one.account === account);
    if (known) return void this.show(known.id);
    const nothing = { name: null, picture: null, unread: 0, mentioned: 0, expires_after_s: null, newest: null, blocked: false };
    const unknown = { verified: false, key_changed: false, typing: [], presence: null, warnings: [], draft: null, group: null };
    this.starting = { id: account, to: handle, account, ...nothing, ...unknown };
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

  /** Holds older messages, and lets the newest go where there are too many. `grows` is called when those on top change. */
  async older(grows: () => void) {
    const oldest = this.items[0]?.id;
    const place = this.current?.account ?? this.open;
    if (!oldest || !place || !this.hasOlder) return;
    const { items } = await ask("history", place, oldest, PAGE);
    if (items.length === 0 || this.items[0]?.id !== oldest) return;
    this.most = WINDOW - PAGE;
    await tick();
    grows();
    this.from = items.at(-1)?.id ?? null;
    this.most = WINDOW;
    await this.load();
    await tick();
  }

  /** Holds newer messages, and lets the oldest go where there are too many. `shrinks` is called when those on top change. */
  async newer(shrinks: (on: boolean) => void) {
    if (!this.hasNewer) return;
    if (this.items.length > WINDOW - PAGE) {
      shrinks(true);
      this.from = this.items[PAGE]?.id ?? null;
      await tick();
      shrinks(false);
    }
    await this.load();
    await tick();
  }

  async toNewest() {
    this.from = this.sought = null;
    await this.load();
  }

  /** The name of the picture of an account on the screen. */
  pictureOf(account: string | null | undefined): string | null {
    return (account && this.snapshot?.pictures[account]) || null;
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

  /** What comes is added below: as long as all newer ones are held, the oldest of them stays where it is. */
  private follow() {
    const talk = this.talk;
    if (!this.from && talk && talk.items.length > 0) this.from = talk.items.at(-1)?.id ?? null;
    if (this.snapshot?.status.connected) {
      clearTimeout(this.late);
      this.late = undefined;
      this.offline = false;
    } else {
      this.late ??= setTimeout(() => (this.offline = true), OFFLINE_MS);
    }
  }

  private watchNoLonger() {
    const account = this.current?.account;
    if (account) void act("unwatch", account).catch(() => undefined);
  }

  /** Looks again; returns once what is shown is not older than the call. */
  private load(): Promise<void> {
    this.again = true;
    this.loading ??= this.lookUntilNew().finally(() => (this.loading = null));
    return this.loading;
  }

  private async lookUntilNew() {
    while (this.again && this.stage?.is === "open") {
      this.again = false;
      const { open, from } = this;
      try {
        this.snapshot = await ask("snapshot", open, from, WINDOW);
      } catch (error) {
        this.notice = explain(error);
        return;
      }
      // The person may have gone elsewhere meanwhile.
      if (open !== this.open || from !== this.from) continue;
      this.follow();
      const begun = this.starting && this.snapshot.conversations.find((one) => one.account === this.starting?.account);
      if (begun) {
        this.open = begun.id;
        this.starting = null;
        this.again = true;
      }
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
