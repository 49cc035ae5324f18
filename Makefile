# The two commands are `make demo` and `make test`; `make help` lists the rest.
# Each does its own set-up, as root on Debian 12 with a Rust toolchain.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rpmfarm/tools
export PATH := $(TOOLS)/bin:$(PATH)
TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
SEEDS ?= 2000

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

.PHONY: setup
setup: ## Install what is missing on this host: packages by apt, tools by cargo
	@deploy/setup/packages
	@deploy/setup/tools "$(TOOLS)" nextest

.PHONY: emulation
emulation: setup ## Let the kernel run programs of the other architectures by qemu-user
	@deploy/setup/binfmt

.PHONY: build
build: setup ## Build all programs
	cargo build --workspace

.PHONY: demo
demo: build emulation ## Rebuild packages of the lab and install them with dnf; KEEP=1 leaves the farm running
	"$(TARGET_DIR)/debug/rpmfarm-lab" demo $(if $(KEEP),--keep)

# With `--tests`, cargo builds the tests and the programs of the crates that have integration tests, which are all
# programs, but not the benchmarks, which are examples.
NEXTEST := cargo nextest run --workspace --tests --no-fail-fast

# What must not compile is an example in the documentation, which nextest does not run. It is run for the whole
# workspace: for one crate alone, its dependencies have fewer features, and cargo compiles them once more.
.PHONY: test
test: setup emulation ## Run all tests
	cargo test --quiet --doc --workspace
	$(NEXTEST)

# The suite against whole farms, with its slow tests, and what docs/security.md names at its sides.
ATTACKS := binary(attacks) | binary(access) | binary(accept) | binary(door) | binary(sign) \
  | (binary(resolve) & test(/^(metadata|solver)::/)) | (binary(import) & test(/^(lookaside|refusals|trees)::/)) \
  | (binary(track) & test(/^hooks::/)) | (package(rpmfarm-coordinator) & test(/^(process|publish::http|scrub)::/)) \
  | (package(rpmfarm-cli) & binary(cli) & test(/^logs::/)) | (package(rpmfarm-rpmfile) & (binary(inspect) | binary(unpack))) \
  | (package(rpmfarm-signer) & (binary(rules) | binary(serve))) | package(rpmfarm-acceptor) \
  | (package(rpmfarm-worker) & (binary(cage) | binary(session) | (binary(probe) & !test(/emulated/)))) \
  | package(rpmfarm-fuzzed)

.PHONY: attack
attack: setup ## Attack a farm of its own: packages, workers, connections, the signer's caller
	$(NEXTEST) --run-ignored all -E '$(ATTACKS)'

.PHONY: faults
faults: setup ## Whole farms with broken networks, disks, clocks and coordinators
	$(NEXTEST) --ignore-default-filter \
	  -E 'binary(end_to_end) & test(/^(faults|coordinators)::/)'

.PHONY: sim
sim: ## Simulate the farm: SEEDS=N of them, or the trace of one, SEED=N (PLANT=RULE breaks a rule)
	cargo run -q -p rpmfarm-sim -- $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(PLANT),--plant $(PLANT))

.PHONY: fuzz
fuzz: setup ## Fuzz the readers of strangers' bytes: SECONDS=60 each, all or READER=NAME
	fuzz/run $(or $(SECONDS),60) $(READER)

.PHONY: lint
lint: setup ## Formatting, clippy, links of the documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Apart from `lint`: to build cargo-deny takes longer than all that lint does. Without `advisories`, whose
# database is fetched at each run: see deny.toml.
.PHONY: deny
deny: ## Licences and sources of dependencies; run it when Cargo.lock or deny.toml change
	@deploy/setup/tools "$(TOOLS)" deny
	cargo deny check licenses bans sources

.PHONY: bench
bench: setup ## Measure against peers; writes target/bench.json
	cargo build --workspace --release --bins --examples
	RPMFARM_BIN="$(TARGET_DIR)/release" "$(TARGET_DIR)/release/rpmfarm-lab" bench --out "$(TARGET_DIR)/bench.json"

.PHONY: real
real: build ## Rebuild real packages beside plain rpmbuild: DIR=clones of dist-git (LOOKASIDE=tarballs, ONLY='bc@el*', AGAIN=1)
	"$(TARGET_DIR)/debug/rpmfarm-lab" real $(if $(DIR),--repositories "$(DIR)") $(if $(LOOKASIDE),--lookaside "$(LOOKASIDE)") \
	  --state "$(TARGET_DIR)/real" $(if $(ONLY),--only '$(ONLY)') $(if $(AGAIN),--again)

.PHONY: docs
docs: ## Write the man pages and completions to target/
	cargo run -q -p rpmfarm-cli -- man "$(TARGET_DIR)/man"
