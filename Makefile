# Zero Grid. `make` prints the targets.
.DEFAULT_GOAL := help
BIN := build/release

.PHONY: help bootstrap build demo test check bench format tidy docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

bootstrap: ## install the Debian packages that building and running need
	@script/bootstrap

build: bootstrap ## build every program (optimised) into build/release
	@script/build release

demo: build ## from nothing to a page served from a signed contract; ends with the URL
	@script/demo

test: bootstrap ## formatter, tidy, arrows, unit and integration tests
	@script/test

check: bootstrap ## test, plus sanitizers and the long runs
	@script/check

bench: build ## benchmarks, each beside its peer in the same run
	@script/bench

format: ## format the sources in place
	@swift format format --in-place --parallel --recursive --configuration .swift-format Package.swift Sources Tests script/tidy.swift

tidy: ## what the formatter cannot see: forbidden calls, long functions, arrows between layers
	@script/tidy

docs: build ## reference pages that programs print about themselves, into build/docs
	@script/docs

clean: ## remove what was built
	@rm -rf .build build
