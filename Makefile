# Crayon's commands. `make` lists them.

SHELL := bash -o pipefail
.DEFAULT_GOAL := help

GO       ?= go
BIN      := bin/crayon
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFLAGS_ := -trimpath -buildvcs=auto -ldflags '-s -w -X crayon/internal/build.Version=$(VERSION)'
DATA     ?= $(CRAYON_DATA)
DEVICE   ?= cpu
SERVER_MODEL ?= qwen2.5-coder-1.5b
SERVER_ADDR  ?= 127.0.0.1:8322
SERVER       ?= http://$(SERVER_ADDR)/v1
RECIPE   ?= recipes/default.yaml
FOLDS    ?= recipes/default.yaml
FOLD_DIR ?= bin/fold-pools
FOLD_NUMBERS := 1 2 3 4 5
FOLD_FILES   := $(FOLD_NUMBERS:%=$(FOLD_DIR)/fold-%.crayon)
# A count: a duration can fail at its own deadline (golang issue 75804).
FUZZTIME ?= 20000x
TARGETS  := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
QEMU     := $(firstword $(foreach name,qemu-aarch64-static qemu-aarch64,$(shell command -v $(name))))
ARM      := GOOS=linux GOARCH=arm64
PASSES   := Forward|Side|Batch|Forks|Truncate|Blend|Append
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

export CGO_ENABLED := 0

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: quickstart
quickstart: build ## build, pull the model, and see it work: the scoreboard on three example files
	$(BIN) pull smollm2-135m
	$(BIN) demo

.PHONY: build
build: ## build bin/crayon, static
	$(GO) build $(GOFLAGS_) -o $(BIN) ./cmd/crayon

.PHONY: cuda
cuda: ## build bin/crayon-cuda, for --device cuda: NVIDIA's libraries are opened at run time (Linux, amd64 and arm64)
	GOOS=linux $(GO) build $(GOFLAGS_) -o $(BIN)-cuda ./cmd/crayon-cuda

.PHONY: test
test: ## run all tests and sum them up
	@$(GO) test -json ./... | $(GO) run ./test/summary

.PHONY: arm
arm: ## test the arm64 kernels, under qemu where the machine is not arm64
ifeq ($(shell $(GO) env GOHOSTARCH),arm64)
	$(GO) test -short ./internal/kernel
	$(GO) test -short -run '$(PASSES)' ./internal/model
else
	@test -n "$(QEMU)" || { echo "make arm needs qemu-aarch64: apt-get install qemu-user-static (Debian, Ubuntu), dnf install qemu-user-static (Fedora)"; exit 2; }
	$(ARM) KERNEL_TEST_BEST=neondot $(GO) test -short -exec '$(QEMU) -cpu max' ./internal/kernel
	$(ARM) KERNEL_TEST_BEST=neon $(GO) test -short -exec '$(QEMU) -cpu cortex-a53' ./internal/kernel
	$(ARM) $(GO) test -short -run '$(PASSES)' -exec '$(QEMU) -cpu max' ./internal/model
	$(ARM) $(GO) test -short -run '$(PASSES)' -exec '$(QEMU) -cpu cortex-a53' ./internal/model
endif

.PHONY: race
race: ## run the fast tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short ./...

.PHONY: fuzz
fuzz: ## run each fuzz target on FUZZTIME inputs (20000x)
	@grep -rl --include='*_test.go' '^func Fuzz' . | grep -v '/test/' | while read -r file; do \
		sed -n 's/^func \(Fuzz[A-Za-z]*\).*/\1/p' $$file | while read -r name; do \
			echo "$$(dirname $$file) $$name"; \
			$(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
		done || exit 1; \
	done

.PHONY: lint
lint: ## check formatting, vet on each system, and staticcheck where it can be fetched
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w $$unformatted"; exit 1; }
	@for t in linux/amd64 windows/arm64 darwin/arm64; do echo "vet $$t"; GOFLAGS=-trimpath GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) vet ./... || exit 1; done
	@if ! $(GO) run $(STATICCHECK) -version > /dev/null 2>&1; then echo "staticcheck cannot be fetched: left out"; \
	else echo staticcheck; $(GO) run $(STATICCHECK) ./... && cd test/llamacpp && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...; fi

.PHONY: static
static: build ## check that the Linux binary needs no library and no loader
	@if readelf -lW $(BIN) | grep -q INTERP || readelf -dW $(BIN) | grep -q NEEDED; then echo "$(BIN) is not static"; exit 1; fi
	@echo "$(BIN) is static"

.PHONY: oracle
oracle: ## compare with the float32 reference and with llama.cpp; fails when further off than allowed
	cd test/llamacpp && $(GO) run ./cmd/oracle

.PHONY: perplexity
perplexity: ## compare the perplexity on the data in DATA with the float32 reference's, into bench/results
	@test -n "$(DATA)" || { echo "make perplexity DATA=folder of question-answer data"; exit 2; }
	$(GO) build -o bin/oracle ./test/oracle && bin/oracle -perplexity -data "$(DATA)" $(ARGS)

