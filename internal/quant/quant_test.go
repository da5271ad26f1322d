package quant

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// normalError returns the mean squared error of the mid-rise quantizer over a
// standard normal distribution, from the error function: for each cell from a to b
// with level v, the integral of (x-v)^2 phi(x) is
// (1+v^2)(Phi(b)-Phi(a)) - (b phi(b) - a phi(a)) + 2v (phi(b)-phi(a)).
func normalError(step float64, levels int) float64 {
	phi := func(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }
	xphi := func(x float64) float64 {
		if math.IsInf(x, 0) {
			return 0
		}
		return x * phi(x)
	}
	var sum float64
	for k := range levels / 2 { // the positive half, twice
		a, b, v := float64(k)*step, float64(k+1)*step, (float64(k)+0.5)*step
		if k == levels/2-1 {
			b = math.Inf(1)
		}
		mass := (math.Erfc(a/math.Sqrt2) - math.Erfc(b/math.Sqrt2)) / 2
		sum += 2 * ((1+v*v)*mass - (xphi(b) - xphi(a)) + 2*v*(phi(b)-phi(a)))
	}
	return sum
}

func optimalNormalStep(levels int) float64 {
	a, b := 0.001, 4.0
	for b-a > 1e-9 {
		c, d := b-(b-a)/math.Phi, a+(b-a)/math.Phi
		if normalError(c, levels) < normalError(d, levels) {
			b = d
		} else {
			a = c
		}
	}
	return (a + b) / 2
}

// The paper gives s(n) to three decimals, so half of the last one is the tolerance.
func TestPaperStepIsOptimalForNormal(t *testing.T) {
	for bits := 1; bits <= MaxBits; bits++ {
		want := optimalNormalStep(Levels(bits))
		t.Logf("s(%d) = %.5f, error %.6f of the variance", bits, want, normalError(want, Levels(bits)))
		if got := float64(PaperStep(bits)); math.Abs(got-want) > 0.0005 {
			t.Errorf("PaperStep(%d) = %v, least error at %.5f", bits, got, want)
		}
	}
}

func TestWideStep(t *testing.T) {
	if WideStep(1) != PaperStep(1) {
		t.Error("one bit has no wider step")
	}
	for bits := 2; bits <= MaxBits; bits++ {
		if WideStep(bits) != PaperStep(bits-1) {
			t.Errorf("WideStep(%d) = %v, want s(%d)", bits, WideStep(bits), bits-1)
		}
	}
}

func TestBits(t *testing.T) {
	for levels := 2; levels <= MaxLevels; levels++ {
		bits := Bits(levels)
		if Levels(bits) < levels || bits > 1 && Levels(bits-1) >= levels {
			t.Errorf("Bits(%d) = %d", levels, bits)
		}
	}
	container := []int{1: 2, 2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 8: 8}
	for bits := 1; bits <= MaxBits; bits++ {
		if got := ContainerBits(bits); got != container[bits] {
			t.Errorf("ContainerBits(%d) = %d", bits, got)
		}
	}
	for _, bits := range []int{-1, 0, 9} {
		if CheckBits(bits) == nil {
			t.Errorf("CheckBits(%d) passes", bits)
		}
	}
	for _, levels := range []int{-1, 0, 1, 257} {
		if CheckLevels(levels) == nil {
			t.Errorf("CheckLevels(%d) passes", levels)
		}
	}
	for _, step := range []float32{0, -1, float32(math.NaN()), float32(math.Inf(1)), 1e-30} {
		if CheckStep(step) == nil {
			t.Errorf("CheckStep(%v) passes", step)
		}
	}
}

// checkWindow verifies what every window promises for the values x.
func checkWindow(t *testing.T, w Window, x []float32) {
	t.Helper()
	if !(w.Scale > 0) || math.IsInf(float64(w.Scale+w.Offset), 0) || math.IsNaN(float64(w.Offset)) {
		t.Fatalf("window %+v", w)
	}
	low, high := w.Decode(0), w.Decode(uint8(w.Levels-1))
	// A few units in the last place of the largest number that takes part.
	for _, v := range x {
		size := max(math.Abs(float64(v)), math.Abs(float64(low)), math.Abs(float64(high)))
		slack := size * 4 * 0x1p-23
		code := w.Encode(v)
		if int(code) >= w.Levels {
			t.Fatalf("%+v: code %d of %v", w, code, v)
		}
		if next := w.Encode(math.Nextafter32(v, float32(math.Inf(1)))); next < code {
			t.Fatalf("%+v: code falls from %d to %d at %v", w, code, next, v)
		}
		distance := math.Abs(float64(w.Decode(code)) - float64(v))
		if v >= low-w.Scale/2 && v <= high+w.Scale/2 && distance > float64(w.Scale)/2+slack {
			t.Fatalf("%+v: %v becomes %v, further than scale/2", w, v, w.Decode(code))
		}
		if v < low-w.Scale && code != 0 || v > high+w.Scale && int(code) != w.Levels-1 {
			t.Fatalf("%+v: %v outside the window has code %d", w, v, code)
		}
	}
}

