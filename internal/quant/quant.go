// Package quant is the arithmetic of distribution-aware quantizers (DAQ):
// Hong, Kim, Baik, Oh, Lee, "DAQ: Channel-Wise Distribution-Aware Quantization
// for Deep Image Super-Resolution Networks", WACV 2022, arXiv 2012.11230.
//
// All quantizers here are uniform with L levels that are scale apart:
//
//	code  = clamp(floor((x - offset)/scale + 1/2), 0, L-1)
//	x_hat = code*scale + offset
//
// The window is placed by its centre, offset = centre - (L-1)/2*scale. For even
// L this is the mid-rise quantizer of the paper,
// code = clamp(floor((x - centre)/scale) + L/2, 0, L-1); for odd L it has a
// level at the centre itself (mid-tread).
//
// The functions are pure and know neither graphs nor files. They are
// deterministic: sums run in index order in float64, and products are rounded
// before they are added, so no architecture fuses them.
package quant

import "fmt"

const (
	// MaxBits is the widest code, one byte.
	MaxBits = 8
	// MaxLevels is the largest number of levels of a quantizer.
	MaxLevels = 1 << MaxBits
	// Eps is the smallest standard deviation: a constant channel has this one
	// instead of zero, so that nothing is divided by zero.
	Eps float32 = 1e-8
)

// paperSteps holds s(n) of arXiv 2012.11230: the step, in standard deviations,
// of the uniform mid-rise quantizer with 2^n levels that has the least mean
// squared error for a normal distribution.
var paperSteps = [MaxBits + 1]float32{0, 1.596, 0.996, 0.586, 0.335, 0.188, 0.104, 0.057, 0.031}

// CheckBits tells whether bits is a bit-width of this package, 1 to MaxBits.
// Functions that take bits panic where this fails: check plans and flags first.
func CheckBits(bits int) error {
	if bits < 1 || bits > MaxBits {
		return fmt.Errorf("%d bits: want 1 to %d", bits, MaxBits)
	}
	return nil
}

// CheckLevels tells whether levels is a number of levels of this package, 2 to
// MaxLevels. Functions that take levels panic where this fails.
func CheckLevels(levels int) error {
	if levels < 2 || levels > MaxLevels {
		return fmt.Errorf("%d levels: want 2 to %d", levels, MaxLevels)
	}
	return nil
}

// CheckStep tells whether a given step, in standard deviations, is usable: finite,
// positive, and not so far from 1 that Eps times it is lost in float32.
func CheckStep(step float32) error {
	if !(step >= 1e-6 && step <= 1e6) {
		return fmt.Errorf("step %v: want 1e-06 to 1e+06 standard deviations", step)
	}
	return nil
}

// Levels returns 2^bits, the number of codes of bits bits.
func Levels(bits int) int {
	must(CheckBits(bits))
	return 1 << bits
}

// Bits returns the bits that a code of levels levels needs.
func Bits(levels int) int {
	must(CheckLevels(levels))
	bits := 1
	for 1<<bits < levels {
		bits++
	}
	return bits
}

// PaperStep returns s(bits), the step for a normal distribution in units of its
// standard deviation.
func PaperStep(bits int) float32 {
	must(CheckBits(bits))
	return paperSteps[bits]
}

// WideStep returns s(bits-1): a wider window than the paper's, which suits the
// heavy tails of feature maps. There is no s(0), so one bit keeps s(1).
func WideStep(bits int) float32 {
	must(CheckBits(bits))
	return paperSteps[max(bits-1, 1)]
}

func must(err error) {
	if err != nil {
		panic("quant: " + err.Error())
	}
}
