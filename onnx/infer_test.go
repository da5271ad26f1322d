package onnx

import (
	"strings"
	"testing"
)

func inferText(t *testing.T, body string) (*Model, error) {
	t.Helper()
	m, err := Parse(`<ir_version: 10, opset_import: ["" : 21, "f" : 1]>` + body)
	if err != nil {
		t.Fatal(err)
	}
	return m, Infer(m)
}

func TestInferSymbolic(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"window partition": {`g (float[n,60,h,w] x) => (float[a,b,c] y) {
			s = Shape <start = 2> (x)
			eight = Constant <value_ints = [8]> ()
			up = Constant <value_ints = [7]> ()
			sum = Add (s, up)
			tiles = Div (sum, eight)
			full = Mul (tiles, eight)
			pad = Sub (full, s)
			zero = Constant <value_ints = [0, 0, 0, 0, 0, 0]> ()
			pads = Concat <axis = 0> (zero, pad)
			p = Pad <mode = "reflect"> (x, pads)
			count = Constant <value_ints = [-1, 64, 60]> ()
			y = Reshape (p, count)
		}`, "float[floor((h+7)/8)*floor((w+7)/8)*n,64,60]"},
		"crop to a multiple": {`g (float[n,3,h,w] x) => (float[a,b,c,d] y) {
			s = Shape <start = 2> (x)
			zero = Constant <value_ints = [0, 0]> ()
			axes = Constant <value_ints = [2, 3]> ()
			two = Constant <value_ints = [2]> ()
			end = Mul (s, two)
			z = DepthToSpace <blocksize = 2> (x12)
			x12 = Concat <axis = 1> (x, x, x, x)
			y = Slice (z, zero, end, axes)
		}`, "float[n,3,2*h,2*w]"},
		"function": {`g (float[n,3,h,w] x) => (y) { y = f.up <by = 3> (x) }
			<domain: "f", opset_import: ["" : 21]>
			up <by> (a) => (b) { c = Concat <axis = 1> (a, a, a)  b = DepthToSpace <blocksize: int = @by> (c) }`, "float[n,1,3*h,3*w]"},
		"if": {`g (bool q, float[n,3,h,w] x) => (y) {
			y = If (q) <
				then_branch = t () => (a) { a = Relu (x) },
				else_branch = e () => (b) { b = MaxPool <kernel_shape = [2,2]> (x) }
			>
		}`, "float[n,3,?,?]"},
		"pool with ceil":   {`g (float[n,3,h,w] x) => (y) { y = MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (x) }`, "float[n,3,floor(h/2),floor(w/2)]"},
		"unknown operator": {`g (float[n,3,h,w] x) => (float[n,3,H,W] y) { y = f.Mystery (x) }`, "float[n,3,H,W]"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := inferText(t, c.body)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Graph.Outputs[0].Type.String(); got != c.want {
				t.Errorf("output is %s, want %s", got, c.want)
			}
		})
	}
}

func TestInferContradictions(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"channels":  {`g (float[n,3,h,w] x, float[8,4,3,3] k) => (y) { y = Conv (x, k) }`, `Conv "y": input float[n,3,h,w] has 3 channels, weight [8,4,3,3] with group 1 reads 4`},
		"broadcast": {`g (float[n,3,h,w] x, float[n,2,h,w] k) => (y) { y = Add (x, k) }`, `do not broadcast`},
		"concat":    {`g (float[n,3,4,4] x, float[n,3,5,4] k) => (y) { y = Concat <axis = 1> (x, k) }`, `along axis 1`},
		"axis":      {`g (float[n,3,4,4] x) => (y) { y = Concat <axis = 5> (x) }`, `axis 5 of a tensor of rank 4`},
		"matmul":    {`g (float[n,3] x, float[4,2] k) => (y) { y = MatMul (x, k) }`, `inner sizes 3 and 4 differ`},
		"reshape":   {`g (float[4,4] x) => (y) { s = Constant <value_ints = [3, -1]> ()  y = Reshape (x, s) }`, `cannot have the shape [3,-1]`},
		"declared":  {`g (float[4,4] x) => (int64[4] y) { y = Relu (x) }`, `declared as int64, but computed as float`},
		"recursion": {`g (float[4,4] x) => (y) { y = f.a (x) } <domain: "f", opset_import: ["" : 21, "f" : 1]> a (x) => (y) { y = f.a (x) }`, `calls itself`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := inferText(t, c.body)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}