.PHONY: peer
peer: build ## race llama.cpp on the same file and threads, into bench/results (ARGS="-rows ...")
	cd test/llamacpp && $(GO) build -o ../../bin/peer ./cmd/peer && ../../bin/peer $(ARGS)

.PHONY: bench
bench: build ## measure customisation on the data in DATA, into bench/results
	@test -n "$(DATA)" || { echo "make bench DATA=folder of question-answer data"; exit 2; }
	mkdir -p bench/results
	$(BIN) bench customize --data "$(DATA)" --out bench/results/customize.json --raw bench/results/raw/customize.jsonl.gz \
		--plot bench/results/customize.svg --html bench/results/customize.html $(ARGS)

.PHONY: bench-hybrid
bench-hybrid: build ## measure the route between device and SERVER on the data in DATA, into bench/results (ARGS="--pools ...")
	@test -n "$(DATA)" || { echo "make bench-hybrid DATA=folder of question-answer data"; exit 2; }
	mkdir -p bench/results
	$(BIN) bench hybrid --data "$(DATA)" --server "$(SERVER)" --out bench/results/hybrid.json --raw bench/results/raw/hybrid.jsonl.gz \
		--plot bench/results/hybrid.svg --html bench/results/hybrid.html $(ARGS)

.PHONY: fold-pools
fold-pools: $(FOLD_FILES) ## train the five pools that each leave families out, on DEVICE=cpu or cuda, into FOLD_DIR
	mkdir -p bench/results
	@{ printf '{\n  "recipe": "%s",\n  "pools": {' '$(FOLDS)'; sep=; \
	for k in $(FOLD_NUMBERS); do \
		printf '%s\n    "fold-%s": "%s"' "$$sep" $$k $$(sha256sum < $(FOLD_DIR)/fold-$$k.crayon | cut -d' ' -f1) && sep=,; \
	done; printf '\n  }\n}\n'; } > bench/results/fold-pools.json
	@cat bench/results/fold-pools.json

$(FOLD_DIR)/fold-%.crayon: | build
	@test -n "$(DATA)" || { echo "make fold-pools DATA=folder of question-answer data"; exit 2; }
	mkdir -p $(FOLD_DIR)
	$(BIN) pool train $@ --data "$(DATA)" --recipe $(FOLDS) --fold $* --rivals $(FOLD_DIR)/fold-$*.rivals $(if $(filter-out cpu,$(DEVICE)),--device $(DEVICE)) $(ARGS)

.PHONY: server-llm
server-llm: build ## pull SERVER_MODEL (qwen2.5-coder-1.5b, 1.1 GB) and serve it on loopback, as the larger LLM; Ctrl-C ends
	$(BIN) pull $(SERVER_MODEL)
	$(BIN) serve --local-only --model $(SERVER_MODEL) --addr $(SERVER_ADDR) --prefix-cache 512 --quiet $(ARGS)

.PHONY: ablations
ablations: build ## train and score the variants of RECIPE in bench/ablate, and make one table of them (ARGS="-train ... -bench ...")
	@test -n "$(DATA)" || { echo "make ablations DATA=folder of question-answer data"; exit 2; }
	$(GO) run ./bench/ablate -crayon $(BIN) -data "$(DATA)" -recipe $(RECIPE) $(ARGS)

.PHONY: verify-results
verify-results: ## compute every published figure of the benchmark again from its raw rows
	$(GO) run ./cmd/crayon bench verify bench/results/customize*.json $(wildcard bench/results/hybrid*.json)
	$(GO) run ./bench/figures -check

.PHONY: bench-gate
bench-gate: ## compare allocations, products, tokens, dials with bench/baseline.json; ARGS=-accept takes the new ones
	$(GO) build -o bin/gate ./test/gate && bin/gate $(ARGS)

.PHONY: dist
dist: ## make archives for six targets, with checksums, into dist
	rm -rf dist && mkdir dist
	@for t in $(TARGETS); do \
		os=$${t%/*}; arch=$${t#*/}; name=crayon-$(VERSION)-$$os-$$arch; exe=crayon; test $$os != windows || exe=crayon.exe; \
		echo "$$name"; mkdir -p dist/$$name && \
		GOOS=$$os GOARCH=$$arch $(GO) build $(GOFLAGS_) -o dist/$$name/$$exe ./cmd/crayon && \
		if test $$os = linux; then GOOS=$$os GOARCH=$$arch $(GO) build $(GOFLAGS_) -o dist/$$name/crayon-cuda ./cmd/crayon-cuda; fi && \
		cp $(wildcard README.md LICENSE CHANGELOG.md) dist/$$name/ && \
		tar -C dist -czf dist/$$name.tar.gz $$name && rm -r dist/$$name || exit 1; \
	done
	cd dist && sha256sum *.tar.gz > SHA256SUMS
	@cat dist/SHA256SUMS

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
