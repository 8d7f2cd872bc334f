// What the page and its worker say to each other, and tabs among themselves.

import type { Conversation, DeviceReport, Failure, Gap, LinkReport, MessageReport, Page, PushTestReport, ReceivedMessage, Request, Settings, Status } from "@roost/client";

/** Everything that a screen shows at one moment. */
export interface Snapshot {
  status: Status;
  conversations: Conversation[];
  requests: Request[];
  settings: Settings;
  gaps: Gap[];
  /** The conversation that is open, newest message first. */
  talk: { id: string; page: Page } | null;
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
  snapshot(open: string | null, max: number): Snapshot;
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
}
