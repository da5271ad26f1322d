package interop

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// TestInteropFloat runs every real network, as it is and simplified, in ONNX
// Runtime at its default optimization level and here.
func TestInteropFloat(t *testing.T) {
	python := testenv.Python(t)
	for _, net := range testenv.Models(t) {
		t.Run(net.Name, func(t *testing.T) {
			original := load(t, net)
			simple, err := converter.Simplify(context.Background(), original)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "simple.onnx")
			if err := simple.Save(path); err != nil {
				t.Fatal(err)
			}
			photo := inputOf(t, net, 45, 38)
			for _, form := range []struct {
				name, path string
				model      *onnx.Model
			}{{"original", net.Path, original}, {"simplified", path, simple}} {
				want := runORT(t, python, form.path, photo, nil)["output"].Data.([]float32)
				got := runOurs(t, form.model, map[string]*runtime.Tensor{"input": photo}, nil)["output"].Data.([]float32)
				e := relativeError(got, want)
				t.Logf("%s: largest error %.1e of the range", form.name, e)
				if !(e <= 1e-4) {
					t.Errorf("%s: largest error %.1e of the range, want 1e-4", form.name, e)
				}
			}
		})
	}
}

// inputOf returns a part of a photograph as the network wants it.
func inputOf(t *testing.T, net testenv.Model, h, w int) *runtime.Tensor {
	x := photograph(t, "butterfly", h, w)
	data := x.Data.([]float32)
	if net.Y {
		x.Shape[1], x.Data = 1, data[h*w:2*h*w] // green stands for luma
		data = x.Data.([]float32)
	}
	for i := range data {
		data[i] *= net.Range
	}
	return x
}
