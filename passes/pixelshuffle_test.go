package passes

import "testing"

func TestPixelShuffle(t *testing.T) {
	keep := func(name, text string) rewrite { return rewrite{name, text, text} }
	checkRewrites(t, PixelShuffle, []rewrite{
		{"as PyTorch means it",
			`g (float[1,12,4,5] x) => (float[1,3,8,10] y) <int64[6] six = {1,3,2,2,4,5}, int64[4] four = {1,3,8,10}> { a = Reshape (x, six)  b = Transpose <perm = [0,1,4,2,5,3]> (a)  y = Reshape (b, four) }`,
			`g (float[1,12,4,5] x) => (float[1,3,8,10] y) <int64[6] six = {1,3,2,2,4,5}> { a = Reshape (x, six)  b = Transpose <perm = [0,1,4,2,5,3]> (a)  y = DepthToSpace <blocksize = 2, mode = "CRD"> (x) }`},
		{"blocks first",
			`g (float[1,27,4,5] x) => (float[1,3,12,15] y) <int64[6] six = {1,3,3,3,4,5}, int64[4] four = {1,3,12,15}> { a = Reshape (x, six)  b = Transpose <perm = [0,3,4,1,5,2]> (a)  y = Reshape (b, four) }`,
			`g (float[1,27,4,5] x) => (float[1,3,12,15] y) <int64[6] six = {1,3,3,3,4,5}> { a = Reshape (x, six)  b = Transpose <perm = [0,3,4,1,5,2]> (a)  y = DepthToSpace <blocksize = 3> (x) }`},
		{"sizes of the picture at hand",
			`g (float[1,12,h,w] x) => (float[1,3,p,q] y) <int64[4] before = {1,3,2,2}, int64[2] one = {1,3}, int64[2] two = {2,2}> {
				size = Shape <start = 2, end = 4> (x)  six = Concat <axis = 0> (before, size)  a = Reshape (x, six)
				b = Transpose <perm = [0,1,4,2,5,3]> (a)  twice = Mul (size, two)  four = Concat <axis = 0> (one, twice)  y = Reshape (b, four) }`,
			`g (float[1,12,h,w] x) => (float[1,3,p,q] y) <int64[4] before = {1,3,2,2}, int64[2] one = {1,3}, int64[2] two = {2,2}> {
				size = Shape <start = 2, end = 4> (x)  six = Concat <axis = 0> (before, size)  a = Reshape (x, six)
				b = Transpose <perm = [0,1,4,2,5,3]> (a)  twice = Mul (size, two)  four = Concat <axis = 0> (one, twice)  y = DepthToSpace <blocksize = 2, mode = "CRD"> (x) }`},
		keep("columns before rows",
			`g (float[1,12,4,4] x) => (float[1,3,8,8] y) <int64[6] six = {1,3,2,2,4,4}, int64[4] four = {1,3,8,8}> { a = Reshape (x, six)  b = Transpose <perm = [0,1,4,3,5,2]> (a)  y = Reshape (b, four) }`),
		keep("another shape",
			`g (float[1,12,4,5] x) => (float[1,3,10,8] y) <int64[6] six = {1,3,2,2,4,5}, int64[4] four = {1,3,10,8}> { a = Reshape (x, six)  b = Transpose <perm = [0,1,4,2,5,3]> (a)  y = Reshape (b, four) }`),
		keep("oblong blocks",
			`g (float[1,18,4,5] x) => (float[1,3,8,15] y) <int64[6] six = {1,3,2,3,4,5}, int64[4] four = {1,3,8,15}> { a = Reshape (x, six)  b = Transpose <perm = [0,1,4,2,5,3]> (a)  y = Reshape (b, four) }`),
	})
}
