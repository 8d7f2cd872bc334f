// What people decide about each other: safety numbers compared by a code, blocked, reported, timers, mentions, pictures.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { Person, Town } from "./town.mjs";

let town;
before(async () => (town = await Town.build()));
after(() => town?.end());

const details = (person) => person.page.getByRole("button", { name: "Details", exact: true }).click();
const clean = (...people) => people.forEach((person) => assert.deepEqual(person.faults, [], "no exception, no breach of the policy"));

test("two people compare a code, a wrong one is refused, and one blocks and reports the other", async () => {
  const ann = await Person.at(town, town.acme);
  const ben = await Person.at(town, town.birch);
  await ann.signUp("ann");
  await ben.signUp("ben");
  await ann.begin([ben.handle]);
  await ann.say("Hello ben");
  await ben.accept();
  await ben.open("ann");
  await ben.reads("Hello ben");
  for (const person of [ann, ben]) await details(person);
  assert.equal(await ann.page.locator(".number").textContent(), await ben.page.locator(".number").textContent(), "both see the same number");

  await ben.page.getByRole("button", { name: "Show as a code" }).click();
  const code = await ben.page.getByRole("textbox", { name: "Safety number" }).inputValue();
  await ann.page.getByRole("button", { name: "Show as a code" }).click();
  const own = await ann.page.getByRole("textbox", { name: "Safety number" }).inputValue();
  const theirs = ann.page.getByLabel("Their code");
  await theirs.fill(own);
  await ann.page.getByRole("button", { name: "Compare", exact: true }).click();
  await ann.page.getByRole("alert").waitFor();
  await ann.page.getByText("Not verified").waitFor();
  await theirs.fill(code);
  await ann.page.getByRole("button", { name: "Compare", exact: true }).click();
  await ann.page.locator("aside").getByText("Verified", { exact: true }).waitFor();

  const download = ben.page.waitForEvent("download");
  await ben.page.getByRole("button", { name: "Save a report" }).click();
  const report = JSON.parse(await readFile(await (await download).path(), "utf8"));
  assert.deepEqual([report.from, report.messages.map((one) => one.text)], ["ann@acme", ["Hello ben"]], "what ann wrote, and nothing else");
  await ben.page.getByRole("button", { name: "Block", exact: true }).click();
  await ben.page.getByText("You have blocked").waitFor();
  await ann.say("Are you there?");
  await ann.came("Are you there?", "At their node");
  await ben.page.locator("main").getByRole("button", { name: "Unblock" }).click();
  await ann.say("And now?");
  await ben.reads("And now?");
  assert.equal(await ben.page.locator("article", { hasText: "Are you there?" }).count(), 0, "what was said to a closed door is not shown");
  clean(ann, ben);
});

test("a group has a picture, a timer and people who are named; a draft and a search find back to it", async () => {
  const [cleo, dan] = [await Person.at(town, town.acme), await Person.at(town, town.birch)];
  await cleo.signUp("cleo");
  await dan.signUp("dan");
  await cleo.begin([dan.handle, (await town.third()).handle], "Walkers");
  await cleo.say("First word.");
  await dan.accept();
  await details(cleo);
  await cleo.page.getByLabel("Picture").setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: await cleo.page.screenshot() });
  await dan.page.locator("nav .row img.avatar").waitFor();
  await cleo.page.getByLabel("Messages disappear after").selectOption("3600");
  await dan.open("Walkers");
  await dan.page.locator(".word", { hasText: "messages disappear after" }).waitFor();

  await cleo.page.getByRole("textbox", { name: "Write a message" }).pressSequentially("ask @da");
  await cleo.page.getByRole("option", { name: "dan@birch" }).waitFor();
  await cleo.page.keyboard.press("Enter");
  await cleo.page.keyboard.type("about the map");
  await cleo.page.keyboard.press("Enter");
  await dan.reads("ask @dan@birch about the map");
  await dan.page.locator("article b.me").waitFor();
  await dan.page.locator("article", { hasText: "about the map" }).getByLabel("Disappears").first().waitFor();

  await dan.page.getByRole("textbox", { name: "Write a message" }).fill("Not finished");
  await dan.page.waitForTimeout(1_200);
  await dan.page.reload();
  await dan.page.getByText("Draft: Not finished").waitFor();
  await dan.page.getByRole("searchbox").fill("MAP ask");
  await dan.page.getByText("1 message", { exact: true }).waitFor();
  await dan.page.locator("nav .row", { hasText: "about the map" }).click();
  await dan.page.locator("article.selected", { hasText: "about the map" }).waitFor();
  clean(cleo, dan);
});
