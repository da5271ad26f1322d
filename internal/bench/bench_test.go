package bench

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/models"
	"github.com/daq-sr/daq/onnx"
)

func parse(t *testing.T, text string) *onnx.Model {
	t.Helper()
	m, err := onnx.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPublishedWork compares with the multiply-adds that papers state for an
// output of 1280x720: CARN (Ahn et al. 2018, table 1, with VDSR), IMDN (Hui et al.
// 2019), RFDN (Liu et al. 2020), PAN (Zhao et al. 2020), all in G.
func TestPublishedWork(t *testing.T) {
	for name, want := range map[string]float64{
		"CARN_x2": 222.8, "CARN_M_x4": 32.5, "VDSR_Y_x1": 612.6, "IMDN_x4": 40.9, "PAN_x4": 28.2, "RFDN_x4": 23.7,
	} {
		net := testenv.ModelNamed(t, name)
		m, err := onnx.Load(net.Path)
		if err != nil {
			t.Fatal(err)
		}
		channels := int64(3)
		if net.Y {
			channels = 1
		}
		w, err := workOf(m, map[string][]int64{"input": {1, channels, int64(720 / net.Scale), int64(1280 / net.Scale)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := w.total / 1e9; math.Abs(got-want) > 0.1 || len(w.uncounted) > 0 {
			t.Errorf("%s: %.2f G, published %.1f; not counted %v", name, got, want, w.uncounted)
		}
	}
}

// TestWork counts by hand.
func TestWork(t *testing.T) {
	m := parse(t, `
<ir_version: 10, opset_import: ["": 21]>
agraph (float[1,4,H,W] x, float[4,2,3,3] grouped, float[4,3,2,2] up, float[5,6] a, float[5,7] b, float[2,3,5] q, float[7,5] k)
  => (float[N,C,H2,W2] y, float[R,S] z, float[B,I,J] e, float[B,I,J] p)
{
  [strided] s = Conv <group = 2, kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x, grouped)
  [larger] y = ConvTranspose <strides = [2, 2]> (s, up)
  [gemm] z = Gemm <transA = 1> (a, b)
  [einsum] e = Einsum <equation = "bid,jd->bij"> (q, k)
  kt = Transpose <perm = [1, 0]> (k)
  [matmul] p = MatMul (q, kt)
}`)
	w, err := workOf(m, map[string][]int64{"x": {1, 4, 10, 12}})
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for label, want := range map[string]float64{
		"strided": 4 * 5 * 6 * 2 * 9, // outputs times taps of one group
		"larger":  4 * 5 * 6 * 3 * 4, // inputs times outputs each adds to
		"gemm":    6 * 7 * 5,
		"einsum":  2 * 3 * 7 * 5,
		"matmul":  2 * 3 * 7 * 5,
		"kt":      0,
	} {
		if got := w.take(label); got != want {
			t.Errorf("%s: %g, want %g", label, got, want)
		}
		total += want
	}
	if w.total != total || len(w.uncounted) > 0 {
		t.Errorf("total %g, want %g; not counted %v", w.total, total, w.uncounted)
	}
	if w, err = workOf(m, nil); err != nil || !slices.Equal(w.uncounted, []string{"strided", "larger"}) {
		t.Errorf("without sizes: not counted %v, error %v", w.uncounted, err)
	}
}

func TestModels(t *testing.T) {
	m, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	other := parse(t, `
<ir_version: 10, opset_import: ["": 21]>
agraph (uint8[1,3,20,24] x) => (float[1,3,20,24] y) { f = Cast <to = 1> (x)  y = Tanh (f) }`)
	rounds := 0
	results, peak, err := Models(context.Background(), []*onnx.Model{m, other}, Options{
		Threads: 2, Runs: 3, Progress: func(done, total int) { rounds = done*10 + total },
	})
	if err != nil {
		t.Fatal(err)
	}
	if rounds != 33 || peak <= 0 {
		t.Errorf("progress ended at %d, peak %g", rounds, peak)
	}
	for i, r := range results {
		if len(r.TimesMS) != 3 || r.MinMS <= 0 || r.MedianMS < r.MinMS || r.MedianMS != slices.Sorted(slices.Values(r.TimesMS))[1] {
			t.Errorf("network %d: median %g, least %g of %v", i, r.MedianMS, r.MinMS, r.TimesMS)
		}
		work := 0.0
		for _, l := range r.Layers {
			if l.Name == "" || l.Op == "" || l.MS <= 0 {
				t.Errorf("network %d: layer %+v", i, l)
			}
			work += l.GMACs
		}
		if math.Abs(work-r.GMACs) > 1e-12 {
			t.Errorf("network %d: layers have %g GMAC, all have %g", i, work, r.GMACs)
		}
	}
	a, b := results[0], results[1]
	if want := "[input float[1,3,128,128]]"; len(a.Inputs) != 1 || !strings.HasSuffix(a.Inputs[0], "float[1,3,128,128]") {
		t.Errorf("inputs %v, want %s", a.Inputs, want)
	}
	if want := 4 * 3 * 128 * 128; a.PeakBytes < int64(want) || a.GMACs <= 0 || a.Rate <= 0 || a.PeakShare <= 0 {
		t.Errorf("%d bytes at a time, %g GMAC, %g GMAC/s, %g of the peak", a.PeakBytes, a.GMACs, a.Rate, a.PeakShare)
	}
	if b.Inputs[0] != "x uint8[1,3,20,24]" || b.GMACs != 0 {
		t.Errorf("the other network: %v, %g GMAC", b.Inputs, b.GMACs)
	}
}

func TestErrors(t *testing.T) {
	fixed := parse(t, `
<ir_version: 10, opset_import: ["": 21]>
agraph (float[1,3,20,24] x) => (float[1,3,20,24] y) { y = Tanh (x) }`)
	huge := parse(t, `
<ir_version: 10, opset_import: ["": 21]>
agraph (float[1,3000000,H,W] x) => (float[1,3000000,H,W] y) { y = Tanh (x) }`)
	flat := parse(t, `
<ir_version: 10, opset_import: ["": 21]>
agraph (float[N,8] x) => (float[N,8] y) { y = Tanh (x) }`)
	text := parse(t, `
<ir_version: 10, opset_import: ["": 21]>
agraph (string[2] x) => (string[2] y) { y = Identity (x) }`)
	for _, c := range []struct {
		m    *onnx.Model
		o    Options
		want string
	}{
		{fixed, Options{Height: 8, Width: 8}, "cannot have the size 8x8"},
		{flat, Options{Height: 20, Width: 24}, "leave the size out"},
		{huge, Options{}, "choose a smaller size"},
		{text, Options{}, "text cannot be made up"},
	} {
		if _, _, err := Models(context.Background(), []*onnx.Model{c.m}, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	_, _, err := Models(context.Background(), []*onnx.Model{fixed, huge}, Options{})
	if which := (*ModelError)(nil); !errors.As(err, &which) || which.Index != 1 {
		t.Errorf("error %v does not name the second network", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Models(ctx, []*onnx.Model{fixed}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRatio(t *testing.T) {
	got := RatioOf([]float64{2, 4, 9, 4, 6}, []float64{1, 2, 3, 4, 2})
	if want := (Ratio{2, 2, 3}); got != want { // pairs 2 2 3 1 3
		t.Errorf("%v, want %v", got, want)
	}
	if got := Median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median %g, want 2.5", got)
	}
	if got := Median([]float64{7}); got != 7 {
		t.Errorf("median %g, want 7", got)
	}
}
