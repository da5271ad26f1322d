package passes

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// TestSideBySide: a product of sums of two blocks is rounded for their codes in units of one step, and then reads
// these, with scale and zero point of the first; values stay what they are.
func TestSideBySide(t *testing.T) {
	const head = `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,4,h,w] x) => (float[1,2,h,w] y)
 <float s = {0.02}, uint8 z = {100}, float s2 = {0.03}, uint8 z2 = {117},
  int8[2,8,1,1] c = {3,-7,50,20,-90,127,8,1,33,-20,4,9,-127,64,5,-6}, float[2] cs = {0.01,0.02}, int8[2] cz = {0,0}, int32[2] b = {900,-400}, float[2] bs = {0.0002,0.0004}, int32[2] bz = {0,0}, float[1,8,1,1] steps = {1,1,1,1,%s}>
{
  qa = QuantizeLinear (x, s, z)  a = DequantizeLinear (qa, s, z)
  n = Neg (x)  qb = QuantizeLinear (n, s2, z2)  b0 = DequantizeLinear (qb, s2, z2)
  ab = Concat <axis = 1> (a, b0)
  k = DequantizeLinear <axis = 0> (c, cs, cz)  e = DequantizeLinear <axis = 0> (b, bs, bz)
`
	t.Run("align", func(t *testing.T) {
		m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,4,h,w] x, float[2,8,1,1] k) => (float[1,2,h,w] y) { a = Relu (x)  b = Neg (x)  ab = Concat <axis = 1> (a, b)  [fuse] y = Conv (ab, k) }`)
		w, _ := m.Graph.Value("k").Const.Float32s()
		AlignParts(m.Graph, &Plan{Weights: []WeightPlan{{Node: "fuse", Bits: 8}}, Activations: []ActivationPlan{{Tensor: "a", Scale: 0.5}, {Tensor: "b", Scale: 2}}})
		if got, want := body(m), "   a = Relu (x)\n   b = Neg (x)\n   ab = Concat <axis: int = 1> (a, b)\n   [ab_aligned] ab_aligned = Mul (ab, ab_steps)\n   [fuse] y = Conv (ab_aligned, k)"; got != want {
			t.Fatalf("graph is\n%s\nwant\n%s", got, want)
		}
		steps, _ := m.Graph.Value("ab_steps").Const.Float32s()
		aligned, _ := m.Graph.Value("k").Const.Float32s()
		for i, x := range aligned {
			want := w[i]
			if i%8 >= 4 {
				want *= 4
			}
			if x != want || steps[i%8]*x != w[i] {
				t.Errorf("weight %d is %g with step %g, was %g", i, x, steps[i%8], w[i])
			}
		}
	})
	m := parseInferred(t, fmt.Sprintf(head, strings.TrimSuffix(strings.Repeat("0.6666667,", 4), ","))+"  al = Mul (ab, steps)  [fuse] y = Conv (al, k, e) }")
	before := m.Clone()
	readCodes(m.Graph.Value("y").Producer, slices.Clone(m.Graph.Value("ab").Producer.Inputs))
	if err := m.Graph.Sort(); err != nil {
		t.Fatal(err)
	}
	if got, want := operators(m.Graph), "QuantizeLinear Neg QuantizeLinear DequantizeLinear DequantizeLinear Concat DequantizeLinear Conv"; got != want {
		t.Fatalf("operators are %s, want %s", got, want)
	}
	x := features(4, 5, 6)
	sameValues(t, run(t, m, x), run(t, before, x))
	m = before.Clone()
	m.Graph.Value("ab").Producer.SetInput(1, m.Graph.Value("a"))
	setConstant(m.Graph.Value("al").Producer, 1, "steps", onnx.Floats([]int64{1, 8, 1, 1}, 1, 1, 1, 1, 1, 1, 1, 1))
	before = m.Clone()
	readCodes(m.Graph.Value("y").Producer, []*onnx.Value{m.Graph.Value("a"), m.Graph.Value("a")})
	sameValues(t, run(t, m, x), run(t, before, x))
}

// TestNotSideBySide: what a plan has that is edited by hand, or a network of its own, is not taken for parts side by side.
func TestNotSideBySide(t *testing.T) {
	const head = `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,4,h,w] x, float[2,8,1,1] k, float[2,8,3,3] wide) => (float[1,2,h,w] y) <float[1,8,1,1] f = {1,2,3,4,5,6,7,8}> { a = Relu (x)  b = Neg (x)  ab = Concat <axis = 1> (a, b)  `
	plan := &Plan{Activations: []ActivationPlan{{Tensor: "a", Bits: 8, Scale: 0.5}, {Tensor: "b", Bits: 8, Scale: 2}}}
	for name, nodes := range map[string]string{
		"3x3":               "[fuse] y = Conv <pads = [1,1,1,1]> (ab, wide) }",
		"two readers":       "[fuse] c = Conv (ab, k)  d = Abs (ab)  e = Conv (d, k)  y = Add (c, e) }",
		"no convolution":    "[fuse] d = Neg (ab)  y = Conv (d, k) }",
		"factors of others": "m = Mul (ab, f)  [fuse] y = Conv (m, k) }",
	} {
		m := parseInferred(t, head+nodes)
		fill(t, m)
		before := body(m)
		plan.Weights = []WeightPlan{{Node: "fuse", Bits: 8}}
		if AlignParts(m.Graph, plan); body(m) != before {
			t.Errorf("%s: graph is\n%s", name, body(m))
		}
		if _, err := QuantizeStatic(m.Clone(), plan, nil, named(t, "onnxruntime"), 13); err == nil {
			t.Errorf("%s: weights are quantized though their input is not", name)
		}
		plan.Weights = nil
		if _, err := QuantizeStatic(m, plan, nil, named(t, "onnxruntime"), 13); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGiveFloats: what a 1x1 convolution of codes gives to a float sum is a product of matrices; what is
// quantized behind stays a convolution.
func TestGiveFloats(t *testing.T) {
	const want = "QuantizeLinear DequantizeLinear " +
		"DequantizeLinear Transpose MatMul Add Transpose DequantizeLinear Transpose MatMul Add Transpose " +
		"DequantizeLinear DequantizeLinear Conv QuantizeLinear DequantizeLinear Add Add"
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,2,h,w] x) => (float[1,2,h,w] y)
 <float s = {0.02}, uint8 z = {100}, int8[2,2,1,1] c = {3,-7,50,20}, float[2] cs = {0.01,0.02}, int8[2] cz = {0,0}, int32[2] b = {900,-400}, float[2] bs = {0.0002,0.0004}, int32[2] bz = {0,0}>
{
  q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)
  k = DequantizeLinear <axis = 0> (c, cs, cz)  e = DequantizeLinear <axis = 0> (b, bs, bz)  [one] p = Conv (d, k, e)
  k2 = DequantizeLinear <axis = 0> (c, cs, cz)  e2 = DequantizeLinear <axis = 0> (b, bs, bz)  [two] r = Conv (d, k2, e2)
  k3 = DequantizeLinear <axis = 0> (c, cs, cz)  e3 = DequantizeLinear <axis = 0> (b, bs, bz)  [three] t = Conv (d, k3, e3)
  tq = QuantizeLinear (t, s, z)  td = DequantizeLinear (tq, s, z)
  sum = Add (p, r)
  y = Add (sum, td)
}`)
	before := m.Clone()
	giveFloats(m.Graph)
	if got := operators(m.Graph); got != want {
		t.Fatalf("operators are %s, want %s", got, want)
	}
	x := features(2, 5, 6)
	for _, pair := range [][2]*onnx.Model{{m, before}} {
		sameValues(t, run(t, pair[0], x), run(t, pair[1], x))
	}
}

