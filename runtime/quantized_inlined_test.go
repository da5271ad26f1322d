package runtime_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// A file whose functions are expanded runs in integers like the one with functions.
func TestInlinedFilesRunInIntegers(t *testing.T) {
	for _, window := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(3, 4))
		m := quantizedLayer(t, rng, 32, 32, 3, 4, 1, true, window, window)
		inlined := m.Clone()
		if err := onnx.Inline(inlined); err != nil {
			t.Fatal(err)
		}
		data, err := inlined.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if inlined, err = onnx.Decode(data); err != nil {
			t.Fatal(err)
		}
		x := make([]float32, 32*20*20)
		for i := range x {
			x[i] = float32(rng.NormFloat64() + math.Sin(float64(i/400)))
		}
		input := &runtime.Tensor{Type: onnx.Float, Shape: []int{1, 32, 20, 20}, Data: x}
		want := output(t, m, input, runtime.Options{})
		if slices.Equal(want, output(t, m, input, runtime.Options{Exact: true})) {
			t.Fatal("the layer with functions did not run in integers: it rounds as its nodes do")
		}
		if !slices.Equal(want, output(t, inlined, input, runtime.Options{})) {
			t.Error("the inlined layer computes something else")
		}
	}
}
