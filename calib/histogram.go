package calib

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/daq-sr/daq/internal/quant"
)

// binBits: an octave of 1+|z| has 2^binBits bins.
const (
	binBits = 6
	octave  = 1 << binBits
	maxBins = 32 * octave // |z| < 2^32: more than any picture's pixel count allows
)

// Histogram counts normalised values. Bin i of a side covers |z| from edge(i) to
// edge(i+1); edges are logarithmic in 1+|z|, linear within each octave of it:
// 0, 1/64, 2/64 .. 1, 1+1/32 .. 3, 3+1/16 .. 7, 7+1/8 .. 15, and so on.
type Histogram struct {
	// Zeros counts the zeros of PostReLU tensors, which are exact whatever std is.
	// In Signed tensors zero is a value like others.
	Zeros int64
	// Below and Above count z < 0 and z >= 0 by bin of |z|, without trailing zeros.
	Below, Above []int64
}

// bin returns the bin of |z|: the leading bits of the float32 1+|z|.
func bin(z float32) int {
	return int((math.Float32bits(float32(1+z)) - 0x3f800000) >> (23 - binBits))
}

func edge(i int) float64 {
	return math.Ldexp(1+float64(i%octave)/octave, i/octave) - 1
}

// tally counts the values of one channel, by bin of |z|, those of z < 0 behind the others. It is
// all zero between channels. Neighbours are counted apart: one in the same bin would have to wait
// for the count.
type tally [2][2 * maxBins]uint32

// add counts z = (x-mean)*inverse of values x from lowest to highest, which are finite; zeros of
// them are 0 and go to Zeros, if mean is 0. The largest |z| must be below 2^32. Products are not
// fused with sums anywhere here, so that every machine counts the same; nothing branches on the
// signs, which no processor could predict.
func (h *Histogram) add(t *tally, x []float32, lowest, highest float32, mean, inverse float64, zeros int64) {
	place := func(v float32) uint32 {
		bits := math.Float32bits(float32(float64(float64(v)-mean) * inverse))
		return (uint32(bin(math.Float32frombits(bits&^(1<<31)))) | bits>>31*maxBins) % (2 * maxBins)
	}
	above, below := 1, 1 // bins in use: -0 is below
	for _, v := range []float32{lowest, highest} {
		if p := int(place(v)); p < maxBins {
			above = max(above, p+1)
		} else {
			below = max(below, p-maxBins+1)
		}
	}
	for len(x) > 0 {
		part := x[:min(len(x), math.MaxUint32)]
		x = x[len(part):]
		for ; len(part) >= 2; part = part[2:] {
			t[0][place(part[0])]++
			t[1][place(part[1])]++
		}
		if len(part) > 0 {
			t[0][place(part[0])]++
		}
		for i := range t {
			positive, negative := t[i][:above], t[i][maxBins:maxBins+below]
			h.Above, h.Below = addCounts(h.Above, positive), addCounts(h.Below, negative)
			clear(positive)
			clear(negative)
		}
	}
	if zeros > 0 {
		h.Above[0] -= zeros
		h.Zeros += zeros
	}
}

func (h *Histogram) merge(g *Histogram) {
	h.Zeros += g.Zeros
	h.Below, h.Above = addCounts(h.Below, g.Below), addCounts(h.Above, g.Above)
}

// addCounts adds the counts of b, without its trailing zeros, to a.
func addCounts[C int64 | uint32](a []int64, b []C) []int64 {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	if len(a) < len(b) {
		a = append(a, make([]int64, len(b)-len(a))...)
	}
	for i, n := range b {
		a[i] += int64(n)
	}
	return a
}

// Count returns the number of values.
func (h *Histogram) Count() int64 {
	n := h.Zeros
	for _, side := range [][]int64{h.Below, h.Above} {
		for _, c := range side {
			n += c
		}
	}
	return n
}

// Bins returns the bins that are not empty, ascending; Zeros is one of no width.
func (h *Histogram) Bins() []quant.Bin {
	var bins []quant.Bin
	for i := len(h.Below) - 1; i >= 0; i-- {
		if n := h.Below[i]; n > 0 {
			bins = append(bins, quant.Bin{Lo: -edge(i + 1), Hi: -edge(i), Mass: float64(n)})
		}
	}
	if h.Zeros > 0 {
		bins = append(bins, quant.Bin{Mass: float64(h.Zeros)})
	}
	for i, n := range h.Above {
		if n > 0 {
			bins = append(bins, quant.Bin{Lo: edge(i), Hi: edge(i + 1), Mass: float64(n)})
		}
	}
	return bins
}

type histogramFile struct {
	Zeros int64 `json:"zeros,omitempty"`
	Below *side `json:"below,omitempty"`
	Above *side `json:"above,omitempty"`
}

// side is the file form of one side: counts from bin First, both ends not zero.
type side struct {
	First  int     `json:"first"`
	Counts []int64 `json:"counts"`
}

// MarshalJSON writes the same bytes for equal histograms.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	pack := func(c []int64) *side {
		for len(c) > 0 && c[len(c)-1] == 0 {
			c = c[:len(c)-1]
		}
		first := 0
		for first < len(c) && c[first] == 0 {
			first++
		}
		if first == len(c) {
			return nil
		}
		return &side{first, c[first:]}
	}
	return json.Marshal(histogramFile{h.Zeros, pack(h.Below), pack(h.Above)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var f histogramFile
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if f.Zeros < 0 || f.Zeros > maxCount {
		return fmt.Errorf("histogram has the count %d", f.Zeros)
	}
	h.Zeros = f.Zeros
	unpack := func(s *side) ([]int64, error) {
		if s == nil {
			return nil, nil
		}
		if s.First < 0 || s.First > maxBins || len(s.Counts) > maxBins-s.First {
			return nil, fmt.Errorf("histogram has a bin beyond %d", maxBins)
		}
		for _, n := range s.Counts {
			if n < 0 || n > maxCount {
				return nil, fmt.Errorf("histogram has the count %d", n)
			}
		}
		return append(make([]int64, s.First), s.Counts...), nil
	}
	var err error
	if h.Below, err = unpack(f.Below); err != nil {
		return err
	}
	h.Above, err = unpack(f.Above)
	return err
}
