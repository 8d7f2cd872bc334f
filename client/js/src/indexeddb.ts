// Rows in the browser. The key of the rows lies wrapped by a WebCrypto key that no script can read out; a batch is one
// transaction with strict durability.

import { openDB, type DBSchema, type IDBPDatabase } from "idb";
import type { FileStore } from "./files.ts";
import type { RowStore } from "./rows.ts";

interface Schema extends DBSchema {
  rows: { key: ArrayBuffer; value: Uint8Array };
  keys: { key: string; value: CryptoKey | { iv: Uint8Array; wrapped: ArrayBuffer } };
}

/** The version of the object stores. */
const VERSION = 1;

const buffer = (bytes: Uint8Array) => bytes.slice().buffer as ArrayBuffer;

export class IndexedRows implements RowStore {
  private constructor(
    private readonly database: IDBPDatabase<Schema>,
    private readonly name: string,
  ) {}

  /** Opens the database `name`, which is made if there is none. */
  static async open(name: string): Promise<IndexedRows> {
    const database = await openDB<Schema>(name, VERSION, {
      upgrade(database) {
        database.createObjectStore("rows");
        database.createObjectStore("keys");
      },
    });
    return new IndexedRows(database, name);
  }

  async key(): Promise<Uint8Array> {
    const wrapping = await this.database.get("keys", "wrapping");
    const held = await this.database.get("keys", "rows");
    if (wrapping instanceof CryptoKey && held && !(held instanceof CryptoKey)) {
      const opened = await crypto.subtle.decrypt({ name: "AES-GCM", iv: held.iv as BufferSource }, wrapping, held.wrapped);
      return new Uint8Array(opened);
    }
    const made = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
    const secret = crypto.getRandomValues(new Uint8Array(32));
    const iv = crypto.getRandomValues(new Uint8Array(12));
    const wrapped = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, made, secret);
    const transaction = this.database.transaction("keys", "readwrite", { durability: "strict" });
    await transaction.store.put(made, "wrapping");
    await transaction.store.put({ iv, wrapped }, "rows");
    await transaction.done;
    return secret;
  }

  async load() {
    const transaction = this.database.transaction("rows", "readonly");
    const [keys, values] = await Promise.all([transaction.store.getAllKeys(), transaction.store.getAll()]);
    await transaction.done;
    return { keys: keys.map((key) => new Uint8Array(key)), values };
  }

  async commit(puts: Uint8Array[], deletes: Uint8Array[]) {
    const transaction = this.database.transaction("rows", "readwrite", { durability: "strict" });
    for (const key of deletes) void transaction.store.delete(buffer(key));
    for (let at = 0; at < puts.length; at += 2) void transaction.store.put(puts[at + 1], buffer(puts[at]));
    await transaction.done;
  }

  async destroy() {
    this.database.close();
    await new Promise<void>((resolve, reject) => {
      const gone = indexedDB.deleteDatabase(this.name);
      gone.onsuccess = () => resolve();
      gone.onerror = () => reject(gone.error);
    });
  }
}

interface FilesSchema extends DBSchema {
  sealed: { key: string; value: Blob };
}

/** Sealed bytes of files that are being sent, beside the rows: under the name `name`. */
export class IndexedFiles implements FileStore {
  private constructor(private readonly database: IDBPDatabase<FilesSchema>) {}

  static async open(name: string): Promise<IndexedFiles> {
    const upgrade = (database: IDBPDatabase<FilesSchema>) => void database.createObjectStore("sealed");
    return new IndexedFiles(await openDB<FilesSchema>(name, VERSION, { upgrade }));
  }

  async put(blob: string, sealed: Blob) {
    const transaction = this.database.transaction("sealed", "readwrite", { durability: "strict" });
    await transaction.store.put(sealed, blob);
    await transaction.done;
  }

  get(blob: string) {
    return this.database.get("sealed", blob);
  }

  delete(blob: string) {
    return this.database.delete("sealed", blob);
  }

  names() {
    return this.database.getAllKeys("sealed");
  }
}
