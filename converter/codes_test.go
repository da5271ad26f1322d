package converter

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/models"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// TestCodesStayBelowTwoToTheN observes every code of every quantized tensor on
// photographs, at every width: n bits means at most 2^n codes. At low widths all
// of them must occur, or bits would be wasted.
func TestCodesStayBelowTwoToTheN(t *testing.T) {
	float, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for bits := 1; bits <= 8; bits++ {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			countCodes(t, float, calib.Input{Range: 1}, builtinPictures(t), bits)
		})
	}
}

// The same with a network that has signed, post-ReLU and concatenated tensors.
func TestCodesOfARealNetwork(t *testing.T) {
	float, err := onnx.Load(testenv.ModelNamed(t, "CARN_x2").Path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := imaging.ReadFile(filepath.Join(testenv.Shared(t), "data", "images", "Set5", "LRx2", "butterfly.png"))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.Crop(64, 48); err != nil {
		t.Fatal(err)
	}
	for _, bits := range []int{2, 3, 4} {
		countCodes(t, float, calib.Input{Range: 1}, []*imaging.Image{m}, bits)
	}
}

func countCodes(t *testing.T, float *onnx.Model, in calib.Input, pictures []*imaging.Image, bits int) {
	t.Helper()
	ctx := context.Background()
	q, err := Quantize(ctx, float, nil, QuantizeOptions{Input: in, Settings: passes.Settings{WeightBits: bits, ActivationBits: bits, Rule: passes.Paper}})
	if err != nil {
		t.Fatal(err)
	}
	var observe []string
	for _, n := range q.Model.Graph.Nodes {
		if n.Domain == passes.Domain && strings.HasPrefix(n.Op, "Quantize") {
			observe = append(observe, n.Outputs[0].Name)
		}
	}
	network, err := Open(ctx, q.Model, in, runtime.Options{Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	var counts [256]int
	for _, m := range pictures {
		_, err := network.Run(ctx, m, func(name string, x *runtime.Tensor) error {
			for _, code := range x.Data.([]uint8) {
				counts[code]++
				if int(code) >= 1<<bits {
					return fmt.Errorf("%q has the code %d in %d bits", name, code, bits)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for code := range min(1<<bits, 16) {
		if counts[code] == 0 {
			t.Errorf("code %d of %d bits never occurs", code, bits)
		}
	}
}

func builtinPictures(t *testing.T) []*imaging.Image {
	t.Helper()
	dir := filepath.Join(testenv.Root(), "models", "builtin", "images", "calibration", "LRx2")
	images, err := calib.OpenDataset(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	var pictures []*imaging.Image
	for i := range images.Names()[:2] {
		m, err := images.Image(i)
		if err != nil {
			t.Fatal(err)
		}
		if m, err = m.Crop(56, 40); err != nil {
			t.Fatal(err)
		}
		pictures = append(pictures, m)
	}
	return pictures
}
