// The owner of a device: gathers what happens, commits what it changed, then lets the outputs leave. Decides nothing.

import { Device, loaded } from "./core.ts";
import { Files, MemoryFiles, type FileStore } from "./files.ts";
import type { RowStore } from "./rows.ts";
import { Socket } from "./socket.ts";
import type { CoreEvent, Failure, PushTestReport, ReceivedMessage, Refusal } from "./types.ts";

/** First and longest pause between two tries to connect, ms. */
const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 10_000;
/** How long an answer of the home is waited for after the last change, ms. */
const ANSWER_MS = 60_000;
/** The longest time that a timer takes, ms. */
const TIMER_MS_MAX = 2_147_483_647;

export interface SessionEvents {
  /** Something that a screen shows is another than before. */
  change: void;
  /** A message to be shown; `markShown` it then. */
  message: ReceivedMessage;
  /** The account has ended this device: nothing more is possible with its rows but reading. */
  revoked: void;
  /** The session cannot go on. */
  failed: Failure;
}

type Work = { act: (device: Device) => unknown; done: (value: never) => void; failed: (error: unknown) => void };
type Lookup = { found: (account: string) => void; failed: (error: Refusal) => void };

export class Session {
  private work: Work[] = [];
  private settling = false;
  private closed = false;
  private socket: Socket | null = null;
  private pause = PAUSE_MS_MIN;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private lookups = new Map<string, Lookup[]>();
  private listeners: { [Name in keyof SessionEvents]?: Set<(event: SessionEvents[Name]) => void> } = {};

  /** Files: what is sent, what is fetched. */
  readonly files: Files;

  private constructor(
    private device: Device,
    private readonly store: RowStore,
    files: FileStore,
  ) {
    const act = <T>(act: (device: Device) => T) => this.act(act);
    this.files = new Files({ act, server: () => this.device.server }, files);
  }

  /**
   * Opens the device of a store and begins to connect. Nothing waits for the connection. Files that are being sent are kept, sealed,
   * in `files`: in memory unless told, so that they end with the page.
   */
  static async open(store: RowStore, files: FileStore = new MemoryFiles()): Promise<Session> {
    await loaded();
    const { keys, values } = await store.load();
    if (keys.length === 0) {
      throw { code: "no_account", message: "no account is kept here", hint: "sign up, link or restore first" };
    }
    const session = new Session(new Device(keys, values, await store.key(), Date.now()), store, files);
    await session.act(() => undefined);
    await session.files.tidy();
    session.connect();
    return session;
  }

  on<Name extends keyof SessionEvents>(name: Name, listener: (event: SessionEvents[Name]) => void): () => void {
    const set = (this.listeners[name] ??= new Set() as never) as Set<(event: SessionEvents[Name]) => void>;
    set.add(listener);
    return () => void set.delete(listener);
  }

  /** Does something with the device; returns once what it changed is durable. */
  act<T>(act: (device: Device) => T): Promise<T> {
    return new Promise((done, failed) => {
      if (this.closed) return failed({ code: "closed", message: "the session is closed", hint: "open it again" });
      this.work.push({ act, done, failed });
      void this.settle();
    });
  }

  /** Looks somebody up by handle; the account. */
  async lookup(handle: string): Promise<string> {
    const wanted = handle.trim();
    const found = new Promise<string>((found, failed) => {
      this.lookups.set(wanted, [...(this.lookups.get(wanted) ?? []), { found, failed }]);
    });
    await this.act((device) => device.lookup(wanted));
    return found;
  }

  /** The key that the home proves itself with to push services: what a browser subscribes with. */
  async pushKey(): Promise<Uint8Array> {
    await this.act((device) => device.wantPushKey());
    return this.answer((device) => device.pushKey());
  }

  /** Has the home push once, and says how far that came. */
  async testPush(): Promise<PushTestReport> {
    await this.act((device) => device.testPush());
    return this.answer((device) => device.pushTested() as PushTestReport | undefined);
  }

  /** What is there after some change. */
  private async answer<T>(look: (device: Device) => T | undefined): Promise<T> {
    for (;;) {
      // Listened for before it is looked: what changes in between is heard.
      let changed = (_late?: Failure) => {};
      const change = new Promise<Failure | undefined>((done) => (changed = done));
      const off = this.on("change", () => changed());
      const error: Failure = { code: "timed_out", message: "the home did not answer", hint: "try again" };
      const timer = setTimeout(() => changed(error), ANSWER_MS);
      try {
        const found = await this.act(look);
        if (found !== undefined) return found;
        const late = await change;
        if (late) throw late;
      } finally {
        clearTimeout(timer);
        off();
      }
    }
  }

