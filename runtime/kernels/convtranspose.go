package kernels

import "context"

// ConvTranspose is a two-dimensional transposed convolution ("deconvolution").
// It is immutable and may run concurrently.
type ConvTranspose struct {
	shape  ConvShape
	phases []*direct
}

// NewConvTranspose packs weights [In, Out/Groups, kH, kW] and bias [Out], or
// nil.
func NewConvTranspose(s ConvShape, weights, bias []float32, o Options) (*ConvTranspose, error) {
	s.setDefaults()
	if err := s.check(weights, bias); err != nil {
		return nil, err
	}
	c := &ConvTranspose{shape: s}
	in, out := s.In/s.Groups, s.Out/s.Groups
	weight := func(o, channel, k int) float32 {
		return weights[((o/out*in+channel)*out+o%out)*s.taps()+k]
	}
	// Input y meets tap k in output y*stride + k*dilation - pad.
	offset := func(axis, phase, k int) (int, bool) {
		at := phase + s.Pads[axis] - k*s.Dilation[axis]
		return floorDiv(at, s.Stride[axis]), floorDiv(at, s.Stride[axis])*s.Stride[axis] == at
	}
	for py := range s.Stride[0] {
		for px := range s.Stride[1] {
			var taps []tap
			for k := range s.taps() {
				dy, okY := offset(0, py, k/s.Kernel[1])
				if dx, okX := offset(1, px, k%s.Kernel[1]); okX && okY {
					taps = append(taps, tap{dy, dx, k})
				}
			}
			d := newDirect(s, taps, bias, o.lowest(), false, weight)
			d.step, d.first = s.Stride, [2]int{py, px}
			c.phases = append(c.phases, d)
		}
	}
	return c, nil
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// OutputSize is the height and width of the output for an input of h x w.
func (c *ConvTranspose) OutputSize(h, w int) (int, int) {
	return c.shape.transposeSize(0, h), c.shape.transposeSize(1, w)
}

// PlanarInput is that of Conv.
func (c *ConvTranspose) PlanarInput() bool { return c.shape.PlanarInput() }

// PlanarOutput is that of Conv: never.
func (c *ConvTranspose) PlanarOutput() bool { return false }

// Run processes n images: src is [n, In, h, wd], blocked or, when PlanarInput,
// planar; dst [n, Out, OutputSize(h, wd)], blocked. They must not
// overlap. The tail is that of Conv.
func (c *ConvTranspose) Run(ctx context.Context, w *Workers, dst, src []float32, planar bool, n, h, wd int, tail *ChainRun) error {
	oh, ow := c.OutputSize(h, wd)
	t := task{dst, src, planar, n, h, wd, oh, ow, tail}
	if err := c.shape.checkImages(t, false); err != nil {
		return err
	}
	for _, d := range c.phases {
		if err := d.run(ctx, w, t); err != nil {
			return err
		}
	}
	return nil
}
