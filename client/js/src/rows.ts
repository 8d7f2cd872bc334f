// Where a device's rows are kept: their keys in the clear, their values sealed by the core.

/** A store of rows. One session has it at a time. */
export interface RowStore {
  /** The key that the values are sealed under; made once, and kept where nothing else reads it. */
  key(): Promise<Uint8Array>;
  /** All rows: keys and values by their place. */
  load(): Promise<{ keys: Uint8Array[]; values: Uint8Array[] }>;
  /** Stores in one transaction; returns once it is durable. `puts` are alternately keys and values. */
  commit(puts: Uint8Array[], deletes: Uint8Array[]): Promise<void>;
  /** Everything goes, the key too. */
  destroy(): Promise<void>;
}

const name = (key: Uint8Array) => Array.from(key, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Rows in memory, for tests and for bots that begin anew each time. */
export class MemoryRows implements RowStore {
  private rows = new Map<string, [Uint8Array, Uint8Array]>();
  private secret = crypto.getRandomValues(new Uint8Array(32));

  async key() {
    return this.secret;
  }

  async load() {
    const rows = [...this.rows.values()];
    return { keys: rows.map(([key]) => key), values: rows.map(([, value]) => value) };
  }

  async commit(puts: Uint8Array[], deletes: Uint8Array[]) {
    for (const key of deletes) this.rows.delete(name(key));
    for (let at = 0; at < puts.length; at += 2) this.rows.set(name(puts[at]), [puts[at], puts[at + 1]]);
  }

  async destroy() {
    this.rows.clear();
    this.secret = crypto.getRandomValues(new Uint8Array(32));
  }
}
