package passes

import "testing"

func TestSizes(t *testing.T) {
	keep := func(name, text string) rewrite { return rewrite{name, text, text} }
	checkRewrites(t, Sizes, []rewrite{
		{"height and width",
			`g (float[n,3,h,w] x, float[n,3,a,b] z) => (float[n,3,h,w] y) <int64 two = {2}, int64 three = {3}, int64[1] zero = {0}, int64[2] front = {1, 3}> {
			 s = Shape (x)  h = Gather (s, two)  u = Unsqueeze (h, zero)  w = Gather (s, three)  v = Unsqueeze (w, zero)  t = Concat <axis = 0> (front, u, v)  y = Resize (z, , , t) }`,
			`g (float[n,3,h,w] x, float[n,3,a,b] z) => (float[n,3,h,w] y) <int64 two = {2}, int64 three = {3}, int64[1] zero = {0}, int64[2] front = {1, 3}, int64[1] t_start = {2}, int64[1] t_end = {4}> {
			 s = Shape (x)  h = Gather (s, two)  u = Unsqueeze (h, zero)  w = Gather (s, three)  v = Unsqueeze (w, zero)  t_sizes = Slice (s, t_start, t_end)  t = Concat <axis = 0> (front, t_sizes)  y = Resize (z, , , t) }`},
		{"indices that are lists, something behind",
			`g (float[n,c,h,w] x) => (int64[3] t) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] last = {5}> { s = Shape (x)  n = Gather (s, zero)  c = Gather (s, one)  t = Concat <axis = 0> (n, c, last) }`,
			`g (float[n,c,h,w] x) => (int64[3] t) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] last = {5}, int64[1] t_start = {0}, int64[1] t_end = {2}> { s = Shape (x)  n = Gather (s, zero)  c = Gather (s, one)  t_sizes = Slice (s, t_start, t_end)  t = Concat <axis = 0> (t_sizes, last) }`},
		{"as large as the picture",
			`g (float[n,3,h,w] x, float[n,3,a,b] z) => (float[n,3,h,w] y) <float[n,3,h,w] r, int64[1] two = {2}, int64[1] four = {4}, int64[2] front = {1, 3}> {
			 r = Relu (x)  s = Shape (r)  u = Slice (s, two, four)  t = Concat <axis = 0> (front, u)  y = Resize (z, , , t) }`,
			`g (float[n,3,h,w] x, float[n,3,a,b] z) => (float[n,3,h,w] y) <float[n,3,h,w] r, int64[1] two = {2}, int64[1] four = {4}, int64[2] front = {1, 3}> {
			 r = Relu (x)  s = Shape (x)  u = Slice (s, two, four)  t = Concat <axis = 0> (front, u)  y = Resize (z, , , t) }`},
		keep("other order", `g (float[n,c,h,w] x) => (int64[2] t) <int64[1] two = {2}, int64[1] three = {3}> { s = Shape (x)  h = Gather (s, two)  w = Gather (s, three)  t = Concat <axis = 0> (w, h) }`),
		keep("two tensors", `g (float[n,c,h,w] x, float[n,c,h,w] z) => (int64[2] t) <int64[1] two = {2}, int64[1] three = {3}> { s = Shape (x)  r = Shape (z)  h = Gather (s, two)  w = Gather (r, three)  t = Concat <axis = 0> (h, w) }`),
		keep("part of a shape", `g (float[n,c,h,w] x) => (int64[2] t) <int64[1] zero = {0}, int64[1] one = {1}> { s = Shape <start = 2> (x)  h = Gather (s, zero)  w = Gather (s, one)  t = Concat <axis = 0> (h, w) }`),
	})
}
