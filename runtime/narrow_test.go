package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

// TestNarrow: a convolution makes the channels that a Slice behind its quantizer leaves, and
// values are those of the nodes one by one.
func TestNarrow(t *testing.T) {
	codes := make([]string, 20*6*9)
	for i := range codes {
		codes[i] = fmt.Sprint(i*37%201 - 100)
	}
	per := func(format string) string {
		list := make([]string, 20)
		for i := range list {
			list[i] = fmt.Sprintf(format, i+1)
		}
		return strings.Join(list, ",")
	}
	constants := fmt.Sprintf(`<float s = {0.01}, uint8 z = {100}, float u = {0.05}, uint8 v = {120}, int8[20,6,3,3] k = {%s}, float[20] ks = {%s}, int8[20] kz = {%s}, int32[20] b = {%s}, float[20] bs = {%s},
 int64[1] zero = {0}, int64[1] one = {1}, int64[1] four = {4}, int64[1] two = {2}>`, strings.Join(codes, ","), per("0.000%d"), strings.TrimSuffix(strings.Repeat("0,", 20), ","), per("%d00"), per("0.00000%d"))
	const before = `q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)
 w = DequantizeLinear <axis = 0> (k, ks, kz)  e = DequantizeLinear <axis = 0> (b, bs)  c = Conv <pads = [1,1,1,1]> (d, w, e)  p = QuantizeLinear (c, u, v)  r = DequantizeLinear (p, u, v) `
	for _, tc := range []struct {
		name, nodes string
		gone        bool
	}{
		{"first channels", `f = Slice (r, zero, four, one)  y = LeakyRelu (f)`, true},
		{"channels between", `f = Slice (r, one, four, one)  y = LeakyRelu (f)`, true},
		{"rows", `f = Slice (r, one, four, two)  y = LeakyRelu (f)`, false},
		{"read whole as well", `f = Slice (r, one, two, one)  y = Mul (f, r)`, false},
	} {
		m, err := onnx.Parse(`<ir_version: 10, opset_import: ["": 21]> g (float[1,6,H,W] x) => (float[1,C,H1,W1] y) ` + constants + ` { ` + before + tc.nodes + ` }`)
		if err != nil {
			t.Fatal(err)
		}
		x := noise(1, 6, 9, 7, 1)
		var results [2][]float32
		for i, exact := range []bool{false, true} {
			p, err := Compile(m, Options{Exact: exact, Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			out, err := p.Run(context.Background(), map[string]*Tensor{"x": x}, nil)
			if err != nil {
				t.Fatal(err)
			}
			results[i] = append(results[i], out["y"].Data.([]float32)...)
			if there := hasOp(p, "Slice"); there != (exact || !tc.gone) {
				t.Errorf("%s: exact %v: there is a Slice: %v", tc.name, exact, there)
			}
		}
		if len(results[0]) != len(results[1]) {
			t.Fatalf("%s: %d values, want %d", tc.name, len(results[0]), len(results[1]))
		}
		for i, want := range results[1] {
			if d := results[0][i] - want; max(d, -d) > 1e-5 {
				t.Fatalf("%s: value %d is %g, want %g", tc.name, i, results[0][i], want)
			}
		}
	}
}

func hasOp(p *Program, op string) bool {
	return slices.ContainsFunc(p.plan.steps, func(s step) bool { return s.op == op })
}
