// A conversation of many messages in a browser: how long it takes to open the page and the conversation, to scroll, to search.
// `node web-bridge/web/bench/long.mjs [--messages 100000]`, with ROOST_BIN at a release build; one JSON object on stdout.

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { MemoryRows, Session, load, signUp } from "@roost/client";
import { WebSocket } from "ws";
import { Person, Town } from "../tests/town.mjs";

const { values } = parseArgs({ options: { messages: { type: "string", default: "100000" } } });
const MESSAGES = Number(values.messages);
/** Messages that a sender has on the way at a time. */
const ON_THE_WAY = 500;
const WORDS = "the heron nests again by a slow river where nobody walks before nine and the map is still at home on a table".split(" ");
const text = (number) => Array.from({ length: 8 }, (_, at) => WORDS[(number * 7 + at * at * 13 + (number >> at)) % WORDS.length]).join(" ");

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const spread = (all) => {
  const sorted = [...all].sort((a, b) => a - b);
  const at = (part) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] * 10) / 10;
  return { p50: at(0.5), p90: at(0.9), max: at(1) };
};

const town = await Town.build();
try {
  await load(readFile(fileURLToPath(import.meta.resolve("@roost/client/roost.wasm"))), WebSocket);
  const store = new MemoryRows();
  await signUp(store, town.birch.web, "writer", await town.birch.invite());
  const writer = await Session.open(store);
  await writer.act((device) => device.setSettings({ ...device.settings(), accept_strangers: true }));
  const reader = await Person.at(town, town.acme);
  reader.page.setDefaultTimeout(3_600_000);
  await reader.signUp("reader");
  await reader.begin(["writer@birch"]);
  await reader.say("Begin.");
  const place = await (async () => {
    for (;;) {
      const found = await writer.act((device) => device.conversations().find((one) => one.to === "reader@acme"));
      if (found) return found.to;
      await sleep(100);
    }
  })();

  const filled = performance.now();
  for (let sent = 0; sent < MESSAGES; ) {
    const outbox = await writer.act((device) => device.status().outbox);
    if (outbox >= ON_THE_WAY) {
      await sleep(20);
      continue;
    }
    const some = Math.min(ON_THE_WAY - outbox, MESSAGES - sent);
    await writer.act((device) => {
      for (let more = 0; more < some; more++) device.send(place, sent + more === (MESSAGES >> 1) ? "a kingfisher in the middle" : text(sent + more));
    });
    sent += some;
    if (sent % 10_000 < some) console.error(`${sent} sent, ${Math.round((performance.now() - filled) / 1_000)} s`);
  }
  await writer.act((device) => device.send(place, "The last one."));
  await reader.reads("The last one.");
  console.error(`all read, ${Math.round((performance.now() - filled) / 1_000)} s`);
  writer.close();

  // The page anew: until the list stands, and until everything can be searched.
  const begun = performance.now();
  await reader.page.reload();
  await reader.page.locator("nav .row", { hasText: "writer" }).waitFor();
  const page_ms = performance.now() - begun;

  // The conversation: from the press until its newest message is painted.
  const opened = await reader.page.evaluate(async () => {
    const row = [...document.querySelectorAll("nav .row")].find((one) => one.textContent.includes("writer"));
    const begun = performance.now();
    row.click();
    while (![...document.querySelectorAll("article")].some((one) => one.textContent.includes("The last one."))) {
      await new Promise((done) => requestAnimationFrame(done));
    }
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - begun;
  });

  // Up through the history, a screen at a time: what a frame takes.
  const frames = await reader.page.evaluate(async () => {
    const list = document.querySelector(".messages");
    const frames = [];
    let before = performance.now();
    for (let step = 0; step < 240; step++) {
      list.scrollTop -= 400;
      await new Promise((done) => requestAnimationFrame(done));
      const now = performance.now();
      frames.push(now - before);
      before = now;
    }
    return frames;
  });
  const elements = await reader.page.locator("article").count();

  // Search: from the question until its answer is there, once everything has been read.
  const search = [];
  let all = 0;
  const field = reader.page.getByRole("searchbox");
  await field.fill("kingfisher");
  const ready = performance.now();
  await reader.page.getByText("1 message", { exact: true }).waitFor();
  const searchable_ms = performance.now() - ready;
  for (const asked of ["heron", "slow river", "nobody walks", "kingfisher", "er", "table map", "zzz"]) {
    await field.fill("");
    await reader.page.locator("nav h2.heading").waitFor({ state: "detached" });
    search.push(
      await reader.page.evaluate(async (asked) => {
        const field = document.querySelector("input[type=search]");
        const begun = performance.now();
        field.value = asked;
        field.dispatchEvent(new Event("input", { bubbles: true }));
        while (!document.querySelector("nav h2.heading")) await new Promise((done) => setTimeout(done, 1));
        return performance.now() - begun;
      }, asked),
    );
    all = Math.max(all, Number((await reader.page.locator("nav h2.heading").textContent()).replace(/\D/g, "")));
  }
  const memory = await reader.page.evaluate(() => performance.memory?.usedJSHeapSize ?? null);
  const round = Math.round;
  console.log(JSON.stringify({
    bench: "page", messages: MESSAGES, page_ms: round(page_ms), open_ms: round(opened), frame_ms: spread(frames), elements,
    searchable_ms: round(searchable_ms), search_ms: spread(search), found_most: all, page_heap_mb: memory && round(memory / 1e6),
  }));
} finally {
  await town.end();
}
