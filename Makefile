# What can be done here: make help.

GO ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Real data for test-realdata and bench; see README.md for where it comes from.
export HEADWATER_REALDATA ?= $(abspath ../shared/data)

# How long each fuzz target is tried by make fuzz.
FUZZTIME ?= 20s

# How long make soak goes on.
SOAKTIME ?= 4h

# The program that the fault campaign upgrades from: the last one before it threw dead members out of groups.
OLD ?= e09f16d

TAGS := assert
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

.DEFAULT_GOAL := help
.PHONY: help build engine test test-realdata test-clients bench bench-databases bench-query bench-stages faults soak lint fuzz explore generate verify demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/headwater
	$(GO) build -ldflags '-X main.version=$(VERSION)' -o bin/headwater ./cmd/headwater

engine: build ## bring the embedded warehouse's engine to this machine, once
	@bin/headwater engine fetch

test: engine ## install what the tests need and run all of them, race detector on
	@command -v $${CC:-gcc} >/dev/null || { echo "the race detector needs a C compiler: install gcc" >&2; exit 1; }
	$(GO) test -race -tags $(TAGS) -timeout 30m ./...
	$(GO) test -tags $(TAGS) -timeout 30m ./connectors/file # its large tests whole: memory, every packing, every damage

test-realdata: engine ## run the tests over real data in HEADWATER_REALDATA
	@test -d "$(HEADWATER_REALDATA)" || { echo "no folder $(HEADWATER_REALDATA): set HEADWATER_REALDATA to the folder with the real data (README.md names the files)" >&2; exit 1; }
	@files=$$(grep -l --include='*_test.go' -r '^//go:build .*realdata' .); \
	$(GO) test -tags '$(TAGS) realdata' -timeout 30m -run "^($$(sed -n 's/^func \(Test[A-Za-z0-9_]*\)(t .*/\1/p' $$files | paste -sd '|'))\$$" $$(dirname $$files | sort -u)

test-clients: engine ## run the official JDBC, Python and Node clients of ClickHouse against the warehouse
	$(GO) test -tags '$(TAGS) clients' -timeout 10m -count 1 ./internal/clients

bench: engine ## measure the whole pipeline against the engine alone; ends with a RESULT line
	$(GO) run ./internal/bench

bench-databases: ## measure reading databases into Kafka against COPY and SELECT; ends with a RESULT line
	$(GO) run ./internal/bench databases

bench-query: engine ## measure the views on 100 million observations; ends with a RESULT line
	$(GO) run ./internal/benchquery

bench-stages: engine ## measure each stage's speed and memory
	$(GO) test -run '^$$' -bench . -benchmem ./...

faults: engine ## the fault campaign: 1,000 kills, 200 on Apache Kafka; ends with a RESULT line
	$(GO) run ./internal/faults -broker both -parallel 3 -kills 1000 -kafka-kills 200 -recovery 100 -old $(OLD)

soak: engine ## the fault campaign for SOAKTIME
	$(GO) run ./internal/faults -broker both -duration $(SOAKTIME) -recovery 100 -old $(OLD)

lint: ## vet, staticcheck, gofmt
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:" >&2; gofmt -l . >&2; exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	$(GO) vet -tags '$(TAGS) realdata faults clients' ./...
	$(GO) run $(STATICCHECK) -tags $(TAGS) ./...

fuzz: ## try every fuzz target for FUZZTIME
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ { t[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, t[i]; n = 0 }' | \
	while read -r package target; do \
		echo "$$package $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s $$package; \
	done

explore: ## search the protocol's worlds deeper than the tests do; ends with a RESULT line
	@HEADWATER_EXPLORE=deep $(GO) test -run '^TestExplore$$' -count 1 -v -timeout 3h ./pipeline/load | awk '/^RESULT/ { result = $$0; next } { print } END { print result }'

generate: ## write what is made from code: the editors' schemas in docs/config, the data dictionary, the connectors' reference
	$(GO) run ./cmd/headwater config schema --write docs/config
	$(GO) run ./cmd/headwater config dictionary --write docs/model.md
	$(GO) run ./cmd/headwater connectors --write docs/connectors/README.md

verify: generate ## fail when generated files are not current
	@git diff --exit-code -- docs/config docs/model.md docs/connectors/README.md || { echo "generated files have changed: commit them" >&2; exit 1; }
	@test -z "$$(git status --porcelain -- docs/config docs/model.md docs/connectors/README.md)" || { echo "generated files are not committed:" >&2; git status --porcelain -- docs/config docs/model.md docs/connectors/README.md >&2; exit 1; }

demo: engine ## run the demo project to its end and show what came of it
	@bin/headwater demo

clean: ## remove what was built
	rm -rf bin
