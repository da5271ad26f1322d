package quant

import (
	"fmt"
	"math"
)

// Bin is a share of a distribution: Mass spread evenly from Lo to Hi, or all of
// it at one point where they are equal.
type Bin struct{ Lo, Hi, Mass float64 }

// Histogram is a distribution of values, prepared so that the error of a
// quantizer over it costs far less than a pass over the values.
//
// For steps of activations the values are normalised, (x - mean)/std for Signed
// channels and x/std for PostReLU ones, std and mean as Distribution.Stats takes
// them from each image. The zeros of a ReLU belong in: as Bin{0, 0, count}.
type Histogram struct {
	lo, hi []float64 // ascending
	cum    []moments // cum[i]: sums over the bins before i
	unseen bool
	clip   float64 // how much more an error of clipping counts
}

// Pictures that were not seen reach further than those that were: one value in a
// thousand is taken to lie twice as far out.
const (
	unseenShare = 0.001
	unseenReach = 2
)

// ForUnseen makes h stand for pictures like those it was taken from, instead of
// for these alone: outliers beyond all seen ones are possible.
func (h *Histogram) ForUnseen() *Histogram {
	h.unseen = true
	return h
}

// clipWeight is how much more an error counts that comes from clipping, where outliers are
// to be kept: it takes detail away, which layers to come do not average out as they do noise.
const clipWeight = 8

// KeepOutliers makes errors of clipping count more than those of rounding.
func (h *Histogram) KeepOutliers() *Histogram {
	h.clip = clipWeight
	return h
}

// moments holds the sums of mass, mass*x and mass*x*x.
type moments struct{ mass, first, second float64 }

func (a moments) plus(b moments) moments {
	return moments{a.mass + b.mass, a.first + b.first, a.second + b.second}
}

func (a moments) minus(b moments) moments {
	return moments{a.mass - b.mass, a.first - b.first, a.second - b.second}
}

// errorAt returns the sum of mass*(x-v)^2.
func (a moments) errorAt(v float64) float64 {
	return a.second - float64(2*v*a.first) + float64(v*v*a.mass)
}

// spread returns the moments of mass spread evenly from lo to hi.
func spread(lo, hi, mass float64) moments {
	squares := float64(lo*lo) + float64(lo*hi) + float64(hi*hi)
	return moments{mass, float64(mass * (lo + hi) / 2), float64(mass * squares / 3)}
}

// NewHistogram returns the distribution of bins, which must be finite, in
// ascending order without overlap, and have some mass. Empty bins are dropped.
func NewHistogram(bins []Bin) (*Histogram, error) {
	h := &Histogram{cum: make([]moments, 1, len(bins)+1)}
	end, total := math.Inf(-1), moments{}
	for i, b := range bins {
		switch {
		case !(b.Lo <= b.Hi) || math.IsInf(b.Lo, 0) || math.IsInf(b.Hi, 0):
			return nil, fmt.Errorf("histogram bin %d from %v to %v: want finite edges in order", i, b.Lo, b.Hi)
		case !(b.Mass >= 0) || math.IsInf(b.Mass, 0):
			return nil, fmt.Errorf("histogram bin %d has mass %v: want it finite and not negative", i, b.Mass)
		case b.Lo < end:
			return nil, fmt.Errorf("histogram bin %d begins at %v, before the end %v of the one before", i, b.Lo, end)
		}
		end = b.Hi
		if b.Mass == 0 {
			continue
		}
		total = total.plus(spread(b.Lo, b.Hi, b.Mass))
		h.lo, h.hi, h.cum = append(h.lo, b.Lo), append(h.hi, b.Hi), append(h.cum, total)
	}
	if len(h.lo) == 0 {
		return nil, fmt.Errorf("histogram of %d bins has no mass", len(bins))
	}
	return h, nil
}

// reach returns the largest magnitude.
func (h *Histogram) reach() float64 {
	if len(h.lo) == 0 {
		return 0
	}
	reach := max(-h.lo[0], h.hi[len(h.hi)-1])
	if h.unseen {
		reach *= unseenReach
	}
	return reach
}

