package converter

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

// A shift is told from the means where the float network keeps them, whatever the picture, and
// is left alone where it does not.
func TestFitColours(t *testing.T) {
	for _, c := range []struct {
		name              string
		own, added, least float64 // deviation of what the float network and quantization add
		most              float64 // share of the shift that is left
	}{
		{"means kept", 0.01, 0.3, 0, 0.1},
		{"nothing kept", 1, 0.01, 0.9, 1.1},
	} {
		r := rand.New(rand.NewPCG(1, 2))
		sample := func(n int) (pieces []colourMeans) {
			for range n {
				m := colourMeans{}
				for k := range 3 {
					in := 255 * r.Float64()
					float := in + 0.2*float64(k) - 0.002*in + c.own*r.NormFloat64()
					m.in, m.float = append(m.in, in), append(m.float, float)
					m.quantized = append(m.quantized, float+c.added*r.NormFloat64())
				}
				pieces = append(pieces, m)
			}
			return pieces
		}
		fitted := fitColours(sample(64))
		before, left := 0.0, 0.0
		for _, m := range sample(1000) {
			for k := range 3 {
				shift := m.quantized[k] - m.float[k]
				before += shift * shift
				shift += fitted.At(m.quantized, m.in, k)
				left += shift * shift
			}
		}
		if share := math.Sqrt(left / before); share < c.least || share > c.most {
			t.Errorf("%s: %.2f of the shift is left", c.name, share)
		}
	}
	alike := colourMeans{in: []float64{1}, float: []float64{2}, quantized: []float64{3}}
	if c := fitColours([]colourMeans{alike, alike}); math.Abs(c.At([]float64{3}, []float64{1}, 0)+1) > 1e-6 {
		t.Errorf("pieces that are alike give %+v", c)
	}
}

// The worst colour is that of a whole picture, however its pieces differ.
func TestShiftOf(t *testing.T) {
	piece := func(picture string, red, blue float64) colourMeans {
		return colourMeans{picture: picture, in: make([]float64, 2), float: make([]float64, 2), quantized: []float64{red, blue}}
	}
	pieces := []colourMeans{piece("a", 3, -1), piece("a", -3, -1), piece("b", 2, 0), piece("c", 0, 0)}
	q := &Quantized{Network: &calib.Network{Range: 1}}
	if got, want := q.shiftOf(pieces, nil), (shift{rms: math.Sqrt(3), worst: 2}); got != want {
		t.Errorf("shift is %+v, want %+v", got, want)
	}
	back := passes.Colours{Gain: make([]float32, 8), Bias: []float32{-2, 0}}
	if got := q.shiftOf(pieces, func(string) passes.Colours { return back }).worst; got != 2 {
		t.Errorf("with a correction of -2 the worst colour moves by %g, want that of a and c, 2", got)
	}
	none := q.shiftOf(pieces, func(picture string) passes.Colours {
		if picture == "b" {
			return back
		}
		return passes.Colours{Gain: make([]float32, 8), Bias: make([]float32, 2)}
	})
	if none.worst != 1 {
		t.Errorf("with that of b alone it moves by %g, want the blue of a, 1", none.worst)
	}
}

