package calib

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/quant"
)

func TestSumIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var s Sum
		want := new(big.Float).SetPrec(4096)
		for range 40 {
			v := math.Ldexp(rng.Float64()-0.5, rng.IntN(600)-300)
			s.Add(v)
			want.Add(want, big.NewFloat(v))
		}
		if w, _ := want.Float64(); s.Float64() != w {
			t.Fatalf("%g, want %g", s.Float64(), w)
		}
		text, err := s.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var back Sum
		if err := back.UnmarshalJSON(text); err != nil || back.exponent != s.exponent || back.mantissa.Cmp(&s.mantissa) != 0 {
			t.Fatalf("%s comes back as %v %v", text, back.Float64(), err)
		}
	}
	var s Sum
	for _, v := range []float64{1e300, 1, -1e300, math.SmallestNonzeroFloat64, -1} {
		s.Add(v)
	}
	if s.Float64() != math.SmallestNonzeroFloat64 {
		t.Error(s.Float64())
	}
	s.Add(-math.SmallestNonzeroFloat64)
	if text, _ := s.MarshalJSON(); string(text) != `"0p0"` {
		t.Errorf("nothing left is %s", text)
	}
}

func TestSumRefusesOthers(t *testing.T) {
	for _, text := range []string{`""`, `"p"`, `"1"`, `"1p"`, `"p1"`, `"1p99999999"`, `"xp1"`, `3`, `"1p-99999"`, `"` + strings.Repeat("f", 5000) + `p0"`} {
		var s Sum
		if err := s.UnmarshalJSON([]byte(text)); err == nil {
			t.Errorf("%.30s is read as %v", text, s.Float64())
		}
	}
}

func TestBinsCoverTheirValues(t *testing.T) {
	for z := float32(0); z < 2000; z = z*1.0137 + 0.00391 {
		i := bin(z)
		// 1+z is rounded to float32, so a value may sit an ulp beyond its edge.
		slack := 2e-7 * (1 + float64(z))
		if float64(z) < edge(i)-slack || float64(z) > edge(i+1)+slack {
			t.Fatalf("%v is in bin %d, %v to %v", z, i, edge(i), edge(i+1))
		}
	}
	for i, want := range map[int]float64{0: 0, 1: 1. / 64, 64: 1, 65: 1 + 1./32, 128: 3, 192: 7, 256: 15, 320: 31} {
		if edge(i) != want {
			t.Errorf("edge %d is %v, want %v", i, edge(i), want)
		}
	}
}

// images makes [channels, hw] tensors with offsets, scales, outliers and zeros
// that differ from channel to channel and image to image.
func images(n, channels int, relu bool) (xs [][]float32) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range n {
		hw := 50 + rng.IntN(400)
		x := make([]float32, channels*hw)
		for c := range channels {
			scale, offset := math.Exp(rng.NormFloat64()*3), rng.NormFloat64()*10
			for i := range hw {
				v := offset + scale*rng.NormFloat64()
				if rng.IntN(100) == 0 {
					v *= 30
				}
				if relu {
					v = max(v, 0)
				}
				x[c*hw+i] = float32(v)
			}
			if c == 2 {
				clear(x[c*hw : (c+1)*hw]) // a dead channel
			}
		}
		xs = append(xs, x)
	}
	return xs
}

