package quant

import (
	"math"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
)

// Weights in blocks have a scale for each block and the levels of two's complement:
// weight i is (code - L/2) * scale of its block. There is one level more on one
// side of zero, and the sign of a scale says on which: with 4 levels that is much.

// NearestBlocks writes the codes of the weights w of one output channel and the scales
// of their blocks: those of least squared error. block tells the block of each
// weight.
func NearestBlocks(codes []uint8, scales []float32, w []float64, block []int, levels int) {
	must(CheckLevels(levels))
	blockScales(scales, w, nil, block, levels)
	g := blockGrid(scales, block, levels)
	for i, v := range w {
		codes[i] = g.nearest(i, v)
	}
}

// RoundBlocks is as NearestBlocks, with codes and scales of least squared error in the
// output. It returns that error.
func (c *Compensator) RoundBlocks(codes []uint8, scales []float32, w []float64, block []int, levels int) (mse float64) {
	must(CheckLevels(levels))
	weight, ordered, of := make([]float64, c.n), c.arrange(w), make([]int, c.n)
	for j, from := range c.order {
		weight[from], of[j] = c.a.Data[j*c.n+j], block[from]
	}
	blockScales(scales, w, weight, block, levels)
	best := make([]uint8, c.n)
	c.nearestPlane(best, ordered, blockGrid(scales, of, levels))
	mse = c.descend(best, ordered, blockGrid(scales, of, levels))
	trial, refitted := make([]uint8, c.n), make([]float32, len(scales))
	for range 3 {
		copy(trial, best)
		copy(refitted, scales)
		c.refitBlocks(refitted, best, ordered, of, levels)
		e := c.descend(trial, ordered, blockGrid(refitted, of, levels))
		if !(e < mse) {
			break
		}
		mse = e
		copy(best, trial)
		copy(scales, refitted)
	}
	for j, from := range c.order {
		codes[from] = best[j]
	}
	return mse
}

func blockGrid(scales []float32, block []int, levels int) grid {
	g := grid{levels, float64(levels / 2), make([]float64, len(block))}
	for i, b := range block {
		g.scale[i] = float64(scales[b])
	}
	return g
}

// blockScales searches the scale of each block, of either sign, with the least squared
// error of its weights, which counts by weight where that is not nil. A block of
// zeros has scale Eps.
func blockScales(scales []float32, w, weight []float64, block []int, levels int) {
	members := make([][]int, len(scales))
	for i, b := range block {
		members[b] = append(members[b], i)
	}
	for b, list := range members {
		reach := 0.0
		for _, i := range list {
			reach = max(reach, math.Abs(w[i]))
		}
		scales[b] = Eps
		if reach == 0 {
			continue
		}
		least := math.Inf(1)
		for step := range 33 {
			for _, sign := range []float64{1, -1} {
				scale := float32(sign * (0.3 + float64(step)/40) * reach / max(float64(levels/2-1), 1))
				g := grid{levels, float64(levels / 2), []float64{float64(scale)}}
				sum := 0.0
				for _, i := range list {
					d := w[i] - g.level(0, g.nearest(0, w[i]))
					d *= d
					if weight != nil {
						d *= weight[i]
					}
					sum += d
				}
				if sum < least {
					least, scales[b] = sum, scale
				}
			}
		}
	}
}

// refitBlocks replaces the scales by the best ones for given codes; that of a block
// whose codes are all zero stays.
func (c *Compensator) refitBlocks(scales []float32, codes []uint8, w []float64, block []int, levels int) {
	n, k := c.n, len(scales)
	u := make([]float64, n)
	for j, code := range codes {
		u[j] = float64(code) - float64(levels/2)
	}
	aw := make([]float64, n)
	blas64.Symv(1, c.a, blas64.Vector{N: n, Inc: 1, Data: w}, 0, blas64.Vector{N: n, Inc: 1, Data: aw})
	products, wanted := make([]float64, k*k), make([]float64, k)
	for i := range n {
		wanted[block[i]] += float64(u[i] * aw[i])
		row, into := c.a.Data[i*n:(i+1)*n], products[block[i]*k:(block[i]+1)*k]
		for j, a := range row {
			into[block[j]] += float64(u[i] * float64(a*u[j]))
		}
	}
	for b := range k {
		if d := &products[b*k+b]; *d > 0 {
			*d *= 1 + 1e-9
		} else {
			*d, wanted[b] = 1, 0
		}
	}
	root, ok := lapack64.Potrf(blas64.Symmetric{N: k, Stride: k, Data: products, Uplo: blas.Upper})
	if !ok {
		return
	}
	lapack64.Potrs(root, blas64.General{Rows: k, Cols: 1, Stride: 1, Data: wanted})
	for b, s := range wanted {
		if s := float32(s); s != 0 {
			scales[b] = s
		}
	}
}
