//go:build unix

package peer

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// quantizedConvolution is a convolution that ONNX Runtime fuses and one that it
// cannot: the output of the second stays float.
const quantizedConvolution = `<ir_version: 8, opset_import: ["" : 17]>
g (float[1,1,4,4] x) => (float[1,1,4,4] y)
<float s = {0.0078125}, uint8 z = {0}, int8 wz = {0}, int8[1,1,3,3] w = {1,2,3,4,5,6,7,8,9}>
{
   q = QuantizeLinear (x, s, z)
   d = DequantizeLinear (q, s, z)
   v = DequantizeLinear (w, s, wz)
   a = Conv <pads = [1,1,1,1]> (d, v)
   aq = QuantizeLinear (a, s, z)
   ad = DequantizeLinear (aq, s, z)
   y = Conv <pads = [1,1,1,1]> (ad, v)
}`

// TestFusedOperators counts integer operators in the graph that ONNX Runtime
// makes at its levels of optimization.
func TestFusedOperators(t *testing.T) {
	p, err := Start(Runtime{Name: "ort", Engine: "ort", Python: testenv.Python(t)})
	if err != nil {
		t.Fatal(err)
	}
	model, err := onnx.Parse(quantizedConvolution)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := model.Save(path); err != nil {
		t.Fatal(err)
	}
	x, err := runtime.Of([]int{1, 1, 4, 4}, make([]float32, 16))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		level        string
		integer, all int
	}{{"disabled", 0, 2}, {"basic", 0, 2}, {"all", 1, 2}} {
		s, err := p.Open(path, x, Options{Level: test.level})
		if err != nil {
			t.Fatal(err)
		}
		if integer, all := s.Operators.Convolutions(); integer != test.integer || all != test.all || s.Operators.Integer() != integer {
			t.Errorf("level %s: %d of %d convolutions are integer, want %d of %d: %v", test.level, integer, all, test.integer, test.all, s.Operators)
		}
		if wall, _, err := s.Run(); err != nil || wall <= 0 {
			t.Errorf("Run = %v, %v", wall, err)
		}
	}
	if _, err := p.Open(filepath.Join(t.TempDir(), "absent.onnx"), x, Options{}); err == nil || !strings.Contains(err.Error(), "absent.onnx") {
		t.Errorf("a file that does not exist: %v", err)
	}
	if peak, err := p.End(); err != nil || peak < 1<<20 {
		t.Errorf("End = %d, %v", peak, err)
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	if _, err := Start(Runtime{Name: "absent", Engine: "ort", Python: "/nowhere/python"}); err == nil || !strings.Contains(err.Error(), "/nowhere/python") {
		t.Errorf("no interpreter: %v", err)
	}
	if _, err := Start(Runtime{Name: "broken", Engine: "no such engine", Python: testenv.Python(t)}); !errors.Is(err, ErrDead) || !strings.Contains(err.Error(), "KeyError") {
		t.Errorf("a process that ends at once: %v", err)
	}
}
