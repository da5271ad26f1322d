package passes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
)

// difference is one line of interop/compare_models.py.
type difference struct {
	A, B, Size string
	MaxAbsDiff float64 `json:"max_abs_diff"`
	Range      float64
	Relative   float64
}

// compareModels runs pairs of files in ONNX Runtime.
func compareModels(t *testing.T, pairs []string, args ...string) []difference {
	t.Helper()
	command := append([]string{filepath.Join(testenv.Root(), "interop", "compare_models.py")}, pairs...)
	out, err := exec.Command(testenv.Python(t), append(command, args...)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%v: %s", err, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	var list []difference
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func save(t *testing.T, m *onnx.Model, path string) string {
	t.Helper()
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, path string) *onnx.Model {
	t.Helper()
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A simplified network computes in ONNX Runtime what it did before, to the bit
// where no weights were changed.
func TestSimplifyKeepsNetworks(t *testing.T) {
	dir := t.TempDir()
	var pairs []string
	affine := map[string]bool{}
	for _, net := range testenv.Models(t) {
		m := load(t, net.Path)
		before := len(m.Graph.Nodes)
		report, err := Simplify(context.Background(), m)
		if err != nil {
			t.Fatalf("%s: %v", net.Name, err)
		}
		t.Logf("%s: %d nodes -> %d: %s", net.Name, before, len(m.Graph.Nodes), report)
		again, err := Simplify(context.Background(), m)
		if err != nil || again.String() != "nothing to simplify" {
			t.Errorf("%s: simplifying again: %v, %v", net.Name, again, err)
		}
		for _, c := range report {
			affine[net.Path] = affine[net.Path] || (c.Pass == Affine.Name || c.Pass == Compose.Name) && c.Count > 0
		}
		pairs = append(pairs, net.Path, save(t, m, filepath.Join(dir, net.Name+".onnx")))
	}
	for _, d := range compareModels(t, pairs, "--size", "27x34", "32x24", "--check") {
		limit := 0.0
		if affine[d.A] {
			limit = 1e-5
		}
		t.Logf("%s at %s: %.2g of the range", filepath.Base(d.A), d.Size, d.Relative)
		if d.Relative > limit {
			t.Errorf("%s at %s differs by %g of its range, at most %g is allowed", d.A, d.Size, d.Relative, limit)
		}
	}
}

func TestUpgradeKeepsNetworks(t *testing.T) {
	dir := t.TempDir()
	var pairs []string
	for _, net := range testenv.Models(t) {
		for _, opset := range []int64{21, 25} {
			m := load(t, net.Path)
			if err := Upgrade(m, opset); err != nil {
				t.Fatalf("%s: %v", net.Name, err)
			}
			if got := m.Opset(""); got != opset {
				t.Errorf("%s: opset %d, want %d", net.Name, got, opset)
			}
			pairs = append(pairs, net.Path, save(t, m, filepath.Join(dir, fmt.Sprintf("%s_%d.onnx", net.Name, opset))))
		}
	}
	for _, d := range compareModels(t, pairs, "--size", "24x27", "--check") {
		if d.MaxAbsDiff != 0 {
			t.Errorf("%s and %s differ by %g", d.A, d.B, d.MaxAbsDiff)
		}
	}
}

// Expanded functions need nothing that came after opset 11, and compute in ONNX
// Runtime what the functions do.
func TestInlinedAtTheLowestOpset(t *testing.T) {
	dir := t.TempDir()
	var pairs []string
	for _, bits := range []int{2, 4, 8} {
		m, err := onnx.Parse(`<ir_version: 6, opset_import: ["" : 11]>
g (float[1,3,h,w] x, float[8,3,3,3] w0, float[8,8,3,3] w1, float[3,8,3,3] w2) => (float[1,3,h,w] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w0)
  b = Relu (a)
  c = Conv <pads = [1, 1, 1, 1]> (b, w1)
  y = Conv <pads = [1, 1, 1, 1]> (c, w2)
}`)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for _, v := range m.Graph.Inputs[1:] {
			shape, _ := v.Type.Shape.Ints()
			n, _ := onnx.Elements(shape)
			data := make([]float32, n)
			for i := range data {
				data[i] = float32(rng.NormFloat64())
			}
			v.SetConst(onnx.Floats(shape, data...))
		}
		if err := onnx.Infer(m); err != nil {
			t.Fatal(err)
		}
		plan, err := MakePlan(m.Graph, Settings{WeightBits: bits, ActivationBits: bits, Rule: Wide, Layers: Layers{All: true}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		inlined := m.Clone()
		if _, err := Quantize(m, plan, nil, 21); err != nil {
			t.Fatal(err)
		}
		if _, err := Quantize(inlined, plan, nil, 11); err != nil {
			t.Fatal(err)
		}
		if err := onnx.Inline(inlined); err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, save(t, m, filepath.Join(dir, fmt.Sprintf("%d.onnx", bits))), save(t, inlined, filepath.Join(dir, fmt.Sprintf("%d_inlined.onnx", bits))))
	}
	for _, d := range compareModels(t, pairs, "--size", "24x27", "--check") {
		if d.Relative > 1e-6 {
			t.Errorf("%s and %s differ by %g of the range", d.A, d.B, d.Relative)
		}
	}
}
