# make help says what there is. Everything that is built goes outside of the clone.

CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/callgate
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Where the tests of the page keep what they saw.
export CALLGATE_SCREENSHOTS ?= $(CARGO_TARGET_DIR)/screenshots

TOOLS := $(CACHE)/tools
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

# Tests that start cameras, relays and browsers: two at once also on a large machine, since each is several processes.
MEDIA_TEST_THREADS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit media page bench relays advisories packages packages-test

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "built in $(CARGO_TARGET_DIR)"

demo: packages ## a camera, a relay and a page on this machine; prints the URL to open
	cargo run --locked -- demo

# One after the other also under -j: the cheapest first, so that a mistake is told early.
test: packages-test ## everything that the CI checks
	@for step in lint page unit media; do \
		echo "== make $$step" && $(MAKE) --no-print-directory $$step || exit; \
	done
	@echo "== good; screenshots of the page: $(CALLGATE_SCREENSHOTS)"

lint: $(CARGO_DENY) ## format, clippy, licences and sources of the dependencies
	cargo fmt --check
	$(CARGO_DENY) --all-features check --hide-inclusion-graph bans licenses sources
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	cargo clippy --locked --all-targets -- -D warnings

unit: ## the pure modules without GStreamer, then all unit tests
	cargo test --locked --no-default-features
	cargo test --locked --lib --bins

media: ## the tests with cameras, relays and browsers
	cargo build --locked --example camera
	cargo test --locked --test '*' -- --test-threads=$(MEDIA_TEST_THREADS)
	cargo test --locked --doc

# The page is committed as one file, so that cargo alone builds the binary; whoever has Node checks that it is the sources'.
page: ## that web/dist is what web/src gives (needs Node)
	@if command -v npm >/dev/null; then \
		cd web && npm ci --no-audit --no-fund && npm run check; \
	else \
		echo "no npm here: web/dist is not compared with its sources"; \
	fi

bench: packages ## answer time, first picture, and what 1, 10 and 50 callers cost
	cargo build --locked --release --bin callgate --example camera
	cargo run --locked --release --example bench

relays: packages ## thirty callers at once through relays that people run (needs Python and Node)
	scripts/relays $(CACHE)/relays

advisories: $(CARGO_DENY) ## known vulnerabilities of the dependencies (fetches the advisory database)
	$(CARGO_DENY) --all-features check advisories

packages:
	scripts/packages install build run

packages-test:
	scripts/packages install build run test

$(CARGO_DENY):
	CARGO_TARGET_DIR=$(TOOLS)/build cargo install --locked --quiet cargo-deny --version $(CARGO_DENY_VERSION) \
		--root $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)
	rm -rf $(TOOLS)/build
