package calib

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/runtime/kernels"
)

// Gram holds moments of what a convolution reads: x [K], the inputs of one output
// value (its im2col patch), over sampled positions. It is what weights are rounded
// with.
type Gram struct {
	inputs int // K
	count  int
	origin []float32 // about the mean: sums of squares stay small
	sum    []float64 // origin subtracted
	xx     []float64 // [K, K], on the diagonal and to the right of it
	part   []float32 // [K, K] of one call
}

// NewGram returns empty moments.
func NewGram(inputs int) *Gram {
	return &Gram{inputs: inputs, sum: make([]float64, inputs), xx: make([]float64, inputs*inputs), part: make([]float32, inputs*inputs)}
}

// Add adds n positions x [n, K], which it overwrites. The products of one call are
// summed in float32 in a fixed order, the calls in float64.
func (g *Gram) Add(ctx context.Context, w *kernels.Workers, x []float32, n int) error {
	k := g.inputs
	if n < 1 || len(x) != n*k {
		return fmt.Errorf("%d values are not %d positions of %d inputs", len(x), n, k)
	}
	sums := columnSums(x, k)
	if g.origin == nil {
		g.origin = make([]float32, k)
		for i, s := range sums {
			g.origin[i] = float32(s / float64(n))
		}
	}
	for i, s := range sums {
		g.sum[i] += s - float64(float64(n)*float64(g.origin[i]))
	}
	subtract(x, g.origin)
	g.count += n
	if err := kernels.Gram(ctx, w, g.part, x, k, n); err != nil {
		return err
	}
	for i := range k {
		sums := g.xx[i*k+i : (i+1)*k]
		for j, v := range g.part[i*k+i : (i+1)*k] {
			sums[j] += float64(v)
		}
	}
	return nil
}

func columnSums(x []float32, columns int) []float64 {
	sums := make([]float64, columns)
	for i := 0; i < len(x); i += columns {
		for j, v := range x[i : i+columns] {
			sums[j] += float64(v)
		}
	}
	return sums
}

func subtract(x, origin []float32) {
	for i := 0; i < len(x); i += len(origin) {
		row := x[i : i+len(origin)]
		for j, v := range origin {
			row[j] -= v
		}
	}
}

// Covariance returns that of x with itself [K, K].
func (g *Gram) Covariance() []float64 {
	k := g.inputs
	c := make([]float64, len(g.xx))
	for i := range k {
		for j := i; j < k; j++ {
			c[i*k+j] = g.CovarianceOf(i, j)
			c[j*k+i] = c[i*k+j]
		}
	}
	return c
}

// CovarianceOf returns that of x[i] and x[j].
func (g *Gram) CovarianceOf(i, j int) float64 {
	n := float64(g.count)
	return g.xx[min(i, j)*g.inputs+max(i, j)]/n - float64(g.sum[i]/n*(g.sum[j]/n))
}
