package passes

import (
	"context"
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// A channel behind a ReLU with a single positive value has no deviation. Its
// window must hold its zeros all the same: they are nearly all of it.
func TestWindowOfASparseChannel(t *testing.T) {
	m, err := onnx.Parse(`<ir_version: 10, opset_import: ["" : 21, "daq" : 1]>
g (float[1,3,8,8] x) => (float[1,3,8,8] y)
<float[1,3,1,1] step = {0.3, 0.3, 0.3}, float[1,3,1,1] start = {-1000000, -1000000, -2.25}, float[1,3,1,1] floor = {0, 0, -3e38}, float levels = {16}> {
  codes, scale, offset = daq.QuantizeWindow (x, step, start, floor, levels)
  y = daq.Dequantize (codes, scale, offset)
}`)
	if err != nil {
		t.Fatal(err)
	}
	functions, err := daqFunctions(21, 0)
	if err != nil {
		t.Fatal(err)
	}
	m.Functions = append(m.Functions, functions["QuantizeWindow"], functions["Dequantize"])
	program, err := runtime.Compile(m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, 3*64)
	x[10] = 5                          // channel 0: one value
	x[64+3], x[64+40] = 0.50001, 0.5   // channel 1: two alike
	x[128+3], x[128+40] = 0.50001, 0.5 // channel 2: signed
	in, err := runtime.Of([]int{1, 3, 8, 8}, x)
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(context.Background(), map[string]*runtime.Tensor{"x": in}, nil)
	if err != nil {
		t.Fatal(err)
	}
	y, err := out["y"].Float32s()
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range y[:128] {
		if x[i] == 0 && v != 0 || x[i] > 0 && (v < 0.8*x[i] || v > 1.2*x[i]) {
			t.Errorf("element %d: %g became %g", i, x[i], v)
		}
	}
	// The arithmetic of internal/quant is that of the graph.
	a := ActivationPlan{Bits: 4, Steps: []float32{0.3, 0.3, 0.3}, Starts: []float32{quant.AtZero, quant.AtZero, -2.25}, ReLUChannels: []int{0, 1}}
	want := make([]float32, len(x))
	a.quantize(want, x, 3, Calibrated, 0)
	if !slices.Equal(y, want) {
		t.Errorf("the graph gives %v\nquant %v", y, want)
	}
}
