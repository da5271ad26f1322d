//go:build unix

package lint

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// The rules of TensorRT are held against graphs only: there is none here to run.
func TestTensorRTRules(t *testing.T) {
	o := Options{Target: namedTarget(t, "tensorrt")}
	good := text{}.q("x", "a", "int8").conv("a", "r", "int8").q("x", "b", "int8").add("[s] s = Add (r, b)", "").q("s", "y", "int8")
	for _, c := range []struct {
		rule, node string
		graph      text
	}{
		{"tensorrt-zero-point", "Q_y", text{}.typed("x", "y", "int8", 0.01, 3)},
		{"tensorrt-type", "Q_y", text{}.q("x", "y", "uint8")},
		{"tensorrt-type", "Q_y", text{}.q("x", "y", "int4")},
		{"tensorrt-per-axis", "Q_y", text{}.add(pair("x", "y", "int8", 4))},
		{"tensorrt-residual", "s", text{}.q("x", "a", "int8").conv("a", "r", "int8").add("[s] s = Add (r, x)", "").q("s", "y", "int8")},
		{"tensorrt-resize", "y", text{}.q("x", "a", "int8").add(`[y] y = Resize <mode = "nearest"> (a, , s)`, "float[4] s = {1,1,2,2}")},
		{"tensorrt-prelu", "p", text{}.q("x", "a", "int8").conv("a", "r", "int8").add("[p] p = PRelu (r, k)", "float[4,1,1] k = {0.1,0.2,0.3,0.4}").q("p", "y", "int8")},
	} {
		if got := found(t, parse(t, c.graph.String()), o, c.rule); !slices.Equal(got, []string{c.node}) {
			t.Errorf("%s: found at %q, want %q", c.rule, got, c.node)
		}
		if got := found(t, parse(t, good.String()), o, c.rule); len(got) > 0 {
			t.Errorf("%s: found at %q of a good graph", c.rule, got)
		}
	}
	called := parse(t, `<ir_version: 9, opset_import: ["" : 17, "f" : 1]> g (float[1] x) => (float[1] y) { y = f.F (x) }
<domain: "f", opset_import: ["" : 17]> F (a) => (b) { b = Neg (a) }`)
	if got := found(t, called, o, "functions"); len(got) != 1 {
		t.Errorf("functions: %q", got)
	}
}

func TestReleases(t *testing.T) {
	graph := cases[1].graph // per-axis-activation, all releases
	old := parse(t, text{}.add("[r] r = Clip (x, lo, hi)", "float lo = {-0.5}, float hi = {0.5}").q("r", "y", "uint4").String())
	for _, c := range []struct {
		release string
		want    Level // of clip-quantize-old
	}{{"", Note}, {"1.20", Error}, {"1.23.2", Error}, {"1.24", ""}, {"1.32", ""}} {
		r, err := Run(context.Background(), old, Options{Target: namedTarget(t, "onnxruntime"), Release: c.release})
		if err != nil {
			t.Fatal(err)
		}
		var got Level
		for _, f := range r.Findings {
			if f.Rule == "clip-quantize-old" {
				got = f.Level
			}
		}
		if got != c.want {
			t.Errorf("release %q: level %q, want %q", c.release, got, c.want)
		}
	}
	for _, release := range []string{"x", "1.", "-1", "1.20rc1", "1..2"} {
		if _, err := Run(context.Background(), parse(t, graph.String()), Options{Target: namedTarget(t, "web"), Release: release}); err == nil {
			t.Errorf("release %q was taken", release)
		}
	}
}

// Scales of 16 bits, as ModelOpt writes them, are scales.
func TestHalfScales(t *testing.T) {
	if got := numbers(onnx.NewTensor(onnx.Float16, []int64{5}, []uint16{0x3c00, 0xc100, 0x0001, 0x7c00, 0x2e66})); fmt.Sprint(got) != "[1 -2.5 5.960464477539063e-08 +Inf 0.0999755859375]" {
		t.Errorf("float16: %v", got)
	}
	if got := numbers(onnx.NewTensor(onnx.Bfloat16, []int64{2}, []uint16{0x3f80, 0xc020})); fmt.Sprint(got) != "[1 -2.5]" {
		t.Errorf("bfloat16: %v", got)
	}
}

// Every rule has what a reader needs, and its own name.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules(nil) {
		if seen[r.ID] || r.Title == "" || r.Remedy == "" || r.Basis == "" || !slices.Contains(Levels, r.Level) || r.check == nil {
			t.Errorf("rule %q is not complete, or there twice", r.ID)
		}
		if (r.Until != "") != strings.HasSuffix(r.ID, "-old") {
			t.Errorf("rule %q until %q: names of what newer releases no longer do end in -old", r.ID, r.Until)
		}
		seen[r.ID] = true
	}
}

func TestData(t *testing.T) {
	m := parse(t, text{}.window("x", "a", 0.01, 128).add("r = Neg (a)", "").add(pair("r", "y", "uint8", 4)).String())
	d, err := NewData(m)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.Names(), []string{"x", "r"}) {
		t.Fatalf("names %q", d.Names())
	}
	x := make([]float32, 4*8*8)
	for i := range 64 {
		x[i] = 1.27 + 0.004 // rounds to the last code
	}
	x[5], x[7] = 2, -3
	tensor, err := runtime.Of([]int{1, 4, 8, 8}, x)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range d.Names() {
		if err := d.Observe(name, tensor); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Run(context.Background(), m, Options{Target: namedTarget(t, "onnxruntime"), Data: d})
	if err != nil {
		t.Fatal(err)
	}
	var messages []string
	for _, f := range r.Findings {
		if f.Rule == "data-clipped" {
			messages = append(messages, f.Node+": "+f.Message)
		}
	}
	want := []string{
		"Q_a: 0.78% of the values are clipped: they reach -3 to 2, the codes hold -1.28 to 1.27",
		"Q_y: 25% of the values are clipped: they reach -3 to 2, the codes hold -1.38 to 1.37", // channel 0 holds -1.004 to 0.996
	}
	if !slices.Equal(messages, want) {
		t.Errorf("%q", messages)
	}
}

