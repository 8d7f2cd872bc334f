// Two people at two organisations' nodes talk in their browsers: the page is the end of the encryption.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { Person, Town } from "./town.mjs";

let town;
before(async () => (town = await Town.build()));
after(() => town?.end());

test("alice and bob sign up, talk, and talk on after a lost network and a restarted node", async () => {
  const alice = await Person.at(town, town.acme);
  const bob = await Person.at(town, town.birch);
  await alice.signUp("alice");
  await bob.signUp("bob");
  await alice.begin([bob.handle]);
  await alice.say("Hello bob, this went through two nodes.");
  await alice.came("Hello bob", "At their node");

  await bob.accept();
  await bob.open("alice");
  await bob.reads("Hello bob, this went through two nodes.");
  await bob.say("And back. Nobody between us can read it.");
  await alice.reads("And back.");
  await bob.came("And back.", "Read");

  await alice.context.setOffline(true);
  await alice.say("Written without a network.");
  await alice.came("Written without a network.", "Waiting");
  await alice.context.setOffline(false);
  await bob.reads("Written without a network.");

  await town.birch.stop();
  await alice.say("Your node is down.");
  await town.birch.serve();
  await bob.reads("Your node is down.");
  await bob.page.reload();
  await bob.open("alice");
  await bob.reads("Hello bob, this went through two nodes.");

  for (const person of [alice, bob]) {
    const found = await new AxeBuilder({ page: person.page }).withTags(["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]).analyze();
    assert.deepEqual(found.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], "nothing stands in anybody's way");
    assert.deepEqual(person.faults, [], "no exception, no breach of the policy");
  }
});

test("three people make a group, react and rename it", async () => {
  const people = await Promise.all(["carol", "dave", "erin"].map(async (name, at) => {
    const person = await Person.at(town, at === 1 ? town.birch : town.acme);
    await person.signUp(name);
    return person;
  }));
  const [carol, dave, erin] = people;
  await carol.begin([dave.handle, erin.handle], "Walkers");
  await carol.say("Sunday at nine?");
  for (const person of [dave, erin]) {
    await person.accept();
    await person.open("Walkers");
    await person.reads("Sunday at nine?");
  }
  await dave.say("I am in.");
  await erin.reads("I am in.");
  const message = erin.page.locator("article", { hasText: "Sunday at nine?" });
  await message.hover();
  await message.getByRole("button", { name: "React", exact: true }).click();
  await message.getByRole("button", { name: "React 👍" }).click();
  await carol.page.getByRole("button", { name: "👍 1" }).waitFor();
  for (const person of people) assert.deepEqual(person.faults, [], "no exception, no breach of the policy");
});

test("a second device is linked by a code, finds the history, and is ended", async () => {
  const frank = await Person.at(town, town.acme);
  const grace = await Person.at(town, town.birch);
  await frank.signUp("frank");
  await grace.signUp("grace");
  await frank.begin([grace.handle]);
  await frank.say("Before the second device.");
  await grace.accept();

  await frank.page.getByRole("button", { name: "Settings" }).click();
  await frank.page.getByRole("button", { name: "Add a device" }).click();
  const code = await frank.page.getByRole("textbox", { name: "Code" }).inputValue();
  const second = await Person.at(town, town.acme);
  await second.page.goto(town.acme.web);
  await second.page.getByRole("button", { name: "Use an account from another device" }).click();
  await second.page.getByLabel("Code", { exact: false }).first().fill(code);
  await second.page.getByRole("button", { name: "Link", exact: true }).click();
  const digits = (await second.page.locator(".digits").textContent()).trim();
  await frank.page.getByText(digits).waitFor();
  await frank.page.getByRole("button", { name: "Yes, link it" }).click();
  await second.open("grace");
  await second.reads("Before the second device.");

  await frank.page.getByText("Linked.").waitFor();
  frank.page.once("dialog", (dialog) => dialog.accept());
  await frank.page.getByRole("button", { name: "End", exact: true }).click();
  await second.page.getByText("This device was ended").waitFor();
  for (const person of [frank, grace, second]) assert.deepEqual(person.faults, [], "no exception, no breach of the policy");
});