// Error returns the mean squared error, clipping included, of the quantizer with
// levels levels that are scale apart, the lowest at offset.
func (h *Histogram) Error(scale, offset float64, levels int) float64 {
	must(CheckLevels(levels))
	if !h.unseen {
		return h.seenError(scale, offset, levels)
	}
	// The error over values twice as far out is that over these of a quantizer half
	// as wide, in units twice as large.
	far := unseenReach * unseenReach * h.seenError(scale/unseenReach, offset/unseenReach, levels)
	return float64((1-unseenShare)*h.seenError(scale, offset, levels)) + float64(unseenShare*far)
}

func (h *Histogram) seenError(scale, offset float64, levels int) float64 {
	var sum float64
	var before moments
	next := 0 // the first bin that ends beyond the boundary
	for code := h.lowestUsed(scale, offset, levels); code < levels; code++ {
		upto := h.cum[len(h.lo)]
		if code < levels-1 {
			boundary := offset + float64((float64(code)+0.5)*scale)
			next = h.seek(next, boundary)
			upto = h.before(next, boundary)
		}
		sum += upto.minus(before).errorAt(offset + float64(float64(code)*scale))
		before = upto
		if next == len(h.lo) {
			break
		}
	}
	if h.clip > 0 {
		sum += float64(h.clip * h.clipped(scale, offset, levels))
	}
	return max(sum/h.cum[len(h.lo)].mass, 0) // rounding can leave less than nothing
}

// lowestUsed returns a code below which no value falls: half of those of |w| would be
// passed over one by one.
func (h *Histogram) lowestUsed(scale, offset float64, levels int) int {
	if first := (h.lo[0] - offset) / scale; first > 1 {
		return int(min(first, float64(levels))) - 1
	}
	return 0
}

// clipped returns the sum of mass*error over the values outside of the outermost cells.
func (h *Histogram) clipped(scale, offset float64, levels int) float64 {
	top := offset + float64(float64(levels-1)*scale)
	low, high := offset-scale/2, top+scale/2
	below, upto := h.before(h.seek(0, low), low), h.before(h.seek(0, high), high)
	return below.errorAt(offset) + h.cum[len(h.lo)].minus(upto).errorAt(top)
}

// before returns the moments of all values below x, which is in front of the end of bin i.
func (h *Histogram) before(i int, x float64) moments {
	m := h.cum[i]
	if i < len(h.lo) && h.lo[i] < x {
		share := (x - h.lo[i]) / (h.hi[i] - h.lo[i])
		mass := h.cum[i+1].mass - h.cum[i].mass
		m = m.plus(spread(h.lo[i], x, mass*share))
	}
	return m
}

