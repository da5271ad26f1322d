package calib

import (
	"context"
	"fmt"
	"math"

	"github.com/daq-sr/daq/internal/imaging"
)

// RangeReport says how an input range was chosen. Scores are PSNR in dB over all
// channels, peak 1, of the network's output (divided by the range) against the
// original.
type RangeReport struct {
	Range    float32 // 1 or 255
	Scale    int     // how much the network enlarges
	Score1   float64 // fed with 0..1
	Score255 float64 // fed with 0..255
	Bicubic  float64 // of bicubic upscaling, for comparison
}

const (
	// clearGain in dB tells one range from the other. Measured on 14 networks and
	// 3 photographs, the right one is ahead by 1.2 dB or more.
	clearGain = 0.5
	// sameOutput in dB: both ranges give the same picture, as networks without
	// biases do by nature (measured 53 and more there, below 43 elsewhere).
	sameOutput = 48
	// farFromBicubic in dB: an output this much worse than bicubic is no upscaled
	// picture. Perceptual networks lose up to 5 on smooth photographs.
	farFromBicubic = 7
)

// RecogniseRange finds out whether a network wants white as 1 or as 255. The
// original, a photograph of 32x32 pixels or more with as many channels as the
// network's input, is shrunk, upscaled by the network under either convention,
// and compared with itself. (Not with bicubic upscaling: a good network differs
// from that more than a network half switched off by the wrong range.)
//
// run gets planes in 0..range and returns the network's output planes as they
// come. A network that does not enlarge is taken to expect bicubic upscaling
// before it, and gets a picture shrunk and enlarged by 2.
func RecogniseRange(ctx context.Context, original *imaging.Image, run func(context.Context, *imaging.Image) (*imaging.Image, error)) (RangeReport, error) {
	if original.Width < 32 || original.Height < 32 {
		return RangeReport{}, fmt.Errorf("a picture of %dx%d pixels is too small to recognise the input range: want 32x32, or --input-range", original.Width, original.Height)
	}
	r, err := networkScale(ctx, original, run)
	if err != nil {
		return r, err
	}
	factor := max(r.Scale, 2)
	if original, err = original.CropToMultiple(factor); err != nil {
		return r, err
	}
	low, err := imaging.Downscale8(original, factor)
	if err != nil {
		return r, err
	}
	bicubic, err := imaging.Resize(low, original.Width, original.Height)
	if err != nil {
		return r, err
	}
	if r.Scale == 1 {
		low = bicubic
	}
	r.Bicubic = psnr(bicubic, original, factor)
	out1, err := runScaled(ctx, low, 1, run)
	if err != nil {
		return r, err
	}
	out255, err := runScaled(ctx, low, 255, run)
	if err != nil {
		return r, err
	}
	for _, out := range []*imaging.Image{out1, out255} {
		if out.Width != original.Width || out.Height != original.Height || out.Channels != original.Channels {
			return r, fmt.Errorf("network output of %d channels, %dx%d is not its input enlarged by %d", out.Channels, out.Width, out.Height, r.Scale)
		}
	}
	r.Score1, r.Score255 = psnr(out1, original, factor), psnr(out255, original, factor)
	// A network may overflow to NaN under the wrong range; that is an answer too.
	best := math.Max(orLowest(r.Score1), orLowest(r.Score255))
	gain := orLowest(r.Score1) - orLowest(r.Score255)
	switch {
	case best < r.Bicubic-farFromBicubic:
		return r, r.unclear("neither looks like an upscaled picture")
	case gain >= clearGain:
		r.Range = 1
	case -gain >= clearGain:
		r.Range = 255
	case psnr(out1, out255, factor) >= sameOutput:
		r.Range = 1 // either would do
	default:
		return r, r.unclear("both are about as good")
	}
	return r, nil
}

func (r RangeReport) unclear(why string) error {
	return fmt.Errorf("cannot tell the network's input range: PSNR is %.2f dB with 0..1, %.2f dB with 0..255, %.2f dB by bicubic upscaling, %s; say --input-range 1 or 255",
		r.Score1, r.Score255, r.Bicubic, why)
}

func networkScale(ctx context.Context, original *imaging.Image, run func(context.Context, *imaging.Image) (*imaging.Image, error)) (r RangeReport, err error) {
	small, err := original.Crop(32, 32)
	if err != nil {
		return r, err
	}
	out, err := run(ctx, small)
	if err != nil {
		return r, err
	}
	r.Scale = out.Width / small.Width
	if r.Scale < 1 || r.Scale > 16 || out.Width != small.Width*r.Scale || out.Height != small.Height*r.Scale {
		return r, fmt.Errorf("the network turns 32x32 pixels into %dx%d: want the same whole factor from 1 to 16 in both directions", out.Width, out.Height)
	}
	return r, nil
}

func runScaled(ctx context.Context, m *imaging.Image, white float32, run func(context.Context, *imaging.Image) (*imaging.Image, error)) (*imaging.Image, error) {
	in := *m
	in.Pix = make([]float32, len(m.Pix))
	for i, v := range m.Pix {
		in.Pix[i] = v * white
	}
	res, err := run(ctx, &in)
	if err != nil {
		return nil, err
	}
	out := *res
	out.Pix = make([]float32, len(res.Pix))
	for i, v := range res.Pix {
		out.Pix[i] = v / white
	}
	return &out, nil
}

// psnr compares all channels inside a border, unrounded and unclamped.
func psnr(a, b *imaging.Image, border int) float64 {
	sum, n := 0.0, 0
	for c := range a.Channels {
		p, q := a.Plane(c), b.Plane(c)
		for y := border; y < a.Height-border; y++ {
			for x := border; x < a.Width-border; x++ {
				d := float64(p[y*a.Width+x]) - float64(q[y*a.Width+x])
				sum += float64(d * d)
				n++
			}
		}
	}
	return -10 * math.Log10(sum/float64(n))
}

func orLowest(score float64) float64 {
	if math.IsNaN(score) || math.IsInf(score, -1) {
		return -math.MaxFloat64
	}
	return score
}
