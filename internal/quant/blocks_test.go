package quant

import (
	"math/rand/v2"
	"testing"
)

// Blocks get scales of their own size, of the sign that suits them at few levels, and
// compensation makes the error in the output smaller still.
func TestBlocks(t *testing.T) {
	const n, blocks = 24, 3
	r := rand.New(rand.NewPCG(3, 4))
	covariance := make([]float64, n*n)
	for range 400 {
		x := make([]float64, n)
		common := r.NormFloat64()
		for i := range x {
			x[i] = common + 0.3*r.NormFloat64()
		}
		for i := range n {
			for j := range n {
				covariance[i*n+j] += x[i] * x[j] / 400
			}
		}
	}
	c, err := NewCompensator(covariance, n)
	if err != nil {
		t.Fatal(err)
	}
	w, block := make([]float64, n), make([]int, n)
	for i := range w {
		block[i] = i % blocks
		w[i] = r.NormFloat64() * []float64{0.01, 1, 100}[block[i]]
	}
	for _, bits := range []int{2, 3, 4, 8} {
		levels := Levels(bits)
		errorOf := func(codes []uint8, scales []float32) (output, weights float64) {
			g := blockGrid(scales, block, levels)
			for i := range n {
				own := w[i] - g.level(i, codes[i])
				weights += own * own
				for j := range n {
					output += own * covariance[i*n+j] * (w[j] - g.level(j, codes[j]))
				}
			}
			return output, weights
		}
		codes, scales := make([]uint8, n), make([]float32, blocks)
		NearestBlocks(codes, scales, w, block, levels)
		nearest, weights := errorOf(codes, scales)
		for b, size := range []float64{0.01, 1, 100} {
			if s := float64(max(scales[b], -scales[b])) * float64(levels) / size; s < 0.5 || s > 12 {
				t.Errorf("%d bits: block %d of size %g has scale %g", bits, b, size, scales[b])
			}
		}
		mse := c.RoundBlocks(codes, scales, w, block, levels)
		output, more := errorOf(codes, scales)
		if output > 0.9*nearest || more < weights {
			t.Errorf("%d bits: error %.3g in the output and %.3g of the weights, of the nearest codes %.3g and %.3g", bits, output, more, nearest, weights)
		}
		if d := mse - output; d > 1e-6*nearest || d < -1e-6*nearest {
			t.Errorf("%d bits: says error %g, has %g", bits, mse, output)
		}
		for i, code := range codes {
			if int(code) >= levels {
				t.Errorf("%d bits: weight %d has code %d", bits, i, code)
			}
		}
	}
	// All weights on one side: two levels lie there, whichever side it is.
	for _, sign := range []float64{1, -1} {
		codes, scales := make([]uint8, 4), make([]float32, 1)
		w := []float64{sign, 2 * sign, sign, 2 * sign}
		NearestBlocks(codes, scales, w, make([]int, 4), 4)
		g := blockGrid(scales, make([]int, 4), 4)
		for i, code := range codes {
			if d := g.level(i, code) - w[i]; d > 0.06 || d < -0.06 {
				t.Errorf("weight %g became %g", w[i], g.level(i, code))
			}
		}
	}
}
