package passes

import "testing"

func TestShapes(t *testing.T) {
	keep := func(name, text string) rewrite { return rewrite{name, text, text} }
	checkRewrites(t, Shapes, []rewrite{
		{"channel count",
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <int64 one = {1}> { s = Shape (x)  c = Gather (s, one)  f = Cast <to = 1> (c)  y = Mul (x, f) }`,
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <int64 c = {3}> { s = Shape (x)  f = Cast <to = 1> (c)  y = Mul (x, f) }`},
		{"reshape",
			`g (float[n,3,h,w] x) => (float[n,3,k] y) <int64[1] end = {-1}> { s = Shape <start = 0, end = 2> (x)  t = Concat <axis = 0> (s, end)  y = Reshape (x, t) }`,
			`g (float[n,3,h,w] x) => (float[n,3,k] y) <int64[1] end = {-1}, int64[3] y_shape = {0, 3, -1}> { s = Shape <start = 0, end = 2> (x)  t = Concat <axis = 0> (s, end)  y = Reshape (x, y_shape) } `},
		{"resize to a multiple",
			`g (float[n,3,h,w] x) => (float[n,3,a,b] y) <int64[4] k = {1,1,2,3}> { s = Shape (x)  t = Mul (s, k)  y = Resize <mode = "cubic"> (x, , , t) }`,
			`g (float[n,3,h,w] x) => (float[n,3,a,b] y) <int64[4] k = {1,1,2,3}, float[4] y_scales = {1,1,2,3}> { s = Shape (x)  t = Mul (s, k)  y = Resize <mode = "cubic"> (x, , y_scales) }`},
		keep("resize to another's size", `g (float[n,3,h,w] x) => (float[n,3,h,w] y) { z = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)  s = Shape (x)  y = Resize (z, , , s) }`),
		keep("dynamic", `g (float[n,3,h,w] x) => (int64[4] y) { s = Shape (x)  y = Neg (s) }`),
	})
}
