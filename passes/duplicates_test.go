package passes

import "testing"

func TestDuplicates(t *testing.T) {
	keep := func(name, text string) rewrite { return rewrite{name, text, text} }
	checkRewrites(t, Duplicates, []rewrite{
		{"nodes and initializers",
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <float a = {2}, float b = {2}> { c = Mul (x, a)  d = Mul (x, b)  y = Add (c, d) }`,
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <float a = {2}> { c = Mul (x, a)  y = Add (c, c) }`},
		keep("other attributes", `g (float[n,3,h,w] x) => (float[n,3,h,w] y) { c = LeakyRelu <alpha = 0.1> (x)  d = LeakyRelu <alpha = 0.2> (x)  y = Add (c, d) }`),
		keep("other type", `g (float[n,3,h,w] x) => (float[n,3,h,w] y, int32[1] z) <float[1] a = {0}, int32[1] b = {0}> { y = Add (x, a)  z = Neg (b) }`),
		keep("random", `g (float[n,3,h,w] x) => (float[n,3,h,w] y) { c = RandomNormalLike (x)  d = RandomNormalLike (x)  y = Sub (c, d) }`),
	})
}
