package runtime_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// Bounds of the difference, in parts of the largest output, that outputs of a layer have
// when its codes are the same: the largest of any, and the root of the mean square.
// Weights of up to 4 bits of activations are folded to 8 bits where the processor has
// instructions for that, all others to 10 bits or more. A value on the border of two levels
// may get either code; it changes few outputs by more.
const (
	roundingBound     = 1e-3
	roundingBoundByte = 2.5e-2
	roundingNoiseByte = 6e-3
)

// A quantized convolution in integers gives what its nodes give one by one, for
// the same input: at every border, for any number of channels, with and without a
// ReLU in front and behind, with mixed bits.
func TestIntegersAgreeWithNodes(t *testing.T) {
	for _, c := range []struct {
		in, out, kernel, bits, h, w int
		groups                      int
		relu, window, mixed, edited bool
		shuffled                    bool
	}{
		{in: 64, out: 64, kernel: 3, bits: 4, h: 33, w: 21},
		{in: 64, out: 64, kernel: 3, bits: 4, h: 33, w: 21, relu: true},
		{in: 64, out: 64, kernel: 3, bits: 2, h: 16, w: 40, relu: true, window: true},
		{in: 32, out: 32, kernel: 3, bits: 6, h: 16, w: 40, relu: true, edited: true},
		{in: 48, out: 20, kernel: 3, bits: 3, h: 9, w: 50, window: true},
		{in: 130, out: 33, kernel: 3, bits: 8, h: 12, w: 13},
		{in: 25, out: 64, kernel: 3, bits: 6, h: 5, w: 5, window: true, mixed: true},
		{in: 320, out: 64, kernel: 1, bits: 4, h: 17, w: 9, window: true},
		{in: 64, out: 16, kernel: 1, bits: 8, h: 8, w: 31, relu: true, window: true, mixed: true},
		{in: 16, out: 16, kernel: 3, bits: 1, h: 1, w: 7},
		{in: 80, out: 140, kernel: 3, bits: 5, h: 13, w: 6, shuffled: true}, // 9 blocks, of 35 channels
		{in: 16, out: 16, kernel: 5, bits: 4, h: 20, w: 20},                 // has no integer kernel
		{in: 64, out: 64, kernel: 3, bits: 4, h: 20, w: 19, groups: 4},
		{in: 24, out: 48, kernel: 1, bits: 8, h: 20, w: 19, groups: 2, window: true},
		{in: 64, out: 64, kernel: 3, bits: 4, h: 9, w: 9, groups: 8}, // in floats
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(c.in), uint64(c.bits)))
			m := quantizedLayer(t, rng, c.in, c.out, c.kernel, c.bits, max(1, c.groups), c.relu, c.window, c.mixed)
			if c.edited { // by hand: values go below the floor of the statistics
				m.Graph.Value("a").Producer.Op = "Identity"
			}
			if c.shuffled {
				y := m.Graph.Value("y")
				y.Producer.Op, y.Type.Shape = "DepthToSpace", nil
				y.Producer.SetAttr("blocksize", int64(2))
			}
			x := make([]float32, c.in*c.h*c.w)
			for i := range x {
				channel := float64(i / (c.h * c.w))
				x[i] = float32(rng.NormFloat64()*(0.1+channel/8) + math.Sin(channel))
			}
			input := &runtime.Tensor{Type: onnx.Float, Shape: []int{1, c.in, c.h, c.w}, Data: x}
			want := output(t, m, input, runtime.Options{Exact: true})
			got := output(t, m, input, runtime.Options{Threads: 1})
			if !slices.Equal(got, output(t, m, input, runtime.Options{Threads: 3})) {
				t.Error("the number of threads changes the outputs")
			}
			bound := roundingBound
			if c.bits <= 4 {
				bound = roundingBoundByte
			}
			largest, far, worst, squares := float32(0), 0, 0.0, 0.0
			for _, v := range want {
				largest = max(largest, float32(math.Abs(float64(v))))
			}
			for i, v := range want {
				worst = max(worst, math.Abs(float64(got[i]-v))/float64(largest))
				d := math.Abs(float64(got[i] - v))
				squares += d * d
				if !(d <= bound*float64(largest)) {
					far++
				}
			}
			noise := math.Sqrt(squares/float64(len(want))) / float64(largest)
			t.Logf("largest difference %.1e, root of the mean square %.1e", worst, noise)
			if share := float64(far) / float64(len(want)); share > 0.005 {
				t.Errorf("%d of %d outputs are further than %g of %g apart", far, len(want), bound, largest)
			}
			if noise > roundingNoiseByte {
				t.Errorf("the root of the mean square of differences is %.1e of the largest output, want %.1e", noise, roundingNoiseByte)
			}
		})
	}
}

// quantizedLayer is a convolution, perhaps between ReLUs, quantized as the plan of
// a network would be.
func quantizedLayer(t *testing.T, rng *rand.Rand, in, out, kernel, bits, groups int, relu, window, mixed bool) *onnx.Model {
	t.Helper()
	before, after := "Identity", "Identity"
	if relu {
		before, after = "Relu", "Relu"
	}
	m, err := onnx.Parse(fmt.Sprintf(`<ir_version: 10, opset_import: ["" : 21]>
g (float[1,%d,h,w] x, float[%d,%d,%d,%d] weights, float[%d] bias) => (float[1,%d,h,w] y)
{
  a = %s (x)
  [conv] b = Conv <group = %[11]d, pads = [%[9]d, %[9]d, %[9]d, %[9]d]> (a, weights, bias)
  y = %[10]s (b)
}`, in, out, in/groups, kernel, kernel, out, out, before, kernel/2, after, groups))
	if err != nil {
		t.Fatal(err)
	}
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
	plan, err := passes.MakePlan(m.Graph, passes.Settings{WeightBits: 8, ActivationBits: bits, Rule: passes.Paper, Layers: passes.Layers{All: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := &plan.Activations[0]; window {
		for c := range in {
			n := bits
			if mixed {
				n = max(2, bits-c%3)
				a.ChannelBits = append(a.ChannelBits, n)
			}
			step := 4 / float32(int(1)<<n)
			a.Steps = append(a.Steps, step)
			a.Starts = append(a.Starts, -1.9+float32(c%5)/10)
		}
	}
	if _, err := passes.Quantize(m, plan, nil, 0); err != nil {
		t.Fatal(err)
	}
	return m
}

func output(t *testing.T, m *onnx.Model, x *runtime.Tensor, o runtime.Options) []float32 {
	t.Helper()
	p, err := runtime.Compile(m, o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Run(context.Background(), map[string]*runtime.Tensor{"x": x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := out["y"].Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(v)
}

// Runs of one program share nothing that they change, also where a convolution has no
// integer kernel (the race detector tells).
func TestQuantizedRunsAtOnce(t *testing.T) {
	for _, kernel := range []int{3, 5} {
		m := quantizedLayer(t, rand.New(rand.NewPCG(1, 2)), 16, 16, kernel, 4, 1, true, true, false)
		p, err := runtime.Compile(m, runtime.Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		x := &runtime.Tensor{Type: onnx.Float, Shape: []int{1, 16, 9, 9}, Data: make([]float32, 16*81)}
		var runs sync.WaitGroup
		for range 4 {
			runs.Go(func() {
				for range 5 {
					if _, err := p.Run(context.Background(), map[string]*runtime.Tensor{"x": x}, nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		runs.Wait()
	}
}
