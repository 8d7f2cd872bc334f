// A bot that says back what it is told: `node examples/echo.mjs http://127.0.0.1:8080 echo INVITE`.
// It keeps nothing: each start is a new account. A bot that lives longer has a RowStore of its own.

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { MemoryRows, Session, load, signUp } from "@roost/client";

const [server, name, invite] = process.argv.slice(2);
if (!server || !name) {
  console.error("usage: node echo.mjs SERVER NAME [INVITE]");
  process.exit(2);
}

// Node 22 has a WebSocket; Node 20 takes that of the package ws.
const sockets = globalThis.WebSocket ?? (await import("ws")).WebSocket;
await load(readFile(fileURLToPath(import.meta.resolve("@roost/client/roost.wasm"))), sockets);

const store = new MemoryRows();
const { handle } = await signUp(store, server, name, invite);
const session = await Session.open(store);
// A bot talks with whoever writes to it.
await session.act((device) => device.setSettings({ ...device.settings(), accept_strangers: true }));

session.on("message", async ({ id, conversation, from, kind, text }) => {
  try {
    await session.act((device) => {
      // Of two, the other is written to; of many, the conversation.
      const { to } = device.conversations().find((one) => one.id === conversation) ?? { to: from };
      if (kind === "text" || kind === "rich_text") device.send(to, `You said: ${text}`);
      device.markShown(id);
    });
  } catch (error) {
    console.error(`${from}: ${error.message ?? error}`);
  }
});
session.on("failed", (error) => {
  console.error(error.message);
  process.exit(1);
});

console.log(JSON.stringify({ event: "ready", handle }));
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    session.close();
    process.exit(0);
  });
}
