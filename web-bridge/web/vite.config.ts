import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defaultClientConditions, defineConfig } from "vite";

export default defineConfig({
  plugins: [svelte()],
  // The package beside us finds its libraries among ours.
  resolve: { preserveSymlinks: true, conditions: ["source", ...defaultClientConditions] },
  worker: { format: "es" },
  build: {
    target: "es2022",
    // One file of styles; nothing inline, which the page's policy forbids.
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
});
