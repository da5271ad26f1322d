package passes

import (
	"testing"

	"github.com/daq-sr/daq/runtime"
)

// TestKeepFloat: only what ONNX Runtime would round gets its bias dequantized, with the values it
// had. That this keeps it from rounding is shown in internal/lint (rule float-weights).
func TestKeepFloat(t *testing.T) {
	for _, tc := range []struct {
		name, nodes, want string
	}{
		{"between codes", `c = Conv (d, k, b)  r = Relu (c)  p = QuantizeLinear (r, s, z)  y = DequantizeLinear (p, s, z)`,
			"QuantizeLinear DequantizeLinear DequantizeLinear Conv Relu QuantizeLinear DequantizeLinear"},
		{"without a bias, transposed", `c = ConvTranspose (d, k)  p = QuantizeLinear (c, s, z)  y = DequantizeLinear (p, s, z)`,
			"QuantizeLinear DequantizeLinear DequantizeLinear ConvTranspose QuantizeLinear DequantizeLinear"},
		{"floats behind", `c = Conv (d, k, b)  y = LeakyRelu (c)`, "QuantizeLinear DequantizeLinear Conv LeakyRelu"},
		{"floats in front", `n = Tanh (d)  c = Conv (n, k, b)  p = QuantizeLinear (c, s, z)  y = DequantizeLinear (p, s, z)`,
			"QuantizeLinear DequantizeLinear Tanh Conv QuantizeLinear DequantizeLinear"},
	} {
		m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,4,h,w] x, float[4,4,3,3] k, float[4] b) => (float[1,4,H,W] y) <float s = {0.02}, uint8 z = {100}>
{ q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  `+tc.nodes+` }`)
		fill(t, m)
		before := m.Clone()
		keepFloat(m.Graph)
		if got := operators(m.Graph); got != tc.want {
			t.Errorf("%s: operators are %s, want %s", tc.name, got, tc.want)
		}
		data := make([]float32, 4*6*5)
		for i := range data {
			data[i] = float32(i*37%101)/50 - 1
		}
		x, _ := runtime.Of([]int{1, 4, 6, 5}, data)
		sameValues(t, run(t, m, x), run(t, before, x))
	}
}
