package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/passes"
)

func TestAverageBitsAndPlanDiff(t *testing.T) {
	f := newFiles(t)
	float, photos := f.path("float.onnx"), f.path("photos")
	text := must(t, "quantize", float, "-o", f.path("mixed.onnx"), "--calib", photos, "--average-bits", "3", "--save-plan", f.path("mixed.json"))
	for _, want := range []string{"average", "noise", "against the float network"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	// The plan carries the bits of channels and is obeyed.
	must(t, "quantize", float, "-o", f.path("again.onnx"), "--calib", photos, "--plan", f.path("mixed.json"))
	same(t, f.path("mixed.onnx"), f.path("again.onnx"))

	must(t, "quantize", float, "-o", f.path("two.onnx"), "--calib", photos, "--bits", "2", "--save-plan", f.path("two.json"), "-q")
	diff := must(t, "plan", "diff", f.path("two.json"), f.path("mixed.json"))
	if !strings.Contains(diff, "on average") || !strings.Contains(diff, "bits") {
		t.Errorf("plan diff: %q", diff)
	}
	if text := must(t, "plan", "diff", f.path("two.json"), f.path("two.json")); !strings.Contains(text, "the same choices") {
		t.Errorf("plan diff of one plan: %q", text)
	}
	if text := must(t, "plan", "diff", "--json", f.path("two.json"), f.path("two.json")); text != "[]\n" {
		t.Errorf("plan diff --json: %q", text)
	}
	fails(t, daq("plan", "dif"), exitUsage, "dif")
	fails(t, daq("plan", "diff", f.path("two.json"), float), exitFailed, "float.onnx", "plan")

	for _, args := range [][]string{
		{"--average-bits", "1"}, {"--average-bits", "9"}, {"--average-bits", "3", "--bits", "4"},
		{"--average-bits", "3", "--weight-bits", "4", "--activation-bits", "4"}, {"--average-bits", "3", "--step", "paper"},
	} {
		fails(t, daq(append([]string{"quantize", float, "-o", f.path("no.onnx"), "--calib", photos}, args...)...), exitUsage, "--average-bits")
	}
}

func TestSensitivity(t *testing.T) {
	f := newFiles(t)
	text := must(t, "sensitivity", f.path("float.onnx"), "--calib", f.path("photos"), "-o", f.path("s.json"))
	for _, want := range []string{"input 4 bits", "weights 4 bits", "rank correlation"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	data, err := os.ReadFile(f.path("s.json"))
	check(t, err)
	var s struct {
		Format      string
		Activations []struct {
			Name     string
			Loss     float64
			Channels []float64
		}
		Weights []struct{ Name string }
	}
	check(t, json.Unmarshal(data, &s))
	if s.Format != "daq sensitivity 1" || len(s.Activations) != 17 || len(s.Weights) != 17 || len(s.Activations[0].Channels) != 32 {
		t.Errorf("%.300s", data)
	}
	fails(t, daq("sensitivity", f.path("float.onnx")), exitUsage, "--calib")
	fails(t, daq("sensitivity", f.path("float.onnx"), "--calib", f.path("photos"), "--bits", "9"), exitUsage, "--bits")
}

func TestMaxDrop(t *testing.T) {
	f := newFiles(t)
	float, photos := f.path("float.onnx"), f.path("photos")
	var r struct {
		Trials []struct {
			AverageBits float64 `json:"average_bits"`
			DropDB      float64 `json:"drop_db"`
		}
		Average     struct{ Activations, Weights float64 } `json:"average_bits"`
		Calibration struct {
			Float     float64 `json:"float_psnr_y"`
			Quantized float64 `json:"quantized_psnr_y"`
		}
	}
	check(t, json.Unmarshal([]byte(must(t, "quantize", float, "-o", f.path("a.onnx"), "--calib", photos, "--max-drop", "0.5", "--json")), &r))
	// The lowest average among the trials that kept the bound is what was written.
	lowest := 9.0
	for _, trial := range r.Trials {
		if trial.DropDB <= 0.5 {
			lowest = min(lowest, trial.AverageBits)
		}
	}
	if drop := r.Calibration.Float - r.Calibration.Quantized; drop > 0.5 || len(r.Trials) < 3 || r.Average.Activations > lowest || r.Average.Activations < lowest-0.3 {
		t.Errorf("drop %g, %+v", drop, r)
	}
	fails(t, daq("quantize", float, "-o", f.path("b.onnx"), "--calib", photos, "--max-drop", "0.5", "--bits", "4"), exitUsage, "--max-drop", "--bits")
	fails(t, daq("quantize", float, "-o", f.path("b.onnx"), "--calib", photos, "--max-drop", "-1"), exitUsage, "--max-drop")

	// One bit loses much, and the tool says what helps.
	low := daq("quantize", float, "-o", f.path("c.onnx"), "--calib", photos, "--bits", "1")
	for _, want := range []string{"dB were lost", "daq sensitivity", "--average-bits", "--exclude", "--max-drop"} {
		if low.code != exitDone || !strings.Contains(low.stderr, want) {
			t.Errorf("exit %d, stderr %q lacks %q", low.code, low.stderr, want)
		}
	}
}

// The dynamic form is a remedy for static activations alone.
func TestRemedyWithoutLosses(t *testing.T) {
	activations := []passes.ActivationPlan{{Bits: 8}}
	for _, c := range []struct {
		name string
		plan passes.Plan
		want bool
	}{
		{"static", passes.Plan{Mode: target.Static, Activations: activations}, true},
		{"stored", passes.Plan{Mode: target.Static}, false},
		{"dynamic", passes.Plan{Mode: target.Dynamic, Activations: activations}, false},
	} {
		remedy := (&quantizeFlags{}).remedy("net.onnx", &converter.Quantized{Plan: &c.plan})
		if strings.Contains(remedy, "--mode dynamic") != c.want || !strings.Contains(remedy, "more bits") {
			t.Errorf("%s: %q", c.name, remedy)
		}
	}
}
