package passes

import (
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/floats"

	"github.com/daq-sr/daq/calib"
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

// TestInherited: weights that read too much of the picture become smaller by as much, whatever
// the fidelity; ones that read noise as well let less of it through.
func TestInherited(t *testing.T) {
	const gain = 1.5
	x := smoothPictures(t, 1, 1, 16)[0]
	for _, c := range []struct {
		name        string
		fidelity    float64
		noise       float32
		least, most float64
	}{
		{"gain", 1, 0, 1/gain - 1e-3, 1/gain + 1e-3},
		{"noise", 1, 2, 0, 0.9 / gain},
		{"noise and much fidelity", 100, 2, 0.98, 1}, // change of the weights alone counts
	} {
		read := smoothPictures(t, 1, 1, 16)[0]
		for i, v := range x.Data.([]float32) {
			read.Data.([]float32)[i] = gain*v + c.noise*float32(i%2)
		}
		r := &rounder{workers: kernels.NewWorkers(2)}
		patches := calib.Patches{Kernel: [2]int{1, 1}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Group: 1}
		seen := []twin{{float: x, quantized: read}}
		m, err := r.inherited(t.Context(), patches, matrix{groups: 1, outputs: 1, inputs: 1, taps: 1}, 0, seen, seen, seen, 1, c.fidelity)
		if err != nil {
			t.Fatal(err)
		}
		w := []float64{1}
		if err := m.quiet(w, 1, 0); err != nil {
			t.Fatal(err)
		}
		if w[0] < c.least || w[0] > c.most {
			t.Errorf("%s: the weight is %g, want %g to %g", c.name, w[0], c.least, c.most)
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
