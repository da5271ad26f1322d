package converter

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/models"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

func builtinMixed(t *testing.T, budget Budget, threads int) *Quantized {
	t.Helper()
	float, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	images, err := calib.OpenDataset(filepath.Join(testenv.Root(), "models", "builtin", "images", "calibration", "LRx2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	q, err := Quantize(context.Background(), float, images, QuantizeOptions{
		Input: calib.Input{Range: 1}, Threads: threads, Budget: budget,
		Settings: passes.Settings{WeightBits: 2, ActivationBits: 2, Rule: passes.Calibrated},
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// Mixed bits keep to the budget, and no channel to more codes than its own bits.
func TestMixedBits(t *testing.T) {
	q := builtinMixed(t, Budget{Activations: 2.5, Weights: 2.5}, 0)
	if q.Mixed == nil || q.Mixed.Activations > 2.5+1e-9 || q.Mixed.Weights > 2.5+1e-9 || q.Mixed.Activations < 2.4 {
		t.Fatalf("averages %+v", q.Mixed)
	}
	if q.Mixed.Loss > q.Mixed.UniformLoss {
		t.Errorf("mixed bits lose %g, uniform ones %g", q.Mixed.Loss, q.Mixed.UniformLoss)
	}
	bits := map[string][]int{}
	var observe []string
	for _, a := range q.Plan.Activations {
		if len(a.ChannelBits) > 0 {
			bits[a.Tensor+"_codes"] = a.ChannelBits
			observe = append(observe, a.Tensor+"_codes")
		}
	}
	if len(observe) == 0 {
		t.Fatal("no tensor has mixed bits")
	}
	network, err := Open(context.Background(), q.Model, calib.Input{Range: 1}, runtime.Options{Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	used := false // of some channel, all of its bits
	for _, m := range builtinPictures(t) {
		_, err := network.Run(context.Background(), m, func(name string, x *runtime.Tensor) error {
			codes := x.Data.([]uint8)
			size := x.Shape[2] * x.Shape[3]
			for c, b := range bits[name] {
				most := int(slices.Max(codes[c*size : (c+1)*size]))
				if most >= 1<<b {
					return fmt.Errorf("%s: channel %d has code %d in %d bits", name, c, most, b)
				}
				used = used || b > 2 && most == 1<<b-1
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !used {
		t.Error("no channel uses the bits it was given")
	}
}

func TestMixedBitsForAnyThreads(t *testing.T) {
	var files [2][]byte
	for i := range files {
		q := builtinMixed(t, Budget{Activations: 2.25}, 1+2*i)
		var err error
		if files[i], err = q.Model.Encode(); err != nil {
			t.Fatal(err)
		}
		if q.Mixed.Weights != 2 {
			t.Errorf("weights have %g bits on average, want them left at 2", q.Mixed.Weights)
		}
	}
	if !slices.Equal(files[0], files[1]) {
		t.Error("1 and 3 threads give different networks")
	}
}

// The measured loss of a part is what quantizing that part alone does: the
// whole of a network of one part.
func TestSensitivityMeasures(t *testing.T) {
	float, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	images, err := calib.OpenDataset(filepath.Join(testenv.Root(), "models", "builtin", "images", "calibration", "LRx2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := passes.Select(mustSimplify(t, float).Graph, passes.Layers{})
	if err != nil {
		t.Fatal(err)
	}
	var previous float64
	for _, bits := range []int{6, 3} {
		s, err := Sensitivity(context.Background(), float, images, bits, QuantizeOptions{Input: calib.Input{Range: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Weights) != len(layers) || len(s.Activations) == 0 || s.Bits != bits {
			t.Fatalf("%d weights of %d convolutions, %d tensors", len(s.Weights), len(layers), len(s.Activations))
		}
		total := 0.0
		for _, p := range slices.Concat(s.Activations, s.Weights) {
			if !(p.Loss > 0 && p.Noise > 0 && p.Elements > 0) || math.IsInf(p.Loss, 0) {
				t.Errorf("%d bits: %+v", bits, p)
			}
			total += p.Loss
		}
		if total <= previous {
			t.Errorf("%d bits lose %g in all, more bits %g", bits, total, previous)
		}
		previous = total
	}
}

func mustSimplify(t *testing.T, m *onnx.Model) *onnx.Model {
	t.Helper()
	simple, err := Simplify(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	return simple
}
