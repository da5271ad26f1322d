package passes

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

func pruning(plans ...PrunePlan) Pass {
	return Pass{"prune", func(_ context.Context, m *onnx.Model) (int, error) {
		if err := onnx.Infer(m); err != nil {
			return 0, err
		}
		_, err := Prune(m.Graph, plans)
		return len(plans), err
	}}
}

// TestPrune takes out channel 1, which is 3 everywhere, so that ONNX Runtime must give the
// same outputs before and after.
func TestPrune(t *testing.T) {
	const in = `g (float[n,2,h,w] x) => (float[n,2,h,w] y) `
	checkRewrites(t, pruning(PrunePlan{"d", []int{1}, []float32{3}}), []rewrite{
		{"behind a ReLU",
			in + `<float[3,2,1,1] k = {1,2,0,0,3,4}, float[3] b = {5,3,6}, float[2,3,1,1] l = {1,2,3,4,5,6}>
			{ c = Conv (x, k, b)  d = Relu (c)  y = Conv (d, l) }`,
			in + `<float[2,2,1,1] k = {1,2,3,4}, float[2] b = {5,6}, float[2,2,1,1] l = {1,3,4,6}, float[2] y_bias = {6,15}>
			{ c = Conv (x, k, b)  d = Relu (c)  y = Conv (d, l, y_bias) }`},
		{"slopes of its own, several taps",
			in + `<float[3,2,1,1] k = {1,2,0,0,3,4}, float[3] b = {5,3,6}, float[3,1,1] s = {0.5,0.25,2}, float[2,3,1,2] l = {1,1,2,2,3,3,4,4,5,5,6,6}, float[2] m = {1,2}>
			{ c = Conv (x, k, b)  d = PRelu (c, s)  y = Conv (d, l, m) }`,
			in + `<float[2,2,1,1] k = {1,2,3,4}, float[2] b = {5,6}, float[2,1,1] s = {0.5,2}, float[2,2,1,2] l = {1,1,3,3,4,4,6,6}, float[2] m = {13,32}>
			{ c = Conv (x, k, b)  d = PRelu (c, s)  y = Conv (d, l, m) }`},
		{"in Concats and by itself",
			in + `<float[3,2,1,1] k = {1,2,0,0,3,4}, float[3] b = {5,3,6}, float[2,3,1,1] l = {1,2,3,4,5,6}, float[2,5,1,1] o = {1,2,3,4,5,6,7,8,9,10}, float[2] p = {0,0}>
			{ c = Conv (x, k, b)  d = LeakyRelu (c)  e = Conv (d, l)  f = Concat <axis = 1> (e, d)  y = Conv (f, o, p) }`,
			in + `<float[2,2,1,1] k = {1,2,3,4}, float[2] b = {5,6}, float[2,2,1,1] l = {1,3,4,6}, float[2,4,1,1] o = {1,2,3,5,6,7,8,10}, float[2] p = {12,27}, float[2] e_bias = {6,15}>
			{ c = Conv (x, k, b)  d = LeakyRelu (c)  e = Conv (d, l, e_bias)  f = Concat <axis = 1> (e, d)  y = Conv (f, o, p) }`},
	})
}