  /** Something may have changed about the network: tries again at once. */
  reconnect() {
    if (this.socket || this.closed) return;
    this.pause = PAUSE_MS_MIN;
    this.connect();
  }

  /** Ends the connection and frees the store. */
  close() {
    this.closed = true;
    clearTimeout(this.retry);
    clearTimeout(this.timer);
    this.socket?.close();
    this.socket = null;
  }

  private connect() {
    clearTimeout(this.retry);
    Socket.connect(this.device.server).then(
      (socket) => {
        if (this.closed || this.socket) return socket.close();
        this.socket = socket;
        void this.act((device) => device.connected()).then(() =>
          socket.begin(
            (frame) => void this.act((device) => device.frame(frame)).catch(() => this.lost(socket)),
            () => this.lost(socket),
          ),
        );
      },
      () => this.lost(null),
    );
  }

  private lost(socket: Socket | null) {
    if (this.closed || (socket && socket !== this.socket)) return;
    const stood = this.socket !== null;
    this.socket?.close();
    this.socket = null;
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), this.pause * (0.75 + Math.random() / 2));
    this.pause = Math.min(this.pause * 2, PAUSE_MS_MAX);
    if (stood) void this.act((device) => device.closed()).catch(() => undefined);
    this.emit("change", undefined);
  }

  /** One batch after the other: what came meanwhile shares the next commit. */
  private async settle() {
    if (this.settling) return;
    this.settling = true;
    try {
      while (this.work.length > 0 && !this.closed) await this.batch();
    } finally {
      this.settling = false;
    }
    this.sleep();
  }

  private async batch() {
    const work = this.work.splice(0);
    this.device.time(Date.now());
    const ended: (() => void)[] = [];
    for (const { act, done, failed } of work) {
      try {
        const value = act(this.device) as never;
        ended.push(() => done(value));
      } catch (error) {
        ended.push(() => failed(error));
        if ((error as Failure).code === "internal") return this.reopen(ended, error as Failure);
      }
    }
    let changed = false;
    try {
      const rows = this.device.finish();
      changed = rows.puts.length + rows.deletes.length > 0;
      if (changed) await this.store.commit(rows.puts, rows.deletes);
    } catch (error) {
      return this.reopen(work.map(({ failed }) => () => failed(error)), error as Failure);
    }
    const { frames, events, disconnect } = this.device.outputs();
    for (const end of ended) end();
    for (const frame of frames as Uint8Array[]) this.socket?.send(frame);
    for (const event of events as CoreEvent[]) changed = this.happened(event) || changed;
    if (disconnect !== undefined && this.socket) this.lost(this.socket);
    if (changed) this.emit("change", undefined);
  }

  /** The device and its rows may differ: what is stored counts. */
  private async reopen(ended: (() => void)[], error: Failure) {
    for (const end of ended) end();
    try {
      const { keys, values } = await this.store.load();
      this.device = new Device(keys, values, await this.store.key(), Date.now());
      if (this.socket) this.lost(this.socket);
    } catch {
      this.close();
      this.emit("failed", error);
    }
  }

  private happened(event: CoreEvent): boolean {
    switch (event.type) {
      case "message":
        this.emit("message", event.message);
        return true;
      case "looked_up": {
        const waiting = this.lookups.get(event.handle) ?? [];
        this.lookups.delete(event.handle);
        for (const { found, failed } of waiting) event.account ? found(event.account) : failed(event.error as Refusal);
        return false;
      }
      case "signed_in":
        this.pause = PAUSE_MS_MIN;
        return true;
      case "revoked":
        this.close();
        this.emit("revoked", undefined);
        return true;
      case "changed":
        return true;
      default:
        this.files.happened(event);
        return true;
    }
  }

  private sleep() {
    clearTimeout(this.timer);
    const at = this.closed ? undefined : this.device.wakeAt();
    if (at === undefined) return;
    const pause = Math.min(Math.max(at - Date.now(), 1), TIMER_MS_MAX);
    this.timer = setTimeout(() => void this.act((device) => device.tick()).catch(() => undefined), pause);
  }

  private emit<Name extends keyof SessionEvents>(name: Name, event: SessionEvents[Name]) {
    for (const listener of this.listeners[name] ?? []) (listener as (event: SessionEvents[Name]) => void)(event);
  }
}
