package imaging

import (
	"fmt"
	"math"
)

// MaxPixels bounds Width*Height of a picture read from a file: 2^27, for
// instance 16384 x 8192. A larger one would need gigabytes as float32.
const MaxPixels = 1 << 27

// Image is a picture as planes.
type Image struct {
	Width, Height int
	Channels      int       // 1 (gray) or 3 (RGB)
	Pix           []float32 // [Channels, Height, Width], nominally 0..1, not premultiplied
	Alpha         []float32 // [Height, Width] in 0..1, nil when opaque
	Depth         int       // bits of a sample in the source: 8 or 16
}

// New returns a black opaque 8-bit picture.
func New(width, height, channels int) *Image {
	return &Image{
		Width: width, Height: height, Channels: channels, Depth: 8,
		Pix: make([]float32, width*height*channels),
	}
}

// Plane returns the samples of one channel, [Height, Width], shared with m.
func (m *Image) Plane(c int) []float32 {
	n := m.Width * m.Height
	return m.Pix[c*n : (c+1)*n : (c+1)*n]
}

// Crop returns a copy of the top left width x height pixels.
func (m *Image) Crop(width, height int) (*Image, error) {
	if width <= 0 || height <= 0 || width > m.Width || height > m.Height {
		return nil, fmt.Errorf("imaging: cannot crop %dx%d to %dx%d", m.Width, m.Height, width, height)
	}
	return m.Region(0, 0, width, height), nil
}

// Region returns a copy of the width x height pixels from (x, y) on, which must lie
// inside.
func (m *Image) Region(x, y, width, height int) *Image {
	out := New(width, height, m.Channels)
	out.Depth = m.Depth
	from := y*m.Width + x
	for c := range m.Channels {
		cropPlane(out.Plane(c), m.Plane(c)[from:], width, m.Width)
	}
	if m.Alpha != nil {
		out.Alpha = make([]float32, width*height)
		cropPlane(out.Alpha, m.Alpha[from:], width, m.Width)
	}
	return out
}

// Middle returns a copy of the middle width x height pixels, which m must have.
func (m *Image) Middle(width, height int) *Image {
	return m.Region((m.Width-width)/2, (m.Height-height)/2, width, height)
}

// CropToMultiple cuts Width and Height down to multiples of k, as benchmarks do
// before they downscale by k.
func (m *Image) CropToMultiple(k int) (*Image, error) {
	if k < 1 {
		return nil, fmt.Errorf("imaging: scale %d is below 1", k)
	}
	if m.Width < k || m.Height < k {
		return nil, fmt.Errorf("imaging: %dx%d pixels are too few for scale %d", m.Width, m.Height, k)
	}
	return m.Crop(m.Width/k*k, m.Height/k*k)
}

func cropPlane(dst, src []float32, width, stride int) {
	for y := range len(dst) / width {
		copy(dst[y*width:(y+1)*width], src[y*stride:])
	}
}

// quantize rounds v in 0..1 to a code in 0..levels (255 or 65535), clamping;
// NaN becomes 0. Half rounds up, as MATLAB's uint8() does.
func quantize(v float32, levels float64) float64 {
	x := math.Floor(float64(float64(v)*levels) + 0.5)
	if !(x > 0) {
		return 0
	}
	return min(x, levels)
}

// Code8 returns the 8-bit code of a sample in 0..1: rounded, clamped to 0..255.
func Code8(v float32) uint8 { return uint8(quantize(v, 255)) }
