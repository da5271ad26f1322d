package calib

import "math"

// Patches says which inputs one output value of a 2-D convolution sees.
type Patches struct {
	Kernel, Stride, Dilation, Pad [2]int // H, W; Pad is the one before
	Group                         int
	Transposed                    bool
}

// Gather writes for each position (index into the H*W plane of the output, outW
// wide) what group g reads of x [C, h, w] into dst [positions, C/Group*kH*kW];
// outside of x is zero, as are the taps that a transposed convolution skips.
func (p *Patches) Gather(dst, x []float32, g, c, h, w, outW int, positions []int) {
	channels := c / p.Group
	taps := p.Kernel[0] * p.Kernel[1]
	first := g * channels * h * w
	for i, at := range positions {
		row := dst[i*channels*taps : (i+1)*channels*taps]
		t := 0
		for ky := range p.Kernel[0] {
			y, okY := p.source(0, at/outW, ky)
			for kx := range p.Kernel[1] {
				x0, okX := p.source(1, at%outW, kx)
				if okX && okY && y >= 0 && y < h && x0 >= 0 && x0 < w {
					from := first + y*w + x0
					for ch := range channels {
						row[ch*taps+t] = x[from+ch*h*w]
					}
				} else {
					for ch := range channels {
						row[ch*taps+t] = 0
					}
				}
				t++
			}
		}
	}
}

// source returns the input coordinate that tap k adds to output coordinate at.
func (p *Patches) source(axis, at, k int) (int, bool) {
	if !p.Transposed {
		return at*p.Stride[axis] - p.Pad[axis] + k*p.Dilation[axis], true
	}
	up := at + p.Pad[axis] - k*p.Dilation[axis]
	return up / p.Stride[axis], up >= 0 && up%p.Stride[axis] == 0
}

// Positions returns at most n different indices below size, spread evenly and
// always the same (multiples of the golden ratio).
func Positions(size, n int) []int {
	if n >= size {
		all := make([]int, size)
		for i := range all {
			all[i] = i
		}
		return all
	}
	seen := make(map[int]bool, n)
	at := make([]int, 0, n)
	for i := 0; len(at) < n; i++ {
		_, fraction := math.Modf(float64(i) / math.Phi)
		if p := int(fraction * float64(size)); !seen[p] {
			seen[p] = true
			at = append(at, p)
		}
	}
	return at
}
