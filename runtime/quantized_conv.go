package runtime

import (
	"fmt"
	"slices"
	"sync"

	"github.com/daq-sr/daq/runtime/kernels"
)

// quantizedConv prepares a convolution of X [N,C,H,W] quantized to levels with the
// scale (input 3) and offset (input 4) of each channel [N,C,1,1], or one of each
// for all. Where no integer kernel suits, X is replaced by its levels and convolved
// as floats.
func quantizedConv(s *site, q quantizedInput) (kernel, error) {
	if q.codes != nil {
		return codesConv(s, q.codes)
	}
	w := s.constant(1)
	levels := q.levels
	if channels := w.Shape[1] * int(s.Int("group", 1)); len(levels) == 1 {
		levels = slices.Repeat(levels, channels)
	}
	full, err := newWindow(s).complete(w.Shape[2:])
	if err != nil {
		return nil, err
	}
	shape, weights := dense(shape2(full, full.pads, len(levels), w.Shape[0], int(s.Int("group", 1))), w.Data.([]float32))
	if full.same() || !kernels.IntSuits(shape) {
		return requantizedConv(s, levels)
	}
	bias, err := constantBias(s)
	if err != nil {
		return nil, err
	}
	tail, base, floor := s.tail, len(s.Inputs), s.floor
	s.takeFloats(1)
	packed, err := kernels.NewIntConv(shape, weights, bias, levels, tail.startsWithRelu())
	if err != nil {
		return nil, err
	}
	var idle sync.Pool // *foldedConv
	return func(c *call) error {
		in, src, err := c.featureMap(len(levels))
		if err != nil {
			return err
		}
		out, err := c.newBlocked(0, []int{in.Shape[0], w.Shape[0], in.Shape[2], in.Shape[3]})
		if err != nil || out.Len() == 0 {
			return err
		}
		t, err := tail.bind(c, base, out)
		if err != nil {
			return err
		}
		state, ok := idle.Get().(*foldedConv)
		if !ok {
			state = new(foldedConv)
			if floor != nil {
				state.moments = kernels.NewOutputMoments(floor, w.Shape[0])
			}
		}
		defer idle.Put(state)
		if floor != nil {
			c.moments.floor, out.moments = floor, &c.moments
			c.moments.resize(in.Shape[0] * w.Shape[0])
		}
		for image := range in.Shape[0] {
			win, err := c.windows(image, in.Shape)
			if err != nil {
				return err
			}
			if err := packed.Fold(c.ctx, c.workers, &state.Folded, win); err != nil {
				return err
			}
			if err := packed.Run(c.ctx, c.workers, out.Data.([]float32), src, &state.Folded, image, in.Shape[2], in.Shape[3], t, state.moments); err != nil {
				return err
			}
			if floor != nil {
				state.moments.Moments(c.moments.values[image*w.Shape[0]:][:w.Shape[0]])
			}
		}
		return nil
	}, nil
}

// foldedConv is what a quantized convolution works in for one image.
type foldedConv struct {
	kernels.Folded
	moments *kernels.OutputMoments // nil unless asked for
}

// featureMap returns input 0 [N,C,H,W] of so many channels, blocked.
func (c *call) featureMap(channels int) (*Tensor, []float32, error) {
	in, src, err := c.blocked(0)
	if err == nil && (len(in.Shape) != 4 || in.Shape[1] != channels) {
		err = fmt.Errorf("input %s does not fit weights for %d channels", in, channels)
	}
	return in, src, err
}

// windows returns inputs 3 and 4 for one image of a shape.
func (c *call) windows(image int, shape []int) (win kernels.Windows, err error) {
	for i, to := range []*[]float32{&win.Scale, &win.Offset} {
		t, v, err := c.floats(3 + i)
		if err != nil {
			return win, err
		}
		switch n := shape[1]; len(v) {
		case 1:
			*to = slices.Repeat(v, n)
		case n:
			*to = v
		case n * shape[0]:
			*to = v[image*n:][:n]
		default:
			return win, fmt.Errorf("scale or offset is %s, want one for each channel of %v", t, shape)
		}
	}
	return win, nil
}

// requantizedConv replaces the input by what its codes stand for and convolves that
// in floats.
func requantizedConv(s *site, levels []int) (kernel, error) {
	convolve, err := floatConv(s)
	if err != nil {
		return nil, err
	}
	return func(c *call) error {
		in, src, err := c.featureMap(len(levels))
		if err != nil {
			return err
		}
		levelled, err := c.arena.blocked(in.Shape)
		if err != nil {
			return err
		}
		defer c.arena.release(levelled)
		dst, size := levelled.Data.([]float32), in.Shape[2]*in.Shape[3]
		for image := range in.Shape[0] {
			win, err := c.windows(image, in.Shape)
			if err != nil {
				return err
			}
			at := kernels.BlockedLen(image, in.Shape[1], size)
			if err := kernels.Requantize(c.ctx, c.workers, dst[at:], src[at:], size, win, levels); err != nil {
				return err
			}
		}
		c.in[0] = levelled
		return convolve(c)
	}, nil
}

// quantized returns what is known of the input of a convolution that reads codes.
func (s *site) quantized() (quantizedInput, bool) {
	if s.builder == nil {
		return quantizedInput{}, false
	}
	q, ok := s.builder.quantized[s.Node]
	return q, ok
}
