# Targets for people; `make help` lists them. Everything that a target needs beyond Go and make, `setup` installs.
ARCH ?= amd64
GO   ?= go
BUNDLE = bin/bundle-linux-$(ARCH).tar.zst
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOBUILD = CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"

.PHONY: help setup build bundle demo check test lint e2e plugin ha crash aws azure gcp csi conformance bench notices fmt clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' Makefile | expand -t 10
setup: ## install what building and testing need (Debian and Ubuntu)
	@.ci/setup
build: setup bundle ## build bin/provision, the cloud in a box, what is sent to nodes, and the bundle
	$(GOBUILD) -o bin/provision ./cmd/provision
	$(GOBUILD) -o bin/cloud-box ./cmd/cloud-box
	GOARCH=$(ARCH) $(GOBUILD) -o bin/node-agent ./cmd/node-agent
	GOARCH=$(ARCH) $(GOBUILD) -o bin/node-scout ./cmd/node-scout
bundle: setup ## build the bundle for ARCH (amd64 or arm64)
	$(GO) run ./bootstrap/bundle/pack -arch $(ARCH) -out $(BUNDLE)
demo: build ## make the example cluster here, show its nodes and fetch the demo page
	examples/local/demo.sh
check: build lint test e2e ## all that CI runs
lint: ## vet and staticcheck
	$(GO) vet -tags e2e ./...
	$(GO) tool staticcheck -tags e2e ./...
test: ## unit, conformance and script tests, with the race detector; in the end, each cloud's cases and cuts
	@.ci/setup tests
	.ci/figures $(GO) test -race -v -timeout 30m ./...
e2e: build ## the real thing: machines, SSH, Kubernetes, here
	$(GO) test -tags e2e -count=1 -timeout 40m -v -run E2E -skip E2EHA ./cmd/provision -ha.slack=2
	$(GO) test -tags e2e -count=1 -timeout 15m -v -run E2E ./bootstrap/scout ./cmd/cloud-box ./controlplane/autoscaler ./controlplane/csi/sidecars
plugin: build ## the cloud agent with a provider that is a program: nodes, Services, claims and new machines; 3 minutes
	$(GO) test -tags e2e -count=1 -timeout 20m -v -run PluginInAgent ./controlplane/autoscaler
ha: build ## lose each control-plane machine in turn under load, 20 rounds, and check the history of all writes
	$(GO) test -tags e2e -count=1 -timeout 4h -v -run E2EHA ./cmd/provision -ha.rounds=20
crash: ## kill the command at every boundary and at 1,000 random moments; see that it goes on
	$(GO) test -count=1 -timeout 90m -v -run Crash ./cmd/provision -crash.full
aws: ## what the tests of provider aws do at a server that stands in for AWS, told case by case; part of test
	@.ci/setup tests
	$(GO) test -race -count=1 -timeout 20m -v ./providers/aws/...
azure: ## the tests of provider azure with their figures: cases of the contract, cuts, requests, actions of its role
	$(GO) test -count=1 -timeout 20m -v ./providers/azure/...
gcp: ## the tests of provider gcp with their figures: cases of the contract, cuts, requests; gcloud reads what was made
	$(GO) test -count=1 -timeout 20m -v ./providers/gcp/...
csi: ## csi-sanity over each vendor, with counts; part of test
	@.ci/setup tests
	$(GO) test -race -count=1 -timeout 20m -v -run Sanity ./controlplane/csi
conformance: build ## Kubernetes' own end-to-end cases of Services of type LoadBalancer and of volumes, at a cluster here; an hour
	@.ci/setup conformance
	CGO_ENABLED=0 GOFLAGS=-mod=readonly controlplane/conformance/build
	$(GO) test -tags e2e -count=1 -timeout 3h -v -run 'TestUpstream$$' ./cmd/provision
bench: ## benchmarks; figures are kept in docs/benchmarks.md
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) test -run Makespan -count=1 -v ./cmd/provision/internal/engine
	$(GO) test -run CallsOfAnHour -count=1 -v ./controlplane/ccm -ccm.full
	$(GO) test -tags e2e -run MemoryOfAThousandNodes -count=1 -timeout 20m -v ./controlplane/autoscaler
notices: setup ## write docs/third-party-notices.md anew
	$(GO) run ./bootstrap/bundle/pack -arch $(ARCH) -out $(BUNDLE) -notices docs/third-party-notices.md
fmt: ## format the Go code
	gofmt -w $$(git ls-files '*.go')
clean: ## remove what was built
	rm -rf bin .cache
