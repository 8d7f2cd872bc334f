// Files: sealed and opened in parts, carried over HTTP with the tickets that the core hands out, kept sealed until nobody needs them.
//
// The caller gives plain Blobs and gets plain Blobs; everything that is kept or sent in between is sealed.

import { FileSealer, loaded } from "./core.ts";
import type { Device } from "./core.ts";
import type { Beside, CoreEvent, Failure, OutgoingFile, Refusal, Transfer } from "./types.ts";

/** Bytes that travel at once: `blob_part_bytes_max`. */
const PART_BYTES = 512 * 1024;
/** A part is carried within this, ms, or tried again: as long as the door is patient. */
const PART_MS = 30_000;
/** Bytes of a file that are read and sealed at once. */
const READ_BYTES = 1024 * 1024;

/** Where sealed bytes are kept until the home has them. */
export interface FileStore {
  put(blob: string, sealed: Blob): Promise<void>;
  get(blob: string): Promise<Blob | undefined>;
  delete(blob: string): Promise<void>;
  /** The names of all that are kept. */
  names(): Promise<string[]>;
}

/** Keeps them in memory: an upload then does not survive the page. */
export class MemoryFiles implements FileStore {
  private readonly kept = new Map<string, Blob>();
  async put(blob: string, sealed: Blob) {
    this.kept.set(blob, sealed);
  }
  async get(blob: string) {
    return this.kept.get(blob);
  }
  async delete(blob: string) {
    this.kept.delete(blob);
  }
  async names() {
    return [...this.kept.keys()];
  }
}

/** What a session offers to files. */
export interface FileHost {
  act<T>(act: (device: Device) => T): Promise<T>;
  server(): string;
}

export interface FetchOptions {
  onProgress?: (transfer: Transfer) => void;
  /** Ends the fetch; what has come is kept for another try in this session. */
  signal?: AbortSignal;
}

type Wanted = { parts: Uint8Array[]; have: number; watchers: Set<Watcher> };
type Watcher = { done: () => void; failed: (error: unknown) => void; progress?: (transfer: Transfer) => void };
type Event<Type> = Extract<CoreEvent, { type: Type }>;

const failure = (code: string, message: string, hint: string): Failure => ({ code, message, hint });

export class Files {
  private readonly wanted = new Map<string, Wanted>();
  private readonly sending = new Map<string, (transfer: Transfer) => void>();

  constructor(
    private readonly host: FileHost,
    private readonly store: FileStore,
  ) {}

  /** Removes what an earlier page left behind that nobody needs. */
  async tidy() {
    const needed = new Set(await this.host.act((device) => device.stagedBlobs()));
    for (const blob of await this.store.names()) if (!needed.has(blob)) await this.store.delete(blob);
  }

  /** Seals a file, keeps it, and says it: its bytes go to the home first. The message's id, once both are kept here. */
  async send(
    to: string,
    file: OutgoingFile,
    beside?: Beside,
    onProgress?: (transfer: Transfer) => void,
  ): Promise<string> {
    await loaded();
    const { bytes, thumbnail, ...about } = file;
    const sealer = new FileSealer(bytes.size);
    const sealed: Uint8Array[] = [];
    try {
      for (let at = 0; at < bytes.size; at += READ_BYTES) {
        const part = new Uint8Array(await bytes.slice(at, at + READ_BYTES).arrayBuffer());
        sealed.push(sealer.write(part));
      }
      sealed.push(sealer.finish());
      const blob = sealer.blob as string;
      await this.store.put(blob, new Blob(sealed as BlobPart[]));
      const said = { ...about, size: bytes.size, blob };
      try {
        const id = await this.host.act((device) => device.sendFile(to, sealer.key, thumbnail, said, beside));
        if (onProgress) this.sending.set(id, onProgress);
        return id;
      } catch (error) {
        await this.store.delete(blob);
        throw error;
      }
    } finally {
      sealer.free();
    }
  }

  /** Takes back a file that was not sent yet. */
  cancel(message: string): Promise<void> {
    return this.host.act((device) => device.cancelFile(message));
  }

