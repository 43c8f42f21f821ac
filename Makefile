# Everything people do here, by name; `make` alone lists it. The work is done by scripts/ and CMake.
JOBS ?= $(shell nproc)
.DEFAULT_GOAL := help
.NOTPARALLEL:

help: ## list the targets
	@sed -n 's/^\([a-z -]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 18

bootstrap: ## find and install what the build needs (root only for Debian packages)
	@scripts/bootstrap.sh

build: bootstrap ## the program, at build/hydrofoil, with libraries, tests and benchmarks
	@[ -f build/build.ninja ] || cmake --preset release
	@cmake --build build -j $(JOBS)

test: build ## the fast tests (lane ci)
	@scripts/run_tests.py build ci

test-long: build ## the slow tests (lane long)
	@scripts/run_tests.py build long

demo: build ## train a small GPT with ZeRO-3 in a few minutes, stop, resume on three ranks, sample
	@scripts/demo.sh

asan tsan: ## the rooms without libtorch under a sanitizer; SUITES="comm memory" for some
	@scripts/bootstrap.sh --no-torch
	@[ -f build-$@/build.ninja ] || cmake --preset $@
	@cmake --build build-$@ -j $(JOBS) $(addprefix --target ,$(SUITES:%=%_test))
	@scripts/run_tests.py build-$@ ci $(SUITES)

DEV_SUITES = memory models zero train optim checkpoint data
dev: bootstrap ## a debug build: assertions on, released memory poisoned; SUITES="zero" for some
	@[ -f build-dev/build.ninja ] || cmake --preset dev
	@cmake --build build-dev -j $(JOBS) $(patsubst %,--target %_test,$(or $(SUITES),$(DEV_SUITES)))
	@scripts/run_tests.py build-dev ci $(or $(SUITES),$(DEV_SUITES))

fuzz: ## the parsers of foreign files under libFuzzer, SECONDS_EACH=60 (clang-19 and libclang-rt-19-dev)
	@scripts/fuzz.sh

check: ## format, layers, docs: everything that can be checked without building
	@scripts/format.sh --check
	@tools/check_layers.py
	@tools/check_docs.py

format: ## lay out the sources (clang-format 19)
	@scripts/format.sh

lint: bootstrap ## clang-tidy 19 over the rooms without libtorch
	@scripts/lint.sh

dist: build ## dist/hydrofoil: a folder that runs on another machine of this kind
	@scripts/dist.sh

clean: ## remove what was built (not .venv, assets and runs)
	rm -rf build build-asan build-tsan build-fuzz build-lint build-dev dist

.PHONY: help bootstrap build test test-long demo asan tsan dev fuzz check format lint dist clean
