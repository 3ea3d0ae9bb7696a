# Shorthands; each line is the command itself. `make ci` is what a change must pass.
GO ?= go
FUZZTIME ?= 30s

.PHONY: all build test counts race invariants long lint fuzz bench micro cross ci clean

all: build test

build:
	$(GO) build ./...

# The test command of the README.
test:
	$(GO) test ./...

# The same with the full counts, as in .ci/run; each package may take some minutes.
counts:
	HLOG_FUZZ=ci $(GO) test -timeout 20m -v ./...

race:
	GOMEMLIMIT=6GiB $(GO) test -short -timeout 30m -race ./...

invariants:
	$(GO) test -short -timeout 30m -tags invariants ./...

# Hours, not minutes: every crash point, every kill, long fuzzing.
long:
	HLOG_FUZZ=long $(GO) test -timeout 12h ./...

lint:
	$(GO) vet ./...
	$(GO) test ./internal/lint
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

# One target: make fuzz PKG=./fuzz FUZZ=FuzzCrashRecovery FUZZTIME=1h
PKG ?= ./fuzz
FUZZ ?= FuzzCrashRecovery
fuzz:
	$(GO) test -run '^$$' -fuzz '^$(FUZZ)$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $(PKG)

# The main job on real input, a head-to-head and the report.
bench:
	$(GO) run ./bench

micro:
	$(GO) test -run '^$$' -bench . ./bench

cross:
	GOOS=linux GOARCH=arm64 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 $(GO) build ./...
	GOOS=windows GOARCH=amd64 $(GO) build ./...

ci:
	bash .ci/run

clean:
	rm -rf bench-report
	$(GO) clean -testcache
