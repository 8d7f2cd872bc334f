// What a page loads has a budget: the build fails above it. Sizes are gzip's, kB of 1,000 bytes.

import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";

/** Scripts and styles; the device core, which is twice what it should be: docs/benchmarks.md says why. */
const BUDGET_KB = { page: 300, core: 1_420 };

const sizes = { page: 0, core: 0 };
for (const entry of readdirSync("dist", { recursive: true, withFileTypes: true })) {
  const part = /\.(js|css)$/.test(entry.name) ? "page" : /\.wasm$/.test(entry.name) ? "core" : null;
  if (part) sizes[part] += gzipSync(readFileSync(`${entry.parentPath}/${entry.name}`), { level: 9 }).length / 1_000;
}
let over = false;
for (const [part, size] of Object.entries(sizes)) {
  console.log(`${part}: ${size.toFixed(0)} kB gzip of ${BUDGET_KB[part]}`);
  over ||= size === 0 || size > BUDGET_KB[part];
}
if (over) {
  console.error("over the budget of web-bridge/web/budget.mjs: cut what is loaded, or say in docs/benchmarks.md why it must grow");
  process.exit(1);
}
