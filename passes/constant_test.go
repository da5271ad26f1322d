package passes

import "testing"

func TestConstants(t *testing.T) {
	checkRewrites(t, Constants, []rewrite{
		{"node to initializer",
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) { c = Constant <value_float = 2.0> ()  y = Mul (x, c) }`,
			`g (float[n,3,h,w] x) => (float[n,3,h,w] y) <float c = {2}> { y = Mul (x, c) }`},
		{"in a subgraph",
			`g (bool b, float[n,3,h,w] x) => (float[n,3,h,w] y) { y = If (b) <then_branch = t () => (p) { c = Constant <value_float = 2.0> ()  p = Mul (x, c) }, else_branch = e () => (q) { q = Identity (x) }> }`,
			`g (bool b, float[n,3,h,w] x) => (float[n,3,h,w] y) { y = If (b) <then_branch = t () => (p) <float c = {2}> { p = Mul (x, c) }, else_branch = e () => (q) { q = Identity (x) }> }`},
		{"output stays",
			`g (float[n,3,h,w] x) => (float c) { c = Constant <value_float = 2.0> () }`,
			`g (float[n,3,h,w] x) => (float c) { c = Constant <value_float = 2.0> () }`},
	})
}

// IR version 3 lists weights among the inputs.
func TestConstantsTakesWeightsOutOfInputs(t *testing.T) {
	m := parse(t, `<ir_version: 3, opset_import: ["" : 8]> g (float[n,3,h,w] x, float[1] w = {2}) => (float[n,3,h,w] y) { y = Mul (x, w) }`)
	if m.Graph.Inputs[1].Const == nil {
		t.Fatal("the text form did not give w a default")
	}
	if n, err := Constants.Run(t.Context(), m); n != 1 || err != nil || len(m.Graph.Inputs) != 1 || m.IRVersion != 4 {
		t.Errorf("%d changes, %v, %d inputs, IR version %d", n, err, len(m.Graph.Inputs), m.IRVersion)
	}
}