// Colours of the built-in network move in every form; those of other pictures than the
// calibration's move less with the correction, which the file holds.
func TestHoldColours(t *testing.T) {
	if testing.Short() {
		t.Skip("under the race detector it takes minutes")
	}
	ctx := context.Background()
	plain, images, data := builtin(t)
	clipped := plain.Clone()
	made := clipped.Graph.Outputs[0]
	clip := clipped.Graph.NewNode("Clip", []*onnx.Value{
		made,
		clipped.Graph.AddInitializer("black", onnx.Floats(nil, 0)),
		clipped.Graph.AddInitializer("white", onnx.Floats(nil, 1)),
	}, []string{"clipped"})
	clip.Outputs[0].Type = made.Type
	clipped.Graph.Append(clip)
	clipped.Graph.Outputs = nil
	clipped.Graph.AddOutput(clip.Outputs[0])
	for _, form := range []struct {
		mode   target.Mode
		target string
		bits   int
		float  *onnx.Model
	}{
		{target.Dynamic, "portable", 2, plain},
		{target.Static, "onnxruntime", 4, plain},
		{target.Static, "onnxruntime", 4, clipped},
		{target.Static, "storage", 2, plain},
	} {
		float := form.float
		o := options(form.bits, passes.Calibrated, 0)
		o.Mode, o.Target = form.mode, form.target
		q, err := Quantize(ctx, float, images, o)
		if err != nil {
			t.Fatal(err)
		}
		without, corrections := q.Model.Clone(), 0
		for _, v := range without.Graph.Initializers() {
			if strings.HasPrefix(v.Name, made.Name+"_mean_") {
				v.SetConst(onnx.Floats(v.Const.Shape, make([]float32, len(v.Const.Data)/4)...))
				corrections++
			}
		}
		if corrections != 2 {
			t.Errorf("%s: %d tensors of a correction, want gain and bias", form.target, corrections)
			continue
		}
		shift := map[*onnx.Model]float64{}
		for _, m := range []*onnx.Model{without, q.Model} {
			report, err := Validate(ctx, float, m, data, ValidateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			shift[m] = math.Abs(report.MeanShift)
		}
		t.Logf("%s: moved by %.3f without, by %.3f with it", form.target, shift[without], shift[q.Model])
		if !(q.Shift > 0 && q.Shift < shift[without]) {
			t.Errorf("%s: a colour is said to move by %.3f, without correction it is %.3f", form.target, q.Shift, shift[without])
		}
		if shift[q.Model] > shift[without]/2 {
			t.Errorf("%s: a colour moves by %.3f, and by %.3f without correction", form.target, shift[q.Model], shift[without])
		}
	}
}

// Static graphs are compared within black and white; dynamic ones and stored weights as they are.
func TestColourMeansEnd(t *testing.T) {
	m, err := onnx.Parse(`<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,h,w] x) => (float[1,3,h,w] y)
<float k = {2}, float below = {153}>
{
  twice = Mul (x, k)
  y = Sub (twice, below)
}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := onnx.Infer(m); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	picture := imaging.New(16, 16, 3)
	for i := range picture.Pix { // 51 and 255, which become -51 and 357
		picture.Pix[i] = 0.2 + 0.8*float32(i%2)
	}
	if err := imaging.WriteFile(filepath.Join(dir, "stripes.png"), picture); err != nil {
		t.Fatal(err)
	}
	images, err := calib.OpenDataset(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	coded := make([]passes.ActivationPlan, 1)
	for _, form := range []struct {
		name string
		plan passes.Plan
		want float64
	}{
		{"dynamic", passes.Plan{Mode: target.Dynamic, Activations: coded}, 153},
		{"static", passes.Plan{Mode: target.Static, Activations: coded}, 127.5},
		{"storage", passes.Plan{Mode: target.Static}, 153},
	} {
		q := &Quantized{Network: &calib.Network{Range: 255, Channels: 3, Scale: 1, Enlarge: 1}, Plan: &form.plan}
		err := q.colourMeans(context.Background(), m, nil, images, QuantizeOptions{}, func(_ int, made colourMeans) {
			if got := made.quantized[0]; math.Abs(got-form.want) > 1e-4 {
				t.Errorf("%s: the mean is %g, want %g", form.name, got, form.want)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// madeNetwork returns a network x2 with random weights: a convolution from RGB, a Relu, the
// convolution "body", a last convolution.
func madeNetwork(t *testing.T) *onnx.Model {
	t.Helper()
	m, err := onnx.Parse(`<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,h,w] x, float[16,3,3,3] w1, float[16,16,3,3] w2, float[12,16,1,1] w3) => (float[1,3,h2,w2] y)
{
  a = Conv <pads = [1, 1, 1, 1]> (x, w1)
  b = Relu (a)
  [body] c = Conv <pads = [1, 1, 1, 1]> (b, w2)
  d = Conv (c, w3)
  y = DepthToSpace <blocksize = 2> (d)
}`)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, v := range m.Graph.Inputs[1:] {
		shape, _ := v.Type.Shape.Ints()
		n, _ := onnx.Elements(shape)
		data := make([]float32, n)
		for i := range data {
			data[i] = float32(r.NormFloat64()) / 8
		}
		v.SetConst(onnx.Floats(shape, data...))
	}
	m.Graph.Inputs = m.Graph.Inputs[:1]
	if err := onnx.Infer(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// bodyOptions quantize the convolution "body".
func bodyOptions(weights, activations int) QuantizeOptions {
	return QuantizeOptions{
		Settings: passes.Settings{WeightBits: weights, ActivationBits: activations, Rule: passes.Calibrated, Layers: passes.Layers{Include: regexp.MustCompile("body")}},
		Input:    calib.Input{Range: 1},
	}
}

// shifts returns how far networks move the colours of pictures that were not calibrated on.
func shifts(t *testing.T, q *Quantized, float *onnx.Model, data string, networks ...*onnx.Model) (shift []float64) {
	t.Helper()
	others, err := calib.OpenDataset(filepath.Join(data, "LRx2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	pieces := make([]colourMeans, len(others.Names()))
	for i, network := range append([]*onnx.Model{float}, networks...) {
		err := q.colourMeans(context.Background(), network, nil, others, QuantizeOptions{}, func(k int, made colourMeans) {
			if i == 0 {
				pieces[k] = colourMeans{in: made.in, float: made.quantized}
			}
			pieces[k].quantized = made.quantized
		})
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			shift = append(shift, q.shiftOf(pieces, nil).rms)
		}
	}
	return shift
}

// Where most of the shift is what the last weights lost times the means of the picture at
// hand, that is what the network is given.
func TestHoldColoursByTapSums(t *testing.T) {
	m := madeNetwork(t)
	_, images, data := builtin(t)
	q, err := Quantize(context.Background(), m, images, bodyOptions(2, 8))
	if err != nil {
		t.Fatal(err)
	}
	zero := func(m *onnx.Model, prefix string) (zeroed *onnx.Model, count int) {
		zeroed = m.Clone()
		for _, v := range zeroed.Graph.Initializers() {
			if strings.HasPrefix(v.Name, prefix) {
				v.SetConst(onnx.Floats(v.Const.Shape, make([]float32, len(v.Const.Data)/4)...))
				count++
			}
		}
		return zeroed, count
	}
	alone, _ := zero(q.Model, "y_mean_") // what is told from the output comes on top of it
	without, sums := zero(alone, "body_tap_")
	if sums != 2 {
		t.Fatalf("%d tensors of tap sums, want them and their bias", sums)
	}
	shift := shifts(t, q, m, data, without, alone)
	t.Logf("moved by %.4f without, by %.4f with them", shift[0], shift[1])
	if !(shift[1] < shift[0]/2) {
		t.Errorf("colours of other pictures move by %.4f, and by %.4f without tap sums", shift[1], shift[0])
	}
}

// Where clipping moves a colour of a single picture further than can be corrected, windows become wider.
func TestKeepColours(t *testing.T) {
	if testing.Short() {
		t.Skip("under the race detector it takes minutes")
	}
	ctx := context.Background()
	float, err := onnx.Load(testenv.ModelNamed(t, "ESRGAN_slim_x2").Path)
	if err != nil {
		t.Fatal(err)
	}
	pictures := filepath.Join(testenv.Shared(t), "data", "images")
	images, err := calib.OpenDataset(filepath.Join(pictures, "calib", "LRx2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	q, err := Quantize(ctx, float, images, options(4, passes.Calibrated, 0))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Validate(ctx, float, q.Model, filepath.Join(pictures, "Set5"), ValidateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.2f dB, the worst colour moves by %.3f of 255", report.Mean.Quantized.PSNR, report.MeanShift)
	if math.Abs(report.MeanShift) > 0.1 {
		t.Errorf("a colour moves by %.3f of 255", report.MeanShift)
	}
	simple, err := Simplify(ctx, float)
	if err != nil {
		t.Fatal(err)
	}
	usual, err := passes.MakePlan(simple.Graph, options(4, passes.Calibrated, 0).Settings, q.Profile)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range usual.Activations {
		if step, wider := sum(a.Steps), sum(q.Plan.Activations[i].Steps); !(wider > 1.1*step) {
			t.Errorf("steps of %s add up to %g, to %g as usual", a.Tensor, wider, step)
		}
	}
}

func sum(x []float32) (sum float64) {
	for _, v := range x {
		sum += float64(v)
	}
	return sum
}

// Where colours move further than they may, it is enough that the worst comes back.
func TestWorthHolding(t *testing.T) {
	for _, tc := range []struct {
		moved, left shift // of 255
		want        bool
	}{
		{shift{0.01, 0.05}, shift{0, 0}, false},            // too little to care
		{shift{0.0573, 0.078}, shift{0.0288, 0.037}, true}, // the built-in network at 4 bits
		{shift{0.05, 0.09}, shift{0.035, 0.05}, false},
		{shift{0.086, 0.184}, shift{0.068, 0.103}, true},  // ESRGAN_slim_x2 at 4 bits with wider windows
		{shift{0.141, 0.368}, shift{0.092, 0.419}, false}, // and before, 27 photographs
	} {
		of := func(s shift) shift { return shift{s.rms / 255, s.worst / 255} }
		if got := worthHolding(of(tc.moved), of(tc.left)); got != tc.want {
			t.Errorf("%v: %v", tc, got)
		}
	}
}

// A shift of dynamic graphs must tell anything; one of others must be half as far as it may be.
func TestWorthCorrecting(t *testing.T) {
	for _, tc := range []struct {
		moved           shift // of 255
		dynamic, static bool
	}{
		{shift{0.01, 0.15}, false, false},
		{shift{0.03, 0.045}, true, false},
		{shift{0.03, 0.053}, true, true}, // RLFN_x2 at 8 bits
		{shift{0.05, 0.115}, true, true}, // EDSR_x2
	} {
		moved := shift{tc.moved.rms / 255, tc.moved.worst / 255}
		if worthCorrecting(moved, "") != tc.dynamic || worthCorrecting(moved, target.Dynamic) != tc.dynamic || worthCorrecting(moved, target.Static) != tc.static {
			t.Errorf("%v: dynamic %v, static %v", tc, worthCorrecting(moved, target.Dynamic), worthCorrecting(moved, target.Static))
		}
	}
}

// Wider windows must move colours less and not lose much detail.
func TestWorthWidening(t *testing.T) {
	for _, tc := range []struct {
		left, still float64 // of 255, the worst
		lost        float64 // dB
		want        bool
	}{
		{0.291, 0.184, 0.367, true}, // ESRGAN_slim_x2 at 4 bits
		{0.125, 0.114, 0.1, false},
		{0.3, 0.1, 1.2, false}, // RDN_x2 at 3 bits
		{0.3, 0.1, -0.1, true},
	} {
		if got := worthWidening(shift{worst: tc.left / 255}, shift{worst: tc.still / 255}, tc.lost); got != tc.want {
			t.Errorf("%v: %v", tc, got)
		}
	}
}