// n bits means at most 2^n codes: every level count, and one that is reached at
// both ends, for every kind of window.
func TestCodesOfEveryLevelCount(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for levels := 2; levels <= MaxLevels; levels++ {
		for _, dist := range []Distribution{Signed, PostReLU} {
			for _, mean := range []float32{0, -3, 0.7, 40} {
				w := dist.Window(Stats{Mean: mean, Std: 1.3}, 6/float32(levels), levels)
				seen := make([]bool, levels)
				x := make([]float32, 4*levels)
				for i := range x {
					x[i] = w.Offset + w.Scale*(float32(i)/4+rng.Float32()/4-0.5)
					seen[w.Encode(x[i])] = true // panics beyond levels
				}
				x = append(x, -1e30, 1e30, 0, float32(math.Inf(1)), float32(math.Inf(-1)))
				checkWindow(t, w, x[:len(x)-2])
				for code, s := range seen {
					if !s {
						t.Fatalf("%+v: code %d unused", w, code)
					}
				}
				if w.Encode(x[len(x)-2]) != uint8(levels-1) || w.Encode(x[len(x)-1]) != 0 || w.Encode(float32(math.NaN())) != 0 {
					t.Fatalf("%+v: codes of infinities or NaN", w)
				}
				for code := range levels { // levels are their own codes
					if got := w.Encode(w.Decode(uint8(code))); int(got) != code {
						t.Fatalf("%+v: level %d has code %d", w, code, got)
					}
				}
				if dist == PostReLU && w.Offset < 0 {
					t.Fatalf("post-ReLU window %+v begins below zero", w)
				}
			}
		}
	}
}

func TestPostReLUKeepsZero(t *testing.T) {
	for bits := 1; bits <= MaxBits; bits++ {
		w := PostReLU.Window(Stats{Mean: 0.5, Std: 0.9}, PaperStep(bits), Levels(bits))
		if got := w.Decode(w.Encode(0)); w.Offset == 0 && got != 0 {
			t.Errorf("%d bits: zero becomes %v", bits, got)
		}
	}
	if w := PostReLU.Window(Stats{Mean: 10, Std: 1}, PaperStep(4), 16); w.Offset < 7 {
		t.Errorf("mean far above alpha*std: window begins at %v, want the mean at its centre", w.Offset)
	}
}

func TestDegenerateChannels(t *testing.T) {
	for _, dist := range []Distribution{Signed, PostReLU} {
		for _, value := range []float32{0, 1, -1, 1e-20, 255, -3e4, 1e10, 0.1} {
			x := make([]float32, 1000)
			for i := range x {
				x[i] = value
			}
			s := dist.Stats(x)
			if dist == PostReLU && value <= 0 && s != (Stats{0, Eps}) {
				t.Errorf("%v channel of %v: %+v", dist, value, s)
			}
			for bits := 1; bits <= MaxBits; bits++ {
				w := dist.Window(s, PaperStep(bits), Levels(bits))
				got := float64(w.Decode(w.Encode(value)))
				want := float64(value)
				if dist == PostReLU {
					want = max(want, 0)
				}
				if !(math.Abs(got-want) <= 1e-6*math.Abs(want)+2*float64(Eps)) {
					t.Errorf("%v, %d bits: constant %v becomes %v", dist, bits, value, got)
				}
			}
		}
		if s := dist.Stats(nil); s != (Stats{0, Eps}) {
			t.Errorf("empty channel: %+v", s)
		}
		if s := dist.Stats([]float32{1, float32(math.NaN())}); s.Mean == s.Mean || s.Std == s.Std {
			t.Errorf("NaN is hidden: %+v", s)
		}
	}
	one := []float32{0.25}
	QuantizeStds(one, PaperStep(4), 16)
	if math.Abs(float64(one[0])-0.25) > 1e-7 {
		t.Errorf("the only std becomes %v", one[0])
	}
	skewed := []float32{1e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4, 5}
	QuantizeStds(skewed, PaperStep(2), 4)
	for _, s := range skewed {
		if !(s >= Eps) {
			t.Errorf("std %v below Eps", s)
		}
	}
}