func TestPruneErrors(t *testing.T) {
	const weights = `<float[3,2,1,1] k = {1,2,0,0,3,4}, float[2,3,1,1] l = {1,2,3,4,5,6}> `
	chain := `g (float[n,2,h,w] x) => (float[n,2,h,w] y) ` + weights + `{ c = Conv (x, k)  d = Relu (c)  y = Conv (d, l) }`
	for _, tc := range []struct {
		name, graph string
		plan        PrunePlan
		want        string
	}{
		{"no such tensor", chain, PrunePlan{"q", []int{1}, []float32{0}}, "no such tensor"},
		{"in front of the activation", chain, PrunePlan{"c", []int{1}, []float32{0}}, "no such tensor"},
		{"output of the graph", chain, PrunePlan{"y", []int{1}, []float32{0}}, "no such tensor"},
		{"no such channel", chain, PrunePlan{"d", []int{3}, []float32{0}}, "channel 3"},
		{"twice", chain, PrunePlan{"d", []int{1, 1}, []float32{0, 0}}, "channel 1"},
		{"all", chain, PrunePlan{"d", []int{0, 1, 2}, []float32{0, 0, 0}}, "3 channels and 3 means"},
		{"none", chain, PrunePlan{Tensor: "d"}, "0 channels"},
		{"without mean", chain, PrunePlan{"d", []int{1}, nil}, "0 means"},
		{"a sum reads it", `g (float[n,2,h,w] x) => (float[n,2,h,w] y) ` + weights + `{ c = Conv (x, k)  d = Relu (c)  e = Add (d, d)  y = Conv (e, l) }`,
			PrunePlan{"d", []int{1}, []float32{0}}, "no such tensor"},
		{"shared weights", `g (float[n,2,h,w] x) => (float[n,2,h,w] y) ` + weights + `{ c = Conv (x, k)  d = Relu (c)  e = Conv (d, l)  f = Conv (e, k)  y = Conv (f, l) }`,
			PrunePlan{"d", []int{1}, []float32{0}}, "no such tensor"},
		{"a ReLU reads the Concat", `g (float[n,2,h,w] x) => (float[n,2,h,w] y) <float[3,2,1,1] k = {1,2,0,0,3,4}, float[2,5,1,1] l = {1,2,3,4,5,6,7,8,9,10}> { c = Conv (x, k)  d = Concat <axis = 1> (x, c)  e = Relu (d)  y = Conv (e, l) }`,
			PrunePlan{"c", []int{1}, []float32{-3}}, "no such tensor"},
	} {
		m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]> `+tc.graph)
		if _, err := Prune(m.Graph, []PrunePlan{tc.plan}); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "plan: ") {
			t.Errorf("%s: error %v, want one of the plan with %q", tc.name, err, tc.want)
		}
	}
}

// TestQuietChannels: of 48 channels 20 never change, 4 hardly do, and the others are loud. Those that never change are
// silent where they are zero or 1x1 convolutions read them: others have zeros around.
func TestQuietChannels(t *testing.T) {
	ort, err := target.Named("onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		kernel      int // that reads d
		mean, price float64
		want        int // of d: g is in what the last convolution reads
	}{{3, 0, Silent, 20}, {3, 0, 1, 24}, {3, 0, 1e-6, 32}, {3, 2, Silent, 0}, {3, 2, 1e-6, 32}, {1, 2, Silent, 20}, {1, 2, 1, 24}} {
		m := parseInferred(t, fmt.Sprintf(`<ir_version: 8, opset_import: ["" : 13]>
			g (float[1,3,h,w] x, float[48,3,3,3] k, float[48] b, float[8,48,%[1]d,%[1]d] l, float[48,8,1,1] o, float[3,56,1,1] p) => (float[1,3,h,w] y)
			{ c = Conv <pads = [1,1,1,1]> (x, k, b)  d = Relu (c)  e = Conv <pads = [%[2]d,%[2]d,%[2]d,%[2]d]> (d, l)
			  f = Conv (e, o)  g = Relu (f)  i = Concat <axis = 1> (e, g)  y = Conv (i, p) }`, tc.kernel, tc.kernel/2))
		plans := QuietChannels(m.Graph, ort, Layers{}, quietProfile(t, m, float32(tc.mean)), tc.price)
		if tc.want == 0 && len(plans) == 0 {
			continue
		}
		if len(plans) != 1 || plans[0].Tensor != "d" || len(plans[0].Channels) != tc.want || plans[0].Means[0] != float32(tc.mean) {
			t.Errorf("%+v: %v", tc, plans)
		}
	}
}

// quietProfile has statistics of channels that go from a mean up, not at all, hardly, or by 9.
func quietProfile(t *testing.T, m *onnx.Model, mean float32) *calib.Profile {
	t.Helper()
	profile := calib.NewProfile("", 1)
	profile.Static = true
	if err := profile.AddImage(calib.Source{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "d", "e", "g"} {
		channels := int(channelsOf(m.Graph.Value(name)))
		s, err := profile.Tensor(name, quant.Signed, channels)
		if err != nil {
			t.Fatal(err)
		}
		values := make([]float32, channels*100)
		for c := range channels {
			loud := float32(1)
			switch {
			case c%12 < 5:
				loud = 0
			case c%12 == 5:
				loud = 1e-3
			}
			for i := range 100 {
				values[c*100+i] = mean + loud*float32(i%10)
			}
		}
		if err := s.Observe(values, 100); err != nil {
			t.Fatal(err)
		}
	}
	return profile
}

func TestWorthLeast(t *testing.T) {
	order := make([]int, 64)
	signal := make([]float64, 64)
	for c := range order {
		order[c] = c
		signal[c] = float64(c * c)
	}
	for _, tc := range []struct {
		noise, price float64
		want         int
	}{
		{1, Silent, 0},   // one channel alone is silent: no four
		{1, 1e-9, 48},    // sixteen stay
		{1240, 0.15, 16}, // 0.15 for 16 channels, which save half
		{1240, 0.52, 8},  // 0.52 for them: 8 cost 0.06 and save 0.125
		{0, 0.1, 0},      // nothing is rounded: every signal counts
		{1e9, 0.1, 48},   // noise drowns all
		{1240, 1e6, 0},
	} {
		if got := worthLeast(order, signal, tc.noise, tc.price); got != tc.want {
			t.Errorf("noise %g, price %g: %d, want %d", tc.noise, tc.price, got, tc.want)
		}
	}
}
