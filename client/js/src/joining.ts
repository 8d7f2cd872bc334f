// How a store becomes a device of an account. Each returns once the first rows are durable; a try that fails leaves none.

import { Link, Restore, SignUp, loaded } from "./core.ts";
import type { RowStore } from "./rows.ts";
import { Socket } from "./socket.ts";

/** How long the home may take for an answer, ms. */
const ANSWER_MS = 20_000;
/** How long a person may take to compare digits on two screens, ms: `link_ms` of the protocol. */
const LINK_MS = 120_000;

export interface Joined {
  account: string;
  device: string;
  handle: string;
}

async function greeted<T>(server: string, then: (socket: Socket, hello: Uint8Array) => Promise<T>): Promise<T> {
  await loaded();
  const socket = await Socket.connect(server);
  try {
    return await then(socket, await socket.next(ANSWER_MS));
  } finally {
    socket.close();
  }
}

/** Signs up at `server` by an invite. The recovery code is shown once: it is the only way back when all devices are lost. */
export function signUp(
  store: RowStore,
  server: string,
  handle: string,
  invite?: string,
): Promise<Joined & { recoveryCode: string }> {
  return greeted(server, async (socket, hello) => {
    const signing = new SignUp(hello, server, handle, invite);
    socket.send(signing.frame());
    const answer = await socket.next(ANSWER_MS);
    const rows = signing.answered(answer, await store.key(), Date.now());
    await store.commit(rows.puts, rows.deletes);
    return { ...(signing.joined() as Joined), recoveryCode: signing.recoveryCode };
  });
}

/** Becomes a device of the account whose other device shows `code`. `compare` is given the digits that it shows, too. */
export async function link(
  store: RowStore,
  code: string,
  name: string,
  compare: (digits: string) => void,
): Promise<void> {
  await loaded();
  await greeted(Link.serverOf(code), async (socket, hello) => {
    const linking = new Link(hello, code, name);
    socket.send(linking.frame());
    const key = await store.key();
    const until = Date.now() + LINK_MS;
    let compared = false;
    for (;;) {
      const rows = linking.answered(await socket.next(Math.max(1, until - Date.now())), key, Date.now());
      if (!compared) compare(linking.digits);
      compared = true;
      if (rows) return store.commit(rows.puts, rows.deletes);
    }
  });
}

/** Brings an account back by its recovery code; `revokeOthers` ends its other devices. */
export function restore(store: RowStore, server: string, code: string, revokeOthers: boolean): Promise<void> {
  return greeted(server, async (socket, hello) => {
    const restoring = new Restore(hello, server, code, revokeOthers);
    socket.send(restoring.frame());
    socket.send(restoring.fetched(await socket.next(ANSWER_MS)));
    const rows = restoring.answered(await socket.next(ANSWER_MS), await store.key(), Date.now());
    await store.commit(rows.puts, rows.deletes);
  });
}
