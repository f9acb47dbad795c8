# SPDX-License-Identifier: MIT
# A thin front to meson and ninja; CONTRIBUTING.md has the long way round.

BUILD ?= build
FUZZ_BUILD ?= build-fuzz
PREFIX ?= /usr/local
MESONFLAGS ?=

# make fuzz: how long
SOAK_TREES ?= 10000
SOAK_EDITS ?= 100
FUZZ_SECONDS ?= 600
# make bench: samples per row
BENCH_RUNS ?= 7

all: build

deps-%:
	@scripts/install-deps $*

$(BUILD)/build.ninja:
	meson setup $(BUILD) --buildtype=debugoptimized --prefix=$(PREFIX) $(MESONFLAGS)

build: deps-build $(BUILD)/build.ninja
	ninja -C $(BUILD)

run: deps-run build
	BUILD=$(BUILD) scripts/run

run-linux: deps-linux build
	BUILD=$(BUILD) scripts/run linux

tour: deps-build build
	BUILD=$(BUILD) scripts/tour

test: deps-test build
	scripts/run-tests $(BUILD)

lab: deps-lab build
	scripts/lab --build $(BUILD) $(BUILD)/tests/lab-init $(BUILD)/tests/kvm-live

bench: deps-bench build
	$(BUILD)/bench/membus-bench --runs $(BENCH_RUNS) --json $(BUILD)/bench.json

fuzz: deps-fuzz
	BUILD=$(FUZZ_BUILD) scripts/fuzz $(SOAK_TREES) $(SOAK_EDITS) $(FUZZ_SECONDS)

docs: deps-docs
	scripts/make-docs $(BUILD)/docs

format: deps-format
	scripts/check-format --write

install: build
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(FUZZ_BUILD) build-ci

.PHONY: all build run run-linux tour test lab bench fuzz docs format install clean
