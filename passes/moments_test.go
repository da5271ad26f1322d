package passes

import (
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/floats"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/runtime"
	"github.com/daq-sr/daq/runtime/kernels"
)

// TestQuieted: no weights near those that moments.quiet makes have less of what they
// change of the signal and let through of the noise together.
func TestQuieted(t *testing.T) {
	const k, outputs, fidelity = 5, 3, 2.0
	rng := rand.New(rand.NewPCG(3, 4))
	signal, noise := make([]float64, k*k), make([]float64, k*k)
	for range 40 {
		var x [k]float64
		for i := range x {
			x[i] = rng.NormFloat64()
			if i > 0 {
				x[i] += 2 * x[i-1]
			}
		}
		for i := range k {
			for j := range k {
				signal[i*k+j] += x[i] * x[j] / 40
			}
		}
	}
	for i := range k {
		noise[i*k+i] = 0.1 * float64(1+i)
	}
	w := make([]float64, k*outputs)
	for i := range w {
		w[i] = rng.NormFloat64()
	}
	form := func(a, v []float64, o int) (sum float64) {
		for i := range k {
			for j := range k {
				sum += v[i*outputs+o] * a[i*k+j] * v[j*outputs+o]
			}
		}
		return sum
	}
	cost := func(v []float64, o int) float64 {
		change := make([]float64, len(v))
		for i := range v {
			change[i] = v[i] - w[i]
		}
		return fidelity*form(signal, change, o) + form(noise, v, o)
	}
	m := &moments{noise: noise, weighed: slices.Clone(noise)}
	floats.AddScaled(m.weighed, fidelity, signal)
	v := slices.Clone(w)
	if err := m.quiet(v, k, 1e-9); err != nil {
		t.Fatal(err)
	}
	for o := range outputs {
		least := cost(v, o)
		if least > 0.9*cost(w, o) {
			t.Errorf("output %d: cost %g, of the weights themselves %g", o, least, cost(w, o))
		}
		for i := range k {
			for _, d := range []float64{-1e-3, 1e-3} {
				v[i*outputs+o] += d
				if cost(v, o) < least {
					t.Errorf("output %d: weight %d moved by %g costs less", o, i, d)
				}
				v[i*outputs+o] -= d
			}
		}
	}
}

// TestInherited: no weights v near those that are made of w cost less, |v x - w s|^2 +
// (fidelity-1)|(v-w) s|^2 over the inputs x and the signal s in them.
func TestInherited(t *testing.T) {
	const k, share, fidelity = 2, 0.3, 6
	pictures := smoothPictures(t, 3, k, 16)
	float, clean, read := pictures[0], pictures[1], pictures[2]
	values := func(t *runtime.Tensor, c int) []float32 { return t.Data.([]float32)[c*16*16 : (c+1)*16*16] }
	for i, v := range values(float, 0) {
		other := values(float, 1)[i]
		values(clean, 0)[i], values(clean, 1)[i] = 1.2*v+0.3*other, 0.8*other
		values(read, 0)[i], values(read, 1)[i] = 1.3*v+0.5*other, 0.8*other+0.5*float32(i%2)
	}
	r := &rounder{workers: kernels.NewWorkers(2)}
	patches := calib.Patches{Kernel: [2]int{1, 1}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Group: 1}
	x := []twin{{float: float, quantized: read}}
	m, err := r.inherited(t.Context(), patches, matrix{groups: 1, outputs: 1, inputs: k, taps: 1}, 0, []twin{{float: float, quantized: clean}}, x, x, share, fidelity)
	if err != nil {
		t.Fatal(err)
	}
	w := []float64{1, -0.7}
	v := slices.Clone(w)
	if err := m.quiet(v, k, 0); err != nil {
		t.Fatal(err)
	}
	centred := func(values func(c, i int) float64) (all [k][]float64) {
		for c := range all {
			for i := range 16 * 16 {
				all[c] = append(all[c], values(c, i))
			}
			floats.AddConst(-floats.Sum(all[c])/256, all[c])
		}
		return all
	}
	inputs := centred(func(c, i int) float64 { return float64(values(read, c)[i]) })
	signal := centred(func(c, i int) float64 {
		return share*float64(values(float, c)[i]) + (1-share)*float64(values(clean, c)[i])
	})
	cost := func(v []float64) (sum float64) {
		for i := range inputs[0] {
			made, wanted, kept := 0.0, 0.0, 0.0
			for c := range k {
				made, wanted, kept = made+v[c]*inputs[c][i], wanted+w[c]*signal[c][i], kept+v[c]*signal[c][i]
			}
			sum += (made-wanted)*(made-wanted) + (fidelity-1)*(kept-wanted)*(kept-wanted)
		}
		return sum
	}
	least := cost(v)
	if least > 0.9*cost(w) {
		t.Errorf("cost %g, of the weights themselves %g", least, cost(w))
	}
	for c := range k {
		for _, d := range []float64{-1e-3, 1e-3} {
			near := slices.Clone(v)
			if near[c] += d; cost(near) < least {
				t.Errorf("weight %d moved by %g costs less", c, d)
			}
		}
	}
}

