package passes

import (
	"context"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/floats"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/runtime"
)

// moments are covariances [inputs, inputs] of what one group of a convolution reads (im2col
// patches): of its quantized inputs x, of these with the noise e in them, and what weights v
// near w are weighed by, |v x - w s|^2 + (fidelity-1)*|(v-w) s|^2 for the signal s = x-e (see quiet).
type moments struct{ inputs, noise, weighed []float64 }

// join adds those of other readers of the same weights, if there are any. Each reader counts
// relative to the power of its k inputs.
func (m *moments) join(others *moments, k int) {
	power := 1e-30
	for i := range k {
		power += m.inputs[i*k+i]
	}
	for _, covariance := range [][]float64{m.inputs, m.noise, m.weighed} {
		floats.Scale(1/power, covariance)
	}
	if others != nil {
		floats.Add(m.inputs, others.inputs)
		floats.Add(m.noise, others.noise)
		floats.Add(m.weighed, others.weighed)
	}
}

// moments takes them over positions of all pictures; y is the convolution's output. The noise is all that
// the convolution's own quantizer makes of its inputs clean, and the share inherit of what these differ by
// from the float network's. That goes with the signal (a layer that gives too much of a feature makes
// noise like it; a wide step leaves out much of the signal), so the products of both count. Where nothing is
// inherited, noise is taken to be independent of the signal.
func (r *rounder) moments(ctx context.Context, p calib.Patches, l matrix, g int, clean, x, y []twin, inherit, fidelity float64) (*moments, error) {
	k := l.inputs
	both := calib.NewGram(2 * k)
	share := (max(leastSamples, samplesPerInput*k) + len(x) - 1) / len(x)
	for i := range x {
		at := calib.Positions(y[i].float.Shape[2]*y[i].float.Shape[3], share)
		rows := make([]float32, len(at)*2*k) // of a position the inputs, then their noise
		gather := func(dst []float32, t *runtime.Tensor, at []int) {
			p.Gather(dst, t.Data.([]float32), g, t.Shape[1], t.Shape[2], t.Shape[3], y[i].float.Shape[3], at)
		}
		err := r.workers.For(ctx, (len(at)+gathered-1)/gathered, func(part, _ int) {
			from, to := part*gathered, min((part+1)*gathered, len(at))
			n := (to - from) * k
			inputs, before, float := make([]float32, n), make([]float32, n), make([]float32, n)
			gather(inputs, x[i].quantized, at[from:to])
			gather(before, clean[i].quantized, at[from:to])
			gather(float, x[i].float, at[from:to])
			for j := range to - from {
				row := rows[(from+j)*2*k:]
				copy(row[:k], inputs[j*k:])
				for c, v := range inputs[j*k : (j+1)*k] {
					signal := float64(inherit*float64(float[j*k+c])) + float64((1-inherit)*float64(before[j*k+c]))
					row[k+c] = float32(float64(v) - signal)
				}
			}
		})
		if err != nil {
			return nil, err
		}
		if err := both.Add(ctx, r.workers, rows, len(at)); err != nil {
			return nil, err
		}
	}
	m := &moments{make([]float64, k*k), make([]float64, k*k), make([]float64, k*k)}
	all := both.Covariance() // xx xe / ex ee
	for i := range k {
		for j := range k {
			xx, xe, ex, ee := all[i*2*k+j], all[i*2*k+k+j], all[(k+i)*2*k+j], all[(k+i)*2*k+k+j]
			signal := xx - xe - ex + ee
			m.inputs[i*k+j], m.noise[i*k+j] = xx, xe
			m.weighed[i*k+j] = xx + float64((fidelity-1)*signal)
			if inherit == 0 {
				m.noise[i*k+j], m.weighed[i*k+j] = ee, float64(fidelity*signal)+ee
			}
		}
	}
	return m, nil
}

