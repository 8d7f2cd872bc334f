// Each main screen at three widths, light and dark, under target/screenshots, with nothing in anybody's way on any of them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { AxeBuilder } from "@axe-core/playwright";
import { Person, Town } from "./town.mjs";

const WIDTHS = [360, 800, 1440];
let town;
before(async () => (town = await Town.build()));
after(() => town?.end());

async function shown(person, name, { themes = ["light", "dark"], widths = WIDTHS } = {}) {
  for (const theme of themes) {
    await person.page.emulateMedia({ colorScheme: theme });
    for (const width of widths) {
      await person.page.setViewportSize({ width, height: width === 360 ? 720 : 900 });
      await person.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      await person.screenshot(`${name}-${width}-${theme}`);
      const wide = await person.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(wide, 0, `${name} at ${width} px does not scroll sideways`);
      // Widths change where things are, themes which colours they have: two of the six see both.
      if (themes.length > 1 && (theme === "light") !== (width === 360)) continue;
      if (themes.length > 1 && width === 800) continue;
      const found = await new AxeBuilder({ page: person.page }).withTags(["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]).analyze();
      assert.deepEqual(found.violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], `${name}, ${width} px, ${theme}`);
    }
  }
  await person.page.setViewportSize({ width: 1440, height: 900 });
}

test("every main screen is there at 360, 800 and 1440 px, light and dark", async () => {
  const robin = await Person.at(town, town.acme);
  await robin.page.goto(town.acme.web);
  await robin.page.getByRole("button", { name: "Create an account" }).waitFor();
  await shown(robin, "welcome");
  const wren = await Person.at(town, town.birch);
  await robin.signUp("robin");
  await shown(robin, "empty");
  await wren.signUp("wren");
  await robin.begin([wren.handle]);
  await robin.say("Morning. Did the new node come up over night?");
  await wren.page.getByRole("button", { name: "Accept" }).waitFor();
  await shown(wren, "request");
  await wren.accept();
  await wren.open("robin");
  await wren.say("It did. Two minutes of downtime, and nothing was lost: everything that was waiting here went out by itself, in order.");
  await wren.say("https://example.org/a/very/long/address/that/no/line/breaks/by/itself/and/that/must/not/push/anything/aside?with=a&query=too");
  await robin.say("Then I will tell the others.");
  await robin.say("هل نلتقي يوم الأحد؟");
  await wren.reads("Then I will tell the others.");
  const last = wren.page.locator("article", { hasText: "Then I will tell the others." });
  await last.hover();
  await last.getByRole("button", { name: "React", exact: true }).click();
  await last.getByRole("button", { name: "React 👍" }).click();
  await robin.page.getByRole("button", { name: "👍 1" }).waitFor();
  await shown(robin, "talk");
  await robin.page.getByRole("button", { name: "Details" }).click();
  await robin.page.locator(".number").waitFor();
  await shown(robin, "details");
  await robin.page.getByRole("button", { name: "Close" }).click();
  await robin.page.keyboard.press("Control+k");
  await robin.page.getByRole("combobox").waitFor();
  await shown(robin, "switcher");
  await robin.page.keyboard.press("Escape");
  await robin.page.getByRole("button", { name: "Settings" }).click();
  await robin.page.getByRole("button", { name: "Add a device" }).click();
  await robin.page.getByRole("img", { name: "Code" }).waitFor();
  await shown(robin, "settings");
  await robin.page.getByRole("button", { name: "Close" }).click();

  // A group, with somebody it names, and a timer.
  await robin.begin([wren.handle, (await town.third()).handle], "Walkers");
  await robin.say("@wren@birch bring the map, please: https://example.org/map");
  await robin.page.getByRole("button", { name: "Details", exact: true }).click();
  await robin.page.getByLabel("Messages disappear after").selectOption("86400");
  await robin.page.locator(".word", { hasText: "messages disappear after" }).waitFor();
  await shown(robin, "group");
  await robin.page.getByRole("searchbox").fill("node");
  await robin.page.getByText("1 message", { exact: true }).waitFor();
  await shown(robin, "search", { themes: ["light"] });
  await robin.page.getByRole("searchbox").fill("");

  // The same, in high contrast and from right to left.
  await robin.page.getByRole("button", { name: "Settings" }).click();
  await robin.page.getByLabel("Appearance").selectOption("contrast");
  await shown(robin, "contrast", { themes: ["dark"], widths: [360, 1440] });
  await robin.page.getByLabel("Appearance").selectOption("auto");
  await robin.page.getByLabel("Language").selectOption("ar");
  await robin.page.locator("html[dir=rtl]").waitFor();
  await shown(robin, "rtl-settings");
  await robin.page.getByRole("button", { name: "إغلاق" }).click();
  await robin.open("wren");
  await shown(robin, "rtl-talk");
  await robin.page.getByRole("button", { name: "التفاصيل", exact: true }).click();
  await robin.page.locator(".number").waitFor();
  await shown(robin, "rtl-details");
  for (const person of [robin, wren]) assert.deepEqual(person.faults, [], "no exception, no breach of the policy");
});
