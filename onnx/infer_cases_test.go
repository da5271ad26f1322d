package onnx

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

// What is inferred for the models of ONNX's own operator tests is what the
// reference implementation computed; sizes may be unknown, but not wrong.
func TestInferOperatorCases(t *testing.T) {
	if os.Getenv("DAQ_CONFORMANCE") == "" {
		t.Skip("takes half a minute: set DAQ_CONFORMANCE=1")
	}
	dir := t.TempDir()
	if out, err := exec.Command(testenv.Python(t), "testdata/node_cases.py", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string][]*measured
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	agree := 0
	for name, outputs := range cases {
		m, err := Load(filepath.Join(dir, name+".onnx"))
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		if err := Infer(m); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, want := range outputs {
			if want == nil || i >= len(m.Graph.Outputs) {
				continue
			}
			switch fits, full := want.compare(m.Graph.Outputs[i].Type); {
			case !fits:
				t.Errorf("%s: output %d is %s, want %s%v", name, i, m.Graph.Outputs[i].Type, want.Type, want.Shape)
			case full:
				agree++
			}
		}
	}
	t.Logf("%d outputs of %d cases inferred in full", agree, len(cases))
	if agree < 1500 {
		t.Errorf("only %d outputs inferred in full", agree)
	}
}

// compare reports whether the inferred type does not contradict what was
// measured, and whether it says all of it.
func (w *measured) compare(got Type) (fits, full bool) {
	if got.Elem == Undefined {
		return true, false
	}
	if got.Elem != w.Type || got.Shape != nil && len(got.Shape) != len(w.Shape) {
		return false, false
	}
	full = got.Shape != nil
	for i, d := range got.Shape {
		full = full && d.IsKnown()
		if d.IsKnown() && d.Value != w.Shape[i] {
			return false, false
		}
	}
	return true, full
}
