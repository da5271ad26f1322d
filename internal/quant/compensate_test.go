package quant

import (
	"math/rand/v2"
	"testing"
)

// Inputs that move together let the errors of weights cancel: the compensated
// codes must do much better than the nearest ones, at the same scale as well.
func TestCompensatorBeatsNearest(t *testing.T) {
	const n, samples = 24, 400
	r := rand.New(rand.NewPCG(1, 2))
	covariance := make([]float64, n*n)
	for range samples {
		x := make([]float64, n)
		common := r.NormFloat64()
		for i := range x {
			x[i] = common + 0.3*r.NormFloat64()
		}
		for i := range n {
			for j := range n {
				covariance[i*n+j] += x[i] * x[j] / samples
			}
		}
	}
	c, err := NewCompensator(covariance, n)
	if err != nil {
		t.Fatal(err)
	}
	w, w32 := make([]float64, n), make([]float32, n)
	for i := range w {
		w32[i] = float32(r.NormFloat64())
		w[i] = float64(w32[i])
	}
	errorOf := func(codes []uint8, scale float32, levels int) (sum float64) {
		level := c.midRise(levels, scale).level
		for i := range n {
			for j := range n {
				sum += (w[i] - level(i, codes[i])) * covariance[i*n+j] * (w[j] - level(j, codes[j]))
			}
		}
		return sum
	}
	for _, bits := range []int{3, 4, 8} {
		levels := Levels(bits)
		scale := BestWeightScale(w32, levels)
		nearest, codes := make([]uint8, n), make([]uint8, n)
		if err := EncodeWeights(nearest, w32, scale, levels); err != nil {
			t.Fatal(err)
		}
		before := errorOf(nearest, scale, levels)
		for _, free := range []bool{false, true} {
			s, mse := c.Round(codes, w, levels, scale, free)
			if !free && s != scale {
				t.Errorf("%d bits: the scale was given", bits)
			}
			after := errorOf(codes, s, levels)
			if after > 0.7*before {
				t.Errorf("%d bits, free %v: error %.3g, nearest codes %.3g", bits, free, after, before)
			}
			if d := mse - after; d > 1e-9*before || d < -1e-9*before {
				t.Errorf("%d bits: says error %g, has %g", bits, mse, after)
			}
		}
	}
	if _, err := NewCompensator([]float64{1, 2, 2, 1}, 2); err == nil {
		t.Error("an indefinite matrix was taken")
	}
}

// Skewed values get a window that is not centred, and never a worse one.
func TestBestWindow(t *testing.T) {
	h, err := NewHistogram([]Bin{{-1, 0, 60}, {0, 1, 25}, {1, 3, 10}, {3, 9, 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, bits := range []int{2, 3, 4, 8} {
		_, symmetric := h.BestStep(Signed, 0, Levels(bits))
		step, start, mse := h.BestWindow(Signed, 0, Levels(bits))
		if again := h.Error(float64(step), float64(start), Levels(bits)); again > mse*1.001 || again < mse*0.999 {
			t.Errorf("%d bits: says error %g, has %g", bits, mse, again)
		}
		if mse > 0.8*symmetric {
			t.Errorf("%d bits: error %g, centred window %g", bits, mse, symmetric)
		}
	}
}

// Solve takes several columns at once, each as if it were alone.
func TestCompensatorSolve(t *testing.T) {
	a := []float64{4, 1, 0.5, 1, 9, 2, 0.5, 2, 1}
	c, err := NewCompensator(a, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{1, -2, 0.5, 3, -1, 0.25} // [3, 2]
	b := make([]float64, 6)
	for i := range 3 {
		for j := range 3 {
			for k := range 2 {
				b[i*2+k] += a[i*3+j] * want[j*2+k]
			}
		}
	}
	c.Solve(b)
	for i, v := range want {
		if d := b[i] - v; d > 1e-12 || d < -1e-12 {
			t.Fatalf("solution %v, want %v", b, want)
		}
	}
}
