package passes

import (
	"slices"
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// TestReadParts: a 1x1 convolution of concatenated sums becomes one of each; where a part is no sum, a
// window is larger or something else reads the Concat, it stays.
func TestReadParts(t *testing.T) {
	const head = `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,256,h,w] x, float[4,256,1,1] gather, float[4,4,1,1] small, float[6,8,1,1] k, float[6] b, float[6,8,3,3] wide) => (float[n,6,h,w] y)
{
  o = Conv (x, gather)
  p = Add (o, o)
  q = Add (o, p)
  c = Concat <axis = 1> (p, q)
`
	const want = `   o = Conv (x, gather)
   p = Add (o, o)
   q = Add (o, p)
   [fuse_part0] fuse_part0 = Conv (p, k_part0, b)
   [fuse_part1] fuse_part1 = Conv (q, k_part1)
   [fuse_sum1] fuse_sum1 = Add (fuse_part0, fuse_part1)
   y = Relu (fuse_sum1)`
	m := parseInferred(t, head+"[fuse] f = Conv (c, k, b)  y = Relu (f) }")
	fill(t, m)
	before := m.Clone()
	readParts(m.Graph, Layers{})
	if got := body(m); got != want {
		t.Fatalf("graph is\n%s\nwant\n%s", got, want)
	}
	x := features(256, 5, 6)
	sameValues(t, run(t, m, x), run(t, before, x))
	for name, nodes := range map[string]string{
		"3x3":            "y = Conv <pads = [1,1,1,1]> (c, wide, b) }",
		"two readers":    "f = Conv (c, k, b)  e = Conv (c, k)  y = Add (e, f) }",
		"part is no sum": "r = Relu (p)  d = Concat <axis = 1> (p, r)  y = Conv (d, k, b) }",
	} {
		m := parseInferred(t, head+nodes)
		fill(t, m)
		before := body(m)
		if readParts(m.Graph, Layers{}); body(m) != before {
			t.Errorf("%s: graph is\n%s", name, body(m))
		}
	}
}

// TestGiveFloats: what a 1x1 convolution of codes gives to a float sum is a product of matrices, with
// one bias for those that are summed; what is quantized behind stays a convolution.
func TestGiveFloats(t *testing.T) {
	const want = "QuantizeLinear DequantizeLinear " +
		"DequantizeLinear Transpose MatMul Add Transpose DequantizeLinear Transpose MatMul Transpose " +
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

// TestProducts: in a dense block what gathers for the sum is not rounded, and a sum of products is none
// in integers; the sum has scale and zero point of the Concat of the next block.
func TestProducts(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[64,3,3,3] head, float[64,64,3,3] k, float[64,256,1,1] gather, float[64,128,1,1] fuse, float[64,64,3,3] k2, float[12,64,3,3] up) => (float[n,12,h,w] y)
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
  all = Concat <axis = 1> (s, s2)
  [fuse] f = Conv (all, fuse)
  [last] l = Conv <pads = [1,1,1,1]> (f, k2)
  z = Add (l, a)
  [up] y = Conv <pads = [1,1,1,1]> (z, up)
}`)
	to := named(t, "onnxruntime")
	readParts(m.Graph, Layers{})
	p := place(m.Graph, to, Layers{})
	var quantized []string
	for _, v := range p.values {
		quantized = append(quantized, v.Name)
	}
	for _, name := range []string{"c", "e", "fuse_part0", "fuse_part1", "fuse_sum1"} {
		if slices.Contains(quantized, name) {
			t.Errorf("%s is rounded", name)
		}
	}
	for _, name := range []string{"s", "s2"} {
		if !slices.Contains(quantized, name) {
			t.Errorf("%s is not rounded for those that read codes", name)
		}
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
