package kernels

import (
	"context"
	"fmt"
	"math"
	"math/bits"
)

// IntConv is a convolution of a feature map that is quantized channel by
// channel, computed in integers:
//
//	code  = clamp(floor((x - offset)/scale + 1/2), 0, levels-1)
//	x_hat = code*scale + offset
//	y     = bias + sum of weights * x_hat        (x_hat is 0 outside of the image)
//
// Codes are taken about the middle of their range, c = code - levels/2, so that
// the scale of each input channel can be folded into the weights and what is left
// of the offset into the bias, exactly also where the window meets the padding.
// Folded weights are rounded to at most 16 bits, each output channel (and each
// position of a Winograd tile) with a scale of its own: as fine as the largest
// possible sum, computed from the codes' range and the weights themselves, lets
// them be in 32 bits.
type IntConv struct {
	shape   ConvShape
	inputs  int // channels, whole blocks
	outputs int // channels, whole blocks
	points  int // products for each pair of channels and tile: 36, or 1
	taps    int
	weights []float32 // [output block][input][tap][16]
	bias    []float32 // by output
	levels  []float32 // by input
	factor  []int16   // by input: c times this is what is multiplied
	half    []float32 // by input: the largest |c|, times factor
	depth   int       // inputs at a time
	grouped bool      // every depth inputs have scales of their own and are added as floats
	lo      float32
}

// Windows are the scale and the offset of each input channel for one image.
type Windows struct{ Scale, Offset []float32 }

// MaxLevels is the largest number of levels of an input of IntConv.
const MaxLevels = 256

// IntSuits tells whether there is an IntConv of a shape: 3x3 that keeps the size
// of the image, and 1x1.
func IntSuits(s ConvShape) bool {
	s.setDefaults()
	if s.Groups != 1 || s.Stride != [2]int{1, 1} || s.In > 1<<14 {
		return false
	}
	return s.Kernel == [2]int{3, 3} && s.Dilation == [2]int{1, 1} && s.Pads == [4]int{1, 1, 1, 1} ||
		s.Kernel == [2]int{1, 1} && s.Pads == [4]int{}
}

// NewIntConv packs weights [Out, In, kH, kW] and bias [Out], or nil, for inputs of
// levels[i] levels (2 to MaxLevels). With relu negative
// outputs become zero.
func NewIntConv(s ConvShape, weights, bias []float32, levels []int, relu bool) (*IntConv, error) {
	s.setDefaults()
	s.OutputPadding = [2]int{}
	if err := s.check(weights, bias); err != nil {
		return nil, err
	}
	if !IntSuits(s) || len(levels) != s.In {
		return nil, fmt.Errorf("kernels: no integer convolution of this shape with %d levels", len(levels))
	}
	c := &IntConv{shape: s, inputs: roundUp(s.In, Lanes), outputs: roundUp(s.Out, Lanes), points: 1, taps: s.taps()}
	if c.taps == 9 {
		c.points = 36
	}
	if c.lo = noClamp; relu {
		c.lo = 0
	}
	c.bias = padTo(bias, c.outputs)
	c.levels, c.half, c.factor = make([]float32, c.inputs), make([]float32, c.inputs), make([]int16, c.inputs)
	most := 0
	for i, l := range levels {
		if l < 2 || l > MaxLevels {
			return nil, fmt.Errorf("kernels: %d levels: want 2 to %d", l, MaxLevels)
		}
		c.levels[i] = float32(l)
		most = max(most, l/2)
	}
	// Few levels far apart make weights large beside those of many close levels.
	// Both get about the same when all codes have the same range.
	for i, l := range levels {
		c.factor[i] = int16(1) << (bits.Len(uint(most/(l/2))) - 1)
		c.half[i] = float32(l / 2 * int(c.factor[i]))
	}
	c.depth = min(c.inputs, intDepth)
	if c.points == 1 {
		c.depth = min(c.inputs, 4*intDepth)
	} else if c.inputs*most*100 > math.MaxInt32/8192 {
		// Weights of 13 bits would not fit the sum.
		c.depth = min(c.inputs, intFine)
		c.grouped = c.inputs > c.depth
	}
	c.weights = make([]float32, c.outputs*c.inputs*c.taps)
	for o := range s.Out {
		for i := range s.In {
			for t := range c.taps {
				c.weights[((o/Lanes*c.inputs+i)*c.taps+t)*Lanes+o%Lanes] = weights[(o*s.In+i)*c.taps+t]
			}
		}
	}
	return c, nil
}

// Folded is what a convolution knows of the windows of one image. It may be used
// again for the next.
type Folded struct {
	weights []int16   // of each depth inputs [point][output block][input pair][16][2]
	scale   []float32 // of each group of inputs [output block][point][16]
	bias    []float32 // [row case][column case][output], 1x1: [output]
	offset  []float32 // by input, of encode
	inverse []float32
}

