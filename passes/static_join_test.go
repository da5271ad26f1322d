package passes

import (
	"math"
	"strings"
	"testing"
)

const joinable = `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[48,3,3,3] head, float[48] hb, float[48,48,13,13] k, float[48,48,3,3] l, float[12,48,1,1] up) => (float[n,3,H,W] y)
{
  [head] a = Conv <pads = [1,1,1,1]> (x, head, hb)
  [body] c = Conv <pads = [6,6,6,6]> (a, k)
  r = LeakyRelu (c)
  [front] d = Conv <pads = [1,1,1,1]> (r, l)
  [last] s = Add (a, d)
  [up] u = Conv (s, up)
  y = DepthToSpace <blocksize = 2> (u)
}`

// TestJoinSkip: the convolution in front of the last skip connection reads the picture, and a plan puts its
// pixels on the grid of the features; what comes out, at the borders too, is what it was.
func TestJoinSkip(t *testing.T) {
	const want = `   [head] a = Conv <pads: ints = [1, 1, 1, 1]> (x, head, hb)
   [body] c = Conv <pads: ints = [6, 6, 6, 6]> (a, k)
   r = LeakyRelu (c)
   [s_pixels] s_pixels = Conv (x, s_pixels_weight, s_pixels_bias)
   [s_joined] s_joined = Concat <axis: int = 1> (r, s_pixels)
   [front] d = Conv <pads: ints = [1, 1, 1, 1]> (s_joined, l_joined, front_bias)
   [s_signs] s_signs = Relu (d)
   [up] u = Conv (s_signs, up)
   y = DepthToSpace <blocksize: int = 2> (u)`
	m := parseInferred(t, joinable)
	fill(t, m)
	before := m.Clone()
	to := named(t, "onnxruntime")
	if err := PrepareStatic(m, to, Layers{}); err != nil {
		t.Fatal(err)
	}
	if got := body(m); got != want {
		t.Fatalf("graph is\n%s\nwant\n%s", got, want)
	}
	x := picture(6, 7)
	expected := run(t, before, x)
	sameValues(t, run(t, m, x), expected)
	p := place(m.Graph, to, Layers{})
	for _, name := range []string{"r", "s_pixels"} {
		if p.grids[m.Graph.Value(name)] != p.grids[m.Graph.Value("s_joined")] {
			t.Errorf("%s has a grid of its own", name)
		}
	}
	if !p.joined || p.convs[m.Graph.Value("s_pixels").Producer] || !p.convs[m.Graph.Value("d").Producer] {
		t.Errorf("joined %v, convolutions in integers %v", p.joined, p.convs)
	}
	for _, zero := range []int{0, 13, 200} {
		plan := &Plan{InputRange: 1, Activations: []ActivationPlan{{Tensor: "s_joined", Bits: 8, Scale: 0.01, ZeroPoint: zero}}}
		aligned := m.Clone()
		AlignPixels(aligned.Graph, plan)
		sameValues(t, run(t, aligned, x), expected)
		w, _ := aligned.Graph.Value("s_pixels_weight").Const.Float32s()
		b, _ := aligned.Graph.Value("s_pixels_bias").Const.Float32s()
		for code := range 256 {
			y := w[0]*float32(code)/255 + b[0]
			dst := make([]float32, 1)
			if plan.Activations[0].quantizeStatic(dst, []float32{y}); math.Abs(float64(dst[0]-y)) > 1e-5 {
				t.Fatalf("zero point %d: pixel %d is %g, its code %g", zero, code, y, dst[0])
			}
		}
	}
}

// TestJoinSkipWithoutSigns: where they would double much of the network no signs are made.
func TestJoinSkipWithoutSigns(t *testing.T) {
	for name, replace := range map[string][]string{
		"in front":  {"48,13,13", "48,3,3", "[6,6,6,6]", "[1,1,1,1]"},
		"behind it": {"12,48,1,1", "48,48,3,3", "Conv (s, up)", "Conv <pads = [1,1,1,1]> (s, up)", "blocksize = 2", "blocksize = 4"},
	} {
		m := parseInferred(t, strings.NewReplacer(replace...).Replace(joinable))
		fill(t, m)
		before := m.Clone()
		if err := PrepareStatic(m, named(t, "onnxruntime"), Layers{}); err != nil {
			t.Fatal(err)
		}
		if got, want := operators(m.Graph), "Conv Conv LeakyRelu Conv Concat Conv Conv DepthToSpace"; got != want {
			t.Fatalf("%s: operators are %s, want %s", name, got, want)
		}
		x := picture(6, 7)
		sameValues(t, run(t, m, x), run(t, before, x))
	}
}

// TestJoinSkipNot: what cannot be joined, or would lose by it, stays.
func TestJoinSkipNot(t *testing.T) {
	for name, replace := range map[string][2]string{
		"other attributes":       {"pads = [1,1,1,1]> (x, head, hb)", "pads = [1,1,1,1], dilations = [1,1]> (x, head, hb)"},
		"an activation in front": {"a = Conv <pads = [1,1,1,1]> (x, head, hb)", "b = Conv <pads = [1,1,1,1]> (x, head, hb)  a = LeakyRelu (b)"},
		"a gate":                 {"r = LeakyRelu (c)", "q = Sigmoid (c)  r = Mul (a, q)"},
	} {
		m := parseInferred(t, strings.Replace(joinable, replace[0], replace[1], 1))
		if err := PrepareStatic(m, named(t, "onnxruntime"), Layers{}); err != nil {
			t.Fatal(err)
		}
		if got := body(m); strings.Contains(got, "_joined") {
			t.Errorf("%s: graph is\n%s", name, got)
		}
	}
	m := parseInferred(t, joinable)
	if err := PrepareStatic(m, named(t, "tensorrt"), Layers{}); err != nil {
		t.Fatal(err)
	}
	if got := body(m); strings.Contains(got, "_joined") {
		t.Errorf("symmetric codes have none for one side alone: graph is\n%s", got)
	}
}
