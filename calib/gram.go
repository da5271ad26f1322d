package calib

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/runtime/kernels"
)

// Gram holds joint moments of what a convolution reads and what it should give:
// of x [K], the inputs of one output value (its im2col patch), and y [O], the
// wanted values of the output channels, over sampled positions. It is what
// weights are rounded with.
type Gram struct {
	Inputs, Outputs int // K and O
	count           int
	origin          []float32 // x then y of about the mean: sums of squares stay small
	sum             []float64 // of x then y, origin subtracted
	xx              []float64 // [K, K]
	yx              []float64 // [O, K]
}

// NewGram returns empty moments.
func NewGram(inputs, outputs int) *Gram {
	return &Gram{
		Inputs: inputs, Outputs: outputs, sum: make([]float64, inputs+outputs),
		xx: make([]float64, inputs*inputs), yx: make([]float64, outputs*inputs),
	}
}

// Add adds n positions: x [n, K] and y [n, O], which it overwrites. The products
// of one call are summed in float32 in a fixed order, the calls in float64.
func (g *Gram) Add(ctx context.Context, w *kernels.Workers, x, y []float32, n int) error {
	k, o := g.Inputs, g.Outputs
	if n < 1 || len(x) != n*k || len(y) != n*o {
		return fmt.Errorf("%d inputs and %d outputs are not %d positions of %d and %d", len(x), len(y), n, k, o)
	}
	sums := append(columnSums(x, k), columnSums(y, o)...)
	if g.origin == nil {
		g.origin = make([]float32, k+o)
		for i, s := range sums {
			g.origin[i] = float32(s / float64(n))
		}
	}
	for i, s := range sums {
		g.sum[i] += s - float64(float64(n)*float64(g.origin[i]))
	}
	subtract(x, g.origin[:k])
	subtract(y, g.origin[k:])
	g.count += n
	for _, p := range []struct {
		into []float64
		left []float32
		rows int
	}{{g.xx, x, k}, {g.yx, y, o}} {
		if p.rows == 0 {
			continue
		}
		product := make([]float32, p.rows*k)
		if err := kernels.Gemm(ctx, w, product, p.left, x, p.rows, k, n, true, false); err != nil {
			return err
		}
		for i, v := range product {
			p.into[i] += float64(v)
		}
	}
	return nil
}

func columnSums(x []float32, columns int) []float64 {
	sums := make([]float64, columns)
	if columns == 0 {
		return sums
	}
	for i := 0; i < len(x); i += columns {
		for j, v := range x[i : i+columns] {
			sums[j] += float64(v)
		}
	}
	return sums
}

func subtract(x, origin []float32) {
	if len(origin) == 0 {
		return
	}
	for i := 0; i < len(x); i += len(origin) {
		row := x[i : i+len(origin)]
		for j, v := range origin {
			row[j] -= v
		}
	}
}

// Mean returns the means of x and of y.
func (g *Gram) Mean() (x, y []float64) {
	mean := make([]float64, len(g.sum))
	for i, s := range g.sum {
		mean[i] = float64(g.origin[i]) + s/float64(g.count)
	}
	return mean[:g.Inputs], mean[g.Inputs:]
}

// Covariance returns that of x with itself [K, K] and of y with x [O, K].
func (g *Gram) Covariance() (xx, yx []float64) {
	n, k := float64(g.count), g.Inputs
	of := func(products []float64, first int) []float64 {
		c := make([]float64, len(products))
		for i, p := range products {
			row, col := first+i/k, i%k
			c[i] = p/n - float64(g.sum[row]/n*(g.sum[col]/n))
		}
		return c
	}
	xx = of(g.xx, 0)
	for i := range k { // the kernel may round the halves differently
		for j := range i {
			xx[i*k+j] = xx[j*k+i]
		}
	}
	return xx, of(g.yx, k)
}
