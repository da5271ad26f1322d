package passes

import (
	"context"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/runtime"
)

// moments are covariances [inputs, inputs] of what one group of a convolution
// reads (im2col patches): of its quantized inputs, of these before quantization, and
// of the quantization noise.
type moments struct{ inputs, signal, noise []float64 }

// moments takes them over positions of all pictures; y is the convolution's output.
func (r *rounder) moments(ctx context.Context, p calib.Patches, l matrix, g int, clean, x, y []twin) (*moments, error) {
	inputs, signal, noise := calib.NewGram(l.inputs), calib.NewGram(l.inputs), calib.NewGram(l.inputs)
	share := (max(leastSamples, samplesPerInput*l.inputs) + len(x) - 1) / len(x)
	for i := range x {
		shape, out := x[i].quantized.Shape, y[i].float.Shape
		at := calib.Positions(out[2]*out[3], share)
		gather := func(t *runtime.Tensor) []float32 {
			rows := make([]float32, len(at)*l.inputs)
			p.Gather(rows, t.Data.([]float32), g, shape[1], shape[2], shape[3], out[3], at)
			return rows
		}
		quantized, before := gather(x[i].quantized), gather(clean[i].quantized)
		change := make([]float32, len(quantized))
		for j, v := range quantized {
			change[j] = v - before[j]
		}
		for _, add := range []struct {
			to   *calib.Gram
			rows []float32
		}{{inputs, quantized}, {signal, before}, {noise, change}} {
			if err := add.to.Add(ctx, r.workers, add.rows, len(at)); err != nil {
				return nil, err
			}
		}
	}
	return &moments{inputs.Covariance(), signal.Covariance(), noise.Covariance()}, nil
}
