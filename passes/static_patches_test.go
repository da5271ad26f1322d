package passes

import (
	"regexp"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
)

// TestReadPatches: a convolution that alone reads what the first one makes of a picture reads the pixels, with the same
// values up to the border; where an activation function, another reader or few features stand between, it does not.
func TestReadPatches(t *testing.T) {
	const head = `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,3,h,w] x, float[64,3,3,3] head, float[64] b, float[64,64,3,3] k, float[16,3,3,3] few, float[16,16,3,3] k16, float[64,16,3,3] wide) => (float[1,64,h,w] y)
{
`
	for _, tc := range []struct {
		name, nodes string
		patches     bool
	}{
		{"alone", "[head] a = Conv <pads = [1,1,1,1]> (x, head, b)  [next] c = Conv <pads = [1,1,1,1]> (a, k, b)  [last] y = Conv <pads = [1,1,1,1]> (c, k) }", true},
		{"activation", "[head] a = Conv <pads = [1,1,1,1]> (x, head, b)  r = Relu (a)  [next] c = Conv <pads = [1,1,1,1]> (r, k, b)  [last] y = Conv <pads = [1,1,1,1]> (c, k) }", false},
		{"two readers", "[head] a = Conv <pads = [1,1,1,1]> (x, head, b)  [next] c = Conv <pads = [1,1,1,1]> (a, k, b)  d = Add (a, c)  [last] y = Conv <pads = [1,1,1,1]> (d, k) }", false},
		{"few features", "[head] a = Conv <pads = [1,1,1,1]> (x, few)  [next] c = Conv <pads = [1,1,1,1]> (a, k16)  [last] y = Conv <pads = [1,1,1,1]> (c, wide) }", false},
	} {
		m := parseInferred(t, head+tc.nodes)
		before := m.Clone()
		readPatches(m.Graph, named(t, "onnxruntime"), Layers{})
		if err := onnx.Infer(m); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		a := m.Graph.Value("a")
		if isPatches(a) != tc.patches || channelsOf(a) == 28 != tc.patches {
			t.Errorf("%s: patches of %d channels: %v", tc.name, channelsOf(a), isPatches(a))
		}
		x := picture(6, 7)
		sameValues(t, run(t, m, x), run(t, before, x))
		if !tc.patches {
			continue
		}
		if !place(m.Graph, named(t, "onnxruntime"), Layers{}).onGrid(a) {
			t.Errorf("%s: patches are not on the grid of pixels", tc.name)
		}
		AlignPatches(m.Graph, &Plan{InputRange: 255})
		if bias := floatBias(a.Producer); bias[27] != 255 {
			t.Errorf("%s: the channel without pixels is %g", tc.name, bias[27])
		}
		sameValues(t, run(t, m, x), run(t, before, x))
	}
}

// TestNotPatches: a network's own convolution that brings pixels side by side has no channel for a bias; nodes without
// a first output are passed over.
func TestNotPatches(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,3,h,w] x, float[64,4,3,3] k, float[64,64,3,3] k2) => (float[1,64,h,w] y)
 <float[4,3,1,1] side = {1,0,0,0,1,0,0,0,1,0,0,0}, int64[1] one = {1}>
{
  [head] a = Conv (x, side)  [next] c = Conv <pads = [1,1,1,1]> (a, k)  d = Conv <pads = [1,1,1,1]> (c, k2)
  , i = TopK <axis = 1> (c, one)  f = Cast <to = 1> (i)  y = Add (d, f)
}`)
	fill(t, m)
	before := body(m)
	readPatches(m.Graph, named(t, "onnxruntime"), Layers{})
	AlignPatches(m.Graph, &Plan{InputRange: 255})
	if body(m) != before || isPatches(m.Graph.Value("a")) {
		t.Errorf("graph is\n%s", body(m))
	}
}

// TestPatchBias: the channel without pixels has weights of zero; its bias fits all the same.
func TestPatchBias(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,3,h,w] x, float[64,3,3,3] head, float[64] b, float[64,64,3,3] k) => (float[1,64,h,w] y)
{
  [head] a = Conv <pads = [1,1,1,1]> (x, head, b)  [next] c = Conv <pads = [1,1,1,1]> (a, k, b)  [last] y = Conv <pads = [1,1,1,1]> (c, k)
}`)
	to := named(t, "onnxruntime")
	readPatches(m.Graph, to, Layers{})
	if err := onnx.Infer(m); err != nil {
		t.Fatal(err)
	}
	plan := &Plan{Rule: Calibrated, InputRange: 1, Activations: []ActivationPlan{{Tensor: "x", Bits: 8, Scale: 1. / 255}, {Tensor: "a", Bits: 8, Scale: 1. / 255}}, Weights: []WeightPlan{{Node: "head", Bits: 8}}}
	if _, err := QuantizeStatic(m, plan, nil, to, 13); err != nil {
		t.Fatal(err)
	}
	for _, n := range m.Graph.Nodes {
		if n.Label() == "head" {
			if one := biasOf(n)[27]; one < 0.9999 || one > 1.0001 {
				t.Errorf("it is %g", one)
			}
		}
	}
}

// TestPairsOfPatches: patches have 8 bits whatever the settings say, so that 8-bit weights must not saturate with them.
func TestPairsOfPatches(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[1,3,h,w] x, float[64,3,3,3] head, float[64,64,3,3] k) => (float[1,64,h,w] y)
{
  [head] a = Conv <pads = [1,1,1,1]> (x, head)  [next] c = Conv <pads = [1,1,1,1]> (a, k)  [last] y = Conv <pads = [1,1,1,1]> (c, k)
}`)
	fill(t, m)
	to, s := named(t, "onnxruntime"), Settings{WeightBits: 8, ActivationBits: 4, Rule: Calibrated, Layers: Layers{Include: regexp.MustCompile("next|last")}}
	readPatches(m.Graph, to, s.Layers)
	if err := onnx.Infer(m); err != nil {
		t.Fatal(err)
	}
	profile := calib.NewProfile("", 1)
	profile.Static = true
	for _, name := range StaticTensors(m.Graph, to, s.Layers) {
		stats, err := profile.Tensor(name, quant.Signed, 64)
		if err != nil {
			t.Fatal(err)
		}
		if err := stats.Observe(features(64, 4, 4).Data.([]float32), 16); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := MakeStaticPlan(m.Graph, s, to, profile, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range plan.Weights {
		if bounded := w.PairSum > 0; bounded != (w.Node != "last") {
			t.Errorf("sums of pairs of %s are bounded: %v", w.Node, bounded)
		}
	}
}