func TestDegenerateWeights(t *testing.T) {
	for bits := 1; bits <= MaxBits; bits++ {
		levels := Levels(bits)
		zero := make([]float32, 9)
		for _, scale := range []float32{WeightScale(zero, PaperStep(bits)), BestWeightScale(zero, levels), BestWeightScale(nil, levels)} {
			if e := weightError(t, zero, scale, levels); !(scale > 0) || e > float64(Eps)*float64(Eps) {
				t.Errorf("%d bits: zero weights have scale %v, error %v", bits, scale, e)
			}
		}
		for _, same := range []float32{0.3, -0.3, 1e-30, 1e30} {
			w := []float32{same}
			if e := weightError(t, w, BestWeightScale(w, levels), levels); math.Sqrt(e) > 1e-3*math.Abs(float64(same)) {
				t.Errorf("%d bits: a weight of %v alone has error %v", bits, same, math.Sqrt(e))
			}
			if scale := WeightScale(w, PaperStep(bits)); math.Abs(float64(same)) > 1e-8 && scale < PaperStep(bits)*float32(math.Abs(float64(same)))*0.99 {
				t.Errorf("%d bits: a weight of %v alone has scale %v", bits, same, scale)
			}
		}
	}
}

func TestEncodeWeightsNamesTheIndex(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		w := []float32{1, 2, float32(bad), 3}
		BestWeightScale(w, 16) // must come back
		err := EncodeWeights(make([]uint8, 4), w, 0.1, 16)
		if err == nil || !strings.Contains(err.Error(), "weight 2") {
			t.Errorf("%v: error %v", bad, err)
		}
	}
}

func TestWeightCodesSymmetric(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for levels := 2; levels <= MaxLevels; levels++ {
		w, negative := make([]float32, 200), make([]float32, 200)
		for i := range w {
			w[i] = float32(rng.NormFloat64())
			negative[i] = -w[i]
		}
		scale := WeightScale(w, 4/float32(levels))
		a, b := make([]uint8, 200), make([]uint8, 200)
		if err := EncodeWeights(a, w, scale, levels); err != nil {
			t.Fatal(err)
		}
		if err := EncodeWeights(b, negative, scale, levels); err != nil {
			t.Fatal(err)
		}
		for i := range a {
			if int(a[i])+int(b[i]) != levels-1 {
				t.Fatalf("%d levels: %v has code %d, its negative %d", levels, w[i], a[i], b[i])
			}
		}
		checkWindow(t, WeightWindow(scale, levels), w)
	}
}

func FuzzWindow(f *testing.F) {
	f.Add(float32(0.5), float32(1.2), float32(0.3), uint8(14), true, float32(-1))
	f.Add(float32(-7), float32(0), float32(1.596), uint8(0), false, float32(1e9))
	f.Fuzz(func(t *testing.T, mean, std, step float32, levels uint8, relu bool, x float32) {
		dist := Signed
		if relu {
			dist = PostReLU
		}
		if !(math.Abs(float64(mean)) < 1e18 && std >= 0 && std < 1e18 && math.Abs(float64(x)) < 1e18) ||
			!(step > 1e-3 && step < 1e3) {
			t.Skip()
		}
		L := max(int(levels)+1, 2)
		w := dist.Window(Stats{mean, max(std, Eps)}, step, L)
		checkWindow(t, w, []float32{x, 0, mean, mean + std, mean - std, w.Offset})
	})
}

func FuzzPack(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint8(2))
	f.Fuzz(func(t *testing.T, codes []byte, log uint8) {
		bits := 1 << (log % 4)
		for i := range codes {
			codes[i] &= byte(1<<bits - 1)
		}
		packed, err := Pack(codes, bits)
		if err != nil {
			t.Fatal(err)
		}
		if len(packed) != (len(codes)*bits+7)/8 {
			t.Fatalf("%d codes of %d bits in %d bytes", len(codes), bits, len(packed))
		}
		back, err := Unpack(packed, bits, len(codes))
		if err != nil || !bytes.Equal(back, codes) {
			t.Fatalf("%v -> %v, %v", codes, back, err)
		}
	})
}

func TestPackErrors(t *testing.T) {
	if _, err := Pack([]uint8{0, 3, 4}, 2); err == nil || !strings.Contains(err.Error(), "code 2 is 4") {
		t.Errorf("code too large: %v", err)
	}
	if _, err := Pack(nil, 3); err == nil {
		t.Error("3 bits pack")
	}
	for _, n := range []int{-1, 0, 4, 9, math.MaxInt} {
		if _, err := Unpack([]byte{1, 2}, 2, n); err == nil {
			t.Errorf("2 bytes unpack to %d codes of 2 bits", n)
		}
	}
}
