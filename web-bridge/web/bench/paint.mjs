// The first sight of the page by a phone that computes a quarter as fast: until something is painted, until a name can be typed.
// `node web-bridge/web/bench/paint.mjs`; one JSON object on stdout.

import { Person, Town } from "../tests/town.mjs";

const ROUNDS = 7;
const SLOWER = 4;

const town = await Town.build();
try {
  const first = [];
  const usable = [];
  const again = [];
  for (let round = 0; round < ROUNDS; round++) {
    const person = await Person.at(town, town.acme, { viewport: { width: 360, height: 720 } });
    const session = await person.context.newCDPSession(person.page);
    await session.send("Emulation.setCPUThrottlingRate", { rate: SLOWER });
    const look = async () => {
      await person.page.goto(town.acme.web);
      await person.page.getByRole("button", { name: "Create an account" }).waitFor();
      return person.page.evaluate(() => ({
        painted: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
        usable: performance.now(),
      }));
    };
    const cold = await look();
    first.push(cold.painted);
    usable.push(cold.usable);
    await person.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    again.push((await look()).painted);
    await person.context.close();
  }
  const spread = (all) => {
    const sorted = [...all].sort((a, b) => a - b);
    return { p50: Math.round(sorted[sorted.length >> 1]), max: Math.round(sorted.at(-1)) };
  };
  console.log(JSON.stringify({ bench: "paint", slower: SLOWER, rounds: ROUNDS, first_paint_ms: spread(first), usable_ms: spread(usable), again_ms: spread(again) }));
} finally {
  await town.end();
}
