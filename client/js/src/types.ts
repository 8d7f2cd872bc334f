// What the core says, as plain objects: the fields of its reports (client/wasm/src/view.rs).
// Times are milliseconds since 1970, ids lower-case hex.

/** How far a message of ours came; `refused` is outside the order. */
export type State = "queued" | "accepted" | "custody" | "delivered" | "refused";

export interface Failure {
  code: string;
  message: string;
  hint: string;
}

export interface Refusal {
  code: string;
  message: string;
  hint: string;
  retry_after_ms?: number | null;
}

export interface Mark {
  by: string;
  at: number;
}

/** What an author says of a file. Nothing of it is proven: `name` is no path, `media_type` no promise. */
export interface FileView {
  name: string;
  media_type: string;
  /** Bytes. */
  size: number;
  /** The name of its sealed bytes. */
  blob: string;
  width: number | null;
  height: number | null;
  duration_ms: number | null;
  /** A small JPEG, PNG or WebP, base64url without padding; it came with the message. */
  thumbnail: string | null;
}

/** How far the sealed bytes of a file have come. */
export interface Transfer {
  message: string;
  blob: string;
  /** Whether they come here; else they go. */
  incoming: boolean;
  /** Sealed bytes that are carried; somewhat more than the file has. */
  done: number;
  total: number;
}

/** A file to be said: `session.files.send`. */
export interface OutgoingFile {
  /** Its content: at most 100 MiB. A picture is best drawn anew first, so that nothing of what a camera wrote goes along. */
  bytes: Blob;
  /** One part of a path: no slash, no control character, at most 255 bytes of UTF-8. */
  name: string;
  /** `type/subtype`, lower case, without parameters. */
  media_type: string;
  /** A small JPEG, PNG or WebP of at most 8 KiB. */
  thumbnail?: Uint8Array;
  width?: number;
  height?: number;
  duration_ms?: number;
  /** What is said about it, at most 4 KiB. */
  caption?: string;
}

export interface HistoryItem {
  id: string;
  conversation: string;
  with: string;
  from: string;
  own: boolean;
  kind: string;
  text: string;
  /** Of a message of kind `file`; `text` is its caption. */
  file: FileView | null;
  reply: string | null;
  mentions: string[];
  edited: boolean;
  deleted: boolean;
  expired: boolean;
  expires_at: number | null;
  /** Of a `timer`: seconds after which what is said from then on goes, 0 for never. */
  timer_s: number | null;
  reactions: { from: string; emoji: string }[];
  unread: boolean;
  sent_at: number;
  received_at: number;
  state: State | null;
  delivered: Mark[];
  read: Mark[];
  payload_hash: string | null;
}

export interface Page {
  items: HistoryItem[];
  before: string | null;
}

/** Messages from one on, newest first. */
export interface Stretch {
  items: HistoryItem[];
  /** Whether there are newer ones. */
  more: boolean;
}

/** Messages that hold every word of what was asked for, newest first. */
export interface Found {
  items: HistoryItem[];
  /** How many there are. */
  all: number;
}

export interface Participant {
  name: string;
  account: string;
  role: "admin" | "member";
  devices: number;
}

export interface Group {
  conversation: string;
  title: string;
  description: string;
  expires_after_s: number | null;
  epoch: number;
  term: number;
  hub: string;
  successors: string[];
  standing: boolean;
  over: boolean;
  participants: Participant[];
}

/** Something about a conversation that is not as it should be. */
export type Warning = { conversation: string; since: number } & (
  | { warning: "rule_broken"; hub: string; epoch: number; by: string; reason: string }
  | { warning: "told_otherwise"; node: string; said_by: string }
  | { warning: "old_log"; of: string }
  | { warning: "branched_log"; of: string }
);

export interface Presence {
  account: string;
  state: "online" | "away" | "unknown";
  last_active_at: number | null;
  heard_at: number | null;
}

export interface Conversation {
  id: string;
  /** What `send` takes for it. */
  to: string;
  account: string | null;
  name: string | null;
  /** Which picture it is shown as: another one is called otherwise. */
  picture: string | null;
  unread: number;
  /** Those of them that mention us. */
  mentioned: number;
  expires_after_s: number | null;
  newest: HistoryItem | null;
  blocked: boolean;
  verified: boolean;
  key_changed: boolean;
  typing: string[];
  presence: Presence | null;
  draft: string | null;
  warnings: Warning[];
  group: Group | null;
}

/** Somebody of whom nothing is shown. */
export interface Blocked {
  account: string;
  name: string;
}

/** What somebody wrote, for whoever judges a complaint. */
export interface Evidence {
  account: string;
  from: string;
  root: string | null;
  messages: HistoryItem[];
}

export interface Request {
  account: string;
  conversation: string | null;
  from: string;
  name: string | null;
  text: string;
  messages: number;
  received_at: number;
}

export interface Settings {
  accept_strangers: boolean;
  read_receipts: boolean;
  delivery_receipts: boolean;
  profile: string | null;
  backup: boolean;
  presence: boolean;
}

export interface DeviceReport {
  device: string;
  name: string;
  current: boolean;
  since_seq: number;
}

export interface LinkReport {
  device: string;
  name: string;
  digits: string;
}

export interface Status {
  handle: string;
  account: string;
  device: string;
  connected: boolean;
  homes: string[];
  outbox: number;
  conversations: number;
}

export interface MessageReport {
  id: string;
  conversation: string | null;
  to: string;
  state: State;
  submitted_at: number;
  accepted_at: number | null;
  custody_at: number | null;
  delivered_at: number | null;
  error: Refusal | null;
}

export interface ReceivedMessage {
  id: string;
  conversation: string;
  from: string;
  name: string | null;
  device: string;
  kind: string;
  text: string;
  file: FileView | null;
  reply: string | null;
  mentions: string[];
  expires_after_s: number | null;
  timer_s: number | null;
  sent_at: number;
  received_at: number;
}

export interface Gap {
  conversation: string | null;
  message: string;
  reason: string;
}

/** What a text may have beside its words. */
export interface Beside {
  reply?: string;
  /** Accounts; left out, whom the text names like @bob@birch. */
  mentions?: string[];
  expires_after_s?: number;
}

/** How it stands with being woken while nothing is connected. */
export interface PushReport {
  endpoint: string | null;
  /** The home knows what was chosen. */
  known: boolean;
  /** Whether the home wakes anybody; null while that is not known. */
  offered: boolean | null;
  muted: string[];
  error: Refusal | null;
}

/** The leg of a push that failed, in the order of its way. */
export type PushLeg = "ok" | "endpoint" | "resolve" | "address" | "connect" | "tls" | "answer" | "status";

export interface PushTestReport {
  leg: PushLeg;
  status: number | null;
  message: string;
}

/** What happened, as the core tells it. */
export type CoreEvent =
  | { type: "changed" }
  | { type: "message"; message: ReceivedMessage }
  | { type: "looked_up"; handle: string; account: string | null; error: Refusal | null }
  | { type: "signed_in" }
  | { type: "revoked" }
  | { type: "upload"; blob: string; bytes: number; offset: number; ticket: string }
  | { type: "download"; message: string; blob: string; bytes: number; offset: number; ticket: string }
  | { type: "transferred"; message: string }
  | { type: "fetched"; message: string; error: Refusal | null }
  | { type: "unstage"; blob: string };
