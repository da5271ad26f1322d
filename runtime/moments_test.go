package runtime_test

import (
	"context"
	"math"
	"math/rand/v2"
	"regexp"
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// The mean of a tensor that is quantized, and of a Concat of such, comes with its
// statistics: no other pass over it is made, and it is the mean of all values, whatever
// the floor of the statistics.
func TestAveragesComeWithMoments(t *testing.T) {
	m, err := onnx.Parse(`<ir_version: 10, opset_import: ["" : 21]>
g (float[1,16,h,w] x, float[16,16,3,3] w1, float[16,16,3,3] w2, float[16,32,1,1] w3) => (float[1,16,h,w] y)
{
  a = Relu (x)
  [one] b = Conv <pads = [1, 1, 1, 1]> (a, w1)
  [two] c = Conv <pads = [1, 1, 1, 1]> (x, w2)
  d = Concat <axis = 1> (a, x)
  [three] e = Conv (d, w3)
  means = GlobalAveragePool (d)
  more = GlobalAveragePool (a)
  most = GlobalAveragePool (c)
  f = Conv (means, w3)
  g = Add (e, f)
  k = Sum (b, c, more, most)
  y = Add (g, k)
}`)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, v := range m.Graph.Inputs[1:] {
		shape, _ := v.Type.Shape.Ints()
		n, _ := onnx.Elements(shape)
		data := make([]float32, n)
		for i := range data {
			data[i] = float32(rng.NormFloat64())
		}
		v.SetConst(onnx.Floats(shape, data...))
	}
	if err := onnx.Infer(m); err != nil {
		t.Fatal(err)
	}
	plan, err := passes.MakePlan(m.Graph, passes.Settings{WeightBits: 8, ActivationBits: 8, Rule: passes.Paper, Layers: passes.Layers{Include: regexp.MustCompile("one|two|three")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := passes.Quantize(m, plan, nil, 0); err != nil {
		t.Fatal(err)
	}
	data := make([]float32, 16*9*11)
	for i := range data {
		data[i] = float32(rng.NormFloat64() + float64(i%5))
	}
	x := &runtime.Tensor{Type: onnx.Float, Shape: []int{1, 16, 9, 11}, Data: data}
	want, got, largest := output(t, m, x, runtime.Options{Exact: true}), output(t, m, x, runtime.Options{}), 0.0
	for _, v := range want {
		largest = max(largest, math.Abs(float64(v)))
	}
	for i, v := range got {
		if d := math.Abs(float64(v - want[i])); d > 5e-3*largest {
			t.Fatalf("output %d is %g, node by node %g", i, v, want[i])
		}
	}
	p, err := runtime.Compile(m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	steps, err := p.Profile(context.Background(), map[string]*runtime.Tensor{"x": x})
	if err != nil {
		t.Fatal(err)
	}
	pools := 0
	for _, s := range steps {
		if s.Op == "GlobalAveragePool" {
			pools++
		}
	}
	if pools != 1 { // of c, which is not quantized
		t.Errorf("%d passes over tensors for means, want 1", pools)
	}
}
