package converter

import (
	"bytes"
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/models"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

func builtin(t *testing.T) (*onnx.Model, *calib.Dataset, string) {
	t.Helper()
	m, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	images := filepath.Join(testenv.Root(), "models", "builtin", "images")
	set, err := calib.OpenDataset(filepath.Join(images, "calibration", "LRx2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	return m, set, filepath.Join(images, "validation")
}

func options(bits int, rule passes.Rule, threads int) QuantizeOptions {
	return QuantizeOptions{Threads: threads, Settings: passes.Settings{WeightBits: bits, ActivationBits: bits, Rule: rule}}
}

// The built-in network through the whole pipeline: recognised, quantized, better
// than bicubic, and the calibrated rule better than the paper's.
func TestPipeline(t *testing.T) {
	if testing.Short() {
		t.Skip("under the race detector the whole pipeline takes minutes")
	}
	ctx := context.Background()
	float, images, data := builtin(t)
	before, err := float.Encode()
	if err != nil {
		t.Fatal(err)
	}
	drop := map[passes.Rule]float64{}
	for _, rule := range []passes.Rule{passes.Paper, passes.Calibrated} {
		q, err := Quantize(ctx, float, images, options(4, rule, 0))
		if err != nil {
			t.Fatal(err)
		}
		if q.Network.Range != 1 || q.Network.Scale != 2 || q.Network.Channels != 3 {
			t.Errorf("recognised as %+v", *q.Network)
		}
		report, err := Validate(ctx, float, q.Model, data, ValidateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// models/builtin/README.md states these two.
		if math.Abs(report.Mean.Float.PSNR-31.49) > 0.01 || math.Abs(report.Mean.Bicubic.PSNR-30.06) > 0.01 {
			t.Errorf("float %.3f dB, bicubic %.3f dB; want 31.49, 30.06", report.Mean.Float.PSNR, report.Mean.Bicubic.PSNR)
		}
		if report.Mean.Quantized.PSNR < report.Mean.Bicubic.PSNR {
			t.Errorf("%s: quantized %.2f dB is worse than bicubic", rule, report.Mean.Quantized.PSNR)
		}
		drop[rule] = report.Drop
	}
	if drop[passes.Calibrated] >= drop[passes.Paper] {
		t.Errorf("the calibrated rule loses %.3f dB, the paper's %.3f dB", drop[passes.Calibrated], drop[passes.Paper])
	}
	after, err := float.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the float network was changed")
	}
}

// Same inputs, same bytes out, whatever the thread count; and a saved plan is
// obeyed.
func TestDeterministic(t *testing.T) {
	ctx := context.Background()
	float, _, _ := builtin(t)
	images := onePicture(t, t.TempDir())
	encode := func(o QuantizeOptions) ([]byte, *Quantized) {
		q, err := Quantize(ctx, float, images, o)
		if err != nil {
			t.Fatal(err)
		}
		data, err := q.Model.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return data, q
	}
	one, q := encode(options(3, passes.Calibrated, 1))
	three, _ := encode(options(3, passes.Calibrated, 3))
	if !bytes.Equal(one, three) {
		t.Error("one and three threads give different files")
	}
	text, err := q.Plan.JSON()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := passes.ParsePlan(text)
	if err != nil {
		t.Fatal(err)
	}
	planned, _ := encode(QuantizeOptions{Plan: plan})
	if !bytes.Equal(one, planned) {
		t.Error("the plan, given back, gives another file")
	}
}

// onePicture puts a small picture into a folder and returns the dataset of it.
func onePicture(t *testing.T, dir string) *calib.Dataset {
	t.Helper()
	if err := imaging.WriteFile(filepath.Join(dir, "picture.png"), builtinPictures(t)[0]); err != nil {
		t.Fatal(err)
	}
	images, err := calib.OpenDataset(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

func TestCancel(t *testing.T) {
	float, images, data := builtin(t)
	ctx, cancel := context.WithCancel(context.Background())
	o := options(4, passes.Calibrated, 0)
	o.Progress = func(stage string, done, _ int) {
		if done == 1 {
			cancel()
		}
	}
	if _, err := Quantize(ctx, float, images, o); !errors.Is(err, context.Canceled) {
		t.Errorf("quantize: %v", err)
	}
	if _, err := Validate(ctx, float, float, data, ValidateOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("validate: %v", err)
	}
}

func TestBounds(t *testing.T) {
	report := Report{Drop: 0.3, Mean: Mean{Quantized: Quality{PSNR: 30}}}
	for _, tc := range []struct {
		psnr, drop float64
		want       string
	}{{29, 0.4, ""}, {31, 0.4, "below the least"}, {29, 0.2, "more than the allowed"}, {29, math.NaN(), "more than"}} {
		err := report.Check(Bounds{MinPSNR: &tc.psnr, MaxDrop: &tc.drop})
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("bounds %v, %v: %v", tc.psnr, tc.drop, err)
		}
	}
	if err := report.Check(Bounds{}); err != nil {
		t.Error(err)
	}
}

// The shift is that of the worst colour of the worst picture, with its sign, and
// noise without a mean has none.
func TestMeanShift(t *testing.T) {
	float, noisy, clipped := imaging.New(2, 2, 3), imaging.New(2, 2, 3), imaging.New(2, 2, 3)
	copy(noisy.Plane(0), []float32{0.5, -0.5, 0.25, -0.25})
	copy(clipped.Plane(0), []float32{0.1, 0, 0, 0})
	copy(clipped.Plane(2), []float32{0, -0.2, 0, -0.2})
	if got := meanShift(float, noisy); got != 0 {
		t.Errorf("noise shifts the mean by %g", got)
	}
	if got := meanShift(float, clipped); math.Abs(got+25.5) > 1e-5 {
		t.Errorf("shift %g, want -25.5", got)
	}
	report := Report{Images: []ImageReport{{MeanShift: 0.5}, {MeanShift: -2}, {MeanShift: 1}}}
	if report.finish(); report.MeanShift != -2 {
		t.Errorf("shift %g of the pictures, want -2", report.MeanShift)
	}
}