func TestMomentsAgainstDirectComputation(t *testing.T) {
	const channels = 4
	for _, d := range []quant.Distribution{quant.Signed, quant.PostReLU} {
		xs := images(7, channels, d == quant.PostReLU)
		s := NewTensorStats(d, channels)
		for _, x := range xs {
			if err := s.Observe(x, len(x)/channels); err != nil {
				t.Fatal(err)
			}
		}
		for c := range channels {
			var all, positive []float64
			zeros, lo, hi := int64(0), math.Inf(1), math.Inf(-1)
			variances, binned := 0.0, int64(0)
			for _, x := range xs {
				hw := len(x) / channels
				var own []float64
				for _, v := range x[c*hw : (c+1)*hw] {
					all = append(all, float64(v))
					if v > 0 && d == quant.PostReLU {
						positive = append(positive, float64(v))
					}
					if v > 0 || d == quant.Signed {
						own = append(own, float64(v))
					}
					if v == 0 && d == quant.PostReLU {
						zeros++
					}
					lo, hi = min(lo, float64(v)), max(hi, float64(v))
				}
				_, m2 := direct(own)
				variances += m2 / float64(max(len(own), 1))
				if m2 > 0 { // not flat
					binned += int64(hw)
				}
			}
			got := &s.Channels[c]
			near(t, "mean variance", got.MeanVariance(), variances/float64(len(xs)))
			for _, m := range []struct {
				got    *Moments
				values []float64
			}{{&got.All, all}, {&got.Positive, positive}} {
				mean, m2 := direct(m.values)
				if m.got.Count != int64(len(m.values)) {
					t.Errorf("count %d, want %d", m.got.Count, len(m.values))
				}
				near(t, "mean", m.got.Mean(), mean)
				near(t, "M2", m.got.M2(), m2)
			}
			if got.Zeros != zeros || float64(got.Min) != lo || float64(got.Max) != hi {
				t.Errorf("zeros %d min %v max %v, want %d %v %v", got.Zeros, got.Min, got.Max, zeros, lo, hi)
			}
			if got.Z.Count() != binned {
				t.Errorf("%v channel %d: %d values in the histogram, want %d", d, c, got.Z.Count(), binned)
			}
		}
		if dead := &s.Channels[2]; dead.Flat != 7 || dead.Z.Count() != 0 {
			t.Errorf("dead channel: %d flat, %d binned", dead.Flat, dead.Z.Count())
		}
	}
}

func direct(x []float64) (mean, m2 float64) {
	for _, v := range x {
		mean += v
	}
	mean /= float64(max(len(x), 1))
	for _, v := range x {
		m2 += (v - mean) * (v - mean)
	}
	return mean, m2
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-10*math.Abs(want)) {
		t.Errorf("%s %.15g, want %.15g", what, got, want)
	}
}

// The normal distribution's best steps must come out of the histogram, each
// image on its own scale.
func TestBestStepFromNormalImages(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	s := NewTensorStats(quant.Signed, 1)
	for range 10 {
		x := make([]float32, 40000)
		scale, offset := math.Exp(rng.NormFloat64()*4), rng.NormFloat64()*100
		for i := range x {
			x[i] = float32(offset + scale*rng.NormFloat64())
		}
		if err := s.Observe(x, len(x)); err != nil {
			t.Fatal(err)
		}
	}
	h, err := quant.NewHistogram(s.Channels[0].Z.Bins())
	if err != nil {
		t.Fatal(err)
	}
	for bits, want := range map[int]float64{1: 1.596, 2: 0.996, 3: 0.586, 4: 0.335, 5: 0.188, 6: 0.104} {
		step, _ := h.BestStep(quant.Signed, 0, 1<<bits)
		if math.Abs(float64(step)/want-1) > 0.04 {
			t.Errorf("%d bits: step %.4f, paper %.3f", bits, step, want)
		}
	}
}

func TestNonFiniteAreCountedApart(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	clean, dirty := NewTensorStats(quant.Signed, 2), NewTensorStats(quant.Signed, 2)
	if err := clean.Observe([]float32{1, 2, 3, 4, 1, 2, 3, 4}, 4); err != nil {
		t.Fatal(err)
	}
	if err := dirty.Observe([]float32{1, 2, 3, 4, nan, inf, -inf, 1, 2, 3, 4, 1, 1, 1}, 7); err != nil {
		t.Fatal(err)
	}
	if c, n := dirty.NonFinite(); c != 0 || n != 3 {
		t.Errorf("channel %d has %d", c, n)
	}
	if c, _ := clean.NonFinite(); c != -1 {
		t.Errorf("channel %d", c)
	}
	a, b := clean.Channels[0], dirty.Channels[0]
	if a.All.Mean() != b.All.Mean() || a.All.M2() != b.All.M2() || b.Max != 4 || a.Z.Count() != b.Z.Count() {
		t.Error("values that are not finite changed the others' statistics")
	}
	only := NewTensorStats(quant.Signed, 1)
	if err := only.Observe([]float32{nan, nan}, 2); err != nil || only.Channels[0].Flat != 1 {
		t.Error(err, only.Channels[0].Flat)
	}
}

