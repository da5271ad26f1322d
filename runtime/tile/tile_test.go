package tile_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/models"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
	"github.com/daq-sr/daq/runtime/tile"
)

// whole runs a network in one piece.
func whole(t *testing.T, m *onnx.Model, x *runtime.Tensor, o runtime.Options) *runtime.Tensor {
	t.Helper()
	p, err := runtime.Compile(m, o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Run(t.Context(), map[string]*runtime.Tensor{p.Inputs()[0]: x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out[p.Outputs()[0]]
}

// tiled runs it in tiles of at most side pixels.
func tiled(t *testing.T, m *onnx.Model, x *runtime.Tensor, side int, o runtime.Options) (*runtime.Tensor, *tile.Job) {
	t.Helper()
	n, err := tile.New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	h, w := x.Shape[2], x.Shape[3]
	j, err := n.Plan(t.Context(), h, w, 1<<30, side, side)
	if err != nil {
		t.Fatal(err)
	}
	out, err := runtime.New(onnx.Float, 1, x.Shape[1], h*j.Scale[0], w*j.Scale[1])
	if err != nil {
		t.Fatal(err)
	}
	src, dst := x.Data.([]float32), out.Data.([]float32)
	read := func(r tile.Rect, part []float32) error {
		for c := range x.Shape[1] {
			for y := range r.Height {
				copy(part[(c*r.Height+y)*r.Width:][:r.Width], src[(c*h+r.Y+y)*w+r.X:])
			}
		}
		return nil
	}
	write := func(r tile.Rect, planes []float32) error {
		th, tw := r.Height*j.Scale[0], r.Width*j.Scale[1]
		for c := range x.Shape[1] {
			for y := range th {
				copy(dst[(c*out.Shape[2]+r.Y*j.Scale[0]+y)*out.Shape[3]+r.X*j.Scale[1]:], planes[(c*th+y)*tw:][:tw])
			}
		}
		return nil
	}
	if err := j.Run(t.Context(), read, write, nil); err != nil {
		t.Fatal(err)
	}
	return out, j
}

// difference is the largest between two tensors, over the range of the first.
func difference(t *testing.T, want, got *runtime.Tensor) (worst float64, equal bool) {
	t.Helper()
	a, b := want.Data.([]float32), got.Data.([]float32)
	if fmt.Sprint(want.Shape) != fmt.Sprint(got.Shape) {
		t.Fatalf("%s, want %s", got, want)
	}
	lo, hi := a[0], a[0]
	equal = true
	for i := range a {
		lo, hi = min(lo, a[i]), max(hi, a[i])
		d := math.Abs(float64(a[i] - b[i]))
		if !(d <= worst) {
			worst = d
		}
		equal = equal && a[i] == b[i]
	}
	return worst / float64(hi-lo), equal
}

// photo is part of a photograph as the input of a network.
func photo(t *testing.T, net testenv.Model, name string, h, w int) *runtime.Tensor {
	t.Helper()
	m, err := imaging.ReadFile(filepath.Join(testenv.Shared(t), "data", "images", name))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.Crop(w, h); err != nil {
		t.Fatal(err)
	}
	channels := 3
	if net.Y {
		m, channels = m.Y(), 1
	}
	for i := range m.Pix {
		m.Pix[i] *= net.Range
	}
	x, err := runtime.Of([]int{1, channels, h, w}, m.Pix)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// Real networks in tiles give what they give in one piece: bit for bit where sums
// are in the order of the definition; Winograd's rounding depends on what lies
// beside a pixel.
func TestNetworksInTiles(t *testing.T) {
	for _, net := range testenv.Models(t) {
		t.Run(net.Name, func(t *testing.T) {
			t.Parallel()
			m, err := onnx.Load(net.Path)
			if err != nil {
				t.Fatal(err)
			}
			x := photo(t, net, "Set5/LRx2/butterfly.png", 77, 51)
			forms := []runtime.Options{{Strict: true}}
			if net.Name == "EDSR_x2" || net.Name == "RLFN_x2" {
				forms = append(forms, runtime.Options{})
			}
			for _, o := range forms {
				got, j := tiled(t, m, x, 40, o)
				worst, equal := difference(t, whole(t, m, x, o), got)
				t.Logf("strict %v: %d tiles, %d passes; largest difference %.1e of the range", o.Strict, len(j.Tiles), j.Passes(), worst)
				if len(j.Tiles) < 4 || !(worst < 1e-5) || o.Strict && j.Passes() == 1 && !equal {
					t.Errorf("strict %v: the largest difference is %.1e of the range", o.Strict, worst)
				}
			}
		})
	}
}

// Small graphs, one for each way of looking at a part of the picture. The sizes
// are such that the last tiles are cut in every way.
func TestOperatorsInTiles(t *testing.T) {
	const weights = `<float[3,3,3,3] w = {%s}, float[3,3,4,4] v = {%s}, float[3,1,3,3] d = {%s}, int64[8] pads = {0,0,2,1,0,0,1,2}, int64[2] hw = {2,3},
		int64[2] cutFrom = {1,3}, int64[2] cutTo = {-2,9223372036854775807}, float[3] slope = {0.1,0.2,0.3}, float[1] two = {2}, float[4] up = {1,1,2,2}, float[4] odd = {1,1,0.5,0.5}>`
	random := rand.New(rand.NewPCG(3, 4))
	list := func(n int) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "%.3f", random.NormFloat64()/3)
		}
		return b.String()
	}
	head := fmt.Sprintf(weights, list(81), list(144), list(27))
	for name, body := range map[string]string{
		"conv":             `a = Conv <pads = [1,1,1,1]> (x, w) b = Relu (a) y = Conv <pads = [2,2,2,2], dilations = [2,2]> (b, w)`,
		"same":             `a = Conv <auto_pad = "SAME_UPPER"> (x, w) y = Conv <auto_pad = "SAME_LOWER"> (a, v)`,
		"valid, padded":    `p = Pad <mode = "reflect"> (x, pads) q = Conv (p, v) y = Tanh (q)`,
		"edge":             `p = Pad <mode = "edge"> (x, pads) y = Conv (p, v)`,
		"depthwise":        `y = Conv <pads = [1,1,1,1], group = 3> (x, d)`,
		"strided":          `a = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w) b = ConvTranspose <strides = [2,2], pads = [1,1,1,1]> (a, v) y = Relu (b)`,
		"pools":            `a = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (x) y = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (a)`,
		"counted pool":     `y = AveragePool <kernel_shape = [5,5], pads = [2,2,2,2], count_include_pad = 1> (x)`,
		"space to depth":   `a = SpaceToDepth <blocksize = 2> (x) b = Tanh (a) y = DepthToSpace <blocksize = 2> (b)`,
		"resize linear":    `y = Resize <mode = "linear"> (x, , up)`,
		"resize cubic":     `y = Resize <mode = "cubic", coordinate_transformation_mode = "asymmetric"> (x, , up)`,
		"resize nearest":   `y = Resize <mode = "nearest"> (x, , up)`,
		"resize corners":   `y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , up)`,
		"down and up":      `a = Resize <mode = "linear"> (x, , odd) s = Shape (x) y = Resize <mode = "linear"> (a, , , s)`,
		"pool and up":      `a = MaxPool <kernel_shape = [7,7], strides = [3,3]> (x) s = Shape (x) r = Resize <mode = "linear"> (a, , , s) g = Sigmoid (r) y = Mul (x, g)`,
		"crop":             `p = Pad (x, pads) q = Slice (p, cutFrom, cutTo, hw) y = Relu (q)`,
		"channels":         `a, b, c = Split <axis = 1, num_outputs = 3> (x) d0 = Concat <axis = 1> (c, a, b) e = PRelu (d0, d1) d1 = Constant <value = float[3,1,1] {0.1,0.2,0.3}> () s = Softmax <axis = 1> (e) y = Add (s, x)`,
		"attention":        `m = GlobalAveragePool (x) g = Sigmoid (m) y = Mul (x, g)`,
		"two levels":       `c = Conv <pads = [1,1,1,1]> (x, w) m = ReduceMean <keepdims = 1> (c, hw2) hw2 = Constant <value_ints = [2,3]> () g = Sigmoid (m) a = Mul (c, g) e = Conv <pads = [1,1,1,1]> (a, w) n = GlobalMaxPool (e) y = Sub (e, n)`,
		"contrast":         `hw2 = Constant <value_ints = [2,3]> () m = GlobalAveragePool (x) c = Sub (x, m) q = Pow (c, two) v0 = ReduceMean (q, hw2) s = Sqrt (v0) y = Div (c, s)`,
		"instance norm":    `a = InstanceNormalization <epsilon = 0.01> (x, slope, slope) b = Relu (a) y = Conv <pads = [1,1,1,1]> (b, w)`,
		"last norm":        `a = Conv <pads = [1,1,1,1]> (x, w) y = InstanceNormalization (a, slope, slope)`,
		"sums and numbers": `hw2 = Constant <value_ints = [2,3]> () s = ReduceSum (x, hw2) z = Shape (x) i2 = Constant <value_ints = [2]> () i3 = Constant <value_ints = [3]> () h = Gather (z, i2) l = Gather (z, i3) n = Mul (h, l) f = Cast <to = 1> (n) m = Div (s, f) y = Sub (x, m)`,
	} {
		t.Run(name, func(t *testing.T) {
			m, err := onnx.Parse(`<ir_version: 10, opset_import: ["" : 20]> g (float[1,3,h,w0] x) => (float[1,3,oh,ow] y) ` + head + ` {` + body + `}`)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Graph.Sort(); err != nil {
				t.Fatal(err)
			}
			for _, size := range [][2]int{{64, 40}, {90, 54}, {66, 102}} {
				x, err := runtime.New(onnx.Float, 1, 3, size[0], size[1])
				if err != nil {
					t.Fatal(err)
				}
				for i, d := 0, x.Data.([]float32); i < len(d); i++ {
					d[i] = float32(random.NormFloat64()) + float32(i%size[1])/20
				}
				o := runtime.Options{Strict: true, Threads: 1}
				want := whole(t, m, x, o)
				got, j := tiled(t, m, x, 8, o)
				worst, equal := difference(t, want, got)
				if len(j.Tiles) < 2 || j.Passes() == 1 && !equal || worst > 1e-6 {
					t.Errorf("%v, %d tiles, %d passes: largest difference %.1e of the range", size, len(j.Tiles), j.Passes(), worst)
				}
			}
		})
	}
}

// What looks at the whole picture, and is no statistic, is refused by name.
func TestNotInTiles(t *testing.T) {
	for body, want := range map[string]string{
		`y = MatMul (x, x)`:                                `node MatMul`,
		`y = Softmax <axis = 3> (x)`:                       `along the picture`,
		`s = Shape (x) f = Flatten (x) y = Reshape (f, s)`: `node Flatten`,
		`y = Add (x, c) c = RandomNormal <shape=[8,8]> ()`: `made for one size`,
	} {
		m, err := onnx.Parse(`<ir_version: 10, opset_import: ["" : 20]> g (float[1,3,h,w] x) => (float[1,3,h,w] y) {` + body + `}`)
		if err != nil {
			t.Fatal(err)
		}
		n, err := tile.New(m, runtime.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Plan(t.Context(), 8, 8, 1<<30, 0, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}

// Quantized networks: static ones take their steps from the file and are exact; where they correct
// means of colours, but for the order in which the mean of what they make is summed.
// Those of dynamic DAQ go on with merged statistics: as near the float network as
// in one piece, and with no larger differences beside seams than elsewhere.
func TestQuantizedNetworksInTiles(t *testing.T) {
	float, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	images, err := calib.OpenDataset(filepath.Join(testenv.Root(), "models", "builtin", "images", "calibration", "LRx2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	quantized := func(images *calib.Dataset, o converter.QuantizeOptions) *converter.Quantized {
		o.WeightBits, o.ActivationBits = 4, 4
		q, err := converter.Quantize(t.Context(), float, images, o)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	file := filepath.Join(testenv.Root(), "models", "builtin", "images", "validation", "HR", "life_by_Aitzol_Berasategi.png")
	picture, err := imaging.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const h, w, side = 96, 136, 40
	picture = picture.Region(20, 30, w, h)
	x, err := runtime.Of([]int{1, 3, h, w}, picture.Pix)
	if err != nil {
		t.Fatal(err)
	}
	o := runtime.Options{Strict: true}

	corrected := quantized(images, converter.QuantizeOptions{Mode: target.Static, Settings: passes.Settings{Rule: passes.Calibrated}})
	got, j := tiled(t, corrected.Model, x, side, o)
	if d, _ := difference(t, whole(t, corrected.Model, x, o), got); d > 1e-6 || j.Passes() != 2 || !j.Exact {
		t.Errorf("static with correction: %g off in %d tiles and %d passes", d, len(j.Tiles), j.Passes())
	}
	static := quantized(nil, converter.QuantizeOptions{Plan: corrected.Plan}).Model // without pictures there is nothing to correct by
	got, j = tiled(t, static, x, side, o)
	if _, equal := difference(t, whole(t, static, x, o), got); !equal || j.Passes() != 1 {
		t.Errorf("static: not the same in %d tiles and %d passes", len(j.Tiles), j.Passes())
	}

	dynamic := quantized(images, converter.QuantizeOptions{Settings: passes.Settings{Rule: passes.Paper}}).Model
	got, j = tiled(t, dynamic, x, side, o)
	want, best := whole(t, dynamic, x, o), whole(t, float, x, o)
	if j.Passes() != 2 || j.Exact {
		t.Errorf("dynamic: %d passes", j.Passes())
	}
	inPieces, inOne := distance(best, got, nil), distance(best, want, nil)
	seam := func(y, x int) bool {
		y, x = (y+4)%(2*j.Tiles[0].Height), (x+4)%(2*j.Tiles[0].Width)
		return y < 8 || x < 8
	}
	near := distance(want, got, seam)
	away := distance(want, got, func(y, x int) bool { return !seam(y, x) })
	t.Logf("from float: in one piece %.4f, in tiles %.4f; tiles from one piece: beside seams %.4f, elsewhere %.4f", inOne, inPieces, near, away)
	if inPieces > inOne*1.05 || near > away*1.15 || near == 0 {
		t.Errorf("from float: in one piece %.4f, in tiles %.4f; tiles from one piece: beside seams %.4f, elsewhere %.4f", inOne, inPieces, near, away)
	}
}

// distance is the root of the mean square difference, where only says.
func distance(a, b *runtime.Tensor, only func(y, x int) bool) float64 {
	p, q := a.Data.([]float32), b.Data.([]float32)
	sum, n := 0.0, 0
	for i := range p {
		if only != nil && !only(i/a.Shape[3]%a.Shape[2], i%a.Shape[3]) {
			continue
		}
		d := float64(p[i] - q[i])
		sum += d * d
		n++
	}
	return math.Sqrt(sum / float64(n))
}
