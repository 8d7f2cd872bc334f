# The commands. `make` alone lists them.
CARGO ?= cargo
BIN := target/debug/roost
SECONDS := awk -f tests/seconds.awk target/nextest/default/junit.xml
CHROMIUM ?= /usr/bin/chromium
export CHROMIUM
# The oldest Node that the page's bundler takes.
NODE_IS_NEW := node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'
NPM_CI := npm ci --no-fund --no-audit --prefer-offline --loglevel=error

.PHONY: help setup build demo bench test proof check wall wasm web page page-bench reproducible sabotage clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: ## install what a bare machine with Rust lacks
	@command -v cargo-nextest >/dev/null || $(CARGO) install --locked cargo-nextest
	@command -v strace >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends strace; } || echo "strace is missing: the stories about fsync, failing disks and power cuts will be skipped"
	@rustup component list --installed 2>/dev/null | grep -q clippy || rustup component add clippy rustfmt
	@rustup target list --installed 2>/dev/null | grep -q wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown
	@{ command -v npm && [ -x "$(CHROMIUM)" ]; } >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends nodejs npm chromium fonts-dejavu-core fonts-noto-color-emoji; } || echo "npm and Chromium are needed for the page: install them, or set CHROMIUM"
	@$(NODE_IS_NEW) 2>/dev/null || npm install --global --no-fund --no-audit node@22 npm@11 || echo "Node 20.19 or newer is needed for the page"

build: ## build everything once, debug
	$(CARGO) build --workspace --all-targets --locked

demo: ## three organisations on this machine talk before your eyes; the page of each is at an address that it prints
	@[ -e web-bridge/web/dist/index.html ] || ! $(NODE_IS_NEW) 2>/dev/null || $(MAKE) --no-print-directory web
	$(CARGO) build --locked -p roost-cli
	$(BIN) testnet demo

bench: ## the table of docs/benchmarks.md, release, on a machine that does nothing else (minutes)
	$(CARGO) build --release --locked -p roost-cli
	@for run in "latency --messages 5000" "throughput --messages 50000" "group --messages 1000" "idle --connections 10000" \
		"lookup --nodes 10" "lookup --nodes 300" "resume --messages 10000" "resume --messages 10000 --conversations 100" "start --messages 1000000" \
		"membership" "open"; do \
		echo "== $$run"; target/release/roost bench $$run || exit; \
	done

check: ## formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

wall: ## the node and the bridge, each alone: they must build without the means to decrypt
	$(CARGO) check --locked --target-dir target/wall -p roost-node
	$(CARGO) check --locked --target-dir target/wall -p roost-web-bridge
	! $(CARGO) tree --locked -e normal,features -p roost-web-bridge | grep -qE 'roost-crypto feature "device"|roost-client'
	! $(CARGO) tree --locked -e normal,features -p roost-cli | grep -q 'feature "sabotage"'

wasm: ## the device core for the browser
	$(CARGO) check --locked --target-dir target/wasm --target wasm32-unknown-unknown -p roost-client --no-default-features

WASM := target/wasm32-unknown-unknown/wasm/roost_client_wasm.wasm
# Of the workspace's build where there was one; alone it would be built with other features.
BINDGEN := target/debug/roost-bindgen

web: ## the page: the device core as WebAssembly, then its scripts and styles; embedded by the next build
	$(CARGO) build --locked --profile wasm --target wasm32-unknown-unknown -p roost-client-wasm
	@[ -x $(BINDGEN) ] || $(CARGO) build --locked -p roost-bindgen
	$(BINDGEN) $(WASM) client/js/wasm
	cd client/js && $(NPM_CI) && npm run -s build
	cd web-bridge/web && $(NPM_CI) && npm run -s check && npm run -s build

page: ## people talk in a real browser before a node's page (Chromium; after build and web)
	@[ -x "$(CHROMIUM)" ] || { echo "there is no Chromium at $(CHROMIUM): make setup, or set CHROMIUM"; exit 1; }
	node --test --test-concurrency=1 --test-reporter=spec web-bridge/web/tests/

page-bench: ## what the page takes in a browser, release (minutes; after web)
	$(CARGO) build --release --locked -p roost-cli
	ROOST_BIN=target/release/roost node web-bridge/web/bench/paint.mjs
	ROOST_BIN=target/release/roost node web-bridge/web/bench/long.mjs

reproducible: ## the page twice, from nothing, in two places: the same bytes
	tests/reproducible.sh

test: ## everything that CI proves
	@start=$$(date +%s); \
	$(CARGO) build --workspace --all-targets --locked && \
	$(CARGO) nextest run --workspace --locked --no-fail-fast && \
	$(SECONDS) && \
	$(CARGO) nextest run -p roost-testnet --features sabotage --test planted --locked --no-fail-fast && \
	$(SECONDS) && \
	browser=$$(date +%s) && \
	$(MAKE) --no-print-directory web && \
	$(MAKE) --no-print-directory page && \
	echo "page: $$(( $$(date +%s) - browser )) s with its build" && \
	echo "tests: $$(( $$(date +%s) - start )) s with the build"

# Sizes of the proof; an interrupted one goes on with its kills where it was (target/proof/).
ROOST_KILLS ?= 1000
ROOST_CUTS ?= 2000
ROOST_PLACES ?= 2000
ROOST_OUTAGE ?= 1000
ROOST_CHANGES ?= 101

proof: ## the crash suites, a day's outage and many commits at once at full size
	$(CARGO) build --workspace --all-targets --locked
	ROOST_OUTAGE=$(ROOST_OUTAGE) $(CARGO) nextest run --locked -p roost-testnet --success-output final -E 'binary(outage)'
	ROOST_KILLS=$(ROOST_KILLS) ROOST_CUTS=$(ROOST_CUTS) ROOST_PLACES=$(ROOST_PLACES) RUST_BACKTRACE=0 \
	ROOST_CHANGES=$(ROOST_CHANGES) \
	$(CARGO) nextest run --locked -p roost-node -p roost-tests --no-fail-fast --success-output final \
		-E 'test(kills::) | test(power::) | test(damage::) | test(two_admins_change)'

sabotage: ## break one rule at a time: the simulator must find each
	$(CARGO) nextest run -p roost-testnet --features sabotage --test planted --locked --no-fail-fast --success-output final

clean: ## remove what builds produce
	$(CARGO) clean
