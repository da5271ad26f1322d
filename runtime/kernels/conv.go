package kernels

import (
	"context"
	"fmt"
)

// Conv is a two-dimensional convolution with its weights packed for the
// algorithm that suits its shape. It is immutable and may run concurrently.
type Conv struct {
	shape   ConvShape
	options Options
	algorithm
}

// Options change how a convolution is computed.
type Options struct {
	// Strict sums every product as the definition says; without it 3x3
	// and 5x5 convolutions use Winograd's algorithm, whose rounding error is larger
	// (about 1e-5 of the output range).
	Strict bool
	// Relu replaces negative outputs by zero.
	Relu bool
	// Upscale r, unless 0 or 1, stores output channel (i*r+j)*C+c of C*r*r as
	// channel c of the pixels (y*r+i, x*r+j): ONNX operator DepthToSpace, mode
	// DCR. It needs Upscales.
	Upscale int
}

// algorithm computes images; sizes are already checked.
type algorithm interface {
	run(ctx context.Context, w *Workers, t task) error
}

// task is what one call computes.
type task struct {
	dst, src     []float32
	planar       bool // layout of src
	n            int  // images
	h, w, oh, ow int  // sizes of input and output
	tail         *ChainRun
}

// NewConv packs weights [Out, In/Groups, kH, kW] and bias [Out], or nil.
func NewConv(s ConvShape, weights, bias []float32, o Options) (*Conv, error) {
	s.setDefaults()
	s.OutputPadding = [2]int{}
	if err := s.check(weights, bias); err != nil {
		return nil, err
	}
	if o.Upscale > 1 && !Upscales(s, o) {
		return nil, fmt.Errorf("kernels: convolution: %d outputs cannot be stored upscaled by %d", s.Out, o.Upscale)
	}
	o.Upscale = max(o.Upscale, 1)
	c := &Conv{shape: s, options: o}
	switch {
	case winogradSuits(s, o):
		c.algorithm = newWinograd(s, weights, bias, o)
	default:
		c.algorithm = newDirectConv(s, weights, bias, o.lowest())
	}
	return c, nil
}

// Upscales reports whether a convolution takes Options.Upscale: r*r times whole
// blocks of channels, computed by Winograd's algorithm.
func Upscales(s ConvShape, o Options) bool {
	s.setDefaults()
	return winogradSuits(s, o) && o.Upscale > 1 && s.Out%(o.Upscale*o.Upscale*Lanes) == 0
}

// lowest is the lower bound of outputs.
func (o Options) lowest() float32 {
	if o.Relu {
		return 0
	}
	return noClamp
}

// OutputSize is the height and width of the output for an input of h x w, 0
// when the window does not fit. With Upscale it is that before storing.
func (c *Conv) OutputSize(h, w int) (int, int) {
	return c.shape.convSize(0, h), c.shape.convSize(1, w)
}

// PlanarInput reports whether the input may be planar as well: few channels, as
// pictures have.
func (s ConvShape) PlanarInput() bool { return s.In < Lanes/2 }

// PlanarOutput reports whether the output is planar: so few channels, of many, that a
// block would be mostly padding.
func (s ConvShape) PlanarOutput() bool { return s.Out <= maxFew && s.Groups == 1 && !s.PlanarInput() }

// PlanarInput is ConvShape.PlanarInput.
func (c *Conv) PlanarInput() bool { return c.shape.PlanarInput() }

// PlanarOutput is ConvShape.PlanarOutput.
func (c *Conv) PlanarOutput() bool { return c.shape.PlanarOutput() }

// Run convolves n images: src is [n, In, h, wd], blocked or, when PlanarInput,
// planar; dst [n, Out, OutputSize(h, wd)], blocked unless PlanarOutput. They
// must not overlap. A tail, unless nil, is executed on the outputs while they are
// in cache; its planes are the blocks or planes of dst, which is its tensor 0.
// With Upscale it has no other tensor.
func (c *Conv) Run(ctx context.Context, w *Workers, dst, src []float32, planar bool, n, h, wd int, tail *ChainRun) error {
	oh, ow := c.OutputSize(h, wd)
	t := task{dst, src, planar, n, h, wd, oh, ow, tail}
	if err := c.shape.checkImages(t, c.PlanarOutput()); err != nil {
		return err
	}
	if planar && !c.PlanarInput() {
		return fmt.Errorf("kernels: convolution: the input of %d channels is not blocked", c.shape.In)
	}
	return c.run(ctx, w, t)
}
