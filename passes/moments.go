package passes

import (
	"context"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/runtime"
)

// moments returns those of the quantized inputs with the wanted outputs, and the
// covariances of the inputs before quantization and of the quantization noise.
func (r *rounder) moments(ctx context.Context, p calib.Patches, l matrix, g int, clean, x, y []twin) (gram *calib.Gram, signal, noise []float64, err error) {
	gram = calib.NewGram(l.inputs, l.outputs)
	before, change := calib.NewGram(l.inputs, 0), calib.NewGram(l.inputs, 0)
	share := (max(leastSamples, samplesPerInput*l.inputs) + len(x) - 1) / len(x)
	for i := range x {
		shape, out := x[i].quantized.Shape, y[i].float.Shape
		hw := out[2] * out[3]
		at := calib.Positions(hw, share)
		gather := func(t *runtime.Tensor) []float32 {
			rows := make([]float32, len(at)*l.inputs)
			p.Gather(rows, t.Data.([]float32), g, shape[1], shape[2], shape[3], out[3], at)
			return rows
		}
		rows, float := gather(x[i].quantized), gather(clean[i].quantized)
		errors := make([]float32, len(rows))
		for j, v := range rows {
			errors[j] = v - float[j]
		}
		want := make([]float32, len(at)*l.outputs)
		from := y[i].float.Data.([]float32)
		for j, pos := range at {
			for o := range l.outputs {
				want[j*l.outputs+o] = from[(g*l.outputs+o)*hw+pos]
			}
		}
		for _, add := range []func() error{
			func() error { return gram.Add(ctx, r.workers, rows, want, len(at)) },
			func() error { return before.Add(ctx, r.workers, float, nil, len(at)) },
			func() error { return change.Add(ctx, r.workers, errors, nil, len(at)) },
		} {
			if err := add(); err != nil {
				return nil, nil, nil, err
			}
		}
	}
	signal, _ = before.Covariance()
	noise, _ = change.Covariance()
	return gram, signal, noise, nil
}