func TestExternalData(t *testing.T) {
	m := parse(t, text{}.conv("x", "y", "int8").String())
	big := onnx.Floats([]int64{1024}, make([]float32, 1024)...)
	m.Graph.AddInitializer("big", big)
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.SaveExternal(path); err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(context.Background(), m, Options{Target: namedTarget(t, "web")})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Rule == "external-data" && f.Tensor == "m.onnx.data" }) {
		t.Errorf("%+v", r.Findings)
	}
}

// Graphs that are broken in other ways than the rules are about give no panic.
func TestHostile(t *testing.T) {
	for _, body := range []string{
		"y = QuantizeLinear ()", "y = QuantizeLinear (x)", "y = DequantizeLinear (x, , z)", "y = Conv ()", "y = Conv (x)",
		"q = QuantizeLinear (x, x, x)\n y = DequantizeLinear (q, x, x)", "y = Clip ()", "c = Clip (x, x)\n y = QuantizeLinear (c, x)",
		"y = Concat ()", "y = Where ()", "y = Resize ()", "y = QLinearConv ()", "y = Split ()", "y = Relu ()", "r = Relu (x)\n y = QuantizeLinear (r)",
		"y = Transpose <perm = [0,1,2,3,4,5]> ()", "y = Add (x)", "y = PRelu ()", "y = Clip (, x)", "d = DequantizeLinear ()\n y = Add (d, d)",
	} {
		m := parse(t, fmt.Sprintf("<ir_version: 8, opset_import: [\"\" : 13]>\ng (float[1,4,8,8] x) => (float y) <float z = {1}, float[0] e = {}> {\n %s\n }", body))
		for _, name := range []string{"onnxruntime", "openvino", "tensorrt", "portable", "storage", "web"} {
			if _, err := Run(context.Background(), m, Options{Target: namedTarget(t, name)}); err != nil && !strings.Contains(err.Error(), "node") {
				t.Errorf("%s: %v", body, err)
			}
		}
		if _, err := NewData(m); err != nil {
			t.Logf("%s: %v", body, err)
		}
	}
}

func TestSARIF(t *testing.T) {
	o := Options{Target: namedTarget(t, "onnxruntime")}
	r, err := Run(context.Background(), parse(t, cases[1].graph.String()), o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := SARIF("my models/a.onnx", "1", r, Rules(o.Target))
	if err != nil {
		t.Fatal(err)
	}
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Locations []struct {
					PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
					LogicalLocations []struct{ FullyQualifiedName string }
				}
			}
		}
	}
	if err := json.Unmarshal(out, &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	first := run.Results[0]
	if log.Version != "2.1.0" || len(run.Results) != len(r.Findings) || run.Tool.Driver.Rules[first.RuleIndex].ID != first.RuleID || first.Level != "error" ||
		first.Locations[0].PhysicalLocation.ArtifactLocation.URI != "my%20models/a.onnx" || first.Locations[0].LogicalLocations[0].FullyQualifiedName != "r" {
		t.Errorf("%s", out)
	}
}

// TestInteropNetworks holds what is said to be computed in integers against ONNX
// Runtime's own optimized graph, on real networks that ONNX Runtime's quantizer
// quantized, at 8 and 7 bits of weights.
func TestInteropNetworks(t *testing.T) {
	python := testenv.Python(t)
	dir := t.TempDir()
	for _, name := range []string{"EDSR_x2", "WDSRb8_x2", "LapSRN_Y_x2"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name+".onnx")
			if out, err := exec.Command(python, filepath.Join("testdata", "quantize.py"), testenv.ModelNamed(t, name).Path, path).CombinedOutput(); err != nil {
				t.Fatalf("quantize.py: %v\n%s", err, out)
			}
			m, err := onnx.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			holdAgainst(t, path, m)
		})
	}
}

// holdAgainst compares node by node: operators that are said to be integer must not be
// left in float form in the optimized graph, and those said to be float must.
func holdAgainst(t *testing.T, path string, m *onnx.Model) {
	t.Helper()
	release, effects := inORT(t, ortRuntimes(t)[0], []string{path})
	if effects[0].Error != "" {
		t.Fatal(effects[0].Error)
	}
	v, err := newView(m, Options{Target: namedTarget(t, "onnxruntime")})
	if err != nil {
		t.Fatal(err)
	}
	integers, floats := map[string]int{}, map[string]int{}
	for _, n := range v.nodes {
		switch f, _, _ := v.fate(n); {
		case v.passes(n) || n.Is("Relu", "Clip"): // may be left in either form
		case f == integer:
			integers[n.Op]++
		default:
			floats[n.Op]++
		}
	}
	for op, integerOp := range map[string]string{"Conv": "QLinearConv", "Add": "QLinearAdd", "Mul": "QLinearMul", "Concat": "QLinearConcat", "LeakyRelu": "QLinearLeakyRelu", "Sigmoid": "QLinearSigmoid"} {
		have, left := effects[0].has(integerOp), effects[0].has(op)
		if op == "Conv" {
			left += effects[0].has("FusedConv")
		}
		if have != integers[op] || left != floats[op] {
			t.Errorf("%s: said %d integer and %d float, ONNX Runtime %s has %d and %d", op, integers[op], floats[op], release, have, left)
		}
	}
	t.Logf("integer %v, float %v, as in ONNX Runtime %s", integers, floats, release)
}
