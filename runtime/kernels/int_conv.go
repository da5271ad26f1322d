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
// Folded weights are rounded, each output channel (and each position of a Winograd
// tile) with a scale of its own: to 8 bits for codes of few levels where the
// processor is made for that (byteForm), else to at most 16 bits, as fine as the
// largest possible sum, computed from the codes' range and the weights themselves,
// lets them be in 32 bits (wordForm).
type IntConv struct {
	shape   ConvShape
	form    *intForm
	inputs  int // channels, whole blocks
	outputs int // channels, whole blocks
	points  int // products for each pair of channels and tile, or 1
	taps    int
	weights []float32 // [output block][input][tap][16]
	bias    []float32 // by output
	levels  []int     // by input, 1 beyond the channels
	centre  []int     // by input: c = code - centre
	shift   []int     // by input: c << shift is what is multiplied
	depth   int       // inputs at a time
	grouped bool      // every depth inputs have scales of their own and are added as floats
	lo      float32
}

// Windows are the scale and the offset of each input channel for one image.
type Windows struct{ Scale, Offset []float32 }

// MaxLevels is the largest number of levels of an input of IntConv.
const MaxLevels = 256

// byteLevels is the largest number of levels whose folded weights have 8 bits.
const byteLevels = 16

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
	c := &IntConv{shape: s, form: &wordForm, inputs: roundUp(s.In, Lanes), outputs: roundUp(s.Out, Lanes), points: 1, taps: s.taps()}
	if c.lo = noClamp; relu {
		c.lo = 0
	}
	c.bias = padTo(bias, c.outputs)
	most := 0
	for _, l := range levels {
		if l < 2 || l > MaxLevels {
			return nil, fmt.Errorf("kernels: %d levels: want 2 to %d", l, MaxLevels)
		}
		most = max(most, l)
	}
	if most <= byteLevels && hasByteForm() {
		c.form = &byteForm
	}
	if c.taps == 9 {
		c.points = c.form.points
	}
	c.setCodes(levels)
	c.setDepth(most)
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

// setCodes chooses how codes are represented. Few levels far apart make weights
// large beside those of many close levels; both get about the same when all codes
// have the same range, which must not exceed that of the largest.
func (c *IntConv) setCodes(levels []int) {
	c.levels, c.centre, c.shift = make([]int, c.inputs), make([]int, c.inputs), make([]int, c.inputs)
	most := 0
	for _, l := range levels {
		most = max(most, l/2)
	}
	for i := range c.levels {
		c.levels[i] = 1
		if i >= len(levels) {
			continue
		}
		l := levels[i]
		c.levels[i], c.centre[i] = l, l/2
		c.shift[i] = bits.Len(uint(most/(l/2))) - 1
		if c.form == &byteForm && c.shift[i] > 0 && l%2 == 1 {
			c.shift[i]-- // from -8 to 8 is one too many
		}
	}
}

// half is the largest |c << shift| of an input.
func (c *IntConv) half(i int) float32 {
	return float32(max(c.centre[i], c.levels[i]-1-c.centre[i]) << c.shift[i])
}

// setDepth chooses how many inputs are multiplied at a time, for codes of at most
// so many levels.
func (c *IntConv) setDepth(levels int) {
	c.depth = min(c.inputs, intDepth)
	switch {
	case c.points == 1 || c.form == &byteForm:
		c.depth = min(c.inputs, 4*intDepth)
	case c.inputs*(levels/2)*100 > math.MaxInt32/8192:
		// Weights of 13 bits would not fit the sum.
		c.depth = min(c.inputs, intFine)
		c.grouped = c.inputs > c.depth
	}
}

// Run convolves one of several images with folded weights: src is [n, In, h, wd]
// and dst [n, Out, h, wd], both blocked. They must not overlap. A tail, unless nil,
// is executed on the outputs while they are in cache; its planes are the blocks of
// dst, which is its tensor 0. What m, unless nil, asks for is summed there too.
func (c *IntConv) Run(ctx context.Context, w *Workers, dst, src []float32, f *Folded, image, h, wd int, tail *ChainRun, m *OutputMoments) error {
	if len(src) < (image+1)*c.inputs*h*wd || len(dst) < (image+1)*c.outputs*h*wd {
		return fmt.Errorf("kernels: %d and %d elements for image %d of %dx%d pixels and %d and %d channels", len(src), len(dst), image, h, wd, c.inputs, c.outputs)
	}
	if h == 0 || wd == 0 {
		return ctx.Err()
	}
	j := intJob{IntConv: c, dst: dst[image*c.outputs*h*wd:], src: src[image*c.inputs*h*wd:], f: f, h: h, wd: wd, first: image * c.outputs / Lanes, tail: tail, moments: m}
	if c.taps == 1 {
		m.start(ceilDiv(h*wd, intPixels), c.outputs/Lanes)
		return intPointwise.run(ctx, w, ceilDiv(h*wd, intPixels), j)
	}
	c.setBorders(f, h, wd)
	j.parts = newRegions(ceilDiv(h, 4), ceilDiv(wd, 4), intTiles)
	m.start(j.parts.count(), c.outputs/Lanes)
	return intWinograd.run(ctx, w, j.parts.count(), j)
}
