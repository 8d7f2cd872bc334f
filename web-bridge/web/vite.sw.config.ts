// Builds the service worker, which names every file of the page: after the page, as one script that any browser takes.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vite";

const DIST = "dist";
const files = readdirSync(DIST, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name).slice(DIST.length).replaceAll("\\", "/"))
  .filter((file) => file !== "/sw.js")
  .sort();
const hash = createHash("sha256");
for (const file of files) hash.update(file).update(readFileSync(DIST + file));

export default defineConfig({
  define: {
    FILES: JSON.stringify(files.filter((file) => file !== "/index.html")),
    VERSION: JSON.stringify(hash.digest("hex").slice(0, 16)),
  },
  build: {
    target: "es2022",
    outDir: DIST,
    emptyOutDir: false,
    copyPublicDir: false,
    rollupOptions: { input: "src/sw/index.ts", output: { format: "iife", entryFileNames: "sw.js" } },
  },
});
