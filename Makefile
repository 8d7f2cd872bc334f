# The commands. `make` alone lists them.
CARGO ?= cargo
BIN := target/debug/roost
SECONDS := awk -f tests/seconds.awk target/nextest/default/junit.xml

.PHONY: help setup build demo bench test proof check wall wasm web page sabotage clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: ## install what a bare machine with Rust lacks
	@command -v cargo-nextest >/dev/null || $(CARGO) install --locked cargo-nextest
	@command -v strace >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends strace; } || echo "strace is missing: the stories about fsync, failing disks and power cuts will be skipped"
	@rustup component list --installed 2>/dev/null | grep -q clippy || rustup component add clippy rustfmt
	@rustup target list --installed 2>/dev/null | grep -q wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown

build: ## build everything once, debug
	$(CARGO) build --workspace --all-targets --locked

demo: ## three organisations on this machine talk before your eyes
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

web: ## the page: the device core as WebAssembly, then its scripts and styles; embedded by the next build
	$(CARGO) build --locked --profile wasm --target wasm32-unknown-unknown -p roost-client-wasm
	$(CARGO) run --locked -q -p roost-bindgen -- $(WASM) client/js/wasm
	cd web-bridge/web && npm ci --no-fund --no-audit && npm run -s check && npm run -s build

page: ## people talk in a real browser before a node's page (Chromium; after web and build)
	@[ -x "$${ROOST_CHROMIUM:-/usr/bin/chromium}" ] || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core fonts-noto-color-emoji; } || echo "Chromium is missing: make page will fail"
	node --test --test-concurrency=1 web-bridge/web/tests/

test: ## everything that CI proves
	@start=$$(date +%s); \
	$(CARGO) build --workspace --all-targets --locked && \
	$(CARGO) nextest run --workspace --locked --no-fail-fast && \
	$(SECONDS) && \
	$(CARGO) nextest run -p roost-testnet --features sabotage --test planted --locked --no-fail-fast && \
	$(SECONDS) && \
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
