// Whatever another person writes stays text: 150 pieces of script in every field that they control. None runs, and the page's
// policy has nothing to refuse.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";
import { MemoryRows, Session, load, signUp } from "@roost/client";
import { WebSocket } from "ws";
import { Person, Town, WAIT } from "./town.mjs";

/** Each calls `ran()` if it is taken for anything but text. */
const PIECES = [
  "<script>ran()</script>",
  "<img src=x onerror=ran()>",
  "<svg onload=ran()>",
  "<svg><script>ran()</script></svg>",
  "<iframe srcdoc='<script>parent.ran()</script>'>",
  "<iframe src=javascript:parent.ran()>",
  "<body onload=ran()>",
  "<video src=x onerror=ran()>",
  "<audio src=x onerror=ran()>",
  "<details open ontoggle=ran()>",
  "<input autofocus onfocus=ran()>",
  "<object data=javascript:ran()>",
  "<embed src=javascript:ran()>",
  "<math href=javascript:ran()>x</math>",
  "<a href=javascript:ran()>x</a>",
  "<style>@import'javascript:ran()'</style>",
  "<link rel=stylesheet href=javascript:ran()>",
  "<meta http-equiv=refresh content=0;url=javascript:ran()>",
  "<base href=javascript:ran()//>",
  "<form action=javascript:ran()><button autofocus onfocus=ran()>",
  "<marquee onstart=ran()>x</marquee>",
  "javascript:ran()",
  "https://x.example/\"onmouseover=ran()//",
  "https://x.example/'><img src=x onerror=ran()>",
  "data:text/html,<script>ran()</script>",
];
const WRAPPERS = [
  (piece) => piece,
  (piece) => `">${piece}`,
  (piece) => `'>${piece}`,
  (piece) => `</textarea></title>${piece}`,
  (piece) => `-->{@html "${piece}"}`,
  (piece) => `\u202e${piece}`,
];
const PAYLOADS = WRAPPERS.flatMap((wrap) => PIECES.map((piece) => wrap(piece)));

let town;
before(async () => (town = await Town.build()));
after(() => town?.end());

async function until(what, met) {
  for (const end = Date.now() + WAIT; Date.now() < end; await new Promise((done) => setTimeout(done, 50))) {
    const found = await met();
    if (found) return found;
  }
  throw new Error(`it took too long until ${what}`);
}

test("150 pieces of script in each field that others control are shown as text and never run", async () => {
  assert.equal(PAYLOADS.length, 150);
  await load(readFile(fileURLToPath(import.meta.resolve("@roost/client/roost.wasm"))), WebSocket);
  const store = new MemoryRows();
  await signUp(store, town.birch.web, "eve", await town.birch.invite());
  const eve = await Session.open(store);
  await eve.act((device) => device.setSettings({ ...device.settings(), accept_strangers: true, profile: "eve" }));

  const alice = await Person.at(town, town.acme);
  await alice.page.addInitScript(() => {
    window.count = 0;
    window.ran = () => window.count++;
    window.refused = [];
    document.addEventListener("securitypolicyviolation", (event) => window.refused.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  alice.page.on("dialog", (dialog) => (alice.faults.push(`dialog: ${dialog.message()}`), void dialog.dismiss()));
  await alice.signUp("alice");
  await alice.begin(["eve@birch"]);
  await alice.say("Who are you?");
  const direct = await until("eve hears of alice", () => eve.act((device) => device.conversations().find((one) => one.to === "alice@acme")));
  const { conversation } = await eve.act((device) => device.createGroup(["alice@acme"]));
  const stands = () => eve.act((device) => device.conversations().find((one) => one.id === conversation)?.group?.standing);
  await until("the group stands", stands);
  await eve.act((device) => (device.send(conversation, "Hello"), device.setAbout(conversation, "Group of eve", "About")));
  await alice.open("Group of eve");
  await alice.reads("Hello");
  await alice.page.getByRole("button", { name: "Details", exact: true }).click();

  let first = null;
  for (const [at, payload] of PAYLOADS.entries()) {
    await eve.act((device) => {
      const id = device.send(conversation, payload, first ? { reply: first } : undefined);
      device.setAbout(conversation, payload, payload);
      device.setSettings({ ...device.settings(), profile: payload });
      device.send(direct.to, payload);
      first = id;
      // A reaction is one sign, which the device of an honest person makes sure of.
      assert.throws(() => device.react(conversation, id, payload, false), `${payload} is no reaction`);
    });
    await alice.page.waitForFunction(
      ([text, shown]) => {
        const texts = (selector) => [...document.querySelectorAll(selector)].map((element) => element.textContent);
        const same = (found) => found?.replace(/[\u2068\u2069]/g, "").includes(text);
        return same(document.querySelector("main header h2")?.textContent) && texts("article").some(same) && texts("aside h3, aside .text").some(same)
          && texts("nav .row .name").filter(same).length >= shown && texts("nav .row .said").some(same);
      },
      [payload, 2],
      { timeout: WAIT },
    ).catch(() => assert.fail(`number ${at} is not shown as the text that it is: ${payload}`));
  }
  const links = await alice.page.locator("article a").evaluateAll((all) => all.map((link) => [link.getAttribute("href"), link.rel]));
  for (const [href, rel] of links) {
    assert.match(href, /^https?:\/\//, "only the web's addresses become links");
    assert.match(rel, /noopener/, "a page that is opened has no way back");
  }
  const strange = await alice.page.evaluate(() => document.querySelectorAll("article script, article img:not(.avatar), article iframe, article [onerror], nav script, aside script").length);
  assert.equal(strange, 0, "nothing of a text became an element");
  assert.deepEqual(await alice.page.evaluate(() => [window.count, window.refused]), [0, []], "nothing ran, and the policy had nothing to refuse");
  assert.deepEqual(alice.faults, [], "no exception, no dialog, no breach of the policy");
  eve.close();
});