// fineMoments are cheaper: there is so little noise that the signal is taken to be that of the
// quantized inputs, and noise to be independent of it and of that of other inputs.
func (r *rounder) fineMoments(ctx context.Context, p calib.Patches, l matrix, g int, clean, x, y []twin, fidelity float64) (*moments, error) {
	inputs := calib.NewGram(l.inputs)
	share := (max(leastFineSamples, samplesPerInput*l.inputs) + len(x) - 1) / len(x)
	for i := range x {
		shape, out := x[i].quantized.Shape, y[i].float.Shape
		at := calib.Positions(out[2]*out[3], share)
		rows := make([]float32, len(at)*l.inputs)
		err := r.workers.For(ctx, (len(at)+gathered-1)/gathered, func(part, _ int) {
			from, to := part*gathered, min((part+1)*gathered, len(at))
			p.Gather(rows[from*l.inputs:to*l.inputs], x[i].quantized.Data.([]float32), g, shape[1], shape[2], shape[3], out[3], at[from:to])
		})
		if err != nil {
			return nil, err
		}
		if err := inputs.Add(ctx, r.workers, rows, len(at)); err != nil {
			return nil, err
		}
	}
	noise, err := r.independent(ctx, clean, x, l, g)
	if err != nil {
		return nil, err
	}
	m := &moments{inputs: inputs.Covariance(), noise: noise, weighed: slices.Clone(noise)}
	floats.AddScaled(m.weighed, fidelity, m.inputs)
	return m, nil
}

// gathered are as many positions as one thread gathers at a time.
const gathered = 64

// independent returns the covariance [inputs, inputs] of noise that is so.
func (r *rounder) independent(ctx context.Context, clean, x []twin, l matrix, g int) ([]float64, error) {
	noise := make([]float64, l.inputs*l.inputs)
	channels := l.inputs / l.taps
	return noise, r.workers.For(ctx, channels, func(c, _ int) {
		sum, square, count := 0.0, 0.0, 0
		for i := range x {
			before := channel(clean[i].quantized, g*channels+c)
			for j, v := range channel(x[i].quantized, g*channels+c) {
				d := float64(v) - float64(before[j])
				sum += d
				square += float64(d * d)
			}
			count += len(before)
		}
		mean := sum / float64(count)
		for i := c * l.taps; i < (c+1)*l.taps; i++ {
			noise[i*l.inputs+i] = max(square/float64(count)-float64(mean*mean), 0)
		}
	})
}

// compensator returns what rounds weights [inputs, outputs] for k inputs of these moments, which it
// overwrites. It changes the weights as well, into those that let less of the noise through.
func (r *rounder) compensator(ctx context.Context, m *moments, weights []float64, k int, fidelity float64) (c *quant.Compensator, err error) {
	variance := 0.0
	for i := range k {
		variance += m.inputs[i*k+i] / float64(k)
	}
	variance = max(variance, 1e-30)
	err = r.each(ctx, 2, func(i int) (err error) { // neither needs the other
		switch {
		case i == 0:
			c, err = damped(m.inputs, k, damping*variance)
		case !without.Quieting:
			err = m.quiet(weights, k, 1e-4*fidelity*variance)
		}
		return err
	})
	return c, err
}

// quiet changes weights w [inputs, outputs] into those that let less of the noise through: the least
// |v x - w s|^2 + (fidelity-1)*|(v-w) s|^2 for inputs x = s+e is at v = w - (X + (fidelity-1)*S)^-1 (x e') w.
// It overwrites what weights are weighed by.
func (m *moments) quiet(w []float64, k int, damping float64) error {
	quieter, err := damped(m.weighed, k, damping)
	if err != nil {
		return err
	}
	outputs := len(w) / k
	change := make([]float64, len(w))
	matrix := func(d []float64, columns int) blas64.General {
		return blas64.General{Rows: k, Cols: columns, Stride: columns, Data: d}
	}
	blas64.Gemm(blas.NoTrans, blas.NoTrans, 1, matrix(m.noise, k), matrix(w, outputs), 0, matrix(change, outputs))
	quieter.Solve(change)
	for i, c := range change {
		w[i] -= c
	}
	return nil
}

// damped adds to the variances, more where that is not enough to make the
// covariance of k inputs, summed in float32, positive definite.
func damped(covariance []float64, k int, damping float64) (c *quant.Compensator, err error) {
	for range 4 {
		for i := range k {
			covariance[i*k+i] += damping
		}
		if c, err = quant.NewCompensator(covariance, k); err == nil {
			return c, nil
		}
		damping *= 10
	}
	return nil, fmt.Errorf("%w: what it reads is NaN, infinite or far too large: give the weights before it more bits, or leave them out (--exclude)", err)
}