  /** Fetches the file of a message and opens it. Nothing of it is given unless all of it is what its author sealed. */
  async fetch(message: string, { onProgress, signal }: FetchOptions = {}): Promise<Blob> {
    const wanted = this.wanted.get(message) ?? { parts: [], have: 0, watchers: new Set<Watcher>() };
    this.wanted.set(message, wanted);
    const total = await this.host.act((device) => device.fetchFile(message, wanted.have));
    if (wanted.have < total) await this.come(message, wanted, onProgress, signal);
    else await this.host.act((device) => device.stopFetching(message));
    const opener = await this.host.act((device) => device.fileOpener(message));
    const opened: Uint8Array[] = [];
    try {
      for (const part of wanted.parts) opened.push(opener.write(part));
      opener.finish();
    } finally {
      opener.free();
      this.wanted.delete(message);
    }
    return new Blob(opened as BlobPart[]);
  }

  private come(
    message: string,
    wanted: Wanted,
    progress: FetchOptions["onProgress"],
    signal?: AbortSignal,
  ): Promise<void> {
    return new Promise((done, failed) => {
      const watcher: Watcher = { done, failed, ...(progress && { progress }) };
      wanted.watchers.add(watcher);
      const abort = () => {
        wanted.watchers.delete(watcher);
        if (wanted.watchers.size === 0) void this.host.act((device) => device.stopFetching(message));
        failed(failure("cancelled", "the file is not wanted any more", "what has come is kept for another try"));
      };
      if (signal?.aborted) return abort();
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** What the core says about files; the session hands it on. */
  happened(event: CoreEvent) {
    switch (event.type) {
      case "upload":
        return void this.upload(event);
      case "download":
        return void this.download(event);
      case "unstage":
        return void this.store.delete(event.blob);
      case "transferred":
        return void this.tell(event.message);
      case "fetched":
        return this.fetched(event.message, event.error);
    }
  }

  private async tell(message: string) {
    const transfers = (await this.host.act((device) => device.transfers())) as Transfer[];
    const transfer = transfers.find((one) => one.message === message);
    if (!transfer) return void this.sending.delete(message);
    this.sending.get(message)?.(transfer);
    for (const { progress } of this.wanted.get(message)?.watchers ?? []) progress?.(transfer);
  }

  private fetched(message: string, error: Refusal | null) {
    const wanted = this.wanted.get(message);
    for (const watcher of wanted?.watchers ?? []) error ? watcher.failed(error) : watcher.done();
    wanted?.watchers.clear();
    if (error) this.wanted.delete(message);
  }

  private async upload({ blob, bytes, offset, ticket }: Event<"upload">) {
    const [have, missing] = await this.put(blob, bytes, offset, ticket).catch(() => [undefined, false] as const);
    await this.host.act((device) => device.uploaded(blob, have, missing)).catch(() => undefined);
  }

  private async put(
    blob: string,
    bytes: number,
    offset: number,
    ticket: string,
  ): Promise<readonly [number | undefined, boolean]> {
    const sealed = await this.store.get(blob);
    if (!sealed || sealed.size !== bytes) return [undefined, true];
    const answer = await this.ask("PUT", blob, ticket, { body: sealed.slice(offset, offset + PART_BYTES) });
    return answer.ok ? [((await answer.json()) as { have: number }).have, false] : [undefined, false];
  }

  private async download({ message, blob, offset, ticket }: Event<"download">) {
    const have = await this.get(message, blob, offset, ticket).catch(() => undefined);
    await this.host.act((device) => device.downloaded(message, have, false)).catch(() => undefined);
  }

  private async get(message: string, blob: string, offset: number, ticket: string): Promise<number | undefined> {
    const wanted = this.wanted.get(message);
    if (!wanted) return undefined;
    if (wanted.have !== offset) return wanted.have;
    const answer = await this.ask("GET", blob, ticket, { headers: { range: `bytes=${offset}-` } });
    if (answer.status !== 206) return undefined;
    const part = new Uint8Array(await answer.arrayBuffer());
    if (part.length === 0 || part.length > PART_BYTES || wanted.have !== offset) return undefined;
    wanted.parts.push(part);
    return (wanted.have += part.length);
  }

  private ask(method: string, blob: string, ticket: string, more: RequestInit): Promise<Response> {
    const headers = { ...(more.headers as Record<string, string>), authorization: `Roost-Ticket ${ticket}` };
    return fetch(`${this.host.server().replace(/\/+$/, "")}/v1/blobs/${blob}`, {
      ...more,
      method,
      headers,
      // No cookie is ever of use here, and no cache may keep a part.
      credentials: "omit",
      cache: "no-store",
      signal: AbortSignal.timeout(PART_MS),
    });
  }
}
