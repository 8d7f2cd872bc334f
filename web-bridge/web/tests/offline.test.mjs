// Without a network and across reloads: the page opens, what was written stays, and a node that starts anew is no error.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHROMIUM_OPTIONS, Person, Town } from "./town.mjs";

let town;
before(async () => (town = await Town.build()));
after(() => town?.end());

test("the page opens without a network, and what is written then is sent after the browser was closed and opened again", async () => {
  const bob = await Person.at(town, town.acme);
  await bob.signUp("bob");
  const profile = await mkdtemp(join(tmpdir(), "roost-browser-"));
  try {
    let context = await chromium.launchPersistentContext(profile, CHROMIUM_OPTIONS);
    const alice = await Person.in(context, town.birch);
    await alice.signUp("alice");
    await alice.begin([bob.handle]);
    await alice.say("Before.");
    await bob.accept();
    await alice.came("Before.", "On their device");
    await alice.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));

    await town.birch.stop();
    await alice.page.reload();
    await alice.page.getByText("Offline. Messages wait here").waitFor();
    await alice.open("bob");
    await alice.reads("Before.");
    await alice.say("Written while the node was away.");
    await alice.came("Written while the node was away.", "Waiting");
    await context.close();

    await town.birch.serve();
    context = await chromium.launchPersistentContext(profile, CHROMIUM_OPTIONS);
    const again = await Person.in(context, town.birch);
    await again.page.goto(town.birch.web);
    await again.open("bob");
    await bob.open("alice");
    await bob.reads("Written while the node was away.");
    await again.came("Written while the node was away.", "Read");
    assert.equal(await bob.page.locator("article", { hasText: "Written while" }).count(), 1, "once");
    assert.deepEqual([...alice.faults, ...again.faults, ...bob.faults], [], "no exception, no breach of the policy");
    await context.close();
  } finally {
    await rm(profile, { recursive: true, force: true });
  }
});

test("a node that starts anew interrupts nobody", async () => {
  const carol = await Person.at(town, town.birch);
  const dave = await Person.at(town, town.acme);
  await carol.signUp("carol");
  await dave.signUp("dave");
  await carol.begin([dave.handle]);
  await carol.say("One.");
  await dave.accept();
  await dave.open("carol");
  await dave.reads("One.");
  await town.birch.stop();
  assert.equal(await carol.page.getByRole("alert").count(), 0, "1012 is no error");
  await carol.say("Two.");
  await town.birch.serve();
  await dave.reads("Two.");
  await carol.came("Two.", "Read");
  assert.equal(await carol.page.getByRole("alert").count(), 0, "nor is what follows");
  await carol.page.getByText("Offline. Messages wait here").waitFor({ state: "detached" });
  assert.deepEqual([...carol.faults, ...dave.faults], [], "no exception, no breach of the policy");
});

test("it can be installed, and a newer version waits until the person uses it", async () => {
  const erin = await Person.at(town, town.birch);
  await erin.page.goto(town.birch.web);
  await erin.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  const session = await erin.context.newCDPSession(erin.page);
  const { installabilityErrors } = await session.send("Page.getInstallabilityErrors");
  const faults = installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== "in-incognito");
  assert.deepEqual(faults, [], "it can be installed");
  const held = await erin.page.evaluate(async () => {
    const [name] = (await caches.keys()).filter((key) => key.startsWith("roost-"));
    return (await (await caches.open(name)).keys()).map((request) => new URL(request.url).pathname);
  });
  assert.ok(held.includes("/"), "the page itself is held");
  assert.ok(held.some((path) => /^\/assets\/.*\.wasm$/.test(path)), "and the core");
  assert.ok(!held.some((path) => path.startsWith("/v1")), "nothing that travels is");
});
