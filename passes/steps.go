package passes

import (
	"fmt"
	"math"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
)

// bestSteps returns, for each channel of a calibrated tensor, the step in units
// of sigma with the least squared error over the channel's histogram of
// normalised values: heavy tails get a wider step than the normal distribution
// asks for, bounded ones a narrower.
func bestSteps(profile *calib.Profile, tensor string, levels int) ([]float32, error) {
	var stats *calib.TensorStats
	if profile != nil {
		stats = profile.Tensors[tensor]
	}
	if stats == nil {
		return nil, fmt.Errorf("tensor %q was not calibrated: calibrate the same network with the same --layers, --include and --exclude", tensor)
	}
	if c, n := stats.NonFinite(); c >= 0 {
		return nil, fmt.Errorf("tensor %q: channel %d had %d NaN or infinite values during calibration: the float network is broken, or --input-range is wrong", tensor, c, n)
	}
	steps := make([]float32, len(stats.Channels))
	for c := range stats.Channels {
		step, err := bestStep(stats.Distribution, &stats.Channels[c], levels)
		if err != nil {
			return nil, fmt.Errorf("tensor %q, channel %d: %w", tensor, c, err)
		}
		steps[c] = step
	}
	return steps, nil
}

func bestStep(d quant.Distribution, c *calib.ChannelStats, levels int) (float32, error) {
	bins := c.Z.Bins()
	if len(bins) == 0 { // constant in every image: any step will do
		return quant.PaperStep(quant.Bits(levels)), nil
	}
	h, err := quant.NewHistogram(bins)
	if err != nil {
		return 0, err
	}
	ratio := 0.0
	if d == quant.PostReLU {
		ratio = c.Positive.Mean() / math.Sqrt(c.MeanVariance())
	}
	step, _ := h.BestStep(d, ratio, levels)
	return step, nil
}
