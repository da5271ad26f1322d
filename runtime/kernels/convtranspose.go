package kernels

import "context"

// ConvTranspose is a two-dimensional transposed convolution ("deconvolution").
// It is immutable and may run concurrently.
type ConvTranspose struct {
	shape ConvShape
	algorithm
}

// NewConvTranspose packs weights [In, Out/Groups, kH, kW] and bias [Out], or
// nil.
func NewConvTranspose(s ConvShape, weights, bias []float32, options ...Option) (*ConvTranspose, error) {
	s.setDefaults()
	if err := s.check(weights, bias); err != nil {
		return nil, err
	}
	_, lo := combine(options)
	return &ConvTranspose{s, newScatterTranspose(s, weights, bias, lo)}, nil
}

// OutputSize is the height and width of the output for an input of h x w.
func (c *ConvTranspose) OutputSize(h, w int) (int, int) {
	return c.shape.transposeSize(0, h), c.shape.transposeSize(1, w)
}

// Run processes n images: src is [n, In, h, wd], dst
// [n, Out, OutputSize(h, wd)]. They must not overlap.
func (c *ConvTranspose) Run(ctx context.Context, w *Workers, dst, src []float32, n, h, wd int) error {
	oh, ow := c.OutputSize(h, wd)
	if err := c.shape.checkImages(dst, src, n, h, wd, oh, ow); err != nil {
		return err
	}
	return c.run(ctx, w, task{dst, src, n, h, wd, oh, ow, nil})
}
