package passes

import "testing"

func TestIdentities(t *testing.T) {
	keep := func(name, text string) rewrite { return rewrite{name, text, text} }
	checkRewrites(t, Identities, []rewrite{
		{"chain to an output",
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) { a = Relu (x)  b = Identity (a)  c = Dropout (b)  y = Cast <to = 1> (c) }`,
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) { y = Relu (x) }`},
		{"moves that move nothing",
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <int64[8] p = {0,0,0,0,0,0,0,0}, int64[1] s = {0}, int64[1] e = {9223372036854775807}, int64[1] a = {2}, float[4] r = {1,1,1,1}, int64[4] k = {0,0,0,0}>
			{ p1 = Pad (x, p)  t = Transpose <perm = [0,1,2,3]> (p1)  s1 = Slice (t, s, e, a)  q = Reshape (s1, k)  z = Resize (q, , r)  c = Concat <axis = 1> (z)  y = Relu (c) }`,
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) { y = Relu (x) }`},
		{"between input and output one stays",
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) { a = Identity (x)  y = Identity (a) }`,
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) { y = Identity (x) }`},
		keep("cast to another type", `g (float[n,3,h,w] x) => (int32[n,3,h,w] y) { y = Cast <to = 6> (x) }`),
		keep("backwards slice", `g (float[n,3,h,w] x) => (float[n,3,h,w] y) <int64[1] s = {-1}, int64[1] e = {-9223372036854775807}, int64[1] a = {2}, int64[1] d = {-1}> { z = Slice (x, s, e, a, d)  y = Relu (z) }`),
		keep("shift by padding", `g (float[n,3,h,w] x) => (float[n,3,h,w] y) <int64[8] p = {0,0,1,0,0,0,-1,0}> { z = Pad (x, p)  y = Relu (z) }`),
		keep("training", `g (float[n,3,h,w] x) => (float[n,3,h,w] y) <float r = {0.5}, bool t = {1}> { z = Dropout (x, r, t)  y = Relu (z) }`),
		keep("transpose of equal sizes", `g (float[n,3,h,h] x) => (float[n,3,h,h] y) { z = Transpose <perm = [0,1,3,2]> (x)  y = Relu (z) }`),
	})
}
