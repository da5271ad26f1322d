package kernels

import "context"

// Conv is a two-dimensional convolution with its weights packed for the
// algorithm that suits its shape. It is immutable and may run concurrently.
type Conv struct {
	shape ConvShape
	algorithm
}

// algorithm computes images; sizes are already checked.
type algorithm interface {
	run(ctx context.Context, w *Workers, t task) error
}

// task is what one call computes.
type task struct {
	dst, src     []float32
	n            int // images
	h, w, oh, ow int // sizes of input and output
	tail         *ChainRun
}

// NewConv packs weights [Out, In/Groups, kH, kW] and bias [Out], or nil.
func NewConv(s ConvShape, weights, bias []float32, options ...Option) (*Conv, error) {
	s.setDefaults()
	s.OutputPadding = [2]int{}
	if err := s.check(weights, bias); err != nil {
		return nil, err
	}
	opt, lo := combine(options)
	c := &Conv{shape: s}
	switch in, out := s.In/s.Groups, s.Out/s.Groups; {
	case s.Groups > 1 && in == 1:
		c.algorithm = newDepthwise(s, weights, bias, lo)
	case opt&Strict == 0 && winogradSuits(s):
		c.algorithm = newWinograd(s, weights, bias, lo)
	case s.Stride == [2]int{1, 1} && out <= 8 && in >= 4*out && s.taps() > 1:
		c.algorithm = newScatterConv(s, weights, bias, lo)
	default:
		c.algorithm = newGather(s, weights, bias, lo)
	}
	return c, nil
}

// OutputSize is the height and width of the output for an input of h x w, 0
// when the window does not fit.
func (c *Conv) OutputSize(h, w int) (int, int) {
	return c.shape.convSize(0, h), c.shape.convSize(1, w)
}

// Run convolves n images: src is [n, In, h, wd], dst [n, Out, OutputSize(h, wd)].
// They must not overlap. A tail, unless nil, is executed on the outputs while
// they are in cache; its planes are those of dst, which is its tensor 0.
func (c *Conv) Run(ctx context.Context, w *Workers, dst, src []float32, n, h, wd int, tail *ChainRun) error {
	oh, ow := c.OutputSize(h, wd)
	if err := c.shape.checkImages(dst, src, n, h, wd, oh, ow); err != nil {
		return err
	}
	return c.run(ctx, w, task{dst, src, n, h, wd, oh, ow, tail})
}

// combine joins the options and translates Relu to the lower bound of outputs.
func combine(options []Option) (all Option, lo float32) {
	for _, o := range options {
		all |= o
	}
	if all&Relu != 0 {
		return all, 0
	}
	return all, noClamp
}
