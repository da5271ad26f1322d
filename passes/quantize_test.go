package passes

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
)

// fillWeights makes an initializer of normally distributed values of an input.
func fillWeights(t *testing.T, v *onnx.Value) {
	t.Helper()
	shape, ok := v.Type.Shape.Ints()
	if !ok {
		t.Fatalf("%s has no fixed shape", v.Name)
	}
	n, err := onnx.Elements(shape)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	data := make([]float32, n)
	for i := range data {
		data[i] = float32(rng.NormFloat64())
	}
	v.SetConst(onnx.Floats(shape, data...))
}

// body returns the lines of the graph's nodes in text form.
func body(m *onnx.Model) string {
	text := m.Text()
	text = text[strings.Index(text, "{\n")+2:]
	return text[:strings.Index(text, "\n}")]
}

func TestQuantizeGraph(t *testing.T) {
	const before = `<ir_version: 8, opset_import: ["" : 17]>
g (float[n,4,h,w] x, float[4,4,3,3] w1, float[4,4,3,3] w2) => (float[n,4,h,w] y) <float[4] bias = {1, 2, 3, 4}>
{
  [one] a = Conv <pads = [1, 1, 1, 1]> (x, w1, bias)
  b = Relu (a)
  [two] c = Conv <pads = [1, 1, 1, 1]> (b, w2)
  [three] d = Conv <pads = [1, 1, 1, 1]> (b, w2)
  y = Add (c, d)
}`
	m := parseInferred(t, before)
	plan, err := MakePlan(m.Graph, Settings{WeightBits: 4, ActivationBits: 3, Rule: Paper, Layers: Layers{All: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := Quantize(m, plan, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	const after = `   ["x/Quantize"] x_codes, x_scale, x_offset = daq.Quantize (x, daq_step, daq_levels_8)
   ["x/Dequantize"] x_dequantized = daq.Dequantize (x_codes, x_scale, x_offset)
   ["w1/Dequantize"] w1_dequantized = daq.Dequantize (w1_codes, w1_scale, w1_offset)
   [one] a = Conv <pads: ints = [1, 1, 1, 1]> (x_dequantized, w1_dequantized, bias)
   b = Relu (a)
   ["b/Quantize"] b_codes, b_scale, b_offset = daq.QuantizeRelu (b, daq_step, daq_levels_8)
   ["b/Dequantize"] b_dequantized = daq.Dequantize (b_codes, b_scale, b_offset)
   ["w2/Dequantize"] w2_dequantized = daq.Dequantize (w2_codes, w2_scale, w2_offset)
   [two] c = Conv <pads: ints = [1, 1, 1, 1]> (b_dequantized, w2_dequantized)
   [three] d = Conv <pads: ints = [1, 1, 1, 1]> (b_dequantized, w2_dequantized)
   y = Add (c, d)`
	if got := body(m); got != after {
		t.Errorf("after:\n%s\nwant:\n%s", got, after)
	}
	if done.Convolutions != 3 || done.Tensors != 2 {
		t.Errorf("done %+v", *done)
	}
	if codes := m.Graph.Value("w1_codes").Const; codes.Type != onnx.Uint4 || len(codes.Data) != 4*4*9/2 {
		t.Errorf("codes are %s in %d bytes", codes.Type, len(codes.Data))
	}
	if got := m.Opset(""); got != 21 {
		t.Errorf("opset %d, uint4 needs 21", got)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}

// Weight codes stay below 2^n at every width, and decode to the levels of the
// quantizer.
func TestQuantizeWeightCodes(t *testing.T) {
	for bits := 1; bits <= 8; bits++ {
		for _, rule := range []Rule{Paper, Wide, Calibrated, "0.25"} {
			m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 17]>
				g (float[n,5,h,w] x, float[3,5,3,3] w) => (float[n,3,h,w] y) { [c] y = Conv (x, w) }`)
			w := m.Graph.Value("w").Const
			float, err := w.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			coded, err := encodeWeights(m.Graph.Nodes[0], w, WeightPlan{Node: "c", Bits: bits}, rule, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, code := range coded.codes {
				if int(code) >= 1<<bits {
					t.Fatalf("%d bits, %s: code %d", bits, rule, code)
				}
				c := 0
				if len(coded.scale) > 1 {
					c = i / (5 * 9)
				}
				got := float32(code)*coded.scale[c] + coded.offset[c]
				top := float64(quant.Levels(bits)-1) / 2 * float64(coded.scale[c])
				if d := math.Abs(float64(got - float[i])); d > float64(coded.scale[c])/2*1.0001 && math.Abs(float64(float[i])) < top {
					t.Fatalf("%d bits, %s: weight %g decodes to %g, step %g", bits, rule, float[i], got, coded.scale[c])
				}
			}
		}
	}
}

// Below the opset of the type the codes are packed in bytes.
func TestQuantizeLowOpset(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 17]>
		g (float[n,4,h,w] x, float[4,4,3,3] w) => (float[n,4,h,w] y) { [c] y = Conv (x, w) }`)
	plan, err := MakePlan(m.Graph, Settings{WeightBits: 2, ActivationBits: 2, Rule: Paper, Layers: Layers{All: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Quantize(m, plan, nil, 17); err != nil {
		t.Fatal(err)
	}
	if m.Opset("") != 17 {
		t.Errorf("opset %d", m.Opset(""))
	}
	if packed := m.Graph.Value("w_packed").Const; packed.Type != onnx.Uint8 || len(packed.Data) != 4*4*9/4 {
		t.Errorf("codes are %s in %d bytes", packed.Type, len(packed.Data))
	}
}

func TestQuantizeRefuses(t *testing.T) {
	const graph = `<ir_version: 8, opset_import: ["" : 17]>
		g (float[n,4,h,w] x, float[4,4,3,3] w) => (float[n,4,h,w] y) { [c] y = Conv (x, w) }`
	ok := WeightPlan{Node: "c", Bits: 4}
	for _, tc := range []struct {
		name string
		plan Plan
		want string
	}{
		{"unknown tensor", Plan{Activations: []ActivationPlan{{Tensor: "z", Bits: 4, Readers: []string{"c"}}}}, `tensor "z"`},
		{"unknown reader", Plan{Activations: []ActivationPlan{{Tensor: "x", Bits: 4, Readers: []string{"d"}}}}, `no convolution "d"`},
		{"no reader", Plan{Activations: []ActivationPlan{{Tensor: "x", Bits: 4}}}, "no readers"},
		{"too few steps", Plan{Activations: []ActivationPlan{{Tensor: "x", Bits: 4, Readers: []string{"c"}, Steps: []float32{1, 2}}}}, "2 steps for 4 channels"},
		{"unknown node", Plan{Weights: []WeightPlan{{Node: "d", Bits: 4}}}, `weights of "d"`},
		{"twice", Plan{Weights: []WeightPlan{ok, ok}}, "twice"},
		{"too few scales", Plan{Weights: []WeightPlan{{Node: "c", Bits: 4, Scales: []float32{1, 2}}}}, "2 scales for 4 output channels"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Quantize(parseInferred(t, graph), &tc.plan, nil, 0)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
	t.Run("NaN weight", func(t *testing.T) {
		m := parseInferred(t, graph)
		w, err := m.Graph.Value("w").Const.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		w[7] = float32(math.NaN())
		for _, rule := range []Rule{Paper, Calibrated} {
			_, err = Quantize(m.Clone(), &Plan{Rule: rule, Weights: []WeightPlan{ok}}, nil, 0)
			if err == nil || !strings.Contains(err.Error(), `tensor "w": weight 7 is NaN`) {
				t.Errorf("%s: error %v", rule, err)
			}
		}
	})
}
