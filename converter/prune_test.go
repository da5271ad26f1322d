package converter

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

// closedReLUs is a network with two ReLUs in a row that a Concat gathers, every third channel of
// which never opens.
func closedReLUs(t *testing.T) *onnx.Model {
	t.Helper()
	return closed(t, `g (float[1,3,h,w] x, float[16,3,3,3] k0, float[48,16,3,3] k1, float[48] b1, float[48,48,3,3] k2, float[48] b2, float[16,96,1,1] k3, float[12,16,3,3] k4) => (float[1,3,h2,w2] y)
		{ a = Conv <pads = [1,1,1,1]> (x, k0)
		  c = Conv <pads = [1,1,1,1]> (a, k1, b1)  d = Relu (c)
		  e = Conv <pads = [1,1,1,1]> (d, k2, b2)  f = Relu (e)
		  i = Concat <axis = 1> (d, f)  j = Conv (i, k3)  s = Add (a, j)
		  o = Conv <pads = [1,1,1,1]> (s, k4)  y = DepthToSpace <blocksize = 2, mode = "CRD"> (o) }`)
}

// closed fills the weights of a network; every third channel with a bias is far below zero.
func closed(t *testing.T, graph string) *onnx.Model {
	t.Helper()
	m, err := onnx.Parse(`<ir_version: 8, opset_import: ["" : 13]> ` + graph)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, v := range m.Graph.Inputs {
		shape, known := v.Type.Shape.Ints()
		if !known {
			continue
		}
		n, inputs := 1, 1
		for i, d := range shape {
			n *= int(d)
			if i > 0 {
				inputs *= int(d)
			}
		}
		data := make([]float32, n)
		for i := range data {
			switch {
			case len(shape) > 1:
				data[i] = float32(r.NormFloat64() / math.Sqrt(float64(inputs)))
			case i%3 == 0:
				data[i] = -100
			}
		}
		v.SetConst(onnx.Floats(shape, data...))
	}
	return m
}

func staticOptions() QuantizeOptions {
	o := options(8, passes.Calibrated, 0)
	o.Mode, o.Input.Range = "static", 1
	return o
}

// TestPruned: what is taken out is told, written into the file and compared around; a plan
// that was saved takes out the same.
func TestPruned(t *testing.T) {
	ctx := context.Background()
	float, dir := closedReLUs(t), t.TempDir()
	images, o := onePicture(t, dir), staticOptions()
	q, err := Quantize(ctx, float, images, o)
	if err != nil {
		t.Fatal(err)
	}
	if p := q.Pruned; p == nil || p.Tensors != 2 || p.Of != 96 || p.Channels < 24 {
		t.Fatalf("pruned %+v, want 12 channels or more of each of the two ReLUs", p)
	}
	encode := func(m *onnx.Model) string {
		data, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	text, err := q.Plan.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if o.Plan, err = passes.ParsePlan(text); err != nil {
		t.Fatal(err)
	}
	again, err := Quantize(ctx, float, images, o)
	if err != nil {
		t.Fatal(err)
	}
	if encode(again.Model) != encode(q.Model) || again.Pruned.Channels != q.Pruned.Channels {
		t.Error("the plan made another graph")
	}

	check := func(a, b *onnx.Model) {
		t.Helper()
		c, err := Compare(ctx, a, b, dir, CompareOptions{Input: o.Input})
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, d := range c.Tensors {
			want := map[string]int{"c": 48, "d": 48, "e": 48, "f": 48, "i": 96}[withoutAffixes(d.A)]
			if d.Problem != "" || d.Scaled < 20 || d.Of != want || d.Of > 0 && d.Channels >= d.Of {
				t.Errorf("%+v", d)
			}
			if want > 0 {
				found++
			}
		}
		if found < 4 {
			t.Errorf("%d of the tensors that lost channels were compared", found)
		}
	}
	check(float, q.Model)
	check(q.Model, float)
}

// TestPruneElsewhere: channels stay where without them quantizers would stand at tensors that were not calibrated: the 1x1
// convolution has 144 inputs and would have 96, too few to give floats.
func TestPruneElsewhere(t *testing.T) {
	float, dir := closed(t, `g (float[1,3,h,w] x, float[64,3,3,3] k0, float[72,64,3,3] k1, float[72] b1, float[72,72,3,3] k2, float[72] b2, float[64,144,1,1] k3, float[64,128,1,1] k4, float[64,64,3,3] k5, float[12,64,3,3] k6, float[64,144,1,1] k7) => (float[1,3,h2,w2] y)
		{ a = Conv <pads = [1,1,1,1]> (x, k0)
		  c = Conv <pads = [1,1,1,1]> (a, k1, b1)  d = Relu (c)
		  e = Conv <pads = [1,1,1,1]> (d, k2, b2)  f = Relu (e)
		  i = Concat <axis = 1> (d, f)  j = Conv (i, k3)  r = Add (a, j)  k = Conv (i, k7)  l = Add (r, k)
		  u = Concat <axis = 1> (r, l)  v = Conv (u, k4)  z = Conv <pads = [1,1,1,1]> (v, k5)  s = Add (z, a)
		  o = Conv <pads = [1,1,1,1]> (s, k6)  y = DepthToSpace <blocksize = 2, mode = "CRD"> (o) }`), t.TempDir()
	images, o := onePicture(t, dir), staticOptions()
	if q, err := Quantize(context.Background(), float, images, o); err != nil || q.Pruned != nil {
		t.Fatal(q, err)
	}
}

// TestPruneNothing: without a convolution there is nothing to take out, and nothing to quantize.
func TestPruneNothing(t *testing.T) {
	m := closed(t, `g (float[1,3,h,w] x) => (float[1,3,h,w] y) { y = Relu (x) }`)
	o := options(8, passes.Calibrated, 0)
	o.Mode, o.Profile = "static", calib.NewProfile(digest(m), 1)
	o.Profile.Static = true
	_, err := Quantize(context.Background(), m, nil, o)
	if err == nil || !strings.HasPrefix(err.Error(), "the network has no convolution") {
		t.Error(err)
	}
}
