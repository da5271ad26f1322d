package calib

import (
	"fmt"
	"math"
	"math/big"
	"runtime"
	"slices"
	"sync"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/runtime/kernels"
)

// maxCount bounds counts read from a file, so that sums of them cannot overflow.
const maxCount = 1 << 56

// TensorStats holds the statistics of all channels of one tensor [1, C, H, W].
type TensorStats struct {
	// Distribution says over which values a channel is normalised. It follows
	// from the graph; a negative value in a PostReLU tensor is an error.
	Distribution quant.Distribution `json:"distribution"`
	// PostReLU tells, of a Signed tensor, which channels follow a ReLU all the
	// same: a Concat of both kinds. Empty when none does.
	PostReLU []bool         `json:"post_relu,omitempty"`
	Channels []ChannelStats `json:"channels"`

	static bool
}

// ChannelStats holds the statistics of one channel over all images.
type ChannelStats struct {
	Images    int64   `json:"images"`     // observed, in all
	Flat      int64   `json:"flat"`       // of these: normaliser zero (constant, or nothing positive), not in Z
	NonFinite int64   `json:"non_finite"` // NaN and infinite values, counted nowhere else
	Zeros     int64   `json:"zeros"`      // values equal to 0, of PostReLU channels
	Min       float32 `json:"min"`        // over all finite values; 0 when there is none
	Max       float32 `json:"max"`

	All      Moments `json:"all"`      // of all finite values
	Positive Moments `json:"positive"` // of the values above 0, of PostReLU channels

	// The normaliser std of each image: of all values for Signed, of the positive
	// ones, at least a share of their mean (quant.Spread), for PostReLU tensors. Its square weighs errors of Z back to errors of x.
	Variances Sum     `json:"variances"` // sum over images of std^2
	MinStd    float64 `json:"min_std"`
	MaxStd    float64 `json:"max_std"`

	// Z counts (x-mean)/std (Signed, all finite values) or x/std (PostReLU) with
	// mean and std of the image; in a profile for static quantization x*ValueScale.
	Z Histogram `json:"z"`
}

// ValueScale is the factor of the values that static profiles count: the bins of a
// Histogram are even below 1 and logarithmic above.
const ValueScale = 64

// Moments are the count, mean and spread of values over all images.
type Moments struct {
	Count   int64 `json:"count"`
	Values  Sum   `json:"values"`  // sum over images of count*mean
	Squares Sum   `json:"squares"` // sum over images of count*mean^2
	Within  Sum   `json:"within"`  // sum over images of the squared deviations from the image's mean
}

// Mean returns the mean over all images and pixels, 0 without values.
func (m *Moments) Mean() float64 {
	if m.Count == 0 {
		return 0
	}
	r := m.Values.rat()
	v, _ := r.Quo(r, new(big.Rat).SetInt64(m.Count)).Float64()
	return v
}

// M2 returns the sum of squared deviations from Mean: those within images plus
// those of the images' means. It is rounded once, at the end.
func (m *Moments) M2() float64 {
	if m.Count == 0 {
		return 0
	}
	between := m.Values.rat()
	between.Mul(between, between)
	between.Quo(between, new(big.Rat).SetInt64(m.Count))
	r := m.Within.rat()
	r.Add(r, m.Squares.rat())
	v, _ := r.Sub(r, between).Float64()
	return max(v, 0)
}

// Std returns the population standard deviation.
func (m *Moments) Std() float64 { return math.Sqrt(m.M2() / float64(max(m.Count, 1))) }

func (m *Moments) add(p imageMoments) {
	m.Count += p.count
	m.Values.addWeighted(p.count, p.mean)
	m.Squares.addWeightedSquare(p.count, p.mean)
	m.Within.Add(p.m2)
}

func (m *Moments) merge(o *Moments) {
	m.Count += o.Count
	m.Values.Merge(&o.Values)
	m.Squares.Merge(&o.Squares)
	m.Within.Merge(&o.Within)
}

// NewTensorStats returns empty statistics.
func NewTensorStats(d quant.Distribution, channels int) *TensorStats {
	return &TensorStats{Distribution: d, Channels: make([]ChannelStats, channels)}
}

// Of returns the distribution of a channel.
func (t *TensorStats) Of(c int) quant.Distribution {
	if len(t.PostReLU) > 0 && t.PostReLU[c] {
		return quant.PostReLU
	}
	return t.Distribution
}

// NonFinite returns the first channel that saw NaN or an infinity, and how many,
// or -1.
func (t *TensorStats) NonFinite() (channel int, count int64) {
	for c := range t.Channels {
		if n := t.Channels[c].NonFinite; n > 0 {
			return c, n
		}
	}
	return -1, 0
}

// Observe adds one image: x is [C, H, W] with H*W = hw. It is not to be called
// concurrently for one tensor; the channels are shared out to all processors.
// After an error the statistics are not to be used.
func (t *TensorStats) Observe(x []float32, hw int) error {
	if hw <= 0 || len(x) != len(t.Channels)*hw {
		return fmt.Errorf("calib: %d values are not %d channels of %d", len(x), len(t.Channels), hw)
	}
	workers := max(min(runtime.GOMAXPROCS(0), len(t.Channels), len(x)>>14), 1)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var counts tally
			for c := w; c < len(t.Channels); c += workers {
				t.Channels[c].observe(t.Of(c), x[c*hw:(c+1)*hw], &counts, t.static)
			}
		})
	}
	wg.Wait()
	for c := range t.Channels {
		if v := t.Channels[c].Min; v < 0 && t.Of(c) == quant.PostReLU {
			return fmt.Errorf("calib: channel %d has the value %v, but it follows a ReLU", c, v)
		}
	}
	return nil
}

