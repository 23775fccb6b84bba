# One-command tasks; each sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
BIN := .venv/bin

.PHONY: help setup demo lint test deb rpm packages-test doctor-chain chaos bench screenshots docs release clean

help: ## list the tasks
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Debian packages, and .venv with everything in it
	@tools/setup

demo: ## a real VM is heartbeated, made sick, and the fault is seen at a consumer
	@tools/setup --lenient
	@$(BIN)/reachthru demo

lint: setup ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What others' code needs is fetched while ours is looked at.
test: setup ## all checks and tests, with a real Nova, Vitrage, Masakari and Tacker, and real VMs
	@tools/setup-services nova masakari-tacker vitrage & services=$$!; \
		$(MAKE) --no-print-directory lint && wait $$services
	@tools/run-tests

deb: ## Debian packages: build/*.deb
	@tools/setup --packages
	@tools/build-deb

rpm: ## rpm packages: build/*.rpm
	@tools/setup --packages
	@tools/build-rpm

packages-test: setup ## our packages, installed and upgraded in a VM with a real systemd; an image with them
	@tools/setup-services diskimage-builder
	@$(BIN)/pytest -q -s --disable-warnings tests/e2e/packages

doctor-chain: setup ## from a fault through a real Nova, Ceilometer and Aodh to a webhook, timed
	@tools/setup-services nova aodh
	@$(BIN)/pytest -q -s --disable-warnings -m doctor_chain

chaos: setup ## kill -9 of everything at random for 10 minutes, faults flowing (CHAOS_S, CHAOS_SEED, CHAOS_BROKER)
	@CHAOS_S=$${CHAOS_S:-600} PARTITION_S=$${PARTITION_S:-60} \
		$(BIN)/pytest -q -s tests/chaos tests/integration/host_agent/test_partition.py

bench: setup ## all benchmarks, as tables and build/bench.json (BENCH="heartbeat guest": some only)
	@PYTHONPATH=tests $(BIN)/python -m benchmarks $(BENCH)

screenshots: setup ## pictures of the page for README and docs, into docs/images
	@PYTHONPATH=tests $(BIN)/python -W ignore tools/screenshots

docs: setup ## the documentation as a site, in build/site; warnings are errors
	@tools/docs-reference
	@$(BIN)/python -m sphinx -W --keep-going -n -q docs build/site
	@echo "docs: build/site/index.html"

release: setup ## what a release publishes, from HEAD's tag vX.Y.Z, in build/release
	@tools/release

clean: ## forget what was built and installed here
	rm -rf build .venv .venv-*
