package passes

import "testing"

func TestAffine(t *testing.T) {
	keep := func(name, text string) rewrite { return rewrite{name, text, text} }
	const in = `g (float[n,2,h,w] x) => (float[n,2,h,w] y) `
	checkRewrites(t, Affine, []rewrite{
		{"batchnorm into conv",
			in + `<float[2,2,1,1] k = {1,2,3,4}, float[2] s = {2,1}, float[2] b = {0.5,1}, float[2] m = {1,2}, float[2] v = {3,0}>
			{ c = Conv (x, k)  y = BatchNormalization <epsilon = 1.0> (c, s, b, m, v) }`,
			in + `<float[2,2,1,1] k = {1,2,3,4}, float[2] c_bias = {-0.5,-1}> { y = Conv (x, k, c_bias) }`},
		{"mul, add, sub, div",
			in + `<float[2,2,1,1] k = {1,2,3,4}, float[2] q = {1,1}, float[1,2,1,1] s = {2,4}, float b = {0.5}, float[2,1,1] d = {2,8}>
			{ c = Conv (x, k, q)  e = Mul (s, c)  f = Add (e, b)  i = Div (f, d)  y = Sub (i, b) }`,
			in + `<float[2,2,1,1] k = {1,2,1.5,2}, float[2] q = {0.75,0.0625}> { y = Conv (x, k, q) }`},
		{"grouped transposed",
			`g (float[n,2,h,w] x) => (float[n,4,h,w] y) <float[2,2,1,1] k = {1,2,3,4}, float[4] q = {0,0,0,0}, float[4,1,1] s = {2,3,5,7}>
			{ c = ConvTranspose <group = 2> (x, k, q)  y = Mul (c, s) }`,
			`g (float[n,2,h,w] x) => (float[n,4,h,w] y) <float[2,2,1,1] k = {2,6,15,28}, float[4] q = {0,0,0,0}> { y = ConvTranspose <group = 2> (x, k, q) }`},
		{"grouped with shared weights",
			in + `<float[2,1,1,1] k = {1,2}, float[2,1,1] s = {2,3}> { c = Conv <group = 2> (x, k)  d = Conv <group = 2> (x, k)  e = Mul (c, s)  y = Add (e, d) }`,
			in + `<float[2,1,1,1] k = {1,2}, float[2,1,1,1] k_1 = {2,6}, float[2] c_bias = {0,0}> { c = Conv <group = 2> (x, k_1, c_bias)  d = Conv <group = 2> (x, k)  y = Add (c, d) }`},
		{"sum of convolutions",
			in + `<float[2,2,1,1] k = {1,2,3,4}, float[2] q = {1,1}, float[2,1,1] s = {2,4}, float b = {0.5}>
			{ c = Conv (x, k, q)  d = Conv (x, k)  e = Add (c, d)  f = Mul (e, s)  y = Add (f, b) }`,
			in + `<float[2,2,1,1] k = {2,4,12,16}, float[2] q = {2.5,4.5}, float[2,2,1,1] k_1 = {2,4,12,16}, float[2] d_bias = {0,0}>
			{ c = Conv (x, k_1, q)  d = Conv (x, k, d_bias)  y = Add (c, d) }`},
		{"depth to space",
			`g (float[n,1,h,w] x) => (float[n,2,H,W] y) <float[8,1,1,1] k = {1,2,3,4,5,6,7,8}, float[2,1,1] s = {2,10}, float[1,2,1,1] b = {1,2}>
			{ c = Conv (x, k)  d = DepthToSpace <blocksize = 2> (c)  e = Mul (d, s)  y = Add (e, b) }`,
			`g (float[n,1,h,w] x) => (float[n,2,H,W] y) <float[8,1,1,1] k = {2,20,6,40,10,60,14,80}, float[8] c_bias = {1,2,1,2,1,2,1,2}> { c = Conv (x, k, c_bias)  y = DepthToSpace <blocksize = 2> (c) }`},
		{"depth to space, CRD",
			`g (float[n,1,h,w] x) => (float[n,2,H,W] y) <float[8,1,1,1] k = {1,2,3,4,5,6,7,8}, float[2,1,1] s = {2,10}>
			{ c = Conv (x, k)  d = DepthToSpace <blocksize = 2, mode = "CRD"> (c)  y = Mul (d, s) }`,
			`g (float[n,1,h,w] x) => (float[n,2,H,W] y) <float[8,1,1,1] k = {2,4,6,8,50,60,70,80}, float[8] c_bias = {0,0,0,0,0,0,0,0}> { c = Conv (x, k, c_bias)  y = DepthToSpace <blocksize = 2, mode = "CRD"> (c) }`},
		keep("sum with what is no convolution", in+`<float[2,2,1,1] k = {1,2,3,4}, float s = {2}> { c = Conv (x, k)  d = Add (c, x)  y = Mul (d, s) }`),
		keep("sum of unlike channels", in+`<float[2,2,1,1] k = {1,2,3,4}, float[1,2,1,1] l = {1,2}, float s = {2}> { c = Conv (x, k)  e = Conv (x, l)  d = Add (c, e)  y = Mul (d, s) }`),
		keep("another reader", in+`<float[2,2,1,1] k = {1,2,3,4}, float s = {2}> { c = Conv (x, k)  d = Mul (c, s)  y = Add (c, d) }`),
		keep("factor by column", in+`<float[2,2,1,1] k = {1,2,3,4}, float[2] s = {2,3}> { c = Conv (x, k)  y = Mul (c, s) }`),
		keep("constant over conv", in+`<float[2,2,1,1] k = {1,2,3,4}, float s = {2}> { c = Conv (x, k)  y = Div (s, c) }`),
		keep("infinite", in+`<float[2,2,1,1] k = {1,2,3,4}, float s = {0}> { c = Conv (x, k)  y = Div (c, s) }`),
		keep("training", in+`<float[2,2,1,1] k = {1,2,3,4}, float[2] s = {2,1}, float[2] b = {0.5,1}, float[2] m = {1,2}, float[2] v = {3,0.25}>
			{ c = Conv (x, k)  y, rm, rv = BatchNormalization <training_mode = 1> (c, s, b, m, v) }`),
	})
}