// TestProducts: in a dense block what gathers for the sum is not rounded, nor what brings the sums of blocks
// together; a sum has scale and zero point of the Concat of the next block.
func TestProducts(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[64,3,3,3] head, float[64,64,3,3] k, float[64,256,1,1] gather, float[64,256,1,1] fuse, float[64,64,3,3] k2, float[12,64,3,3] up) => (float[n,12,h,w] y)
{
  [head] a = Conv <pads = [1,1,1,1]> (x, head)
  [b] b = Conv <pads = [1,1,1,1]> (a, k)
  ab = Concat <axis = 1> (a, b, b, b)
  [gather] c = Conv (ab, gather)
  s = Add (c, a)
  [d] d = Conv <pads = [1,1,1,1]> (s, k)
  sd = Concat <axis = 1> (s, d, d, d)
  [gather2] e = Conv (sd, gather)
  s2 = Add (e, s)
  all = Concat <axis = 1> (s, s2, s2, s2)
  [fuse] f = Conv (all, fuse)
  [last] l = Conv <pads = [1,1,1,1]> (f, k2)
  z = Add (l, a)
  [up] y = Conv <pads = [1,1,1,1]> (z, up)
}`)
	to := named(t, "onnxruntime")
	p := place(m.Graph, to, Layers{})
	var quantized []string
	for _, v := range p.values {
		quantized = append(quantized, v.Name)
	}
	for _, name := range []string{"c", "e", "all", "f"} {
		if slices.Contains(quantized, name) {
			t.Errorf("%s is rounded", name)
		}
	}
	for _, name := range []string{"s", "s2"} {
		if !slices.Contains(quantized, name) {
			t.Errorf("%s is not rounded for those that read codes", name)
		}
	}
	if !p.passedByFloats(p.grids[m.Graph.Value("sd")]) || !p.passedByFloats(p.grids[m.Graph.Value("s2")]) || p.passedByFloats(p.grids[m.Graph.Value("b")]) {
		t.Errorf("floats do not pass by the sums, or by a convolution")
	}
	if FreeSkip(m, to, Layers{}); strings.Contains(body(m), "_signs") {
		t.Errorf("signs where sums are concatenated:\n%s", body(m))
	}
	if concat := p.concatOfSum(m.Graph.Value("s")); concat == nil || concat.Outputs[0].Name != "sd" {
		t.Errorf("s is rounded for %v, want sd", concat)
	}
	if concat := p.concatOfSum(m.Graph.Value("s2")); concat != nil {
		t.Errorf("s2 is rounded for %v, want none", concat)
	}
}

func features(channels, h, w int) *runtime.Tensor {
	data := make([]float32, channels*h*w)
	for i := range data {
		data[i] = float32(i*37%101)/50 - 1
	}
	x, _ := runtime.Of([]int{1, channels, h, w}, data)
	return x
}
