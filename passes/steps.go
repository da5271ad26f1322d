package passes

import (
	"fmt"
	"math"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
)

// calibrate chooses, for each channel of a calibrated tensor, the window of least
// squared error over the channel's histogram of normalised values: heavy tails
// get a wider step than the normal distribution asks for, bounded ones a
// narrower, skewed ones a window that is not centred on the mean. Where outliers are to be
// kept, errors of clipping count more.
func (a *ActivationPlan) calibrate(profile *calib.Profile, outliers bool) error {
	var stats *calib.TensorStats
	if profile != nil {
		stats = profile.Tensors[a.Tensor]
	}
	if stats == nil {
		return fmt.Errorf("tensor %q was not calibrated: calibrate the same network with the same --layers, --include and --exclude", a.Tensor)
	}
	if c, n := stats.NonFinite(); c >= 0 {
		return fmt.Errorf("tensor %q: channel %d had %d NaN or infinite values during calibration: the float network is broken, or --input-range is wrong", a.Tensor, c, n)
	}
	a.Steps, a.Starts = make([]float32, len(stats.Channels)), make([]float32, len(stats.Channels))
	for c := range stats.Channels {
		var err error
		if a.Steps[c], a.Starts[c], _, err = bestWindow(stats.Of(c), &stats.Channels[c], quant.Levels(a.bitsOf(c)), outliers); err != nil {
			return fmt.Errorf("tensor %q, channel %d: %w", a.Tensor, c, err)
		}
		if len(stats.PostReLU) > 0 && stats.PostReLU[c] {
			a.ReLUChannels = append(a.ReLUChannels, c)
		}
	}
	return nil
}

// bestWindow returns the window of a channel in units of its deviation, and its
// mean squared error in units of its variance.
func bestWindow(d quant.Distribution, c *calib.ChannelStats, levels int, outliers bool) (step, start float32, mse float64, err error) {
	bins := c.Z.Bins()
	if len(bins) == 0 { // constant in every image: any window will do
		step = quant.PaperStep(quant.Bits(levels))
		return step, -step * float32(levels-1) / 2, 0, nil
	}
	h, err := quant.NewHistogram(bins)
	if err != nil {
		return 0, 0, 0, err
	}
	ratio := 0.0
	if d == quant.PostReLU {
		ratio = c.Positive.Mean() / math.Sqrt(c.MeanVariance())
	}
	if !without.Room {
		h.ForUnseen()
	}
	if outliers {
		h.KeepOutliers()
	}
	if without.OffCentre {
		step, mse = h.BestStep(d, ratio, levels)
		start = -step * float32(levels-1) / 2
		if d == quant.PostReLU {
			start = max(start, -float32(ratio))
		}
		return step, start, mse, nil
	}
	step, start, mse = h.BestWindow(d, ratio, levels)
	return step, start, mse, nil
}
