package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

type benchJSON struct {
	MedianMS  float64 `json:"median_ms"`
	MinMS     float64 `json:"min_ms"`
	PeakBytes int64   `json:"peak_bytes"`
	Peak      float64 `json:"peak_gmacs_per_s"`
	Threads   int     `json:"threads"`
	Inputs    []string
	GMACs     float64 `json:"gmacs"`
	Layers    []struct {
		Name, Op string
		MS       float64
		GMACs    float64 `json:"gmacs"`
	}
}

func TestBench(t *testing.T) {
	f := newFiles(t)
	quantized := f.quantized(t)
	var got struct {
		benchJSON
		VS struct {
			benchJSON
			File  string
			Ratio struct{ Median, Low, High float64 }
		}
	}
	text := must(t, "bench", quantized, "--vs", f.path("float.onnx"), "--size", "24x40", "--runs", "3", "--threads", "1", "--json")
	check(t, json.Unmarshal([]byte(text), &got))
	for _, r := range []benchJSON{got.benchJSON, got.VS.benchJSON} {
		if r.MinMS <= 0 || r.MedianMS < r.MinMS || r.PeakBytes <= 0 || len(r.Layers) == 0 {
			t.Errorf("%+v", r)
		}
		if len(r.Inputs) != 1 || !strings.HasSuffix(r.Inputs[0], "float[1,3,24,40]") {
			t.Errorf("inputs %q", r.Inputs)
		}
		convolutions := 0
		for _, l := range r.Layers {
			if l.Name == "" || l.Op == "" || l.MS <= 0 {
				t.Errorf("layer %+v", l)
			}
			if l.GMACs > 0 {
				convolutions += len(strings.Split(l.Name, ", ")) // two may be computed as one
			}
		}
		if want := countConvolutions(t, f.path("float.onnx")); convolutions != want {
			t.Errorf("%d layers multiply, the network has %d convolutions", convolutions, want)
		}
	}
	// Quantizing changes no convolution's size.
	if got.GMACs != got.VS.GMACs || got.GMACs <= 0 || got.Threads != 1 || got.Peak <= 0 {
		t.Errorf("%g and %g GMAC, %d threads, peak %g", got.GMACs, got.VS.GMACs, got.Threads, got.Peak)
	}
	if r := got.VS.Ratio; r.Median != got.MedianMS/got.VS.MedianMS || r.Low > r.High || r.Low <= 0 {
		t.Errorf("ratio %+v of %g and %g ms", r, got.MedianMS, got.VS.MedianMS)
	}
	if got.VS.File != f.path("float.onnx") {
		t.Errorf("compared with %q", got.VS.File)
	}
}

func countConvolutions(t *testing.T, path string) int {
	t.Helper()
	m, err := onnx.Load(path)
	check(t, err)
	n := 0
	for _, node := range m.Graph.Nodes {
		if node.Is("Conv", "ConvTranspose") {
			n++
		}
	}
	return n
}

func TestBenchTable(t *testing.T) {
	f := newFiles(t)
	out := must(t, "bench", f.path("float.onnx"), "--size", "20x16", "--runs", "2", "--vs", f.path("float.onnx"))
	for _, want := range []string{"input float[1,3,20,16]", "2 runs", "of the FMA peak", "for feature maps", "GMAC/s", "Conv", "takes ", "half of the pairs of runs"} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
}

func TestBenchErrors(t *testing.T) {
	f := newFiles(t)
	model := f.path("float.onnx")
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{exitUsage, []string{"bench"}, "MODEL.onnx is missing"},
		{exitUsage, []string{"bench", model, "--size", "24"}, `--size "24": want height and width`},
		{exitUsage, []string{"bench", model, "--size", "0x9"}, "want height and width"},
		{exitUsage, []string{"bench", model, "--runs", "0"}, "--runs 0: want 1 to"},
		{exitFailed, []string{"bench", f.path("none.onnx")}, "none.onnx"},
		{exitFailed, []string{"bench", model, "--vs", f.path("none.onnx")}, "none.onnx"},
		{exitFailed, []string{"bench", model, "--size", "60000x60000"}, "choose a smaller size"},
	} {
		fails(t, daq(c.args...), c.code, c.want)
	}
}
