// The core, loaded once.

import init, { Device, FileOpener, FileSealer, Link, Restore, SignUp, type InitInput } from "../wasm/roost.js";
import { useSockets, type SocketClass } from "./socket.ts";

let loading: Promise<void> | null = null;

/** Loads the module, once: from its address in a page, from its bytes in Node. Node before 22 has no WebSocket of its own. */
export function load(module: InitInput | Promise<InitInput>, sockets?: SocketClass): Promise<void> {
  if (sockets) useSockets(sockets);
  loading ??= init({ module_or_path: module }).then(() => undefined);
  return loading;
}

/** Waits until the module is there. */
export function loaded(): Promise<void> {
  return loading ?? Promise.reject({ code: "not_loaded", message: "the core is not loaded", hint: "call load first" });
}

export { Device, FileOpener, FileSealer, Link, Restore, SignUp };
