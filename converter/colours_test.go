package converter

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

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
	same := []colourMeans{{[]float64{1}, []float64{2}, []float64{3}}, {[]float64{1}, []float64{2}, []float64{3}}}
	if c := fitColours(same); math.Abs(c.At([]float64{3}, []float64{1}, 0)+1) > 1e-6 {
		t.Errorf("pieces that are alike give %+v", c)
	}
}

// At 2 bits colours of the built-in network move; those of other pictures than the
// calibration's move less with the correction, which the file holds.
func TestHoldColours(t *testing.T) {
	if testing.Short() {
		t.Skip("under the race detector it takes minutes")
	}
	ctx := context.Background()
	float, images, data := builtin(t)
	q, err := Quantize(ctx, float, images, options(2, passes.Calibrated, 0))
	if err != nil {
		t.Fatal(err)
	}
	without, corrections := q.Model.Clone(), 0
	for _, v := range without.Graph.Initializers() {
		if strings.HasPrefix(v.Name, without.Graph.Outputs[0].Name+"_mean_") {
			v.SetConst(onnx.Floats(v.Const.Shape, make([]float32, len(v.Const.Data)/4)...))
			corrections++
		}
	}
	if corrections != 2 {
		t.Fatalf("%d tensors of a correction, want gain and bias", corrections)
	}
	shift := map[*onnx.Model]float64{}
	for _, m := range []*onnx.Model{without, q.Model} {
		report, err := Validate(ctx, float, m, data, ValidateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		shift[m] = math.Abs(report.MeanShift)
	}
	t.Logf("moved by %.3f without, by %.3f with it", shift[without], shift[q.Model])
	if shift[q.Model] > shift[without]/2 {
		t.Errorf("a colour moves by %.3f, and by %.3f without correction", shift[q.Model], shift[without])
	}
}
