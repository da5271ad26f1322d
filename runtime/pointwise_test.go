package runtime

import (
	"context"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

// TestPointwise: a product of matrices over the channels is executed as the convolution it is, with
// the values of the nodes one by one; what is watched, read elsewhere or turned otherwise stays.
func TestPointwise(t *testing.T) {
	const constants = `<float s = {0.01}, uint8 z = {100}, int8[3,2] k = {3,-7,50,20,-30,90}, float[2] ks = {0.01,0.02}, int8[2] kz = {0,0}, float[2] b = {0.3,-0.2}>`
	const before = `q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  w = DequantizeLinear <axis = 1> (k, ks, kz)  r = Transpose <perm = [0,2,3,1]> (d)  p = MatMul (r, w) `
	for _, tc := range []struct {
		name, nodes string
		observe     []string
		conv        bool
	}{
		{"with a bias", `a = Add (p, b)  y = Transpose <perm = [0,3,1,2]> (a)`, nil, true},
		{"without", `y = Transpose <perm = [0,3,1,2]> (p)`, nil, true},
		{"watched", `a = Add (p, b)  y = Transpose <perm = [0,3,1,2]> (a)`, []string{"p"}, false},
		{"read elsewhere", `a = Add (p, b)  e = Mul (a, p)  y = Transpose <perm = [0,3,1,2]> (e)`, nil, false},
		{"turned otherwise", `y = Transpose <perm = [0,3,2,1]> (p)`, nil, false},
	} {
		checkPointwise(t, tc.name, `(float[1,3,H,W] x) => (float[1,2,H1,W1] y) `+constants+` { `+before+tc.nodes+` }`, tc.observe, "MatMul", tc.conv)
	}
}

// TestPointwiseParts: a product of codes of several quantizers side by side, read as if all had one scale and zero point, is a sum
// of convolutions, each of the values of one quantizer; not where weights or bias are in another form than ours.
func TestPointwiseParts(t *testing.T) {
	const head = `(float[1,3,H,W] x) => (float[1,2,H,W] y)
<float s = {0.01}, uint8 z = {100}, float s2 = {0.02}, uint8 z2 = {117}, `
	const graph = `
{
  q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)
  n = Neg (d)  q2 = QuantizeLinear (n, s2, z2)  d2 = DequantizeLinear (q2, s2, z2)
  e = Abs (d2)  q3 = QuantizeLinear (e, s, z)
  all = Concat <axis = 1> (q, q2, q3)  v = DequantizeLinear (all, s, z)
  w = DequantizeLinear <axis = 1> (k, ks, kz)  r = Transpose <perm = [0,2,3,1]> (v)  p = MatMul (r, w)  a = Add (p, b)  y = Transpose <perm = [0,3,1,2]> (a)
}`
	const signed = `int8[9,2] k = {3,-7,50,20,-30,90,1,2,3,4,5,6,-7,-8,-9,10,33,-127}, `
	for _, tc := range []struct {
		name, constants string
		parts           bool
	}{
		{"of ours", signed + `float[2] ks = {0.01,0.02}, int8[2] kz = {0,0}, float[2] b = {0.3,-0.2}>`, true},
		{"unsigned weights", `uint8[9,2] k = {3,7,50,20,30,90,1,2,3,4,5,6,7,8,9,10,33,255}, float[2] ks = {0.01,0.02}, uint8[2] kz = {128,128}, float[2] b = {0.3,-0.2}>`, false},
		{"zero points", signed + `float[2] ks = {0.01,0.02}, int8[2] kz = {3,0}, float[2] b = {0.3,-0.2}>`, false},
		{"one scale for all", signed + `float ks = {0.01}, int8 kz = {0}, float[2] b = {0.3,-0.2}>`, false},
		{"one bias for all", signed + `float[2] ks = {0.01,0.02}, int8[2] kz = {0,0}, float[1] b = {0.3}>`, false},
	} {
		checkPointwise(t, tc.name, head+tc.constants+graph, nil, "Concat", tc.parts)
	}
	checkPointwise(t, "no zero points", head+signed+`float[2] ks = {0.01,0.02}, float[2] b = {0.3,-0.2}>`+strings.Replace(graph, ", kz)", ")", 1), nil, "Concat", false)
}

// checkPointwise checks that a graph gives what it does node by node, without an operator or with it.
func checkPointwise(t *testing.T, name, text string, observe []string, op string, gone bool) {
	t.Helper()
	m, err := onnx.Parse(`<ir_version: 10, opset_import: ["": 21]> g ` + text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	x := noise(1, 3, 9, 7, 1)
	var results [2][]float32
	for i, exact := range []bool{false, true} {
		p, err := Compile(m, Options{Exact: exact, Threads: 1, Observe: observe})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out, err := p.Run(context.Background(), map[string]*Tensor{"x": x}, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		results[i] = out["y"].Data.([]float32)
		if there := hasOp(p, op); there != (exact || !gone) {
			t.Errorf("%s: exact %v: there is a %s: %v", name, exact, op, there)
		}
	}
	for i, want := range results[1] {
		if d := results[0][i] - want; d > 1e-5 || d < -1e-5 {
			t.Fatalf("%s: value %d is %g, node by node %g", name, i, results[0][i], want)
		}
	}
}
