package passes

import "testing"

func TestDeadCode(t *testing.T) {
	checkRewrites(t, DeadCode, []rewrite{
		{"unread branch",
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <float a = {1}, float b = {2}> { c = Mul (x, a)  d = Neg (c)  y = Mul (x, b) }`,
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <float b = {2}> { y = Mul (x, b) }`},
		{"read by a subgraph only",
			`g (bool q, float[n,3,h,w] x) => (float[n,3,h,w] y) { c = Neg (x)  d = Abs (x)  y = If (q) <then_branch = t () => (a) { a = Relu (c)  z = Neg (c) }, else_branch = e () => (b) { b = Neg (x) }> }`,
			`g (bool q, float[n,3,h,w] x) => (float[n,3,h,w] y) { c = Neg (x)  y = If (q) <then_branch = t () => (a) { a = Relu (c) }, else_branch = e () => (b) { b = Neg (x) }> }`},
	})
}
