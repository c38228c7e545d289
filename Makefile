# Everything here needs only Go, gcc (for SQLite), git and make. What else a target uses it installs when root, and
# names when not. FUZZTIME=10s make fuzz; TESTFLAGS='-race -v' make test.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export CGO_ENABLED := 1
VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo unreleased)
DIST = alumet-hpc-$(VERSION)
FUZZTIME ?= 60s
TESTFLAGS ?=
CLUSTER := contrib/testbed/slurm/cluster
FILES = git ls-files -co --exclude-standard
SCRIPTS = $(FILES) | { xargs -d '\n' sed -nsE '1{/^\#!.*[^a-z](ba|da)?sh( |$$)/F}' 2>/dev/null || true; }
# $(call list,PATTERN) prints "Test package" for each test whose name matches; what is no list goes to stderr
list = go test -list '$(1)' ./... | awk '/^(Test|Fuzz)/ {f[n++] = $$1; next} /^ok/ {while (n) print f[--n], $$2; next} \
  !/^\?/ {print >"/dev/stderr"}'
.PHONY: help build demo test test-servers check bench fuzz soak dist clean dist-clean
help: ## list the targets (default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile
build: ## build bin/alumet-agent and bin/alumet-job
	go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/alumet-agent ./cmd/alumet-job
demo: ## measure two jobs of a real Slurm on this machine and print their reports (under 3 minutes)
	contrib/demo/demo
test: ## run all tests, on a real Slurm too (as root: installs the Debian packages it needs)
	@if [ "$$(id -u)" = 0 ]; then echo "make test: the Debian packages of the Slurm test bed are installed now, where missing"; $(CLUSTER) install; \
	  else echo "make test: not root, so the tests on a real Slurm are skipped; '$(CLUSTER) install' as root, then make test as root, runs them"; fi
	go build ./...
	go test -p 1 -count=1 -timeout 15m -skip '^TestRealServer' $(TESTFLAGS) ./... # one package at a time: a cluster next door disturbs timing
test-servers: ## run the slow tests against real database servers (TestRealServer...)
	@tests=$$($(call list,^TestRealServer)); \
	if [ -z "$$tests" ]; then echo "make test-servers: no test is named TestRealServer... yet: nothing to run"; exit; fi; \
	go test -p 1 -count=1 -timeout 15m -run '^TestRealServer' $(TESTFLAGS) $$(awk '{print $$2}' <<<"$$tests" | sort -u)
check: ## format, vet, staticcheck, architecture and documentation tests, C warnings, shellcheck
	@out=$$(gofmt -l .); [ -z "$$out" ] || { printf 'gofmt -w is needed for:\n%s\n' "$$out"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go test -count=1 -run '^Test(Arch|Doc)' ./cmd/alumet-agent
	@$(FILES) '*.c' | while read -r f; do [ -e "$$f" ] || continue; echo "gcc $$f"; gcc -O2 -Wall -Wextra -Werror -c -o /dev/null "$$f"; done
	@command -v shellcheck >/dev/null || { \
	  [ "$$(id -u)" = 0 ] || { echo "make check: needs shellcheck: as root, apt-get install shellcheck"; exit 1; }; \
	  echo "make check: installing the Debian package shellcheck"; export DEBIAN_FRONTEND=noninteractive; \
	  apt-get -qq -y install shellcheck >/dev/null || { apt-get -qq update; apt-get -qq -y install shellcheck >/dev/null; }; }
	@$(SCRIPTS) | xargs -rt -d '\n' shellcheck -x -P SCRIPTDIR && echo "make check: no findings"
bench: ## print the cost of the hot path: name, value, unit, reference, ratio
	go run ./contrib/bench
fuzz: ## run every fuzz test for FUZZTIME (60s) each
	@$(call list,^Fuzz) | { rc=0; while read -r name pkg; do echo "fuzz $$name in $$pkg for $(FUZZTIME)"; \
	  go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$pkg" </dev/null || rc=1; done; exit $$rc; }
soak: ## run the tests that take hours (TestSoak...)
	@tests=$$($(call list,^TestSoak)); if [ -z "$$tests" ]; then echo "make soak: no test is named TestSoak... yet: nothing to run"; exit; fi; \
	go test -p 1 -count=1 -timeout 3h -run '^TestSoak' $(TESTFLAGS) $$(awk '{print $$2}' <<<"$$tests" | sort -u) -args -soak
dist: build ## pack the committed source and the programs into dist/
	@git diff --quiet HEAD || { echo "make dist: commit first: the source archive is made from HEAD"; exit 1; }
	mkdir -p dist && git archive --prefix=$(DIST)/ -o dist/$(DIST).tar.gz HEAD
	tar -czf dist/$(DIST)-linux-$$(go env GOARCH).tar.gz --owner=0 --group=0 --sort=name --transform 's,^,$(DIST)/,' bin README.md LICENSE
	cd dist && sha256sum *.tar.gz >SHA256SUMS && cat SHA256SUMS
clean: ## remove what was built
	rm -rf bin dist
dist-clean: clean ## remove every file that git ignores and stop the test bed
	if [ "$$(id -u)" = 0 ]; then $(CLUSTER) stop; fi
	git clean -fdXq
