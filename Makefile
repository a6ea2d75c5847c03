# alcove. `make demo` shows it, `make test` proves it; nothing but Go is needed.
GO       ?= go
BIN      ?= alcove
RELEASE  ?=
LDFLAGS  := -s -w $(if $(RELEASE),-X main.release=$(RELEASE))
TOOLS    := $(GO) tool -modfile=tools/go.mod
export CGO_ENABLED = 0

.PHONY: build demo test race lint check fuzz bench e2e cross licences ollama alerts clean

build: ## the binary, ./alcove
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/alcove

demo: build ## from nothing to a cited answer
	./$(BIN) demo

test: ## every test, offline
	$(GO) test ./...

race: ## the rooms under the race detector (needs a C compiler); it is lint that vets
	CGO_ENABLED=1 $(GO) test -race -vet=off -timeout 20m ./tenancy/... ./engine/... ./index/... ./graph/... ./httpapi/... ./sealed/...

lint: ## gofmt, vet (without the PDF reader too), staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt -w $$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags nopdf ./engine/parse ./cmd/alcove
	$(TOOLS) staticcheck ./...

check: lint test ## what a change must pass

FUZZTIME ?= 20s
fuzz: ## every fuzz target for FUZZTIME
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
	  done; done

bench: build ## the workloads behind the README's figures (DATA=folder of question sets)
	./$(BIN) bench retrieval --data $(or $(DATA),../shared/data)
	./$(BIN) bench ingest --data $(or $(DATA),../shared/data)
	./$(BIN) bench start
	./$(BIN) bench delete
	./$(BIN) bench query
	./$(BIN) bench model --sizes 100,1000
	./$(BIN) bench drop
	./$(BIN) bench overhead --data $(or $(DATA),../shared/data)
	./$(BIN) bench cold --data $(or $(DATA),../shared/data)
	./$(BIN) bench evict --data $(or $(DATA),../shared/data)
	$(GO) test -run '^$$' -bench . -benchtime 200x ./index ./graph ./tenancy/keyspace

e2e: build ## ADR 007's walk-through against the real binary
	./scripts/walkthrough.sh ./$(BIN)

TARGETS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
cross: ## all six targets, or TARGETS
	@for t in $(TARGETS); do \
	  echo "build $$t"; GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o /dev/null ./cmd/alcove || exit 1; done

licences: ## cmd/alcove/licences.txt, from what is linked
	./scripts/licences.sh > cmd/alcove/licences.txt

ollama: ## a real Ollama server for the tests, built once into the user's cache folder (OLLAMA_BIN names another)
	./scripts/ollama.sh

alerts: ## deploy/'s alerts and dashboard against Prometheus' own parser and engine
	cd tools/alerts && $(GO) test ./...

clean:
	rm -f $(BIN)
