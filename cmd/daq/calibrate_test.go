package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/onnx"
)

func TestCalibrate(t *testing.T) {
	f := newFiles(t)
	text := must(t, "calibrate", f.path("float.onnx"), "--calib", f.path("photos"), "-o", f.path("a"))
	if !strings.Contains(text, "17, 544 channels") {
		t.Errorf("%q", text)
	}
	must(t, "calibrate", f.path("float.onnx"), "--calib", f.path("photos"), "-o", f.path("b"), "--threads", "1")
	same(t, f.path("a"), f.path("b"))
}

// A static profile serves static quantization, and no other.
func TestCalibrateStatic(t *testing.T) {
	f := newFiles(t)
	float, photos := f.path("float.onnx"), f.path("photos")
	must(t, "calibrate", float, "--calib", photos, "-o", f.path("p"), "--mode", "static")
	must(t, "quantize", float, "-o", f.path("q.onnx"), "--calib", photos, "--mode", "static", "--profile", f.path("p"), "-q")
	fails(t, daq("quantize", float, "-o", f.path("d.onnx"), "--calib", photos, "--profile", f.path("p"), "-q"), exitFailed, "profile does not fit")
	fails(t, daq("calibrate", float, "--calib", photos, "-o", f.path("s"), "--mode", "sideways"), exitUsage, "sideways")
	fails(t, daq("calibrate", float, "--calib", photos, "-o", f.path("s"), "--target", "storage"), exitFailed, "nothing to calibrate")
}

// TestCalibrateResumes stops a calibration after its first picture; what --resume
// makes of it, and what pictures added later make, are the bytes of one run.
func TestCalibrateResumes(t *testing.T) {
	f := newFiles(t)
	float, photos := f.path("float.onnx"), f.path("photos")
	must(t, "calibrate", float, "--calib", photos, "-o", f.path("whole"))
	whole, err := calib.Load(f.path("whole"))
	check(t, err)
	model, err := onnx.Load(float)
	check(t, err)
	images, err := calib.OpenDataset(photos, 1)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	part, err := converter.Calibrate(ctx, model, images, converter.QuantizeOptions{Progress: func(_ string, done, _ int) {
		if done == 1 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || len(part.Images) != 1 || len(whole.Images) < 2 {
		t.Fatalf("%v, %d of %d pictures", err, len(part.Images), len(whole.Images))
	}
	check(t, part.Save(f.path("part")))
	must(t, "calibrate", float, "--calib", photos, "-o", f.path("part"), "--resume")
	same(t, f.path("whole"), f.path("part"))

	// A profile stands for running its pictures again.
	must(t, "quantize", float, "--calib", photos, "-o", f.path("a.onnx"))
	must(t, "quantize", float, "--calib", photos, "--profile", f.path("whole"), "-o", f.path("b.onnx"))
	same(t, f.path("a.onnx"), f.path("b.onnx"))
	must(t, "quantize", float, "--profile", f.path("whole"), "-o", f.path("c.onnx"))
	fails(t, daq("quantize", float, "--profile", f.path("whole"), "--layers", "all", "-o", f.path("d.onnx")), exitFailed, "no statistics of tensor", "--layers")
	fails(t, daq("quantize", float, "--profile", f.path("whole"), "--step", "paper", "-o", f.path("d.onnx")), exitUsage, "--profile")
}
