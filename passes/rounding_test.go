package passes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// smoothPictures returns pictures [1,channels,size,size] whose neighbours and
// channels are correlated, as those of feature maps are, with a mean.
func smoothPictures(t *testing.T, count, channels, size int) []*runtime.Tensor {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	var pictures []*runtime.Tensor
	for range count {
		data := make([]float32, channels*size*size)
		common := make([]float32, size*size)
		for c := -1; c < channels; c++ {
			plane := common
			if c >= 0 {
				plane = data[c*size*size : (c+1)*size*size]
			}
			for i := range plane {
				v := float32(rng.NormFloat64())
				if i >= size {
					v += 0.6 * plane[i-size]
				}
				if i%size > 0 {
					v += 0.6 * plane[i-1]
				}
				plane[i] = 0.8 * v
			}
			if c >= 0 {
				for i := range plane {
					plane[i] += 0.7*common[i] + 0.05
				}
			}
		}
		x, err := runtime.Of([]int{1, channels, size, size}, data)
		if err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, x)
	}
	return pictures
}

// calibrated makes the plan of a graph whose selected convolutions read its
// input x alone.
func calibrated(t *testing.T, m *onnx.Model, pictures []*runtime.Tensor, bits int) *Plan {
	t.Helper()
	profile := calib.NewProfile("", 1)
	stats, err := profile.Tensor("x", quant.Signed, pictures[0].Shape[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pictures {
		if err := stats.Observe(p.Data.([]float32), p.Shape[2]*p.Shape[3]); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := MakePlan(m.Graph, Settings{WeightBits: bits, ActivationBits: 6, Rule: Calibrated, Layers: Layers{All: true}}, profile)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func run(t *testing.T, m *onnx.Model, x *runtime.Tensor) []float32 {
	t.Helper()
	program, err := runtime.Compile(m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(context.Background(), map[string]*runtime.Tensor{"x": x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(out["y"].Data.([]float32))
}

// Weights of every kind of convolution that are rounded for pictures bring the
// output of the quantized network closer to the float one than nearest codes, on
// other pictures too, and do not move its mean.
func TestRoundKinds(t *testing.T) {
	for _, tc := range []struct{ name, weights, nodes string }{
		{"3x3", "float[6,8,3,3] w, float[6] b", `[c] y = Conv <pads = [1, 1, 1, 1]> (x, w, b)`},
		{"1x1", "float[6,8,1,1] w", `[c] y = Conv (x, w)`},
		{"grouped", "float[12,2,3,3] w, float[12] b", `[c] y = Conv <pads = [1, 1, 1, 1], group = 4> (x, w, b)`},
		{"depthwise", "float[8,1,3,3] w", `[c] y = Conv <pads = [1, 1, 1, 1], group = 8> (x, w)`},
		{"strided and dilated", "float[6,8,3,3] w, float[6] b", `[c] y = Conv <pads = [2, 1, 2, 1], strides = [2, 1], dilations = [2, 1]> (x, w, b)`},
		{"even kernel, same padding", "float[6,8,2,4] w", `[c] y = Conv <auto_pad = "SAME_LOWER", strides = [1, 2]> (x, w)`},
		{"transposed", "float[8,5,4,4] w, float[5] b", `[c] y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w, b)`},
		{"transposed, uneven", "float[8,5,3,2] w", `[c] y = ConvTranspose <strides = [2, 3], pads = [1, 0, 0, 1], output_padding = [1, 0]> (x, w)`},
		{"shared weights", "float[8,8,3,3] w, float[8] b", `[c] a = Conv <pads = [1, 1, 1, 1]> (x, w, b)
  [d] e = Conv <pads = [0, 0, 0, 0]> (x, w)
  f = Pad <mode = "edge"> (e, frame)
  y = Add (a, f)`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			initializers := ""
			if strings.Contains(tc.nodes, "frame") {
				initializers = "<int64[8] frame = {0, 0, 1, 1, 0, 0, 1, 1}>"
			}
			m := parseInferred(t, fmt.Sprintf(`<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8,h,w] x, %s) => (y) %s
{
  %s
}`, tc.weights, initializers, tc.nodes))
			pictures := smoothPictures(t, 5, 8, 40)
			pictures, other := pictures[:4], pictures[4]
			plan := calibrated(t, m, pictures, 3)
			rounding, err := Round(context.Background(), m, plan, pictures, RoundOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(rounding) != len(plan.Weights) {
				t.Fatalf("%d of %d convolutions rounded", len(rounding), len(plan.Weights))
			}
			want := run(t, m.Clone(), other)
			loss := func(r Rounding) (loss, shift float64) {
				q := m.Clone()
				done, err := Quantize(q, plan, r, 0)
				if err != nil {
					t.Fatal(err)
				}
				if r == nil && len(done.Nearest) != len(plan.Weights) {
					t.Errorf("nearest codes of %q not told", done.Nearest)
				}
				for i, v := range run(t, q, other) {
					d := float64(v - want[i])
					loss += d * d / float64(len(want))
					shift += d / float64(len(want))
				}
				return loss, shift
			}
			nearest, _ := loss(nil)
			rounded, shift := loss(rounding)
			if rounded > 0.8*nearest {
				t.Errorf("rounded for pictures: error %.4g, nearest codes %.4g", rounded, nearest)
			}
			if shift*shift > 0.02*rounded {
				t.Errorf("the mean moves by %.3g, error %.3g", shift, rounded)
			}
		})
	}
}

// TestRoundForAllReaders: weights that two convolutions read are rounded for what both read. Fed with
// detail alone, the first would not mind what is lost of a mean, which is all that the second reads.
func TestRoundForAllReaders(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8,h,w] x, float[6,8,3,3] k, float[8,1,3,3] detail, float[8,1,3,3] mean) => (y)
{
  [d] a = Conv <pads = [1, 1, 1, 1], group = 8> (x, detail)
  [m] b = Conv <pads = [1, 1, 1, 1], group = 8> (x, mean)
  [first] c = Conv <pads = [1, 1, 1, 1]> (a, k)
  [second] e = Conv <pads = [1, 1, 1, 1]> (b, k)
  y = Sub (e, c)
}`)
	var detail, mean []float32
	for range 8 {
		detail = append(detail, 0, -1, 0, -1, 4, -1, 0, -1, 0)
		mean = append(mean, slices.Repeat([]float32{1. / 9}, 9)...)
	}
	setConstant(m.Graph.Nodes[0], 1, "detail", onnx.Floats([]int64{8, 1, 3, 3}, detail...))
	setConstant(m.Graph.Nodes[1], 1, "mean", onnx.Floats([]int64{8, 1, 3, 3}, mean...))
	pictures := smoothPictures(t, 4, 8, 24)
	loss := func(readers ...string) float64 {
		plan := &Plan{}
		for _, name := range readers {
			plan.Weights = append(plan.Weights, WeightPlan{Node: name, Bits: 3})
		}
		rounding, err := Round(context.Background(), m, plan, pictures[:3], RoundOptions{})
		if err != nil {
			t.Fatal(err)
		}
		q, want := m.Clone(), run(t, m.Clone(), pictures[3])
		second := q.Graph.Nodes[3]
		weights := (&rounder{plan: plan}).dequantized(second, &plan.Weights[0], rounding[readers[0]])
		setConstant(second, 1, "rounded", onnx.Floats(second.Inputs[1].Const.Shape, weights.Data.([]float32)...))
		off, loss := run(t, q, pictures[3]), 0.0
		for i := range off {
			off[i] -= want[i]
		}
		for channel := range slices.Chunk(off, len(off)/6) {
			mean := 0.0 // which the bias takes
			for _, v := range channel {
				mean += float64(v) / float64(len(channel))
			}
			for _, v := range channel {
				loss += (float64(v) - mean) * (float64(v) - mean)
			}
		}
		return loss
	}
	first, both, second := loss("first"), loss("first", "second"), loss("second")
	if both > 0.5*first {
		t.Errorf("weights rounded for both readers: error of the second %.4g, for the first alone %.4g, for the second %.4g", both, first, second)
	}
}

// TestRoundInParts: 8-bit weights of a static graph that read more inputs than they are compensated
// over at once come closer than nearest codes all the same.
func TestRoundInParts(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 17]>
g (float[1,150,h,w] x, float[2,150,3,3] k) => (y)
{
  [c] y = Conv <pads = [1, 1, 1, 1]> (x, k)
}`)
	n := m.Graph.Nodes[0]
	l := matrixOf(n, n.Inputs[1].Const.Shape)
	if parts := l.parts(fineInputs); parts != 3 {
		t.Fatalf("%d parts of 150 channels, want 3", parts)
	}
	pictures := smoothPictures(t, 4, 150, 24)
	w := WeightPlan{Node: "c", Bits: 8}
	plan := &Plan{Mode: target.Static, Weights: []WeightPlan{w}}
	rounding, err := Round(context.Background(), m, plan, pictures[:3], RoundOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nearest, err := nearestWeights(n, &w, plan.weightLevels(&w))
	if err != nil {
		t.Fatal(err)
	}
	want := run(t, m.Clone(), pictures[3])
	loss := func(q *Rounded) (loss float64) {
		rounded := m.Clone()
		weights := (&rounder{plan: plan}).dequantized(n, &w, q)
		setConstant(rounded.Graph.Nodes[0], 1, "k", onnx.Floats(n.Inputs[1].Const.Shape, weights.Data.([]float32)...))
		mean, got := 0.0, run(t, rounded, pictures[3])
		for i, v := range got {
			mean += float64(v-want[i]) / float64(len(got))
		}
		for i, v := range got {
			d := float64(v-want[i]) - mean // which the bias takes
			loss += d * d
		}
		return loss
	}
	if a, b := loss(rounding["c"]), loss(nearest); a > 0.8*b {
		t.Errorf("error %.4g, of nearest codes %.4g", a, b)
	}
}

// Weights that cannot be rounded for pictures are planned to the nearest codes,
// and a plan that asks for more is refused.
func TestRoundNearest(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8,h,w] x, float[8,3,3,3] w, float[6,8,3,3] v) => (y, z)
{
  [up] y = ConvTranspose <group = 2, strides = [2, 2]> (x, w)
  [flat] z = Conv (x, v)
}`)
	pictures := smoothPictures(t, 2, 8, 16)
	plan := calibrated(t, m, pictures, 4)
	if len(plan.Weights) != 2 || !plan.Weights[0].Nearest || plan.Weights[1].Nearest {
		t.Fatalf("plan %+v", plan.Weights)
	}
	rounding, err := Round(context.Background(), m, plan, pictures, RoundOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done, err := Quantize(m.Clone(), plan, rounding, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(done.Nearest, []string{"up"}) {
		t.Errorf("nearest %q", done.Nearest)
	}
	plan.Weights[0].Nearest = false
	if _, err = Round(context.Background(), m, plan, pictures, RoundOptions{}); err == nil || !strings.Contains(err.Error(), `"up"`) {
		t.Errorf("error %v", err)
	}
	// An edited plan is obeyed: nothing is rounded.
	plan.Weights[0].Nearest, plan.Weights[1].Nearest = true, true
	if rounding, err = Round(context.Background(), m, plan, pictures, RoundOptions{}); err != nil || len(rounding) > 0 {
		t.Errorf("rounded %d, error %v", len(rounding), err)
	}
}

// TestRoundSharedWeights: a ConvTranspose, or a convolution whose plan says other scales, does not take the codes that
// weights have in another convolution, and one with the same bits does whatever others have in between.
func TestRoundSharedWeights(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8,h,w] x, float[8,8,3,3] k) => (y)
{
  [a] a = Conv <pads = [1, 1, 1, 1]> (x, k)
  [fine] b = Conv <pads = [1, 1, 1, 1]> (a, k)
  [again] c = Conv <pads = [1, 1, 1, 1]> (b, k)
  [scaled] d = Conv <pads = [1, 1, 1, 1]> (c, k)
  [up] e = ConvTranspose <pads = [1, 1, 1, 1]> (d, k)
  y = Relu (e)
}`)
	fillWeights(t, m.Graph.Value("k"))
	plan := &Plan{Rule: Calibrated, Weights: []WeightPlan{
		{Node: "a", Bits: 3}, {Node: "fine", Bits: 6}, {Node: "again", Bits: 3}, {Node: "scaled", Bits: 3, Scales: []float32{0.125}}, {Node: "up", Bits: 3}}}
	rounding, err := Round(context.Background(), m, plan, smoothPictures(t, 2, 8, 16), RoundOptions{})
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b string) bool { return slices.Equal(rounding[a].scales, rounding[b].scales) }
	if !same("a", "again") {
		t.Errorf("shared weights of the same bits have scales %v and %v", rounding["a"].scales, rounding["again"].scales)
	}
	if scale := rounding["scaled"].scales[7]; scale != 0.125 {
		t.Errorf("the plan says scale 0.125, the weights have %g", scale)
	}
	if same("a", "up") {
		t.Errorf("rows of a Conv and columns of a ConvTranspose have the same scales %v", rounding["up"].scales)
	}
}