// Fold rounds the weights for windows of which each has one entry for each
// channel of the image.
func (c *IntConv) Fold(ctx context.Context, w *Workers, f *Folded, win Windows) error {
	if len(win.Scale) != c.shape.In || len(win.Offset) != c.shape.In {
		return fmt.Errorf("kernels: windows of %d and %d channels for %d", len(win.Scale), len(win.Offset), c.shape.In)
	}
	cases := 1
	if c.taps == 9 {
		cases = 16
	}
	f.weights = resized(f.weights, c.points*c.outputs*c.inputs)
	group := c.inputs
	if c.grouped {
		group = c.depth
	}
	f.scale = resized(f.scale, ceilDiv(c.inputs, group)*c.points*c.outputs)
	f.bias = resized(f.bias, cases*c.outputs)
	f.offset = resized(f.offset, c.inputs)
	f.inverse = resized(f.inverse, c.inputs)
	clear(f.offset[c.shape.In:])
	clear(f.inverse[c.shape.In:])
	copy(f.offset, win.Offset)
	for i, s := range win.Scale {
		f.inverse[i] = 1 / s
	}
	return w.each(ctx, c.outputs/Lanes, func(b int, sc *scratch) {
		buf := sc.floats((group*c.points + 3*c.points + c.taps) * Lanes)
		take := func(n int) []float32 {
			part := buf[:n*Lanes]
			buf = buf[n*Lanes:]
			return part
		}
		sums, most, inverse, offsets := take(c.points), take(c.points), take(c.points), take(c.taps)
		clear(offsets)
		u := take(group * c.points)
		for k := 0; k < c.inputs; k += group {
			c.foldGroup(f, win, b, k, min(group, c.inputs-k), u, sums, most, inverse, offsets)
		}
		c.foldBias(f, b, offsets)
	})
}

// foldGroup rounds the weights of n inputs from k on for the outputs of block b.
// For every point and output it needs sums, most, inverse [point][16].
func (c *IntConv) foldGroup(f *Folded, win Windows, b, k, n int, u, sums, most, inverse, offsets []float32) {
	clear(sums)
	clear(most)
	halves := 0.0
	for i := k; i < k+n; i++ {
		var scale, level float32
		if i < c.shape.In {
			scale = win.Scale[i] / float32(c.factor[i])
			level = win.Offset[i] + c.half[i]*scale // of c = 0
		}
		weights := c.weights[(b*c.inputs+i)*c.taps*Lanes:][:c.taps*Lanes]
		foldInput(c.points, u[(i-k)*c.points*Lanes:], weights, scale, level, c.half[i], sums, most, offsets)
		halves += float64(c.half[i])
	}
	scales := f.scale[(k/c.depth*c.outputs+b*Lanes)*c.points:] // k is 0 unless grouped
	for p := range c.points {
		gain := 1.
		if c.points == 36 {
			gain = winoGain[p/6] * winoGain[p%6]
		}
		room := math.MaxInt32 - gain*halves/2 // less what rounding may add
		for l := range Lanes {
			s := max(float64(most[p*Lanes+l])/math.MaxInt16, 1.00001*gain*float64(sums[p*Lanes+l])/room)
			scales[p*Lanes+l], inverse[p*Lanes+l] = float32(s), 0
			if s > 0 {
				inverse[p*Lanes+l] = float32(1 / s)
			}
		}
		for at := k; at < k+n; at += c.depth {
			deep := min(c.depth, k+n-at)
			to := f.weights[at*c.points*c.outputs+(p*c.outputs+b*Lanes)*deep:]
			roundWeights(deep/2, to, u[((at-k)*c.points+p)*Lanes:], c.points*Lanes, inverse[p*Lanes:])
		}
	}
}

// foldBias adds up what the offsets give, sums[tap][16] for the outputs of block
// b, over the taps inside of the image: in case 1 the first row or column of the
// window is outside, in case 2 the last, in case 3 both.
func (c *IntConv) foldBias(f *Folded, b int, sums []float32) {
	if c.taps == 1 {
		for l := range Lanes {
			f.bias[b*Lanes+l] = c.bias[b*Lanes+l] + sums[l]
		}
		return
	}
	for i := range 16 {
		row, col := i/4, i%4
		for l := range Lanes {
			sum := 0.0
			for ky := row & 1; ky < 3-row>>1; ky++ {
				for kx := col & 1; kx < 3-col>>1; kx++ {
					sum += float64(sums[(ky*3+kx)*Lanes+l])
				}
			}
			f.bias[i*c.outputs+b*Lanes+l] = float32(float64(c.bias[b*Lanes+l]) + sum)
		}
	}
}

// Run convolves one of several images with folded weights: src is [n, In, h, wd]
// and dst [n, Out, h, wd], both blocked. They must not overlap. A tail, unless nil,
// is executed on the outputs while they are in cache; its planes are the blocks of
// dst, which is its tensor 0.
func (c *IntConv) Run(ctx context.Context, w *Workers, dst, src []float32, f *Folded, image, h, wd int, tail *ChainRun) error {
	if len(src) < (image+1)*c.inputs*h*wd || len(dst) < (image+1)*c.outputs*h*wd {
		return fmt.Errorf("kernels: %d and %d elements for image %d of %dx%d pixels and %d and %d channels", len(src), len(dst), image, h, wd, c.inputs, c.outputs)
	}
	if h == 0 || wd == 0 {
		return ctx.Err()
	}
	first := image * c.outputs / Lanes
	src, dst = src[image*c.inputs*h*wd:], dst[image*c.outputs*h*wd:]
	if c.taps == 1 {
		return c.runPointwise(ctx, w, dst, src, f, h*wd, first, tail)
	}
	return c.runWinograd(ctx, w, dst, src, f, h, wd, first, tail)
}

func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
