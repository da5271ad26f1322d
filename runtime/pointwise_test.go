package runtime

import (
	"context"
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
		m, err := onnx.Parse(`<ir_version: 10, opset_import: ["": 21]> g (float[1,3,H,W] x) => (float[1,2,H1,W1] y) ` + constants + ` { ` + before + tc.nodes + ` }`)
		if err != nil {
			t.Fatal(err)
		}
		x := noise(1, 3, 9, 7, 1)
		var results [2][]float32
		for i, exact := range []bool{false, true} {
			p, err := Compile(m, Options{Exact: exact, Threads: 1, Observe: tc.observe})
			if err != nil {
				t.Fatal(err)
			}
			out, err := p.Run(context.Background(), map[string]*Tensor{"x": x}, nil)
			if err != nil {
				t.Fatal(err)
			}
			results[i] = out["y"].Data.([]float32)
			if there := hasOp(p, "MatMul"); there != (exact || !tc.conv) {
				t.Errorf("%s: exact %v: there is a MatMul: %v", tc.name, exact, there)
			}
		}
		for i, want := range results[1] {
			if d := results[0][i] - want; d > 1e-5 || d < -1e-5 {
				t.Fatalf("%s: value %d is %g, node by node %g", tc.name, i, results[0][i], want)
			}
		}
	}
}

// TestPointwiseParts: a product of codes of several quantizers side by side, read as if all had one scale and zero point, is a sum
// of convolutions, each of the values of one quantizer.
func TestPointwiseParts(t *testing.T) {
	m, err := onnx.Parse(`<ir_version: 10, opset_import: ["": 21]> g (float[1,3,H,W] x) => (float[1,2,H,W] y)
<float s = {0.01}, uint8 z = {100}, float s2 = {0.02}, uint8 z2 = {117}, int8[9,2] k = {3,-7,50,20,-30,90,1,2,3,4,5,6,-7,-8,-9,10,33,-127}, float[2] ks = {0.01,0.02}, int8[2] kz = {0,0}, float[2] b = {0.3,-0.2}>
{
  q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)
  n = Neg (d)  q2 = QuantizeLinear (n, s2, z2)  d2 = DequantizeLinear (q2, s2, z2)
  e = Abs (d2)  q3 = QuantizeLinear (e, s, z)
  all = Concat <axis = 1> (q, q2, q3)  v = DequantizeLinear (all, s, z)
  w = DequantizeLinear <axis = 1> (k, ks, kz)  r = Transpose <perm = [0,2,3,1]> (v)  p = MatMul (r, w)  a = Add (p, b)  y = Transpose <perm = [0,3,1,2]> (a)
}`)
	if err != nil {
		t.Fatal(err)
	}
	x := noise(1, 3, 9, 7, 1)
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
		results[i] = out["y"].Data.([]float32)
		if there := hasOp(p, "Concat"); there != exact {
			t.Errorf("exact %v: there is a Concat: %v", exact, there)
		}
	}
	for i, want := range results[1] {
		if d := results[0][i] - want; d > 1e-5 || d < -1e-5 {
			t.Fatalf("value %d is %g, node by node %g", i, results[0][i], want)
		}
	}
}
