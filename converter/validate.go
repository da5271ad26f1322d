package converter

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/metric"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// ValidateOptions say how networks are compared.
type ValidateOptions struct {
	Input    calib.Input
	Threads  int  // 0 means all processors
	Exact    bool // no integer kernels (runtime.Options)
	Crops    bool // keep the part of each picture where the networks differ most
	Progress Progress
}

// Validate upscales the pictures of a folder (calib.OpenPairs says which) with
// the float and the quantized network and bicubically, and compares all three
// with the originals. One picture is in memory at a time.
func Validate(ctx context.Context, float, quantized *onnx.Model, dir string, o ValidateOptions) (*Report, error) {
	a, err := Open(ctx, float, o.Input, runtime.Options{Threads: o.Threads})
	if err != nil {
		return nil, fmt.Errorf("float network: %w", err)
	}
	// Both see the same input, whatever the quantized one would be recognised as.
	b, err := Open(ctx, quantized, calib.Input{Range: a.Range, Enlarge: o.Input.Enlarge}, runtime.Options{Threads: o.Threads, Exact: o.Exact})
	if err != nil {
		return nil, fmt.Errorf("quantized network: %w", err)
	}
	if a.Scale != b.Scale || a.Channels != b.Channels {
		return nil, fmt.Errorf("the float network enlarges %d channels by %d, the quantized one %d by %d: they are not the same network", a.Channels, a.Scale, b.Channels, b.Scale)
	}
	pairs, err := calib.OpenPairs(dir, a.Scale)
	if err != nil {
		return nil, err
	}
	report := &Report{Scale: a.Scale}
	total := len(pairs.Names())
	o.Progress.report("validate", 0, total)
	err = pairs.Each(ctx, func(pair calib.Pair) error {
		one, err := compare(ctx, a, b, pair, o.Crops)
		if err != nil {
			return err
		}
		report.Images = append(report.Images, *one)
		o.Progress.report("validate", len(report.Images), total)
		return nil
	})
	if err != nil {
		return nil, err
	}
	report.finish()
	return report, nil
}

func compare(ctx context.Context, a, b *calib.Network, pair calib.Pair, crops bool) (*ImageReport, error) {
	float, err := a.Upscale(ctx, pair.LR)
	if err != nil {
		return nil, fmt.Errorf("float network: %w", err)
	}
	quantized, err := b.Upscale(ctx, pair.LR)
	if err != nil {
		return nil, fmt.Errorf("quantized network: %w", err)
	}
	bicubic, err := imaging.Resize(pair.LR, pair.HR.Width, pair.HR.Height)
	if err != nil {
		return nil, err
	}
	one := &ImageReport{Name: pair.Name, Width: pair.HR.Width, Height: pair.HR.Height}
	for _, q := range []struct {
		into    *Quality
		picture *imaging.Image
	}{{&one.Float, float}, {&one.Quantized, quantized}, {&one.Bicubic, bicubic}} {
		if *q.into, err = quality(q.picture, pair.HR, a.Scale); err != nil {
			return nil, err
		}
	}
	one.Drop = one.Float.PSNR - one.Quantized.PSNR
	one.MeanShift = meanShift(float, quantized)
	if crops {
		one.Crop = largestDifference(pair.HR, bicubic, float, quantized)
	}
	return one, nil
}

func quality(picture, original *imaging.Image, border int) (Quality, error) {
	psnr, err := metric.PSNR(picture, original, border)
	if err != nil {
		return Quality{}, err
	}
	ssim, err := metric.SSIM(picture, original, border)
	return Quality{PSNR: min(psnr, maxPSNR), SSIM: ssim}, err
}
