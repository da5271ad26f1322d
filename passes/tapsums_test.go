package passes

import (
	"context"
	"math"
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// quantizedBy returns a quantized copy of a model by the paper's rule.
func quantizedBy(t *testing.T, m *onnx.Model, bits int, layers Layers) *onnx.Model {
	t.Helper()
	plan, err := MakePlan(m.Graph, Settings{WeightBits: bits, ActivationBits: bits, Rule: Paper, Layers: layers}, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := m.Clone()
	if _, err := Quantize(q, plan, nil, 0); err != nil {
		t.Fatal(err)
	}
	return q
}

// Convolutions that another quantized one reads, through whatever, are not named.
func TestLastTapSums(t *testing.T) {
	const head = `<ir_version: 8, opset_import: ["" : 17]>
		g (float[n,4,h,w] x, float[4,4,3,3] w1, float[4,4,3,3] w2, float[4,2,1,1] w3) => (float[n,4,h,w] y)`
	const conv, grouped = `Conv <pads = [1, 1, 1, 1]>`, `Conv <group = 2>`
	for _, c := range []struct {
		name, nodes string
		want        []string
	}{
		{"chain", `{ [one] a = ` + conv + ` (x, w1)  b = Relu (a)  [two] y = ` + conv + ` (b, w2) }`, []string{"two"}},
		{"skip", `{ [one] a = ` + conv + ` (x, w1)  b = Add (a, x)  [two] c = ` + conv + ` (b, w2)  y = Add (c, b) }`, []string{"two"}},
		{"two ends", `{ [one] a = ` + conv + ` (x, w1)  [two] b = ` + conv + ` (x, w2)  y = Add (a, b) }`, []string{"one", "two"}},
		{"groups", `{ [one] a = ` + conv + ` (x, w1)  [two] y = ` + grouped + ` (a, w3) }`, []string{"two"}},
		{"shared weights", `{ [one] a = ` + conv + ` (x, w1)  b = Relu (x)  [two] c = ` + conv + ` (b, w1)  y = Add (a, c) }`, []string{"one", "two"}},
	} {
		m := parseInferred(t, head+c.nodes)
		q := quantizedBy(t, m, 4, Layers{All: true})
		sums, err := LostTapSums(context.Background(), m, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(sums) != len(c.want) {
			t.Fatalf("%s: %d convolutions, want %v", c.name, len(sums), c.want)
		}
		for i, s := range sums {
			if s.Node != c.want[i] {
				t.Errorf("%s: convolution %q, want %q", c.name, s.Node, c.want[i])
			}
			square := 0.0
			for _, v := range s.Lost {
				square += float64(v) * float64(v)
			}
			if square == 0 {
				t.Errorf("%s: 4 bits lost nothing", c.name)
			}
		}
	}
	m := parseInferred(t, head+`{ y = `+conv+` (x, w1) }`)
	if sums, err := LostTapSums(context.Background(), m, m); err != nil || len(sums) > 0 {
		t.Errorf("a float network lost %v, %v", sums, err)
	}
}

const tapSumsHead = `<ir_version: 8, opset_import: ["" : 17]>
g (float[n,4,h,w] x, float[6,2,1,1] w1) => (float[n,6,h,w] y) <float[6] b = {1, 2, 3, 4, 5, 6}> `

// What was lost comes back: for pictures of one colour the means of a 1x1 convolution of
// coarse weights are those of its float weights, whatever the colour.
func TestHoldTapSums(t *testing.T) {
	ctx := context.Background()
	m := parseInferred(t, tapSumsHead+`{ [conv] c = Conv <group = 2> (x, w1, b)  y = Relu (c) }`)
	q := quantizedBy(t, m, 2, Layers{All: true})
	sums, err := LostTapSums(ctx, m, q)
	if err != nil {
		t.Fatal(err)
	}
	means := [][]float64{{1, 2, 3, 4}}
	before := q.Clone()
	if err := HoldTapSums(q.Graph, sums, means); err != nil {
		t.Fatal(err)
	}
	const after = `   ["x/Quantize"] x_codes, x_scale, x_offset = daq.Quantize (x, daq_step, daq_levels_4)
   ["x/Dequantize"] x_dequantized = daq.Dequantize (x_codes, x_scale, x_offset)
   ["w1/Dequantize"] w1_dequantized = daq.Dequantize (w1_codes, w1_scale, w1_offset)
   [conv] c = Conv <group: int = 2> (x_dequantized, w1_dequantized, b)
   x_mean = GlobalAveragePool (x)
   c_lost = Conv <group: int = 2> (x_mean, conv_tap_sums, conv_tap_bias)
   c_held = Add (c, c_lost)
   y = Relu (c_held)`
	if got := body(q); got != after {
		t.Errorf("after:\n%s\nwant:\n%s", got, after)
	}
	run := func(m *onnx.Model, output string, colour []float32) []float32 {
		t.Helper()
		program, err := runtime.Compile(m, runtime.Options{Observe: []string{output}})
		if err != nil {
			t.Fatal(err)
		}
		data := make([]float32, 4*6)
		for i := range data {
			data[i] = colour[i/6]
		}
		x, _ := runtime.Of([]int{1, 4, 2, 3}, data)
		var first []float32
		_, err = program.Run(ctx, map[string]*runtime.Tensor{"x": x}, func(_ string, t *runtime.Tensor) error {
			for o := range 6 {
				first = append(first, t.Data.([]float32)[6*o])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return first
	}
	// A constant channel is quantized to its mean but for 1e-6 or so.
	known, other := []float32{1, 2, 3, 4}, []float32{-3, 0.5, 2, 8}
	want, lost := run(m, "c", known), run(before, "c", known)
	for o, v := range run(q, "c_held", known) {
		if math.Abs(float64(v-lost[o])) > 1e-4 {
			t.Errorf("output %d is %g where biases know the means, %g without", o, v, lost[o])
		}
	}
	float, held, moved := run(m, "c", other), run(q, "c_held", other), 0.0
	for o, v := range run(before, "c", other) {
		wrong := float64(lost[o] - want[o]) // what the bias of this test does not make up for
		moved = max(moved, math.Abs(float64(v-float[o])-wrong))
		if d := math.Abs(float64(held[o]-float[o]) - wrong); d > 1e-4 {
			t.Errorf("output %d is %g off", o, d)
		}
	}
	if moved < 0.1 {
		t.Errorf("without the sums means move by %g only: nothing is tested", moved)
	}
	// ONNX Runtime computes the same as the nodes one by one.
	dir := t.TempDir()
	inlined := q.Clone()
	if err := onnx.Inline(inlined); err != nil {
		t.Fatal(err)
	}
	for _, d := range compareModels(t, []string{save(t, q, dir+"/functions.onnx"), save(t, inlined, dir+"/inlined.onnx")}, "--size", "8x6", "--check") {
		if d.Relative > 1e-6 {
			t.Errorf("inlined it differs by %g of the range in ONNX Runtime", d.Relative)
		}
	}
	if err := HoldTapSums(before.Graph, []TapSums{{Node: "no"}}, means); err == nil {
		t.Error("a convolution that is not there was corrected")
	}
}
