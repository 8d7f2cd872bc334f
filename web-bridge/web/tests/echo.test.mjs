// The package as somebody else would use it: the example bot runs in Node and answers a person in a browser.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Person, Town, WAIT } from "./town.mjs";

const BOT = fileURLToPath(new URL("../../../client/js/examples/echo.mjs", import.meta.url));
let town;
let bot;
before(async () => (town = await Town.build()));
after(async () => {
  bot?.kill("SIGTERM");
  await town?.end();
});

test("the example bot says back what it is told, once", async () => {
  bot = spawn(process.execPath, [BOT, town.birch.web, "echo", await town.birch.invite()], { stdio: ["ignore", "pipe", "inherit"] });
  const ready = await new Promise((done, failed) => {
    bot.stdout.once("data", (line) => done(JSON.parse(line)));
    bot.once("exit", (code) => failed(new Error(`the bot ended with ${code}`)));
    setTimeout(() => failed(new Error("the bot is not ready")), WAIT).unref();
  });
  assert.equal(ready.handle, "echo@birch");
  const alice = await Person.at(town, town.acme);
  await alice.signUp("alice");
  await alice.begin([ready.handle]);
  await alice.say("Is anybody there?");
  await alice.reads("You said: Is anybody there?");
  await alice.say("Once more.");
  await alice.reads("You said: Once more.");
  assert.equal(await alice.page.locator("article", { hasText: "You said: " }).count(), 2, "each answer once");
});
