package passes

import "testing"

func TestCompose(t *testing.T) {
	keep := func(name, text string) rewrite { return rewrite{name, text, text} }
	const in = `g (float[n,2,h,w] x) => (float[n,c,h,w] y) `
	checkRewrites(t, Compose, []rewrite{
		{"mean colour",
			in + `<float[2,2,1,2] k = {1,2,3,4,5,6,7,8}, float[2] q = {1,2}, float[2,2,1,1] v = {1,2,0,4}, float[2] m = {0.5,1}>
			{ c = Conv <pads = [0,1,0,0]> (x, k, q)  y = Conv (c, v, m) }`,
			in + `<float[2,2,1,2] k = {11,14,17,20,20,24,28,32}, float[2] q = {5.5,9}> { y = Conv <pads = [0,1,0,0]> (x, k, q) }`},
		{"fewer channels, no bias",
			in + `<float[2,2,1,1] k = {1,2,3,4}, float[1,2,1,1] v = {1,-1}> { c = Conv <strides = [2,2]> (x, k)  y = Conv (c, v) }`,
			in + `<float[1,2,1,1] k = {-2,-2}, float[1] c_bias = {0}> { y = Conv <strides = [2,2]> (x, k, c_bias) }`},
		{"three in a row",
			in + `<float[1,2,1,1] k = {1,2}, float[1,1,1,1] v = {2}, float[1,1,1,1] u = {3}> { c = Conv (x, k)  d = Conv (c, v)  y = Conv (d, u) }`,
			in + `<float[1,2,1,1] k = {6,12}, float[1] c_bias = {0}> { y = Conv (x, k, c_bias) }`},
		keep("a bottleneck would grow", in+`<float[1,2,2,2] k = {1,2,3,4,5,6,7,8}, float[2,1,1,1] v = {1,2}> { c = Conv (x, k)  y = Conv (c, v) }`),
		keep("padding of its own", in+`<float[1,2,1,1] k = {1,2}, float[1,1,1,1] v = {2}, float[1] b = {1}> { c = Conv (x, k, b)  y = Conv <pads = [1,1,1,1]> (c, v) }`),
		keep("another reader", in+`<float[1,2,1,1] k = {1,2}, float[1,1,1,1] v = {2}> { c = Conv (x, k)  d = Conv (c, v)  y = Add (c, d) }`),
		keep("in groups", in+`<float[2,1,1,1] k = {1,2}, float[2,2,1,1] v = {1,2,3,4}> { c = Conv <group = 2> (x, k)  y = Conv (c, v) }`),
	})
}
