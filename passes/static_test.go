package passes

import (
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// TestQuantizeStatic: r has 8 bits for the sum and 4, with an integer Clip, for the
// convolution; the output keeps its name.
func TestQuantizeStatic(t *testing.T) {
	const before = `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,5,h,w] x) => (float[n,5,h,w] y) <float[5,5,1,1] k1 = {1,0,0,0,0, 0,1,0,0,0, 0,0,1,0,0, 0,0,0,1,0, 0,0,0,0,1},
 float[5,5,1,1] k2 = {1,0,0,0,0, 0,1,0,0,0, 0,0,1,0,0, 0,0,0,1,0, 0,0,0,0,1}, float[5] b = {1,2,3,4,5}>
{
  [one] a = Conv (x, k1, b)
  r = Relu (a)
  [two] c = Conv (r, k2)
  y = Add (r, c)
}`
	m := parseInferred(t, before)
	named, err := target.Named("onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	to := new(*named)
	to.Channels = target.Channels{} // see TestWidenChannels
	plan := &Plan{Format: PlanFormat, Mode: target.Static, Target: to.Name, Rule: Calibrated, Activations: []ActivationPlan{
		{Tensor: "r", Bits: 8, Scale: 0.5},
		{Tensor: "r", Bits: 4, Scale: 2, ZeroPoint: 3, Readers: []string{"two"}},
		{Tensor: "c", Bits: 8, Scale: 0.25, ZeroPoint: 128},
		{Tensor: "y", Bits: 8, Scale: 0.5, ZeroPoint: 100},
	}, Weights: []WeightPlan{{Node: "two", Bits: 4, Scales: []float32{0.5}}}}
	done, err := QuantizeStatic(m, plan, nil, to, 0)
	if err != nil {
		t.Fatal(err)
	}
	if done.Convolutions != 1 || done.Tensors != 4 {
		t.Errorf("%+v", done)
	}
	const want = `   [one] a = Conv (x, k1, b)
   r = Relu (a)
   [r_quantized] r_quantized = QuantizeLinear (r, daq_scale, daq_zero_point)
   [r_dequantized] r_dequantized = DequantizeLinear (r_quantized, daq_scale, daq_zero_point)
   [r_4bit_quantized] r_4bit_quantized = QuantizeLinear (r_dequantized, daq_scale_2, daq_zero_point_3)
   [r_4bit_clipped] r_4bit_clipped = Clip (r_4bit_quantized, daq_least, daq_most)
   [r_4bit_dequantized] r_4bit_dequantized = DequantizeLinear (r_4bit_clipped, daq_scale_2, daq_zero_point_3)
   [k2_dequantized] k2_dequantized = DequantizeLinear <axis: int = 0> (k2_codes, k2_scale, daq_zeros_5)
   [two_bias_dequantized] two_bias_dequantized = DequantizeLinear <axis: int = 0> (two_bias_codes, two_bias_scale, daq_zeros_5_1)
   [two] c = Conv (r_4bit_dequantized, k2_dequantized, two_bias_dequantized)
   [c_quantized] c_quantized = QuantizeLinear (c, daq_scale_1, daq_zero_point_1)
   [c_dequantized] c_dequantized = DequantizeLinear (c_quantized, daq_scale_1, daq_zero_point_1)
   y_float = Add (r_dequantized, c_dequantized)
   [y_quantized] y_quantized = QuantizeLinear (y_float, daq_scale, daq_zero_point_2)
   [y_dequantized] y = DequantizeLinear (y_quantized, daq_scale, daq_zero_point_2)`
	if got := body(m); got != want {
		t.Errorf("graph is\n%s\nwant\n%s", got, want)
	}
	for _, v := range []string{"x", "c", "c_dequantized", "y"} {
		if known := m.Graph.Value(v).Type.Elem != onnx.Undefined; known != (v == "x" || v == "y") {
			t.Errorf("the type of %s is known: %t", v, known)
		}
	}
	for name, want := range map[string][]byte{
		"daq_least": {0}, "daq_most": {15}, "daq_zero_point_3": {3},
	} {
		if got := m.Graph.Value(name).Const; got.Type != onnx.Uint8 || string(got.Data) != string(want) {
			t.Errorf("%s is %s %v", name, got.Type, got.Data)
		}
	}
	if codes := onnx.ViewOf[int8](m.Graph.Value("k2_codes").Const.Data); codes[0] != 2 || codes[1] != 0 {
		t.Errorf("weights are %v", codes[:2])
	}
}

// TestStaticTensors: what an absorbed Relu reads, pictures, the end of the last skip
// connection and thin convolutions behind it stay as they are.
func TestStaticTensors(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[8,3,3,3] head, float[8,8,3,3] k, float[64,8,3,3] up, float[3,16,3,3] tail) => (float[n,3,H,W] y)
{
  a = Conv <pads = [1,1,1,1]> (x, head)
  b = Conv <pads = [1,1,1,1]> (a, k)
  c = Relu (b)
  d = Conv <pads = [1,1,1,1]> (c, k)
  e = Add (a, d)
  f = Conv <pads = [1,1,1,1]> (e, k)
  s = Add (a, f)
  u = Conv <pads = [1,1,1,1]> (s, up)
  v = DepthToSpace <blocksize = 2> (u)
  y = Conv <pads = [1,1,1,1]> (v, tail)
}`)
	fill(t, m)
	to, err := target.Named("onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := StaticTensors(m.Graph, to, Layers{}), []string{"a", "c", "d", "e", "s", "u"}; !slices.Equal(got, want) {
		t.Errorf("tensors %v, want %v", got, want)
	}
	// Symmetric codes are two levels of a picture apart.
	if to, err = target.Named("tensorrt"); err != nil {
		t.Fatal(err)
	}
	if p := place(m.Graph, to, Layers{}); p.convs[m.Graph.Value("y").Producer] {
		t.Errorf("tensorrt: the convolution that makes the picture is computed in integers")
	}
}

// TestPictureResidual: a convolution of many features whose result is added to the picture, as VDSR's last,
// is computed in integers; where the features are enlarged, not.
func TestPictureResidual(t *testing.T) {
	const before = `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,1,h,w] x, float[64,1,3,3] head, float[4,1,3,3] four, float[64,64,3,3] k, float[64,16,3,3] k2, float[1,64,3,3] tail) => (float[n,1,H,W] y)
{
  a = Conv <pads = [1,1,1,1]> (x, head)
  b = Conv <pads = [1,1,1,1]> (a, k)
  r = Relu (b)
  `
	for _, c := range []struct {
		name, nodes, target string
		integer             bool
	}{
		{"small", "d = Conv <pads = [1,1,1,1]> (r, tail)  y = Add (d, x) }", "onnxruntime", true},
		{"symmetric codes", "d = Conv <pads = [1,1,1,1]> (r, tail)  y = Add (d, x) }", "tensorrt", false},
		{"enlarged", "u = DepthToSpace <blocksize = 2> (r)  v = Conv <pads = [1,1,1,1]> (u, k2)  d = Conv <pads = [1,1,1,1]> (v, tail)  e = Conv <pads = [1,1,1,1]> (x, four)  z = DepthToSpace <blocksize = 2> (e)  y = Add (d, z) }", "onnxruntime", false},
	} {
		m := parseInferred(t, before+c.nodes)
		fill(t, m)
		if p := place(m.Graph, named(t, c.target), Layers{}); p.convs[m.Graph.Value("d").Producer] != c.integer {
			t.Errorf("%s: computed in integers is %v, want %v", c.name, !c.integer, c.integer)
		}
	}
}

// TestThinConvolutions: few channels that become features of a Concat are computed in integers; so is, behind the last
// skip, what makes few of many, where it is a fortieth of the network or more.
func TestThinConvolutions(t *testing.T) {
	const before = `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[64,3,3,3] head, float[4,64,3,3] four, float[64,64,3,3] k, float[64,68,1,1] gather, float[32,64,3,3] thin, float[3,32,3,3] tail, float[3,64,3,3] end, float[512,64,3,3] wide, float[64,512,3,3] narrow, float[1,64,3,3] luma, float[3,4,1,1] rgb) => (float[n,3,h,w] y)
{
  a = Conv <pads = [1,1,1,1]> (x, head)
  b = Conv <pads = [1,1,1,1]> (a, k)
  c = Conv <pads = [1,1,1,1]> (b, four)
  d = Relu (c)
  `
	const end = `g = Conv <pads = [1,1,1,1]> (f, k)  s = Add (a, g)  u = Conv <pads = [1,1,1,1]> (s, thin)  v = Relu (u)  y = Conv <pads = [1,1,1,1]> (v, tail) }`
	for _, c := range []struct {
		name, nodes, value string
		integer            bool
	}{
		{"features of a Concat", "e = Concat <axis = 1> (b, d)  f = Conv (e, gather)  " + end, "c", true},
		{"a picture", "y = Add (d, d) }", "c", false},
		{"luma of a picture", "l = Conv <pads = [1,1,1,1]> (b, luma)  e = Concat <axis = 1> (l, x)  y = Conv (e, rgb) }", "l", false},
		{"much of the network", "e = Concat <axis = 1> (b, d)  f = Conv (e, gather)  " + end, "u", true},
		{"little of it", "p = Conv <pads = [1,1,1,1]> (b, wide)  q = Conv <pads = [1,1,1,1]> (p, narrow)  r = Conv <pads = [1,1,1,1]> (q, wide)  f = Conv <pads = [1,1,1,1]> (r, narrow)  " + end, "u", false},
		{"few of few", "f = Conv <pads = [1,1,1,1]> (b, k)  " + end, "y", false},
	} {
		m := parseInferred(t, before+c.nodes)
		fill(t, m)
		if p := place(m.Graph, named(t, "onnxruntime"), Layers{}); p.convs[m.Graph.Value(c.value).Producer] != c.integer {
			t.Errorf("%s: computed in integers is %v, want %v", c.name, !c.integer, c.integer)
		}
	}
}

// fill makes initializers of all inputs of known shape.
func fill(t *testing.T, m *onnx.Model) {
	t.Helper()
	for _, v := range m.Graph.Inputs {
		if _, known := v.Type.Shape.Ints(); known {
			fillWeights(t, v)
		}
	}
}

func TestQuantizeStaticMatchesIntegers(t *testing.T) {
	a := ActivationPlan{Bits: 4, Scale: 0.5, ZeroPoint: 3}
	dst := make([]float32, 6)
	a.quantizeStatic(dst, []float32{-10, -1.5, -0.25, 0.25, 0.75, 100})
	for i, want := range []float32{-1.5, -1.5, 0, 0, 1, 6} { // ties to even
		if dst[i] != want {
			t.Errorf("value %d is %g, want %g", i, dst[i], want)
		}
	}
}
