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
// patches): X of its quantized inputs x, of these with the noise e in them, and the quadratic form of
// the change of weights that quiet solves with: fidelity*S + E for the signal s = x-e, or
// X + (fidelity-1)*S where the noise goes with the signal.
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

// moments takes them over positions of all pictures; y is the convolution's output. Noise
// is what the convolution's own quantizer makes and taken to be independent of the signal.
func (r *rounder) moments(ctx context.Context, p calib.Patches, l matrix, g int, clean, x, y []twin, fidelity float64) (*moments, error) {
	inputs, signal, noise := calib.NewGram(l.inputs), calib.NewGram(l.inputs), calib.NewGram(l.inputs)
	read := func(i int) []*runtime.Tensor { return []*runtime.Tensor{x[i].quantized, clean[i].quantized} }
	err := r.sample(ctx, p, l, g, y, leastSamples, read, func(rows [][]float32, positions int) error {
		quantized, before := rows[0], rows[1]
		change := make([]float32, len(quantized))
		for j, v := range quantized {
			change[j] = v - before[j]
		}
		for _, add := range []struct {
			to   *calib.Gram
			rows []float32
		}{{inputs, quantized}, {signal, before}, {noise, change}} {
			if err := add.to.Add(ctx, r.workers, add.rows, positions); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m := &moments{inputs: inputs.Covariance(), noise: noise.Covariance(), weighed: signal.Covariance()}
	m.weigh(fidelity)
	return m, nil
}

// fineMoments are those of inputs with so little noise that the signal is taken to be that of
// the quantized inputs, and noise of different inputs to be independent: a third of the products.
func (r *rounder) fineMoments(ctx context.Context, p calib.Patches, l matrix, g int, clean, x, y []twin, fidelity float64) (*moments, error) {
	inputs := calib.NewGram(l.inputs)
	read := func(i int) []*runtime.Tensor { return []*runtime.Tensor{x[i].quantized} }
	err := r.sample(ctx, p, l, g, y, leastFineSamples, read, func(rows [][]float32, positions int) error {
		return inputs.Add(ctx, r.workers, rows[0], positions)
	})
	if err != nil {
		return nil, err
	}
	m := &moments{inputs: inputs.Covariance()}
	m.weighed = slices.Clone(m.inputs)
	if m.noise, err = r.independent(ctx, clean, x, l, g); err != nil {
		return nil, err
	}
	m.weigh(fidelity)
	return m, nil
}

// weigh makes the covariance of a signal the quadratic form where noise is independent of it.
func (m *moments) weigh(fidelity float64) {
	for i, e := range m.noise {
		m.weighed[i] = float64(fidelity*m.weighed[i]) + e
	}
}

// inherited are moments whose noise is also the share of what the layers before lost, all that clean inputs
// differ by from those of the float network. It goes with the signal (a layer that gives too much of a
// feature makes noise like it; a wide step leaves out much of the signal), so the products of both count.
func (r *rounder) inherited(ctx context.Context, p calib.Patches, l matrix, g int, clean, x, y []twin, share, fidelity float64) (*moments, error) {
	k := l.inputs
	both := calib.NewGram(2 * k)
	read := func(i int) []*runtime.Tensor {
		return []*runtime.Tensor{x[i].quantized, clean[i].quantized, x[i].float}
	}
	err := r.sample(ctx, p, l, g, y, leastSamples, read, func(rows [][]float32, positions int) error {
		quantized, before, float := rows[0], rows[1], rows[2]
		joint := make([]float32, 0, positions*2*k) // of a position the inputs, then their noise
		for from := 0; from < positions*k; from += k {
			joint = append(joint, quantized[from:from+k]...)
			for c := from; c < from+k; c++ {
				signal := float64(share*float64(float[c])) + float64((1-share)*float64(before[c]))
				joint = append(joint, float32(float64(quantized[c])-signal))
			}
		}
		return both.Add(ctx, r.workers, joint, positions)
	})
	if err != nil {
		return nil, err
	}
	m := &moments{make([]float64, k*k), make([]float64, k*k), make([]float64, k*k)}
	for i := range k {
		for j := range k {
			xx, xe, ex, ee := both.CovarianceOf(i, j), both.CovarianceOf(i, k+j), both.CovarianceOf(k+i, j), both.CovarianceOf(k+i, k+j)
			m.inputs[i*k+j], m.noise[i*k+j] = xx, xe
			m.weighed[i*k+j] = xx + float64((fidelity-1)*(xx-xe-ex+ee))
		}
	}
	return m, nil
}

// sample gathers of each picture what group g reads of some tensors, rows [positions, inputs], at positions spread
// over the output y: of all pictures at least as many as least and as samplesPerInput asks for.
func (r *rounder) sample(ctx context.Context, p calib.Patches, l matrix, g int, y []twin, least int, read func(picture int) []*runtime.Tensor, f func(rows [][]float32, positions int) error) error {
	each := (max(least, samplesPerInput*l.inputs) + len(y) - 1) / len(y)
	for i := range y {
		out := y[i].float.Shape
		at := calib.Positions(out[2]*out[3], each)
		var rows [][]float32
		for _, t := range read(i) {
			gathered, err := r.gather(ctx, p, l.inputs, g, t, out[3], at)
			if err != nil {
				return err
			}
			rows = append(rows, gathered)
		}
		if err := f(rows, len(at)); err != nil {
			return err
		}
	}
	return nil
}

// gather returns what group g reads of t at positions of an output that is width wide [positions, k].
func (r *rounder) gather(ctx context.Context, p calib.Patches, k, g int, t *runtime.Tensor, width int, at []int) ([]float32, error) {
	const most = 64 // positions that one thread gathers at a time
	rows := make([]float32, len(at)*k)
	err := r.workers.For(ctx, (len(at)+most-1)/most, func(i, _ int) {
		from, to := i*most, min((i+1)*most, len(at))
		p.Gather(rows[from*k:to*k], t.Data.([]float32), g, t.Shape[1], t.Shape[2], t.Shape[3], width, at[from:to])
	})
	return rows, err
}

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

// quiet changes weights w [inputs, outputs] into those that let less of the noise through: the
// least fidelity*|(v-w) s|^2 + |v e|^2 for signal s and noise e that are independent is at
// v = w - (fidelity*S + E)^-1 E w. Where they are not, the least |v x - w s|^2 + (fidelity-1)*|(v-w) s|^2
// for the inputs x = s+e is at v = w - (X + (fidelity-1)*S)^-1 (x e') w; that is the same when x e' = E.
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