func TestObserveErrors(t *testing.T) {
	if err := NewTensorStats(quant.Signed, 3).Observe(make([]float32, 8), 3); err == nil {
		t.Error("8 values are not 3 channels of 3")
	}
	err := NewTensorStats(quant.PostReLU, 2).Observe([]float32{0, 1, 2, -3}, 2)
	if err == nil || !strings.Contains(err.Error(), "channel 1 has the value -3") {
		t.Error(err)
	}
}

func TestExtremeValuesDoNotPanic(t *testing.T) {
	for _, x := range [][]float32{
		{math.MaxFloat32, -math.MaxFloat32, 0}, {1e-45, 0, 2e-45}, {1, 1, 1}, {1, 1.0000001, 1},
		{float32(math.Copysign(0, -1)), 0, 0}, {3e38, 3e38, 2.9999998e38},
	} {
		for _, d := range []quant.Distribution{quant.Signed, quant.PostReLU} {
			s := NewTensorStats(d, 1)
			if err := s.Observe(x, len(x)); err != nil && x[1] >= 0 {
				t.Error(err)
			}
			if got := s.Channels[0]; got.Min == 0 && math.Signbit(float64(got.Min)) || got.Positive.Count+got.Zeros > got.All.Count {
				t.Errorf("%v: %+v", x, got)
			}
		}
	}
}

// Any sharding in any order gives the same bytes.
func TestShardsAddUpToTheSameBytes(t *testing.T) {
	const channels, n = 5, 16
	tensors := map[string]quant.Distribution{"a": quant.Signed, "b": quant.PostReLU}
	data := map[string][][]float32{"a": images(n, channels, false), "b": images(n, channels, true)}
	run := func(t *testing.T, members []int) *Profile {
		p := NewProfile("beef", 1)
		for _, i := range members {
			if err := p.AddImage(Source{Name: fmt.Sprintf("%02d.png", i), Digest: "d"}); err != nil {
				t.Fatal(err)
			}
			for name, d := range tensors {
				s, err := p.Tensor(name, d, channels)
				if err != nil {
					t.Fatal(err)
				}
				x := data[name][i]
				if err := s.Observe(x, len(x)/channels); err != nil {
					t.Fatal(err)
				}
			}
		}
		return p
	}
	rng := rand.New(rand.NewPCG(7, 8))
	want := write(t, run(t, rng.Perm(n)))
	for trial := range 20 {
		order, shards := rng.Perm(n), []*Profile{NewProfile("beef", 1)}
		for len(order) > 0 {
			k := 1 + rng.IntN(len(order))
			p := run(t, order[:k])
			if rng.IntN(2) == 0 { // through the file
				var err error
				if p, err = Read(bytes.NewReader(write(t, p))); err != nil {
					t.Fatal(err)
				}
			}
			shards, order = append(shards, p), order[k:]
		}
		for len(shards) > 1 { // in any tree
			i := 1 + rng.IntN(len(shards)-1)
			if err := shards[i-1].Merge(shards[i]); err != nil {
				t.Fatal(err)
			}
			shards = append(shards[:i], shards[i+1:]...)
		}
		if !bytes.Equal(write(t, shards[0]), want) {
			t.Fatalf("trial %d: other bytes", trial)
		}
	}
}

func write(t testing.TB, p *Profile) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func BenchmarkObserve(b *testing.B) {
	const channels, hw = 64, 128 * 128
	rng := rand.New(rand.NewPCG(1, 1))
	x := make([]float32, channels*hw)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	s := NewTensorStats(quant.Signed, channels)
	b.SetBytes(int64(4 * len(x)))
	for b.Loop() {
		if err := s.Observe(x, hw); err != nil {
			b.Fatal(err)
		}
	}
}
