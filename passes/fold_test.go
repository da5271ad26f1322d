package passes

import "testing"

func TestFold(t *testing.T) {
	keep := func(name, text string) rewrite { return rewrite{name, text, text} }
	checkRewrites(t, Fold, []rewrite{
		{"chain",
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <float[3] a = {1,2,3}, int64[3] s = {3,1,1}> { b = Mul (a, a)  c = Reshape (b, s)  y = Add (x, c) }`,
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <float[3,1,1] c = {1,4,9}> { y = Add (x, c) }`},
		keep("dequantized weights", `g (float[n,3,h,w] x) => (float[n,3,h,w] y) <uint8[3,1,1] q = {1,2,3}, float s = {0.5}> { c = DequantizeLinear (q, s)  y = Add (x, c) }`),
		keep("growth", `g (float[n,3,h,w] x) => (float[2048] y) <float[1] a = {1}, int64[1] s = {2048}> { c = Expand (a, s)  y = Neg (c) }`),
		keep("hostile growth", `g (float[n,3,h,w] x) => (float[m] y) <float[1] a = {1}, int64[1] s = {9000000000000000}> { c = Expand (a, s)  y = Neg (c) }`),
		keep("random", `g (float[n,3,h,w] x) => (float[2] y) <float[2] a = {1,1}> { c = RandomNormalLike (a)  y = Neg (c) }`),
		keep("not constant", `g (float[n,3,h,w] x) => (float[n,3,h,w] y) { c = Neg (x)  y = Neg (c) }`),
	})
}
