package passes

import (
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/target"
)

// TestSplitSides: the convolution in front of the last skip connection becomes two, each side
// of zero a quantizer of its own; those of residual blocks, of few inputs and for symmetric codes do not.
func TestSplitSides(t *testing.T) {
	const graph = `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[64,3,3,3] head, float[64,64,3,3] k1, float[64] b1, float[64,64,3,3] k2, float[64] b2, float[12,64,3,3] up) => (float[n,12,h,w] y)
{
  [head] a = Conv <pads = [1,1,1,1]> (x, head)
  [body1] b = Conv <pads = [1,1,1,1]> (a, k1, b1)
  r = Relu (b)
  [body2] c = Conv <pads = [1,1,1,1]> (r, k2, b2)
  [last] s = Add (a, c)
  [up] y = Conv <pads = [1,1,1,1]> (s, up)
}`
	const want = `   [head] a = Conv <pads: ints = [1, 1, 1, 1]> (x, head)
   [body1] b = Conv <pads: ints = [1, 1, 1, 1]> (a, k1, b1)
   r = Relu (b)
   [body2] c = Conv <pads: ints = [1, 1, 1, 1]> (r, k2, b2)
   [body2_above] body2_above = Relu (c)
   [body2_negative] body2_negative = Conv <pads: ints = [1, 1, 1, 1]> (r, k2_below, b2_below)
   [body2_below] body2_below = Relu (body2_negative)
   [body2_sides] body2_sides = Sub (body2_above, body2_below)
   [last] s = Add (a, body2_sides)
   [up] y = Conv <pads: ints = [1, 1, 1, 1]> (s, up)`
	m := parseInferred(t, graph)
	before := m.Clone()
	to := named(t, "onnxruntime")
	splitSides(m, to, Layers{})
	if got := body(m); got != want {
		t.Fatalf("graph is\n%s\nwant\n%s", got, want)
	}
	x := picture(5, 6)
	sameValues(t, run(t, m, x), run(t, before, x))
	tensors := StaticTensors(m.Graph, to, Layers{})
	if !slices.Contains(tensors, "body2_above") || !slices.Contains(tensors, "body2_below") || slices.Contains(tensors, "body2_sides") {
		t.Errorf("quantized are %v: want each side, and not both together", tensors)
	}
	for _, n := range m.Graph.Nodes {
		if side := n.Name == "body2" || n.Name == "body2_negative"; isSide(n) != side {
			t.Errorf("%s makes one side: %v", n, !side)
		}
	}
	symmetric := before.Clone()
	splitSides(symmetric, named(t, "tensorrt"), Layers{})
	if got := body(symmetric); got != body(before) {
		t.Errorf("symmetric codes have a half for each sign already: graph is\n%s", got)
	}
}

// TestLastResidual: where the other side of the last skip connection is a sum too, what it adds is
// one residual of many, and computed in integers as they are.
func TestLastResidual(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[64,3,3,3] head, float[64,64,3,3] k, float[64,64,3,3] k2, float[12,64,3,3] up) => (float[n,12,h,w] y)
{
  [head] a = Conv <pads = [1,1,1,1]> (x, head)
  [body1] b = Conv <pads = [1,1,1,1]> (a, k)
  [sum] c = Add (a, b)
  [body2] d = Conv <pads = [1,1,1,1]> (c, k2)
  [last] s = Add (c, d)
  [up] y = Conv <pads = [1,1,1,1]> (s, up)
}`)
	to := named(t, "onnxruntime")
	before := body(m)
	splitSides(m, to, Layers{})
	if got := body(m); got != before {
		t.Errorf("graph is\n%s", got)
	}
	if tensors := StaticTensors(m.Graph, to, Layers{}); !slices.Contains(tensors, "d") {
		t.Errorf("quantized are %v: want d", tensors)
	}
}

func named(t *testing.T, name string) *target.Target {
	t.Helper()
	to, err := target.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return to
}
