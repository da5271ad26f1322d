package quant

import (
	"fmt"
	"math"
	"slices"
)

// Weights have no offset of their own: the window is centred on zero, so
//
//	w_hat = (code - (L-1)/2) * scale
//
// and a weight window is described by scale alone. With an even L no level is
// zero: a zero weight becomes scale/2.

// WeightScale returns the scale of the DAQ rule with mean 0, step * std, where
// std is the population standard deviation of w: a whole tensor or one output
// channel of it. Weights that are all the same have no deviation; their
// magnitude takes its place, and Eps where it is zero.
func WeightScale(w []float32, step float32) float32 {
	s := Signed.Stats(w)
	if s.Std <= Eps {
		s.Std = max(float32(math.Abs(float64(s.Mean))), Eps)
	}
	return s.Std * step
}

// BestWeightScale returns the scale that has the least squared error over w, one
// output channel or a whole tensor: a search over scales, (L-1)/2*scale =
// c*max|w|, on a geometric grid of c that is then refined. It reaches past c = 1,
// where the outermost level is beyond the largest weight. All-zero weights have
// scale Eps, so that their code L/2 stands for Eps/2 with an even L, which no
// sum notices. The values must be finite.
func BestWeightScale(w []float32, levels int) float32 {
	must(CheckLevels(levels))
	h := atoms(w)
	if h.reach() == 0 {
		return Eps
	}
	scale, _ := h.search(levels, func(scale float64) float64 {
		return -float64(levels-1) / 2 * scale
	})
	return scale
}

// WeightWindow returns the window of a weight scale. Its Decode subtracts
// (L-1)/2*scale from code*scale, as DequantizeLinear followed by Sub does; that
// differs from (code - (L-1)/2)*scale by float32 rounding.
func WeightWindow(scale float32, levels int) Window {
	must(CheckLevels(levels))
	return centred(0, scale, levels)
}

// EncodeWeights writes the codes of w into dst, at least as long:
// clamp(floor(w/scale + L/2), 0, L-1), computed in float64. So a zero weight has
// code L/2 whatever the scale. It fails on a weight that is not finite, and names
// its index.
func EncodeWeights(dst []uint8, w []float32, scale float32, levels int) error {
	must(CheckLevels(levels))
	for i, v := range w {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("weight %d is %v: weights must be finite", i, v)
		}
		dst[i] = clamp(float64(v)/float64(scale)+float64(levels)/2, levels)
	}
	return nil
}

// atoms returns the distribution of |w|. A weight window is symmetric, so its
// error is that of w, with half of the levels out of the way.
func atoms(w []float32) *Histogram {
	values := make([]float64, len(w))
	for i, v := range w {
		values[i] = math.Abs(float64(v))
	}
	slices.Sort(values)
	h := &Histogram{lo: values, hi: values, cum: make([]moments, len(w)+1)}
	for i, v := range values {
		h.cum[i+1] = h.cum[i].plus(moments{1, v, float64(v * v)})
	}
	return h
}
