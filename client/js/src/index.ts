// A Roost device for pages and Node: the client core as WebAssembly.
//
//   await load(wasm); const store = new MemoryRows();
//   await signUp(store, "http://127.0.0.1:8080", "robin", invite);
//   const session = await Session.open(store);
//   session.on("message", (message) => …);
//   await session.act((device) => device.send("bob@birch", "hello"));
//   const id = await session.files.send("bob@birch", { bytes: file, name: file.name, media_type: "image/png" });
//   const picture: Blob = await session.files.fetch(message.id, { onProgress: ({ done, total }) => … });

export { load } from "./core.ts";
export { Files, MemoryFiles, type FetchOptions, type FileStore } from "./files.ts";
export { link, restore, signUp, type Joined } from "./joining.ts";
export { MemoryRows, type RowStore } from "./rows.ts";
export { Session, type SessionEvents } from "./session.ts";
export type { SocketClass } from "./socket.ts";
export type * from "./types.ts";
