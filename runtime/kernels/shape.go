package kernels

import (
	"errors"
	"fmt"
)

// ConvShape describes a two-dimensional convolution or transposed convolution,
// in the terms of the ONNX operators Conv and ConvTranspose.
type ConvShape struct {
	In, Out, Groups  int    // channels; Groups divides both
	Kernel           [2]int // height, width
	Stride, Dilation [2]int // zero values mean 1
	Pads             [4]int // top, left, bottom, right
	OutputPadding    [2]int // ConvTranspose only: added at the bottom and right
}

func (s *ConvShape) setDefaults() {
	for _, v := range []*int{&s.Groups, &s.Stride[0], &s.Stride[1], &s.Dilation[0], &s.Dilation[1]} {
		if *v == 0 {
			*v = 1
		}
	}
}

func (s ConvShape) check(weights, bias []float32) error {
	const most = 1 << 24 // keeps every product below far from overflow
	for _, v := range []struct {
		name      string
		value     int
		least, to int
	}{
		{"input channels", s.In, 1, most}, {"output channels", s.Out, 1, most}, {"groups", s.Groups, 1, most},
		{"kernel height", s.Kernel[0], 1, 1 << 12}, {"kernel width", s.Kernel[1], 1, 1 << 12},
		{"stride", s.Stride[0], 1, most}, {"stride", s.Stride[1], 1, most},
		{"dilation", s.Dilation[0], 1, 1 << 16}, {"dilation", s.Dilation[1], 1, 1 << 16},
		{"top padding", s.Pads[0], -most, most}, {"left padding", s.Pads[1], -most, most},
		{"bottom padding", s.Pads[2], -most, most}, {"right padding", s.Pads[3], -most, most},
		{"output padding", s.OutputPadding[0], 0, most}, {"output padding", s.OutputPadding[1], 0, most},
	} {
		if v.value < v.least || v.value > v.to {
			return fmt.Errorf("kernels: convolution: %s is %d, not in [%d, %d]", v.name, v.value, v.least, v.to)
		}
	}
	if s.In%s.Groups != 0 || s.Out%s.Groups != 0 {
		return fmt.Errorf("kernels: convolution: %d groups do not divide %d input and %d output channels", s.Groups, s.In, s.Out)
	}
	if n := s.In * (s.Out / s.Groups) * s.taps(); len(weights) != n {
		return fmt.Errorf("kernels: convolution: %d weights, want %d", len(weights), n)
	}
	if bias != nil && len(bias) != s.Out {
		return fmt.Errorf("kernels: convolution: %d biases, want %d", len(bias), s.Out)
	}
	return nil
}

func (s ConvShape) taps() int { return s.Kernel[0] * s.Kernel[1] }

// extent is the size of the window along an axis, dilation included.
func (s ConvShape) extent(axis int) int { return (s.Kernel[axis]-1)*s.Dilation[axis] + 1 }

// convSize is the size of a convolution's output along an axis, 0 when the
// window does not fit.
func (s ConvShape) convSize(axis, n int) int {
	free := n + s.Pads[axis] + s.Pads[axis+2] - s.extent(axis)
	if free < 0 || n <= 0 {
		return 0
	}
	return free/s.Stride[axis] + 1
}

// transposeSize is the size of a transposed convolution's output along an axis.
func (s ConvShape) transposeSize(axis, n int) int {
	if n <= 0 {
		return 0
	}
	return max(0, (n-1)*s.Stride[axis]+s.extent(axis)+s.OutputPadding[axis]-s.Pads[axis]-s.Pads[axis+2])
}

// checkImages tells whether the slices hold images of the sizes.
func (s ConvShape) checkImages(t task, planarOutput bool) error {
	if t.n < 0 || t.h < 0 || t.w < 0 {
		return fmt.Errorf("kernels: convolution: image size %dx%dx%d", t.n, t.h, t.w)
	}
	if t.n == 0 {
		return nil
	}
	if t.oh == 0 || t.ow == 0 {
		return fmt.Errorf("kernels: convolution: a window of %dx%d does not fit into %dx%d with pads %v", s.extent(0), s.extent(1), t.h, t.w, s.Pads)
	}
	length := func(planar bool, channels, size int) int {
		if planar {
			return t.n * channels * size
		}
		return BlockedLen(t.n, channels, size)
	}
	if len(t.src) < length(t.planar, s.In, t.h*t.w) {
		return errors.New("kernels: convolution: input slice is too short")
	}
	if len(t.dst) < length(planarOutput, s.Out, t.oh*t.ow) {
		return errors.New("kernels: convolution: output slice is too short")
	}
	return nil
}
