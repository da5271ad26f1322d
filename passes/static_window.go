package passes

import (
	"math"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
)

// spectrum is the distribution of a quantized tensor, all channels together, on an
// even grid: each channel divided by its factor and counted by the energy of the
// weights that read it.
type spectrum struct {
	low, high float64 // of all values, zero included
	bins      []quant.Bin
	gate      bool // a Sigmoid alone reads it
	passed    bool // by floats
}

const spectrumBins = 4096

// clipWeight is how much more an error counts that comes from clipping: it is not
// spread over the picture but sits on edges and saturated colours, where it shows. Not so where floats pass
// by (passedByFloats).
const clipWeight = 2.

// channelBins returns the distribution of a channel.
func channelBins(ch *calib.ChannelStats) []quant.Bin {
	bins := ch.Z.Bins()
	for i, b := range bins {
		limit := func(z float64) float64 {
			return min(max(z/calib.ValueScale, float64(ch.Min)), float64(ch.Max))
		}
		bins[i] = quant.Bin{Lo: limit(b.Lo), Hi: limit(b.Hi), Mass: b.Mass}
	}
	return bins
}

// spectrumChannel is a channel of a spectrum.
type spectrumChannel struct {
	stats          *calib.ChannelStats
	factor, energy float64
	slope          float64 // see slopes
}

// newSpectrum adds up channels.
func newSpectrum(channels []spectrumChannel) *spectrum {
	s := &spectrum{}
	for _, ch := range channels {
		s.low = min(s.low, float64(ch.stats.Min)/ch.factor)
		s.high = max(s.high, float64(ch.stats.Max)/ch.factor)
	}
	if s.low == s.high {
		s.high = 1
	}
	width := (s.high - s.low) / spectrumBins
	mass := make([]float64, spectrumBins)
	for _, ch := range channels {
		f, total := ch.factor, 0.0
		bins := channelBins(ch.stats)
		for _, b := range bins {
			total += b.Mass
		}
		for _, b := range bins {
			spreadMass(mass, (b.Lo/f-s.low)/width, (b.Hi/f-s.low)/width, b.Mass/total*ch.energy*f*f*belowZero(b, ch.slope))
		}
	}
	for i, m := range mass {
		s.bins = append(s.bins, quant.Bin{Lo: s.low + float64(i)*width, Hi: s.low + float64(i+1)*width, Mass: m})
	}
	return s
}

// spreadMass adds mass between two places of a grid, in units of its cells.
func spreadMass(cells []float64, from, to, mass float64) {
	last := len(cells) - 1
	first, end := min(max(int(from), 0), last), min(max(int(to), 0), last)
	if first == end {
		cells[first] += mass
		return
	}
	density := mass / (to - from)
	cells[first] += density * (float64(first+1) - from)
	for i := first + 1; i < end; i++ {
		cells[i] += density
	}
	cells[end] += density * (to - float64(end))
}

// window returns the scale and zero point of least weighed error with codes from 0
// to levels-1 (symmetric: from -(levels-1)/2 to (levels-1)/2) of which one
// is exactly 0, so that what a convolution pads with is exact.
func (s *spectrum) window(levels int, symmetric bool) (scale float32, zero int) {
	h, err := quant.NewHistogram(s.bins)
	top := float64(levels - 1)
	if err != nil { // no energy at all: any window will do
		return float32((s.high - s.low) / top), int(math.Round(-s.low / (s.high - s.low) * top))
	}
	fit := func(low, high float64) (float64, float64) { // scale and code of 0
		if symmetric {
			reach := max(-low, high)
			return 2 * reach / top, top / 2
		}
		scale := (high - low) / top
		zero := math.Round(-low / scale)
		// The zero point is a whole code: make the scale reach both ends.
		if zero > 0 && -low/zero > scale {
			scale = -low / zero
		}
		if top > zero && high/(top-zero) > scale {
			scale = high / (top - zero)
		}
		return scale, zero
	}
	cost := func(low, high float64) float64 {
		scale, zero := fit(low, high)
		if s.gate {
			return s.gateError(-zero*scale, (top-zero)*scale, scale)
		}
		weight := clipWeight
		if s.passed {
			weight = 0
		}
		return h.Error(scale, -zero*scale, levels) + weight*s.clipped(-zero*scale, (top-zero)*scale)
	}
	// Both ends on a coarse grid first: an outlier can hide the valley. Then they move
	// as long as the error falls.
	low, high := s.low, s.high
	least := math.Inf(1)
	try := func(l, h float64) bool {
		if l < s.low || h > s.high {
			return false
		}
		e := cost(l, h)
		if e < least {
			low, high, least = l, h, e
			return true
		}
		return false
	}
	for i := range 9 {
		for j := range 9 {
			try(math.Ldexp(s.low, -i), math.Ldexp(s.high, -j))
		}
	}
	for step := 0.25; step > 0.01; step /= 2 {
		for moved := true; moved; {
			moved = false
			for _, m := range []float64{1 - step, 1 + step} {
				moved = try(low*m, high) || try(low, high*m) || try(low*m, high*m) || moved
			}
		}
	}
	w, z := fit(low, high)
	if symmetric {
		z = 0
	}
	return float32(w), int(z)
}

// clipped returns the mean squared error of the values outside of a window.
func (s *spectrum) clipped(low, high float64) float64 {
	sum, total := 0.0, 0.0
	for _, b := range s.bins {
		x := (b.Lo + b.Hi) / 2
		total += b.Mass
		if d := max(low-x, x-high); d > 0 {
			sum += b.Mass * d * d
		}
	}
	return sum / total
}
