// What the page and its worker say to each other, and tabs among themselves.

import type { Blocked, Conversation, DeviceReport, Evidence, Failure, Found, Gap, HistoryItem, LinkReport, MessageReport, Page, PushTestReport, ReceivedMessage, Request, Settings, Status } from "@roost/client";

/** Everything that a screen shows at one moment. */
export interface Snapshot {
  status: Status;
  conversations: Conversation[];
  requests: Request[];
  settings: Settings;
  gaps: Gap[];
  blocked: Blocked[];
  /** Which pictures the accounts have that are on the screen. */
  pictures: Record<string, string>;
  /** The conversation that is open, newest message first; whether there are newer and older ones. */
  talk: { id: string; items: HistoryItem[]; newer: boolean; older: boolean } | null;
  /** Whether the archive was read to its end. */
  caughtUp: boolean;
}

/** What is asked of the device: a method of the core, or one of the worker's own. */
export interface Call {
  id: string;
  method: string;
  args: unknown[];
}

export type Answer = { id: string; value?: unknown; error?: Failure };

export type Stage =
  /** Nothing is kept here yet. */
  | { is: "empty" }
  /** A device is open, here or in another tab. */
  | { is: "open" }
  /** The account has ended this device. */
  | { is: "revoked" }
  /** The store cannot be used. */
  | { is: "broken"; error: Failure };

export type News =
  | { news: "stage"; stage: Stage }
  | { news: "changed" }
  | { news: "message"; message: ReceivedMessage }
  | { news: "digits"; digits: string };

/** The worker's own methods, beside those of the core. */
export interface Own {
  stage(): Stage;
  /** From one message on, or the newest; `max` at most. */
  snapshot(open: string | null, from: string | null, max: number): Snapshot;
  signUp(server: string, handle: string, invite: string | undefined): { handle: string; recoveryCode: string };
  link(code: string, name: string): void;
  restore(server: string, code: string, revokeOthers: boolean): void;
  lookup(handle: string): string;
  forget(): void;
  intent(number: number): { done: boolean; error: Failure | null } | undefined;
  devices(): DeviceReport[];
  linkAsked(): LinkReport | undefined;
  report(id: string): MessageReport | undefined;
  pushKey(): Uint8Array;
  pushTest(): PushTestReport;
  history(of: string, before: string | undefined, max: number): Page;
  evidence(who: string): Evidence;
  /** Messages that hold every word; `ready` once all have been read. */
  search(text: string, of: string | undefined, max: number): Found & { ready: boolean };
}
