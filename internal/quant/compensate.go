package quant

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
)

// Compensator rounds the weights that read K inputs so that the errors of single
// weights cancel in the output. The mean squared error that an output channel
// suffers from rounding its weights w to q is (w-q)' A (w-q), A the covariance of
// the inputs. A weight is rounded after all whose error it can still correct
// (OBQ, arXiv 2208.11580; GPTQ, arXiv 2210.17323; here as the nearest plane
// algorithm of Babai, which needs no inverse of A), then single codes change as
// long as the error falls.
type Compensator struct {
	n     int
	a     blas64.Symmetric // in the order of rounding, last first
	root  blas64.Triangular
	order []int // order[i] is the input at place i
}

// NewCompensator takes the covariance of n inputs, row-major n x n, symmetric and
// positive definite (add to its diagonal to make it so). It does not keep it.
func NewCompensator(covariance []float64, n int) (*Compensator, error) {
	if n < 1 || len(covariance) != n*n {
		return nil, fmt.Errorf("covariance of %d inputs has %d entries", n, len(covariance))
	}
	c := &Compensator{n: n, order: make([]int, n)}
	for i := range c.order {
		c.order[i] = i
	}
	// The inputs of most energy come last here and are rounded first, while many
	// others can still correct them.
	slices.SortStableFunc(c.order, func(i, j int) int {
		return cmpFloat(covariance[i*n+i], covariance[j*n+j])
	})
	data := make([]float64, n*n)
	for i, from := range c.order {
		for j, to := range c.order {
			data[i*n+j] = covariance[from*n+to]
		}
	}
	c.a = blas64.Symmetric{N: n, Stride: n, Data: data, Uplo: blas.Upper}
	factor := blas64.Symmetric{N: n, Stride: n, Data: slices.Clone(data), Uplo: blas.Upper}
	root, ok := lapack64.Potrf(factor)
	if !ok {
		return nil, fmt.Errorf("covariance of %d inputs is not positive definite", n)
	}
	c.root = root
	return c, nil
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Solve replaces b [n, columns] by A^-1 b.
func (c *Compensator) Solve(b []float64) {
	columns := len(b) / c.n
	x := make([]float64, len(b))
	row := func(v []float64, i int) []float64 { return v[i*columns : (i+1)*columns] }
	for i, from := range c.order {
		copy(row(x, i), row(b, from))
	}
	lapack64.Potrs(c.root, blas64.General{Rows: c.n, Cols: columns, Stride: columns, Data: x})
	for i, from := range c.order {
		copy(row(b, from), row(x, i))
	}
}

func (c *Compensator) arrange(v []float64) []float64 {
	out := make([]float64, c.n)
	for i, from := range c.order {
		out[i] = v[from]
	}
	return out
}

// Round writes the codes of the weights w of one output channel and returns
// their scale and the mean squared error they cause in the output. start is
// the scale to begin with; when free, others near it are tried too.
func (c *Compensator) Round(codes []uint8, w []float64, levels int, start float32, free bool) (scale float32, mse float64) {
	must(CheckLevels(levels))
	ordered := c.arrange(w)
	multiples := []float64{1}
	if free {
		multiples = scaleMultiples
	}
	least := math.Inf(1)
	trial, best := make([]uint8, c.n), make([]uint8, c.n)
	for _, m := range multiples {
		s := float32(float64(start) * m)
		if e := c.nearestPlane(trial, ordered, c.midRise(levels, s)); e < least {
			least, scale = e, s
			trial, best = best, trial
		}
	}
	mse = c.descend(best, ordered, c.midRise(levels, scale))
	if free {
		if s := c.refit(best, ordered, levels); s > 0 {
			copy(trial, best)
			if e := c.descend(trial, ordered, c.midRise(levels, s)); e < mse {
				scale, mse, best = s, e, trial
			}
		}
	}
	for i, from := range c.order {
		codes[from] = best[i]
	}
	return scale, mse
}

// Nearest is Round at a given scale without the search behind it: at 8 bits that gains nothing.
func (c *Compensator) Nearest(codes []uint8, w []float64, levels int, scale float32) (mse float64) {
	must(CheckLevels(levels))
	ordered := make([]uint8, c.n)
	mse = c.nearestPlane(ordered, c.arrange(w), c.midRise(levels, scale))
	for i, from := range c.order {
		codes[from] = ordered[i]
	}
	return mse
}

var scaleMultiples = []float64{0.78, 0.85, 0.92, 1, 1.08}

// grid holds the levels of n weights: (code - zero) * scale.
type grid struct {
	levels int
	zero   float64
	scale  []float64 // of each weight, in the order of rounding
}

// midRise is the grid of weights of one scale with as many levels on both sides of zero.
func (c *Compensator) midRise(levels int, scale float32) grid {
	return grid{levels, float64(levels-1) / 2, slices.Repeat([]float64{float64(scale)}, c.n)}
}

func (g grid) level(j int, code uint8) float64 { return (float64(code) - g.zero) * g.scale[j] }

func (g grid) nearest(j int, w float64) uint8 { return clamp(w/g.scale[j]+(g.zero+0.5), g.levels) }

// nearestPlane rounds from the last input to the first; each takes over what the
// errors of those before it do to the output. It returns the error.
func (c *Compensator) nearestPlane(codes []uint8, w []float64, g grid) (mse float64) {
	off := make([]float64, c.n) // w - q
	for j := c.n - 1; j >= 0; j-- {
		row := c.root.Data[j*c.root.Stride : j*c.root.Stride+c.n]
		rest := blas64.Dot(blas64.Vector{N: c.n - 1 - j, Inc: 1, Data: row[j+1:]}, blas64.Vector{N: c.n - 1 - j, Inc: 1, Data: off[j+1:]})
		codes[j] = g.nearest(j, w[j]+rest/row[j])
		off[j] = w[j] - g.level(j, codes[j])
		left := float64(row[j]*off[j]) + rest
		mse += float64(left * left)
	}
	return mse
}

// descend changes single codes as long as that lowers the error, which it
// returns.
func (c *Compensator) descend(codes []uint8, w []float64, g grid) float64 {
	n := c.n
	off := make([]float64, n)
	for j := range off {
		off[j] = w[j] - g.level(j, codes[j])
	}
	grad := make([]float64, n) // A (w-q)
	vector := func(d []float64) blas64.Vector { return blas64.Vector{N: n, Inc: 1, Data: d} }
	blas64.Symv(1, c.a, vector(off), 0, vector(grad))
	for range maxSweeps {
		changed := false
		for j := n - 1; j >= 0; j-- {
			d := c.a.Data[j*n+j]
			// The best value of weight j while all others stay.
			code := g.nearest(j, g.level(j, codes[j])+grad[j]/d)
			if code == codes[j] {
				continue
			}
			move := (float64(code) - float64(codes[j])) * g.scale[j]
			// Rounding must not make it go round in circles.
			if gain := move * (2*grad[j] - d*move); gain <= 1e-12*d*g.scale[j]*g.scale[j] {
				continue
			}
			codes[j], off[j], changed = code, off[j]-move, true
			blas64.Axpy(-move, vector(c.a.Data[j*n:j*n+n]), vector(grad))
		}
		if !changed {
			break
		}
	}
	return blas64.Dot(vector(off), vector(grad))
}

const maxSweeps = 4

// refit returns the best scale for given codes, 0 when there is none.
func (c *Compensator) refit(codes []uint8, w []float64, levels int) float32 {
	u := make([]float64, c.n)
	for j := range u {
		u[j] = float64(codes[j]) - float64(levels-1)/2
	}
	au := make([]float64, c.n)
	vector := func(d []float64) blas64.Vector { return blas64.Vector{N: c.n, Inc: 1, Data: d} }
	blas64.Symv(1, c.a, vector(u), 0, vector(au))
	energy := blas64.Dot(vector(u), vector(au))
	if !(energy > 0) {
		return 0
	}
	return float32(blas64.Dot(vector(w), vector(au)) / energy)
}
