package converter

import (
	"context"
	"math"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// Static ranges keep colours that few calibration pictures have: without calib.Colours a green moves by 6 of 255.
func TestStaticKeepsColours(t *testing.T) {
	ctx := context.Background()
	float, images, _ := builtin(t)
	o := options(8, passes.Calibrated, 0)
	o.Mode, o.Target = "static", "onnxruntime"
	q, err := Quantize(ctx, float, images, o)
	if err != nil {
		t.Fatal(err)
	}
	if given := len(images.Names()); q.Plan.Images != given {
		t.Errorf("the plan was made from %d pictures, %d were given", q.Plan.Images, given)
	}
	before, err := Open(ctx, float, calib.Input{}, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	after, err := Open(ctx, q.Model, calib.Input{}, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, colour := range [][3]float32{{1, 0, 0}, {1, 1, 0}, {0, 1, 0}, {0, 1, 1}, {0, 0, 1}, {1, 0, 1}, {0.5, 0, 0.9}} {
		m := imaging.New(48, 48, 3)
		for c, x := range colour {
			for i := range m.Plane(c) {
				m.Plane(c)[i] = x * (1 - float32(i%48)/96)
			}
		}
		want, err := before.Upscale(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := after.Upscale(ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		if shift := meanShift(want, got); math.Abs(shift) > 2 {
			t.Errorf("%v moves by %.2f of 255", colour, shift)
		}
	}
}
