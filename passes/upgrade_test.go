package passes

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

// Graphs of opset 7, 9, 10, 11 and so on, made by testdata/old_opsets.py with
// onnx.helper, compute in ONNX Runtime after the upgrade what they did before.
func TestUpgradeKeepsOldGraphs(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command(testenv.Python(t), "testdata/old_opsets.py", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d graphs, %v", len(files), err)
	}
	var pairs []string
	for _, file := range files {
		for _, opset := range []int64{13, 18, 21, 25} {
			m := load(t, file)
			if m.Opset("") >= opset {
				continue
			}
			if err := Upgrade(m, opset); err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			pairs = append(pairs, file, save(t, m, fmt.Sprintf("%s_to_%d", strings.TrimSuffix(file, ".onnx"), opset)))
		}
	}
	for _, d := range compareModels(t, pairs, "--size", "6x8", "--low", "-0.5", "--check") {
		limit := 1e-6
		if strings.Contains(d.B, "half") {
			limit = 2.5e-4 // ONNX Runtime clips half floats as floats up to opset 10: one unit of a half in the last place
		}
		if d.MaxAbsDiff > limit {
			t.Errorf("%s differs by %g", filepath.Base(d.B), d.MaxAbsDiff)
		}
	}
}

func TestUpgradeRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"spatial statistics": {`<ir_version: 3, opset_import: ["" : 7]> g (float[n,2,h,w] x, float[2,h,w] s) => (y) { y = BatchNormalization <spatial = 0> (x, s, s, s, s) }`, `BatchNormalization "y" cannot be brought from opset 7`},
		"mask":               {`<ir_version: 3, opset_import: ["" : 7]> g (float[n,2,h,w] x) => (y, z) { y, z = Dropout (x) }`, `mask "z"`},
		"half pixel for nn":  {`<ir_version: 6, opset_import: ["" : 11]> g (float[n,2,h,w] x, float[4] s) => (y) { y = Resize <coordinate_transformation_mode = "tf_half_pixel_for_nn"> (x, , s) }`, "half_pixel"},
		"too old":            {`<ir_version: 3, opset_import: ["" : 6]> g (float[n,2,h,w] x) => (y) { y = Relu (x) }`, "older than 7"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Upgrade(parse(t, c.text), 21); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
	if err := Upgrade(parse(t, `g (float[1] x) => (y) { y = Relu (x) }`), 99); err == nil {
		t.Error("opset 99 is accepted")
	}
}

// Bodies of functions hold no initializers: constants become nodes.
func TestUpgradeFunctions(t *testing.T) {
	m := parse(t, `<ir_version: 8, opset_import: ["" : 17, "f" : 1]> g (float[n,3,h,w] x) => (y) { y = f.mean (x) }
		<domain: "f", opset_import: ["" : 17]> mean (a) => (b) { b = ReduceMean <axes = [2, 3]> (a) }`)
	if err := Upgrade(m, 21); err != nil {
		t.Fatal(err)
	}
	want := parse(t, `<ir_version: 10, opset_import: ["" : 21, "f" : 1]> g (float[n,3,h,w] x) => (y) { y = f.mean (x) }
		<domain: "f", opset_import: ["" : 21]> mean (a) => (b) { b_axes = Constant <value = int64[2] b_axes {2, 3}> ()  b = ReduceMean (a, b_axes) }`)
	got, expected := inferredText(t, m), inferredText(t, want)
	if strings.ReplaceAll(got, "int64[2] {2", "int64[2] b_axes {2") != expected && got != expected {
		t.Errorf("got\n%s\nwant\n%s", got, expected)
	}
}
