package passes

import (
	"context"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

func folding(plans ...FoldPlan) Pass {
	return Pass{"fold", func(_ context.Context, m *onnx.Model) (int, error) {
		if err := onnx.Infer(m); err != nil {
			return 0, err
		}
		return len(plans), FoldScales(m.Graph, plans)
	}}
}

// TestFoldScales divides channels of c by 2 and 4 and looks where the factors go;
// ONNX Runtime must give the same outputs before and after.
func TestFoldScales(t *testing.T) {
	const in = `g (float[n,2,h,w] x) => (float[n,2,h,w] y) `
	for _, r := range []rewrite{
		{"through a ReLU, borders padded",
			in + `<float[2,2,1,1] k = {2,4,8,16}, float[2] b = {2,4}, float[2,2,3,1] l = {1,2,3,4,5,6,7,8,9,1,2,3}>
			{ c = Conv (x, k, b)  d = Relu (c)  y = Conv <pads = [1,0,1,0]> (d, l) }`,
			in + `<float[2,2,1,1] k = {1,2,2,4}, float[2] b = {1,1}, float[2,2,3,1] l = {2,4,6,16,20,24,14,16,18,4,8,12}>
			{ c = Conv (x, k, b)  d = Relu (c)  y = Conv <pads = [1,0,1,0]> (d, l) }`},
		{"leaky and parametric",
			in + `<float[2,2,1,1] k = {2,4,8,16}, float[2,1,1] s = {0.5,-1}, float[2,2,1,1] l = {1,2,3,4}>
			{ c = Conv (x, k)  d = LeakyRelu (c)  e = PRelu (d, s)  y = Conv (e, l) }`,
			in + `<float[2,2,1,1] k = {1,2,2,4}, float[2,1,1] s = {0.5,-1}, float[2,2,1,1] l = {2,8,6,16}>
			{ c = Conv (x, k)  d = LeakyRelu (c)  e = PRelu (d, s)  y = Conv (e, l) }`},
		{"a sum ties its sides",
			in + `<float[2,2,1,1] k = {2,4,8,16}, float[2,2,1,1] q = {2,2,4,4}, float[2,2,1,1] l = {1,2,3,4}>
			{ c = Conv (x, k)  d = Conv (x, q)  e = Add (c, d)  y = Conv (e, l) }`,
			in + `<float[2,2,1,1] k = {1,2,2,4}, float[2,2,1,1] q = {1,1,1,1}, float[2,2,1,1] l = {2,8,6,16}>
			{ c = Conv (x, k)  d = Conv (x, q)  e = Add (c, d)  y = Conv (e, l) }`},
		{"concat and split",
			in + `<float[2,2,1,1] k = {2,4,8,16}, float[2,2,1,1] q = {2,2,4,4}, float[2,2,1,1] l = {1,2,3,4}>
			{ c = Conv (x, k)  d = Conv (x, q)  e = Concat <axis = 1> (d, c)  f, g = Split <axis = 1, num_outputs = 2> (e)  y = Conv (g, l) }`,
			in + `<float[2,2,1,1] k = {1,2,2,4}, float[2,2,1,1] q = {2,2,4,4}, float[2,2,1,1] l = {2,8,6,16}>
			{ c = Conv (x, k)  d = Conv (x, q)  e = Concat <axis = 1> (d, c)  f, g = Split <axis = 1, num_outputs = 2> (e)  y = Conv (g, l) }`},
		{"gated",
			in + `<float[2,2,1,1] k = {2,4,8,16}, float[2,2,1,1] q = {2,2,4,4}, float[2,2,1,1] l = {1,2,3,4}>
			{ c = Conv (x, k)  d = Conv (c, q)  e = Sigmoid (d)  f = Mul (c, e)  y = Conv (f, l) }`,
			in + `<float[2,2,1,1] k = {1,2,2,4}, float[2,2,1,1] q = {4,8,8,16}, float[2,2,1,1] l = {2,8,6,16}>
			{ c = Conv (x, k)  d = Conv (c, q)  e = Sigmoid (d)  f = Mul (c, e)  y = Conv (f, l) }`},
		{"grouped, transposed, shared weights",
			in + `<float[2,2,1,1] k = {2,4,8,16}, float[2,1,1,1] q = {1,2}, float[2,2,1,1] l = {1,2,3,4}>
			{ c = Conv (x, k)  d = Conv <group = 2> (c, q)  e = ConvTranspose (c, l)  f = Add (d, e)  g = Conv (x, l)  y = Add (f, g) }`,
			in + `<float[2,2,1,1] k = {1,2,2,4}, float[2,1,1,1] q = {2,8}, float[2,2,1,1] l = {1,2,3,4}, float[2,2,1,1] l_1 = {2,4,12,16}>
			{ c = Conv (x, k)  d = Conv <group = 2> (c, q)  e = ConvTranspose (c, l_1)  f = Add (d, e)  g = Conv (x, l)  y = Add (f, g) }`},
	} {
		checkRewrites(t, folding(FoldPlan{"c", []float32{2, 4}}), []rewrite{r})
	}
	const shuffle = `g (float[n,2,h,w] x) => (float[n,2,H,W] y) `
	checkRewrites(t, folding(FoldPlan{"d", []float32{2, 4}}), []rewrite{{"depth to space",
		shuffle + `<float[8,2,1,1] k = {2,2,4,4,2,2,4,4,2,2,4,4,2,2,4,4}, float[2,2,1,1] l = {1,2,3,4}>
		{ c = Conv (x, k)  d = DepthToSpace <blocksize = 2> (c)  y = Conv (d, l) }`,
		shuffle + `<float[8,2,1,1] k = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}, float[2,2,1,1] l = {2,8,6,16}>
		{ c = Conv (x, k)  d = DepthToSpace <blocksize = 2> (c)  y = Conv (d, l) }`}})
}

func TestFoldScalesRefuses(t *testing.T) {
	const graph = `g (float[n,2,h,w] x) => (float[n,2,h,w] y) <float[2,2,1,1] k = {2,4,8,16}, float[2,2,1,1] l = {1,2,3,4}> {
		c = Conv (x, k)  d = Relu (c)  e = Conv (d, l)  f = Sigmoid (e)  y = Mul (f, d) }`
	for _, c := range []struct {
		plan FoldPlan
		want string
	}{
		{FoldPlan{"nothing", []float32{1, 1}}, `"nothing": the graph has no such tensor`},
		{FoldPlan{"c", []float32{1}}, "1 factors for 2 channels"},
		{FoldPlan{"c", []float32{0, 1}}, "factor 0, want it above 0"},
		{FoldPlan{"e", []float32{2, 2}}, "cannot pass"}, // in front of a Sigmoid
		{FoldPlan{"c", []float32{2, 2}}, "cannot pass"}, // comes out of the network
	} {
		m := parse(t, graph)
		if err := onnx.Infer(m); err != nil {
			t.Fatal(err)
		}
		if err := FoldScales(m.Graph, []FoldPlan{c.plan}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.plan, err, c.want)
		}
	}
	m := parse(t, graph)
	if err := onnx.Infer(m); err != nil {
		t.Fatal(err)
	}
	err := FoldScales(m.Graph, []FoldPlan{{"c", []float32{1, 1}}, {"d", []float32{1, 2}}})
	if err == nil || !strings.Contains(err.Error(), "cannot pass") {
		t.Errorf("error %v", err)
	}
}
