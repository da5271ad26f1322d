package passes

import (
	"math"
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

func TestGateBehind(t *testing.T) {
	for _, tc := range []struct {
		name, graph string
		want        string // operators behind x, empty for as they are
	}{
		{"LeakyRelu", `g (float[1,4,h,w] x, float[4,4,1,1] k) => (float[1,4,h,w] y)
{ a = Conv (x, k)  s = Sigmoid (a)  p = Mul (x, s)  r = LeakyRelu <alpha = 0.2> (p)  y = Conv (r, k) }`, "Conv Sigmoid LeakyRelu Mul Conv"},
		{"gate of one channel, slopes", `g (float[1,4,h,w] x, float[4,1,1] p, float[1,4,1,1] k, float[4,4,1,1] l) => (float[1,4,h,w] y)
{ a = Conv (x, k)  s = Sigmoid (a)  m = Mul (s, x)  r = PRelu (m, p)  y = Conv (r, l) }`, "Conv Sigmoid PRelu Mul Conv"},
		{"no gate", `g (float[1,4,h,w] x, float[4,4,1,1] k) => (float[1,4,h,w] y)
{ a = Conv (x, k)  p = Mul (x, a)  r = Relu (p)  y = Conv (r, k) }`, ""},
		{"two readers", `g (float[1,4,h,w] x, float[4,4,1,1] k) => (float[1,4,h,w] y)
{ a = Conv (x, k)  s = Sigmoid (a)  p = Mul (x, s)  r = Relu (p)  z = Conv (r, k)  y = Add (p, z) }`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]> `+tc.graph)
			fill(t, m)
			before := m.Clone()
			gateBehind(m.Graph)
			checkRewritten(t, m, before, tc.want)
		})
	}
}

// checkRewritten checks that a model has the operators wanted, those it had where none are, and gives what it gave for
// features [1,4,6,5].
func checkRewritten(t *testing.T, m, before *onnx.Model, want string) {
	t.Helper()
	if want == "" {
		want = operators(before.Graph)
	}
	if got := operators(m.Graph); got != want {
		t.Fatalf("operators are %s, want %s", got, want)
	}
	data := make([]float32, 4*6*5)
	for i := range data {
		data[i] = float32(i*37%101)/50 - 1
	}
	x, _ := runtime.Of([]int{1, 4, 6, 5}, data)
	sameValues(t, run(t, m, x), run(t, before, x))
}

// TestGateWindow: codes go where a Sigmoid is not flat, and few are lost at its ends.
func TestGateWindow(t *testing.T) {
	s := &spectrum{low: -100, high: 50}
	for x := s.low; x < s.high; x += 0.1 {
		s.bins = append(s.bins, quant.Bin{Lo: x, Hi: x + 0.1, Mass: math.Exp(-math.Abs(x) / 10)})
	}
	wide, _ := s.window(256, false)
	s.gate = true
	scale, zero := s.window(256, false)
	low, high := -float64(zero)*float64(scale), float64(255-zero)*float64(scale)
	if scale > wide/4 || low > -3 || high < 3 {
		t.Errorf("window from %.1f to %.1f in steps of %.2g, without the Sigmoid %.2g", low, high, scale, wide)
	}
	if e, full := s.gateError(low, high, float64(scale)), s.gateError(s.low, s.high, 150./255); e > full/4 {
		t.Errorf("error behind the Sigmoid %g, with all values in the window %g", e, full)
	}
}

// TestGatesInIntegers: an activation function or a gate is on codes between integer operators only,
// whichever way round they depend on each other.
func TestGatesInIntegers(t *testing.T) {
	to, err := target.Named("onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, nodes string
		want        []string
	}{
		{"gate", `b = Conv (a, k)  s = Sigmoid (b)  p = Mul (a, s)  r = LeakyRelu (p)  y = Conv (r, k)`, []string{"a", "b", "s", "p", "r", "y"}},
		{"product read in float", `b = Conv (a, k)  s = Sigmoid (b)  p = Mul (a, s)  y = Tanh (p)`, []string{"a", "b"}},
		{"float in front", `t = Tanh (a)  r = LeakyRelu (t)  y = Conv (r, k)`, []string{"a", "r", "y"}},
		{"float behind", `b = Conv (a, k)  r = LeakyRelu (b)  y = Tanh (r)`, []string{"a", "b"}},
		{"numbers of channels", `q = GlobalAveragePool (a)  r = ReduceMax <axes = [2, 3]> (a)  m = Add (q, r)  b = Conv (m, k)  s = Sigmoid (b)  p = Mul (a, s)  y = Conv (p, k)`, []string{"a", "s", "p", "y"}},
		{"gate of a float", `t = Tanh (a)  s = Sigmoid (t)  p = Mul (a, s)  y = Conv (p, k)`, []string{"a", "s", "p", "y"}},
	} {
		m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,8,h,w] x, float[8,8,1,1] k) => (float[1,8,h,w] z) { a = Conv (x, k)  `+tc.nodes+` z = Conv (y, k) }`)
		fill(t, m)
		got := StaticTensors(m.Graph, to, Layers{})
		got = slices.DeleteFunc(got, func(name string) bool { return name == "x" })
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: quantized are %v, want %v", tc.name, got, tc.want)
		}
	}
}
