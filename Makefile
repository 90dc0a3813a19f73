# Thin: each target is a line or two. `make help` lists them.
REBAR ?= rebar3
SHELL := /bin/sh

.PHONY: help setup compile bench test check eunit ct cover dialyzer xref doc \
        format lint cargo-test cargo-bench fuzz elixir metrics shell clean distclean

help:
	@sed -n 's/^## //p' Makefile

## make setup      install what is missing (Debian, Ubuntu) or say what to install
setup:
	@sh scripts/setup.sh

## make compile    build the native library and the Erlang modules
compile: setup
	@$(REBAR) compile

## make bench      the benchmark on real input, under 10 minutes; FULL=1 for more samples,
##                 STRICT=1 to fail when a target is missed, ONLY=part to pick
bench: compile
	@erl -pa _build/default/lib/*/ebin -noshell -eval "erlmcp_flow_bench:main()."

## make test       the tests: cargo test, eunit with PropEr, common test
test: setup
	@sh scripts/check.sh test

## make check      what CI runs: format, lint, tests, coverage, dialyzer, xref, docs, fuzz
check: setup
	@sh scripts/check.sh all

eunit ct cover dialyzer xref doc \
        format lint cargo-test cargo-bench fuzz elixir metrics shell clean distclean

help:
	@sed -n 's/^## //p' Makefile

## make setup      install what is missing (Debian, Ubuntu) or say what to install
setup:
	@sh scripts/setup.sh

## make compile    build the native library and the Erlang modules
compile: setup
	@$(REBAR) compile

## make bench      the benchmark on real input, under 10 minutes; FULL=1 for more samples
bench: compile
	@erl -pa _build/default/lib/*/ebin -noshell -eval "erlmcp_flow_bench:main()."

## make test       the tests: cargo test, eunit with PropEr, common test
test: setup
	@sh scripts/check.sh test

## make check      what CI runs: format, lint, tests, coverage, dialyzer, xref, docs, fuzz
check: setup
	@sh scripts/check.sh all

## make check STEP=name   one step of it (sh scripts/check.sh help lists them)
ifdef STEP
check-step: setup
	@sh scripts/check.sh $(STEP)
endif

eunit ct cover dialyzer xref doc format lint cargo-test elixir: setup
	@sh scripts/check.sh $@

## make cargo-bench   the criterion benches of the native crates
cargo-bench: setup
	@cargo bench -p erlmcp_flow_bench

## make fuzz       every decoder under AddressSanitizer; SECONDS=60 a target
fuzz: setup
	@sh fuzz/run.sh $(or $(SECONDS),60)

## make shell      an Erlang shell with the application started
shell: compile
	@erl -pa _build/default/lib/*/ebin -eval "application:ensure_all_started(erlmcp_flow)."

## make metrics    the metrics of a fresh node as Prometheus text
metrics: compile
	@erl -pa _build/default/lib/*/ebin -noshell -eval \
	  "application:ensure_all_started(erlmcp_flow), io:put_chars(erlmcp_flow_metrics:prometheus()), halt()."

## make clean      remove what was built (distclean: also cargo's target folder)
clean:
	@rm -rf _build priv

distclean: clean
	@rm -rf target fuzz/target