// TestIndependent: every tap of a channel gets the variance of that channel's noise.
func TestIndependent(t *testing.T) {
	l := matrix{groups: 1, outputs: 1, inputs: 4, taps: 2}
	clean := smoothPictures(t, 1, 2, 4)[0]
	x := smoothPictures(t, 1, 2, 4)[0]
	copy(x.Data.([]float32), clean.Data.([]float32))
	for i := range 16 {
		x.Data.([]float32)[16+i] += []float32{-1, 3}[i%2] // mean 1, variance 4
	}
	r := &rounder{workers: kernels.NewWorkers(2)}
	noise, err := r.independent(t.Context(), []twin{{quantized: clean}}, []twin{{quantized: x}}, l, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range noise {
		want := 0.0
		if i == 2*4+2 || i == 3*4+3 {
			want = 4
		}
		if d := v - want; d > 1e-5 || d < -1e-5 {
			t.Errorf("noise %d: %g, want %g", i, v, want)
		}
	}
}

// The moments of own noise are those of a sum over all positions, whose signal counts fidelity times; where
// there is little noise, the signal is what the inputs are and noise of different inputs is independent.
func TestMoments(t *testing.T) {
	const k, side, fidelity = 2, 16, 3
	pictures := smoothPictures(t, 4, k, side)
	values := func(t *runtime.Tensor, c int) []float32 { return t.Data.([]float32)[c*side*side : (c+1)*side*side] }
	var clean, x []twin
	for p := range 2 { // with means that are not 0, and noise that both channels share
		before, read := pictures[2*p], pictures[2*p+1]
		for i := range values(before, 0) {
			values(before, 0)[i] += 3 + float32(p)
			noise := 0.1 * float32(i%3)
			values(read, 0)[i], values(read, 1)[i] = values(before, 0)[i]+noise, values(before, 1)[i]+2*noise+0.05*float32(i%2)
		}
		clean, x = append(clean, twin{float: before, quantized: before}), append(x, twin{float: before, quantized: read})
	}
	covariance := func(a, b func(p, c, i int) float64) []float64 {
		all := make([]float64, k*k)
		for c := range k {
			for d := range k {
				ab, sa, sb, n := 0.0, 0.0, 0.0, 0.0
				for p := range x {
					for i := range side * side {
						u, v := a(p, c, i), b(p, d, i)
						ab, sa, sb, n = ab+u*v, sa+u, sb+v, n+1
					}
				}
				all[c*k+d] = ab/n - sa/n*(sb/n)
			}
		}
		return all
	}
	input := func(p, c, i int) float64 { return float64(values(x[p].quantized, c)[i]) }
	signal := func(p, c, i int) float64 { return float64(values(clean[p].quantized, c)[i]) }
	noise := func(p, c, i int) float64 { return input(p, c, i) - signal(p, c, i) }
	weighed := func(signal, noise []float64) []float64 {
		w := slices.Clone(noise)
		floats.AddScaled(w, fidelity, signal)
		return w
	}
	inputs, own := covariance(input, input), covariance(noise, noise)
	alone := slices.Clone(own)
	alone[1], alone[k] = 0, 0
	r := &rounder{workers: kernels.NewWorkers(2)}
	patches := calib.Patches{Kernel: [2]int{1, 1}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Group: 1}
	layout := matrix{groups: 1, outputs: 1, inputs: k, taps: 1}
	for name, c := range map[string]struct {
		of   func() (*moments, error)
		want moments
	}{
		"own noise": {
			func() (*moments, error) { return r.moments(t.Context(), patches, layout, 0, clean, x, x, fidelity) },
			moments{inputs, own, weighed(covariance(signal, signal), own)},
		},
		"little noise": {
			func() (*moments, error) { return r.fineMoments(t.Context(), patches, layout, 0, clean, x, x, fidelity) },
			moments{inputs, alone, weighed(inputs, alone)},
		},
	} {
		got, err := c.of()
		if err != nil {
			t.Fatal(err)
		}
		for which, pair := range map[string][2][]float64{
			"inputs": {got.inputs, c.want.inputs}, "noise": {got.noise, c.want.noise}, "weighed": {got.weighed, c.want.weighed},
		} {
			if !floats.EqualApprox(pair[0], pair[1], 1e-4) {
				t.Errorf("%s: %s are %v, want %v", name, which, pair[0], pair[1])
			}
		}
	}
}
