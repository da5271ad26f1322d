# Needs Go only; interop, conformance and bench also want Python (see venv).

DAQ    := bin/daq
OUT    ?= out
PYTHON ?= python3
VENV   := .venv

.PHONY: build demo test race interop peers conformance bench quality ablation generate lint venv runtimes clean

build: ## one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(DAQ) ./cmd/daq

demo: build ## the main job on the built-in network and photographs
	$(DAQ) demo -o $(OUT)/demo --overwrite

test: ## everything that needs Go only; what needs ../shared or Python is skipped where it is missing
	go test -timeout 20m ./...

race:
	go test -race -short -timeout 30m ./...

venv: $(VENV)/bin/python ## ONNX Runtime for interop, conformance and bench

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r interop/requirements.txt

.venv-ort120/bin/python: interop/ort120.txt
	$(PYTHON) -m venv .venv-ort120
	.venv-ort120/bin/pip install --quiet -r $<
	touch $@

.venv-peers/bin/python: interop/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet -r $<
	touch $@

interop/web/node_modules: interop/web/package.json
	cd interop/web && npm install --no-package-lock --no-audit --no-fund --ignore-scripts --quiet
	touch $@

runtimes: venv ## what else runs ONNX, and a browser; what cannot be had is named, and the tests name it again
	$(MAKE) .venv-ort120/bin/python || echo "runtimes: no ONNX Runtime 1.20"
	$(MAKE) .venv-peers/bin/python || echo "runtimes: no OpenVINO, tract and NNCF"
	$(MAKE) interop/web/node_modules || echo "runtimes: no ONNX Runtime Web"
	command -v chromium || (test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq --no-install-recommends chromium) || echo "runtimes: no Chromium"

interop: runtimes ## real networks, float and quantized, in every runtime; NETWORKS='^EDSR', FORMS='^portable', RUNTIMES='^ort'
	@mkdir -p $(OUT)
	go test -count 1 -timeout 3h -tags runtimes -run 'Interop|Runtimes|Web' -v ./interop -networks '$(NETWORKS)' -forms '$(FORMS)' -runtimes '$(RUNTIMES)' -out $(abspath $(OUT))

peers: runtimes ## quality, cost and time beside ONNX Runtime's and NNCF's quantizers; NETWORKS='^EDSR', PEERS='Quality|Cost|Time'
	@mkdir -p $(OUT)
	go test -count 1 -timeout 3h -tags peers -run 'TestPeers($(or $(PEERS),Quality|Cost|Time))' -v ./interop -networks '$(NETWORKS)' -out $(abspath $(OUT))

conformance: venv ## the ONNX backend node tests, and operators in old forms
	go test -count 1 -timeout 30m -tags conformance -run "Conformance|OldOpsets" -v ./runtime

bench: ## ours and ONNX Runtime's time, interleaved, as ratios; SIZES=128x128,480x270, NETWORKS='^RDN_x2/4', MEMORY=1080x1920
	@test -n "$$DAQ_PYTHON" || $(MAKE) --no-print-directory venv || echo "bench: without Python there is nothing to compare with"
	@mkdir -p $(OUT)
	go test -count 1 -timeout 2h -tags bench -run TestBench -v ./interop -sizes '$(or $(SIZES),128x128)' -networks '$(NETWORKS)' -memory '$(MEMORY)' -samples $(abspath $(OUT))/bench.txt

quality: ## PSNR-Y, time and memory of real networks on Set5, a table; NETWORKS='^EDSR', SETTINGS='--bits 4;--average-bits 3'
	@mkdir -p $(OUT)
	go test -count 1 -timeout 6h -tags quality -run TestQuality -v ./cmd/daq $(if $(NETWORKS),-networks '$(NETWORKS)') $(if $(SETTINGS),-settings '$(SETTINGS)') -table $(abspath $(OUT))/quality.md

ablation: ## what each part of calibration and rounding gives on Set5; NETWORKS='^EDSR', BITS=4
	go test -count 1 -timeout 6h -tags quality -run TestAblation -v ./passes $(if $(NETWORKS),-networks '$(NETWORKS)') -bits $(or $(BITS),4)

generate: ## protobuf bindings and assembly; wants protoc (Debian: protobuf-compiler)
	GOBIN=$(CURDIR)/bin go install github.com/gogo/protobuf/protoc-gen-gogofast
	PATH=$(CURDIR)/bin:$$PATH go generate ./...

lint:
	test -z "$$(gofmt -l .)"
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@latest ./...

clean:
	rm -rf bin $(OUT)
