#!/usr/bin/env bash
# Builds the page twice from nothing, in two directories of different names, and compares every byte of what is served.
# The compiler writes paths into a program only where they are not taken out; a page that anybody can rebuild can be checked.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for copy in one another/two; do
	mkdir -p "$work/$copy"
	git -C "$root" archive HEAD | tar -x -C "$work/$copy"
	make -C "$work/$copy" web >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
	(cd "$work/$copy/web-bridge/web/dist" && find . -type f | LC_ALL=C sort | xargs sha256sum) >"$work/$(basename "$copy").sums"
done
diff "$work/one.sums" "$work/two.sums"
echo "the page is the same: sha256 $(sha256sum <"$work/one.sums" | cut -d' ' -f1)"
