package passes

import (
	"context"
	"math"
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// The corrected output has the name and, with gains that say so, the mean of the input; a
// last Clip stays last. ONNX Runtime computes the same.
func TestHoldColours(t *testing.T) {
	const head, constants = `g (float[n,2,h,w] x) => (float[n,2,h,w] y) `, `float[2,2,1,1] k = {1,2,3,-4}, float low = {-9}, float high = {9}`
	keepMeans := Colours{Gain: []float32{-1, 0, 1, 0, 0, -1, 0, 1}, Bias: []float32{0.5, 0}}
	var files []string
	dir := t.TempDir()
	for _, c := range []struct{ name, before, after string }{
		{"convolution", head + `<` + constants + `> { y = Conv (x, k) }`,
			head + `<float[2,2,1,1] k = {1,2,3,-4}, float[2,4,1,1] y_mean_gain = {-1,0,1,0,0,-1,0,1}, float[2] y_mean_bias = {0.5,0}> {
				y_old = Conv (x, k)  y_mean = GlobalAveragePool (y_old)  x_mean = GlobalAveragePool (x)
				y_means = Concat <axis = 1> (y_mean, x_mean)  y_correction = Conv (y_means, y_mean_gain, y_mean_bias)  y = Add (y_old, y_correction) }`},
		{"clip", head + `<` + constants + `> { a = Conv (x, k)  y = Clip (a, low, high) }`,
			head + `<` + constants + `, float[2,4,1,1] a_mean_gain = {-1,0,1,0,0,-1,0,1}, float[2] a_mean_bias = {0.5,0}> {
				a = Conv (x, k)  a_mean = GlobalAveragePool (a)  x_mean = GlobalAveragePool (x)
				a_means = Concat <axis = 1> (a_mean, x_mean)  a_correction = Conv (a_means, a_mean_gain, a_mean_bias)
				a_corrected = Add (a, a_correction)  y = Clip (a_corrected, low, high) }`},
	} {
		m := parse(t, c.before)
		if err := onnx.Infer(m); err != nil {
			t.Fatal(err)
		}
		if err := HoldColours(m.Graph, keepMeans); err != nil {
			t.Fatal(err)
		}
		m.Graph.DropUnused()
		want := parse(t, c.after)
		if got, want := inferredText(t, m), inferredText(t, want); got != want {
			t.Errorf("%s gives\n%s\nwant\n%s", c.name, got, want)
		}
		files = append(files, save(t, want, dir+"/"+c.name+"1"), save(t, m, dir+"/"+c.name+"2"))
		program, err := runtime.Compile(m, runtime.Options{})
		if err != nil {
			t.Fatal(err)
		}
		x, _ := runtime.Of([]int{1, 2, 1, 3}, []float32{1, 2, 3, -1, 0, 2.5})
		out, err := program.Run(context.Background(), map[string]*runtime.Tensor{"x": x}, nil)
		if err != nil {
			t.Fatal(err)
		}
		y := out["y"].Data.([]float32)
		for channel, want := range []float32{2.5, 0.5} { // of the input, and the bias
			sum := y[3*channel] + y[3*channel+1] + y[3*channel+2]
			if math.Abs(float64(sum/3-want)) > 1e-6 {
				t.Errorf("%s: channel %d has the mean %g, want %g", c.name, channel, sum/3, want)
			}
		}
	}
	for i, d := range compareModels(t, files, "--size", "8x6", "--check") {
		if d.Relative > 1e-6 {
			t.Errorf("graph %d differs by %g of its range in ONNX Runtime", i, d.Relative)
		}
	}
}

// Only what takes one picture and makes another of as many channels is corrected.
func TestColoursOf(t *testing.T) {
	for name, text := range map[string]string{
		"another number of channels": `g (float[n,2,h,w] x) => (float[n,1,h,w] y) <float[1,2,1,1] k = {1,2}> { y = Conv (x, k) }`,
		"two inputs":                 `g (float[n,2,h,w] x, float[n,2,h,w] z) => (float[n,2,h,w] y) { y = Add (x, z) }`,
		"two outputs":                `g (float[n,2,h,w] x) => (float[n,2,h,w] y, float[n,2,h,w] z) { y = Relu (x)  z = Neg (x) }`,
		"rank 3":                     `g (float[n,2,w] x) => (float[n,2,w] y) { y = Relu (x) }`,
		"other type":                 `g (double[n,2,h,w] x) => (double[n,2,h,w] y) { y = Relu (x) }`,
		"clip of the input":          `g (float[n,2,h,w] x) => (float[n,2,h,w] y) <float low = {0}> { y = Clip (x, low) }`,
	} {
		m := parse(t, text)
		if err := onnx.Infer(m); err != nil {
			t.Fatal(err)
		}
		if _, y := ColoursOf(m.Graph); y != nil {
			t.Errorf("%s: %q is to be corrected", name, y.Name)
		}
	}
}
