# Needs Go only; interop, conformance and bench also want Python (see venv).

DAQ    := bin/daq
OUT    ?= out
PYTHON ?= python3
VENV   := .venv

.PHONY: build demo test race interop conformance bench generate lint venv clean

build: ## one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(DAQ) ./cmd/daq

demo: build ## the main job on the built-in network and photographs
	$(DAQ) demo -o $(OUT)/demo --overwrite

test: ## everything that needs Go only; what needs ../shared or Python is skipped where it is missing
	go test ./...

race:
	go test -race ./...

venv: $(VENV)/bin/python ## ONNX Runtime for interop, conformance and bench

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r interop/requirements.txt

interop: venv ## real networks, float, simplified and quantized, against ONNX Runtime
	go test -count 1 -timeout 30m -run Interop -v ./interop

conformance: venv ## the ONNX backend node tests
	go test -count 1 -timeout 30m -tags conformance -run Conformance -v ./runtime

bench: venv ## ours and ONNX Runtime's time, interleaved, as ratios
	go test -run xxx -bench . -benchtime 3x ./interop

generate: ## protobuf bindings and assembly
	GOBIN=$(CURDIR)/bin go install github.com/gogo/protobuf/protoc-gen-gogofast
	PATH=$(CURDIR)/bin:$$PATH go generate ./...

lint:
	test -z "$$(gofmt -l .)"
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@latest ./...

clean:
	rm -rf bin $(OUT)
