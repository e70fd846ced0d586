# `make test` is what CI runs. Everything else is a part of it or a convenience.
.PHONY: help setup test quick fmt lint demo fuzz bench kube-assets clean

help:
	@echo 'make test    set up what is missing, then run every check and test (what CI runs)'
	@echo 'make quick   the inner loop: format, clippy, unit tests'
	@echo 'make lint    format check, clippy, cargo-deny, tidiness'
	@echo 'make demo    run the bundled example and print its verdict table'
	@echo 'make fuzz    every fuzz target for a short while'
	@echo 'make bench   measure the gateway beside Squid, tinyproxy and a bare relay (at most 12 minutes after the build)'
	@echo 'make kube-assets   the Kubernetes API server that the tests run against (part of setup)'
	@echo 'make setup   only install what is missing'

setup:
	@scripts/setup

test: setup
	@scripts/test

quick:
	@scripts/test quick

fmt:
	cargo fmt --all

lint:
	@scripts/test lint

demo:
	cargo run --release --bin exitgate -- demo

fuzz:
	@scripts/fuzz.sh

bench:
	@scripts/setup bench
	@python3 bench/run.py $(BENCH_ARGS)

kube-assets:
	@scripts/kube-assets

clean:
	cargo clean
	rm -rf .cache
