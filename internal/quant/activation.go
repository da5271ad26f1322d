package quant

import "math"

// Distribution says which values a channel of activations can have. It follows
// from the graph, never from one image.
type Distribution uint8

const (
	// Signed channels can have any value: statistics over all of them, window
	// centred on the mean.
	Signed Distribution = iota
	// PostReLU channels cannot be negative: statistics over the positive values
	// only, and no part of the window below zero.
	PostReLU
)

func (d Distribution) String() string {
	if d == PostReLU {
		return "post-relu"
	}
	return "signed"
}

// Stats is the mean and the population standard deviation of one channel over
// H x W, in units of the activation. Std is at least Eps.
type Stats struct{ Mean, Std float32 }

// Stats returns the statistics of one channel of one image. A constant channel
// has Std Eps, and so has a PostReLU channel without a positive value, whose
// Mean is 0. Values must be finite; magnitudes above 1e18 are out of reach for
// the emitted graph, which squares in float32. NaN in gives NaN out.
//
// The emitted graph computes the same in float32, axes (2,3) of NCHW:
//
//	Signed     mean = ReduceMean(x)
//	           d    = x - mean
//	           var  = ReduceMean(d*d)
//	PostReLU   mask = Cast(x > 0);  n = Max(ReduceSum(mask), 1)
//	           mean = ReduceSum(x*mask) / n
//	           d    = (x - mean) * mask
//	           var  = ReduceSum(d*d) / n
//	both       std  = Max(Sqrt(var), Eps)
//
// Here the sums are in float64, so statistics differ by the float32 rounding of
// the sums and nothing else.
func (d Distribution) Stats(x []float32) Stats {
	var n, sum float64
	for _, v := range x {
		if d == Signed || !(v <= 0) { // NaN counts, to be seen in the result
			n++
			sum += float64(v)
		}
	}
	n = max(n, 1)
	mean := sum / n
	var squares float64
	for _, v := range x {
		if d == Signed || !(v <= 0) {
			dev := float64(v) - mean
			squares += float64(dev * dev)
		}
	}
	return Stats{Mean: float32(mean), Std: max(float32(math.Sqrt(squares/n)), Eps)}
}

// LeastSpread is the least deviation of a PostReLU channel for WindowAt, in units
// of its mean.
const LeastSpread = 0.25

// WindowStats returns the statistics that windows of WindowAt go by: those of
// Stats, but the deviation of a PostReLU channel is at least a quarter of its mean.
// A channel with one positive value, or a few alike, has no deviation of its own,
// and its window, around that value, would raise all its zeros.
func (d Distribution) WindowStats(x []float32) Stats {
	s := d.Stats(x)
	if d == PostReLU {
		s.Std = float32(Spread(float64(s.Mean), float64(s.Std)))
	}
	return s
}

// Spread returns the deviation of a PostReLU channel that WindowStats goes by.
func Spread(mean, std float64) float64 { return max(std, mean*LeastSpread) }

// Window is one uniform quantizer: Levels levels (2 to MaxLevels), Scale apart,
// the lowest at Offset; units of the quantized value.
type Window struct {
	Scale, Offset float32
	Levels        int
}

// Window places the window over a channel, step in units of the standard
// deviation. In the order of the emitted graph, all float32:
//
//	scale  = std * step
//	half   = scale * (L-1)/2
//	offset = mean - half           Signed
//	offset = Relu(mean - half)     PostReLU
//
// The Relu is the paper's shift max(alpha - mean/std, 0) with
// alpha = (L-1)/2*step: it puts the centre at max(mean, alpha*std), so a window
// that would begin below zero begins at zero, exactly.
func (d Distribution) Window(s Stats, step float32, levels int) Window {
	must(CheckLevels(levels))
	w := centred(s.Mean, s.Std*step, levels)
	if d == PostReLU && w.Offset < 0 {
		w.Offset = 0
	}
	return w
}

// WindowAt places the window over a channel of WindowStats s as calibration chose: it starts
// start standard deviations above the mean (below it where start is negative),
// and not below zero in PostReLU channels. In the order of the emitted graph, all
// float32:
//
//	scale  = std * step
//	offset = mean + std*start           Signed
//	offset = Max(mean + std*start, 0)   PostReLU
func (d Distribution) WindowAt(s Stats, step, start float32, levels int) Window {
	must(CheckLevels(levels))
	w := Window{Scale: s.Std * step, Offset: s.Mean + float32(s.Std*start), Levels: levels}
	if d == PostReLU && w.Offset < 0 {
		w.Offset = 0
	}
	return w
}

func centred(centre, scale float32, levels int) Window {
	half := float32(scale * (float32(levels-1) / 2))
	return Window{Scale: scale, Offset: centre - half, Levels: levels}
}

// Encode returns the code of x, 0 to Levels-1. In the order of the emitted
// graph: Clip(Floor((x-offset)/scale + 0.5), 0, L-1). NaN has code 0.
func (w Window) Encode(x float32) uint8 {
	q := (x-w.Offset)/w.Scale + 0.5
	return clamp(float64(q), w.Levels)
}

// Decode returns code*scale + offset, both steps rounded to float32.
func (w Window) Decode(code uint8) float32 {
	return float32(float32(code)*w.Scale) + w.Offset
}

// clamp returns floor(q) within 0 to levels-1, and 0 for NaN.
func clamp(q float64, levels int) uint8 {
	switch {
	case !(q >= 1):
		return 0
	case q >= float64(levels-1):
		return uint8(levels - 1)
	}
	return uint8(q)
}

// QuantizeStds replaces the standard deviations of the C channels of one tensor
// by their own quantized values ("qq"): the Signed rule over the C values, with
// the statistics and the order of operations stated there, floored at Eps.
//
// The lowest levels of a skewed set can be below zero. Eps takes their place, and
// such a channel then collapses to its mean.
func QuantizeStds(stds []float32, step float32, levels int) {
	w := Signed.Window(Signed.Stats(stds), step, levels)
	for i, s := range stds {
		stds[i] = max(w.Decode(w.Encode(s)), Eps)
	}
}
