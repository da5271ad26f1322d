package quant

import (
	"math"
	"math/rand/v2"
	"testing"
)

// binned returns a histogram of density f over n bins from a to b.
func binned(t *testing.T, a, b float64, n int, f func(x float64) float64, atoms ...Bin) *Histogram {
	t.Helper()
	bins := append([]Bin(nil), atoms...)
	width := (b - a) / float64(n)
	for i := range n {
		lo := a + float64(i)*width
		bins = append(bins, Bin{lo, lo + width, width * f(lo+width/2)})
		if i > 0 {
			bins[len(bins)-1].Lo = bins[len(bins)-2].Hi
		}
	}
	h, err := NewHistogram(bins)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func normal(x float64) float64  { return math.Exp(-x * x / 2) }
func laplace(x float64) float64 { return math.Exp(-math.Sqrt2 * math.Abs(x)) }

func TestBestStepOfNormalIsPaperStep(t *testing.T) {
	h := binned(t, -8, 8, 4096, normal)
	for bits := 1; bits <= MaxBits; bits++ {
		step, mse := h.BestStep(Signed, 0, Levels(bits))
		want := optimalNormalStep(Levels(bits))
		near(t, "step", float64(step), want, 1e-3, 0)
		near(t, "error", mse, normalError(want, Levels(bits)), 1e-3, 0)
	}
}

// Error by bins and moments against quantizing the values one by one.
func TestErrorAgainstSamples(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, dist := range []Distribution{Signed, PostReLU} {
		values := make([]float32, 5000)
		var zeros float64
		for i := range values {
			values[i] = float32(rng.NormFloat64()*rng.ExpFloat64() + 0.3)
			if dist == PostReLU {
				values[i] = max(values[i], 0)
			}
		}
		stats := dist.Stats(values)
		bins := []Bin{} // one narrow bin for each value is the sample itself
		shift := stats.Mean
		if dist == PostReLU {
			shift = 0
		}
		ratio := float64(stats.Mean / stats.Std)
		z := make([]float64, 0, len(values))
		for _, v := range values {
			if dist == PostReLU && v == 0 {
				zeros++
				continue
			}
			z = append(z, float64((v-shift)/stats.Std))
		}
		if zeros > 0 {
			bins = append(bins, Bin{0, 0, zeros})
		}
		bins = append(bins, histogramOf(z, 4000)...)
		h, err := NewHistogram(bins)
		if err != nil {
			t.Fatal(err)
		}
		for _, levels := range []int{2, 3, 4, 8, 15, 16, 64} {
			for _, step := range []float32{0.05, 0.3, 1} {
				w := dist.Window(stats, step, levels)
				var squares float64
				for _, v := range values {
					d := float64(w.Decode(w.Encode(v)) - v)
					squares += d * d
				}
				want := squares / float64(len(values)) / float64(stats.Std*stats.Std)
				near(t, dist.String()+" error", h.StepError(dist, ratio, float64(step), levels), want, 0.02, 0)
			}
		}
	}
}

func histogramOf(z []float64, n int) []Bin {
	lo, hi := z[0], z[0]
	for _, v := range z {
		lo, hi = min(lo, v), max(hi, v)
	}
	edge := func(i int) float64 { return lo + (hi-lo)*float64(i)/float64(n) }
	bins := make([]Bin, n)
	for i := range bins {
		bins[i] = Bin{Lo: edge(i), Hi: edge(i + 1)}
	}
	for _, v := range z {
		bins[min(int((v-lo)/(hi-lo)*float64(n)), n-1)].Mass++
	}
	return bins
}

// No step of a dense scan may be noticeably better, whatever the shape.
func TestBestStepAgainstScan(t *testing.T) {
	heavy := func(x float64) float64 { return 1 / math.Pow(1+x*x, 2) }
	shapes := map[string]struct {
		h     *Histogram
		dist  Distribution
		ratio float64
	}{
		"laplace":       {binned(t, -17, 17, 1000, laplace), Signed, 0},
		"heavy":         {binned(t, -60, 60, 3000, heavy), Signed, 0},
		"skewed":        {binned(t, -1, 9, 500, func(x float64) float64 { return math.Exp(-x) }), Signed, 0},
		"coarse bins":   {binned(t, -6, 6, 24, normal), Signed, 0},
		"half normal":   {binned(t, 0, 9, 500, normal, Bin{0, 0, 2}), PostReLU, 1.32},
		"half laplace":  {binned(t, 0, 17, 800, laplace, Bin{0, 0, 0.5}), PostReLU, 1},
		"far from zero": {binned(t, 5, 15, 500, func(x float64) float64 { return normal(x - 10) }), PostReLU, 10},
		"two peaks":     {binned(t, -30, 30, 3000, func(x float64) float64 { return normal(x*2) + 0.01*normal((x-25)*4) }), Signed, 0},
	}
	for name, s := range shapes {
		for _, levels := range []int{2, 3, 4, 7, 8, 16, 32, 64, 100, 128, 256} {
			step, got := s.h.BestStep(s.dist, s.ratio, levels)
			if e := s.h.StepError(s.dist, s.ratio, float64(step), levels); e != got {
				t.Errorf("%s, %d levels: BestStep says %g, StepError %g", name, levels, got, e)
			}
			least, at := math.Inf(1), 0.0
			widest := 2.5 * s.h.reach() / float64(max(levels-2, 1))
			for i := 1; i <= 1500; i++ {
				scan := widest * float64(i) / 1500
				if e := s.h.StepError(s.dist, s.ratio, scan, levels); e < least {
					least, at = e, scan
				}
			}
			if !(got <= least*1.002) {
				t.Errorf("%s, %d levels: step %v has error %g, step %v has %g", name, levels, step, got, at, least)
			}
		}
	}
}

func TestBestStepOfNothingKnown(t *testing.T) {
	h, err := NewHistogram([]Bin{{0, 0, 7}})
	if err != nil {
		t.Fatal(err)
	}
	for _, dist := range []Distribution{Signed, PostReLU} {
		if step, mse := h.BestStep(dist, 0, 16); step != PaperStep(4) || math.IsNaN(mse) {
			t.Errorf("%v: step %v, error %v", dist, step, mse)
		}
	}
}

func TestNewHistogramErrors(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, bins := range map[string][]Bin{
		"none": nil, "no mass": {{0, 1, 0}}, "backwards": {{1, 0, 1}}, "overlap": {{0, 2, 1}, {1, 3, 1}},
		"negative": {{0, 1, -1}}, "nan edge": {{nan, 1, 1}}, "nan mass": {{0, 1, nan}}, "inf": {{0, inf, 1}}, "-inf": {{-inf, 0, 1}}, "inf mass": {{0, 1, inf}},
	} {
		if _, err := NewHistogram(bins); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkBestStep(b *testing.B) {
	bins := make([]Bin, 512)
	for i := range bins {
		x := float64(i-256) / 16
		bins[i] = Bin{x, x + 1.0/16, laplace(x)}
	}
	h, err := NewHistogram(bins)
	if err != nil {
		b.Fatal(err)
	}
	for _, bits := range []int{2, 4, 8} {
		b.Run(string(rune('0'+bits)), func(b *testing.B) {
			for b.Loop() {
				h.BestStep(Signed, 0, Levels(bits))
			}
		})
	}
}

func BenchmarkBestWeightScale(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	w := make([]float32, 576)
	for i := range w {
		w[i] = float32(rng.NormFloat64())
	}
	for _, bits := range []int{2, 4, 8} {
		b.Run(string(rune('0'+bits)), func(b *testing.B) {
			for b.Loop() {
				BestWeightScale(w, Levels(bits))
			}
		})
	}
}

// A histogram for unseen pictures is the mixture that it says, bin for bin, and
// its window reaches further than that of the seen values.
func TestUnseen(t *testing.T) {
	bins := []Bin{{-3, -1, 2}, {-1, 0, 40}, {0, 0, 30}, {0, 2, 20}, {2, 5, 1}}
	seen, err := NewHistogram(bins)
	if err != nil {
		t.Fatal(err)
	}
	var far []Bin
	for _, b := range bins {
		far = append(far, Bin{unseenReach * b.Lo, unseenReach * b.Hi, b.Mass})
	}
	beyond, err := NewHistogram(far)
	if err != nil {
		t.Fatal(err)
	}
	unseen, err := NewHistogram(bins)
	if err != nil {
		t.Fatal(err)
	}
	unseen.ForUnseen()
	for _, levels := range []int{2, 7, 256} {
		for _, scale := range []float64{0.01, 0.3, 2} {
			want := (1-unseenShare)*seen.Error(scale, -1.7, levels) + unseenShare*beyond.Error(scale, -1.7, levels)
			if got := unseen.Error(scale, -1.7, levels); math.Abs(got-want) > 1e-12*want {
				t.Errorf("%d levels of %g: error %g, want %g", levels, scale, got, want)
			}
		}
	}
	narrow, _, _ := seen.BestWindow(Signed, 0, 256)
	wide, _, _ := unseen.BestWindow(Signed, 0, 256)
	if !(wide > 1.1*narrow) {
		t.Errorf("step %g for unseen pictures, %g for the seen ones", wide, narrow)
	}
}

// Where outliers are kept, values outside of all cells of the quantizer count clipWeight
// times more, and its window reaches further.
func TestKeepOutliers(t *testing.T) {
	bins := []Bin{{-3, -1, 2}, {-1, 0, 40}, {0, 0, 30}, {0, 2, 20}, {2, 5, 1}}
	plain, err := NewHistogram(bins)
	if err != nil {
		t.Fatal(err)
	}
	keeping, err := NewHistogram(bins)
	if err != nil {
		t.Fatal(err)
	}
	keeping.KeepOutliers()
	const offset, mass = -1.7, 93
	for _, levels := range []int{2, 7, 256} {
		for _, scale := range []float64{0.01, 0.3, 2} {
			low, high, clipped := offset-scale/2, offset+(float64(levels)-0.5)*scale, 0.0
			for _, b := range bins { // in thin slices
				for i := range 20000 {
					x := b.Lo + (b.Hi-b.Lo)*(float64(i)+0.5)/20000
					if x < low {
						clipped += float64(b.Mass) / 20000 * (x - offset) * (x - offset)
					} else if top := high - scale/2; x > high {
						clipped += float64(b.Mass) / 20000 * (x - top) * (x - top)
					}
				}
			}
			want := plain.Error(scale, offset, levels) + clipWeight*clipped/mass
			if got := keeping.Error(scale, offset, levels); math.Abs(got-want) > 1e-4*want {
				t.Errorf("%d levels of %g: error %g, want %g", levels, scale, got, want)
			}
		}
	}
	narrow, _, _ := plain.BestWindow(Signed, 0, 4)
	wide, _, _ := keeping.BestWindow(Signed, 0, 4)
	if !(wide > 1.1*narrow) {
		t.Errorf("step %g where outliers are kept, %g where not", wide, narrow)
	}
}