// seek returns the first bin from i on that ends beyond x: steps that double,
// then bisection, because boundaries ascend and cells hold few bins or many.
func (h *Histogram) seek(i int, x float64) int {
	if i == len(h.hi) || h.hi[i] > x {
		return i
	}
	stride := 1
	for i+stride < len(h.hi) && h.hi[i+stride] <= x {
		i += stride
		stride *= 2
	}
	low, high := i+1, min(i+stride, len(h.hi)) // hi[low-1] <= x < hi[high]
	for low < high {
		if mid := (low + high) / 2; h.hi[mid] > x {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// StepError returns the mean squared error of a normalised channel, in units of
// its variance, when d quantizes it with step and levels. ratio is mean/std of a
// PostReLU channel, which says where its window is; Signed ignores it.
func (h *Histogram) StepError(d Distribution, ratio, step float64, levels int) float64 {
	return h.Error(step, normalisedOffset(d, ratio, step, levels), levels)
}

// BestStep returns the step with the least StepError, and that error. A channel
// that was always at its mean (or at zero, PostReLU) tells nothing about a step
// and gets the paper's.
func (h *Histogram) BestStep(d Distribution, ratio float64, levels int) (step float32, mse float64) {
	must(CheckLevels(levels))
	if h.reach() == 0 {
		step = PaperStep(Bits(levels))
		return step, h.StepError(d, ratio, float64(step), levels)
	}
	return h.search(levels, func(step float64) float64 {
		return normalisedOffset(d, ratio, step, levels)
	})
}

func normalisedOffset(d Distribution, ratio, step float64, levels int) float64 {
	half := float64(float64(levels-1) / 2 * step)
	if d == PostReLU {
		return max(ratio-half, 0)
	}
	return -half
}

// AtZero is a start so low that the window of a PostReLU channel starts at zero.
const AtZero float32 = -1e6

// BestWindow returns the step and the start (see Distribution.WindowAt) with the
// least mean squared error of a normalised channel, and that error: the best
// symmetric window first, then its ends move in turns. ratio is mean/std of a
// PostReLU channel. It is never worse than BestStep.
func (h *Histogram) BestWindow(d Distribution, ratio float64, levels int) (step, start float32, mse float64) {
	step, mse = h.BestStep(d, ratio, levels)
	low := normalisedOffset(d, ratio, float64(step), levels)
	high := low + float64(float64(step)*float64(levels-1))
	if h.reach() == 0 {
		return step, float32(low), mse
	}
	error := func(low, high float64) float64 {
		return h.Error((high-low)/float64(levels-1), low, levels)
	}
	for range 4 {
		before := mse
		if d == Signed || low > 0 {
			low, mse = descend(low, mse, (high-low)/4, func(x float64) float64 {
				if d == PostReLU {
					x = max(x, 0)
				}
				return error(x, high)
			})
		}
		high, mse = descend(high, mse, (high-low)/4, func(x float64) float64 { return error(low, x) })
		if d == PostReLU {
			low = max(low, 0)
		}
		if mse > 0.998*before {
			break
		}
	}
	if d == PostReLU {
		zeroHigh, zero := descend(high, error(0, high), high/4, func(x float64) float64 { return error(0, x) })
		if zero <= mse {
			return float32(zeroHigh / float64(levels-1)), AtZero, zero
		}
		return float32((high - low) / float64(levels-1)), float32(low - ratio), mse
	}
	return float32((high - low) / float64(levels-1)), float32(low), mse
}

// descend looks for a lower f around x, whose f is y, with a stride that grows as
// long as it gets lower and shrinks when it does not.
func descend(x, y, stride float64, f func(float64) float64) (float64, float64) {
	for range 14 {
		switch up, down := f(x+stride), f(x-stride); {
		case up < y && up <= down:
			x, y = x+stride, up
		case down < y:
			x, y = x-stride, down
		default:
			stride /= 2
		}
	}
	return x, y
}

// search returns the scale with the least error, given where the window of a
// scale begins. The error is smooth up to ripples, with one valley or a few: a
// geometric grid finds the valley, a finer one its bottom, golden sections the
// rest. The widest scale has the outermost cell begin at the largest magnitude.
func (h *Histogram) search(levels int, offset func(scale float64) float64) (float32, float64) {
	const (
		span   = 256 // widest over narrowest scale
		coarse = 72
		fine   = 24
		golden = 16
	)
	f := func(scale float64) float64 { return h.Error(scale, offset(scale), levels) }
	best, least := 0.0, math.Inf(1)
	try := func(scale float64) float64 {
		e := f(scale)
		if e < least {
			best, least = scale, e
		}
		return e
	}

	widest := 2 * h.reach() / float64(max(levels-2, 1))
	ratio := math.Pow(span, 1.0/(coarse-1))
	for i := range coarse {
		scale := widest / math.Pow(ratio, float64(i))
		try(scale)
		// A narrower window clips all that this one clips, and by more.
		if (1-unseenShare)*h.clipped(scale, offset(scale), levels) > least*h.cum[len(h.lo)].mass {
			break
		}
	}
	from, width := best/ratio, best*(ratio-1/ratio)
	for i := range fine {
		try(from + float64(width*float64(i)/(fine-1)))
	}
	a, b := best-width/(fine-1), best+width/(fine-1)
	for range golden {
		c, d := b-(b-a)/math.Phi, a+(b-a)/math.Phi
		if try(c) <= try(d) {
			b = d
		} else {
			a = c
		}
	}
	scale := max(float32(best), math.SmallestNonzeroFloat32)
	return scale, f(float64(scale))
}