// imageMoments are those of one image.
type imageMoments struct {
	count    int64
	mean, m2 float64
}

func (p imageMoments) variance() float64 { return p.m2 / float64(max(p.count, 1)) }

func (s *ChannelStats) observe(d quant.Distribution, x []float32, counts *tally, static bool) {
	sums, ok := survey(x, d)
	if !ok {
		clean := slices.DeleteFunc(slices.Clone(x), func(v float32) bool { return !finite(v) })
		s.NonFinite += int64(len(x) - len(clean))
		x = clean
		sums, _ = survey(x, d)
	}
	all, lowest, highest := sums.moments(0), sums.lowest, sums.highest
	s.Images++
	if all.count > 0 {
		if s.All.Count == 0 {
			s.Min, s.Max = lowest, highest
		}
		s.Min, s.Max = min(s.Min, lowest), max(s.Max, highest)
	}
	zeros := int64(0) // values like others in a Signed channel
	mean, variance := all.mean, all.variance()
	std := math.Sqrt(variance)
	if d == quant.PostReLU {
		for _, v := range x {
			zeros += int64(isZero(v))
		}
		positive := sums.moments(zeros)
		s.Zeros += zeros
		s.Positive.add(positive)
		mean = 0
		std = quant.Spread(positive.mean, math.Sqrt(positive.variance()))
		variance = float64(std * std)
	}
	s.All.add(all)
	s.Variances.Add(variance)
	if s.Images == 1 {
		s.MinStd, s.MaxStd = std, std
	}
	s.MinStd, s.MaxStd = min(s.MinStd, std), max(s.MaxStd, std)
	if static && all.count > 0 {
		s.Z.add(counts, x, lowest, highest, 0, ValueScale, zeros)
		return
	}
	// A spread of float rounding only: a constant channel, or a single value.
	if std <= 1e-7*max(math.Abs(float64(lowest)), math.Abs(float64(highest))) || all.count == 0 {
		s.Flat++
		return
	}
	s.Z.add(counts, x, lowest, highest, mean, 1/std, zeros)
}

// sums are those of the values of one channel of one image, about a value amidst them, so that
// their squares stay small: the first of a Signed channel, 0 of a PostReLU one.
type sums struct {
	count           int64
	about           float64
	sum, squares    float64
	lowest, highest float32
}

// survey adds up x; not ok when a value is NaN or infinite.
func survey(x []float32, d quant.Distribution) (s sums, ok bool) {
	if len(x) == 0 {
		return s, true
	}
	if d == quant.Signed {
		s.about = float64(x[0])
	}
	s.count = int64(len(x))
	s.sum, s.squares, s.lowest, s.highest = kernels.Survey(x, s.about)
	return s, s.sum-s.sum == 0
}

// moments returns those of the values without some that are 0, as is then what they are about.
func (s *sums) moments(zeros int64) imageMoments {
	n := s.count - zeros
	if n == 0 {
		return imageMoments{}
	}
	mean := s.sum / float64(n)
	return imageMoments{n, s.about + mean, max(s.squares-float64(float64(mean*mean)*float64(n)), 0)}
}

// finite is false for NaN and infinities.
func finite(v float32) bool { return v-v == 0 }

// isZero returns 1 for 0 and -0, else 0.
func isZero(v float32) uint64 {
	return (uint64(math.Float32bits(v)<<1) - 1) >> 63
}

// MeanVariance returns the mean over images of the squared normaliser.
func (s *ChannelStats) MeanVariance() float64 {
	return s.Variances.Float64() / float64(max(s.Images, 1))
}

// without returns the statistics of all channels but some.
func (t *TensorStats) without(channels []int) *TensorStats {
	left := *t
	left.PostReLU, left.Channels = nil, nil
	for c := range t.Channels {
		if slices.Contains(channels, c) {
			continue
		}
		left.Channels = append(left.Channels, t.Channels[c])
		if len(t.PostReLU) > 0 {
			left.PostReLU = append(left.PostReLU, t.PostReLU[c])
		}
	}
	return &left
}

// Merge adds the statistics of other images. The result does not depend on the
// order of merges.
func (t *TensorStats) Merge(o *TensorStats) error {
	if t.Distribution != o.Distribution || !slices.Equal(t.PostReLU, o.PostReLU) || len(t.Channels) != len(o.Channels) {
		return fmt.Errorf("calib: cannot merge %d %v channels with %d %v ones",
			len(t.Channels), t.Distribution, len(o.Channels), o.Distribution)
	}
	for c := range t.Channels {
		t.Channels[c].merge(&o.Channels[c])
	}
	return nil
}

func (s *ChannelStats) merge(o *ChannelStats) {
	if s.All.Count == 0 {
		s.Min, s.Max = o.Min, o.Max
	}
	if o.All.Count > 0 {
		s.Min, s.Max = min(s.Min, o.Min), max(s.Max, o.Max)
	}
	if s.Images == 0 {
		s.MinStd, s.MaxStd = o.MinStd, o.MaxStd
	}
	if o.Images > 0 {
		s.MinStd, s.MaxStd = min(s.MinStd, o.MinStd), max(s.MaxStd, o.MaxStd)
	}
	s.Images += o.Images
	s.Flat += o.Flat
	s.NonFinite += o.NonFinite
	s.Zeros += o.Zeros
	s.All.merge(&o.All)
	s.Positive.merge(&o.Positive)
	s.Variances.Merge(&o.Variances)
	s.Z.merge(&o.Z)
}
