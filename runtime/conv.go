package runtime

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

func init() { registerBlocked("Conv", 1, conv) }

// convolver is a packed convolution of either direction.
type convolver interface {
	OutputSize(h, w int) (int, int)
	PlanarInput() bool
	PlanarOutput() bool
	Run(ctx context.Context, w *kernels.Workers, dst, src []float32, planar bool, n, h, wd int, tail *kernels.ChainRun) error
}

// convolve runs a packed convolution on input 0.
func (c *call) convolve(k convolver, shape []int, tail *tail, operands int) error {
	in := c.in[0]
	if in.blocked || !k.PlanarInput() {
		var err error
		if in, _, err = c.blocked(0); err != nil {
			return err
		}
	}
	out, err := c.newIn(0, onnx.Float, shape, !k.PlanarOutput())
	if err != nil || out.Len() == 0 {
		return err
	}
	t, err := tail.bind(c, operands, out)
	if err != nil {
		return err
	}
	h, w := plane(in.Shape)
	return k.Run(c.ctx, c.workers, out.Data.([]float32), in.Data.([]float32), !in.blocked, in.Shape[0], h, w, t)
}

// conv packs constant weights once. Convolutions of one or two dimensions use
// the fast kernels, others a plain loop.
func conv(s *site) (kernel, error) {
	if q, ok := s.quantized(); ok {
		return quantizedConv(s, q)
	}
	if s.builder != nil && s.builder.composed[s.Node] != nil {
		return composedConv(s, s.builder.composed[s.Node])
	}
	return floatConv(s)
}

func floatConv(s *site) (kernel, error) {
	win, groups := newWindow(s), int(s.Int("group", 1))
	tail, base := s.tail, len(s.Inputs)
	options := kernels.Options{Strict: s.strict || s.builder != nil && s.builder.exact[s.Node], Relu: tail.startsWithRelu()}
	var moved shuffle
	if tail != nil {
		moved, options.Upscale = tail.shuffle, tail.shuffle.block
	}
	pack := func(w *Tensor, b []float32, pads []int, full window) (convolver, error) {
		weights := permuted(moved, w.Data.([]float32), w.Shape[0])
		return kernels.NewConv(shape2(full, pads, w.Shape[1]*groups, w.Shape[0], groups), weights, permuted(moved, b, w.Shape[0]), options)
	}
	var packed convolver
	var packedWindow window
	var weightShape []int
	if w := s.constant(1); w != nil && (!s.has(2) || s.constant(2) != nil) && (len(w.Shape) == 3 || len(w.Shape) == 4) {
		full, err := win.complete(w.Shape[2:])
		if err != nil {
			return nil, err
		}
		bias, err := constantBias(s)
		if err != nil {
			return nil, err
		}
		if w = s.takeFloats(1); w != nil && !full.same() {
			if packed, err = pack(w, bias, full.pads, full); err != nil {
				return nil, err
			}
			packedWindow, weightShape = full, w.Shape
		} else if w != nil {
			s.taken[1] = false
			if s.has(2) {
				s.taken[2] = false
			}
		}
	}
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if in.Type != onnx.Float {
			return fmt.Errorf("input 0 is %s, want float", in)
		}
		wShape, full, k := weightShape, packedWindow, packed
		pads := full.pads
		var w *Tensor
		var bias []float32
		if k == nil {
			if w, _, err = c.floats(1); err != nil {
				return err
			}
			if wShape = w.Shape; len(wShape) < 3 {
				return fmt.Errorf("weights are %s", w)
			}
			if c.input(2) != nil {
				if _, bias, err = c.floats(2); err != nil {
					return err
				}
			}
			if full, err = win.complete(wShape[2:]); err != nil {
				return err
			}
		}
		if len(in.Shape) != len(wShape) || groups < 1 || in.Shape[1] != wShape[1]*groups || wShape[0]%groups != 0 {
			return fmt.Errorf("input %s does not fit weights of shape %v in %d groups", in, wShape, groups)
		}
		if bias != nil && len(bias) != wShape[0] {
			return fmt.Errorf("%d biases for %d channels", len(bias), wShape[0])
		}
		if k == nil {
			pads = full.padsFor(in.Shape[2:])
		}
		shape, err := full.sizes(append(make([]int, 0, 4), in.Shape[0], wShape[0]), in.Shape[2:], pads)
		if err != nil {
			return err
		}
		if len(shape) > 4 || product(wShape) == 0 {
			return c.convPlain(shape, w, bias, full, pads, groups)
		}
		if k == nil {
			if k, err = pack(w, bias, pads, full); err != nil {
				return err
			}
		}
		if r := moved.block; r > 0 {
			shape[1], shape[2], shape[3] = shape[1]/(r*r), shape[2]*r, shape[3]*r
		}
		return c.convolve(k, shape, tail, base)
	}, nil
}

// constantBias takes input 2, if there is one, and nothing else.
func constantBias(s *site) ([]float32, error) {
	if !s.has(2) {
		return nil, nil
	}
	t := s.takeFloats(2)
	if t == nil {
		return nil, fmt.Errorf("the bias is %s, want float", s.constant(2))
	}
	return t.Data.([]float32), nil
}

// shape2 describes a convolution of one or two dimensions as one of two.
func shape2(w window, pads []int, in, out, groups int) kernels.ConvShape {
	s := kernels.ConvShape{In: in, Out: out, Groups: groups, Kernel: [2]int{1, 1}, Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}}
	rank := len(w.kernel)
	for i := range rank {
		at := 2 - rank + i
		s.Kernel[at], s.Stride[at], s.Dilation[at] = w.kernel[i], w.stride[i], w.dilation[i]
		s.Pads[at], s.Pads[2+at] = pads[i], pads[rank+i]
		s.OutputPadding[at] = w.outputPadding[i]
	}
	return s
}

// plane returns height and width of NCW or NCHW.
func plane(shape []int) (h, w int) {
	if len(shape) == 3 {
		return 1, shape[2]
	}
	return shape[2], shape[3]
}

// odometer calls f for every index of an array of the given dimensions, in
// order. f must not keep the slice.
func odometer(dims []int, f func(index []int)) {
	if product(dims) == 0 {
		return
	}
	index := make([]int, len(dims))
	for {
		f(index)
		i := len(dims) - 1
		for ; i >= 0; i-- {
			if index[i]++; index[i] < dims[i] {
				break
			}
			index[i] = 0
		}
		if i < 0 {
			return
		}
	}
}

// planes returns input 0, planar, and makes output 0 likewise.
func (c *call) planes(shape []int) (in, out *Tensor, err error) {
	if in, _, err = c.floats(0); err == nil {
		out, err = c.new(0, onnx.Float, shape)
	}
	return in, out, err
}

// convPlain convolves any number of dimensions by the definition.
func (c *call) convPlain(shape []int, w *Tensor, bias []float32, win window, pads []int, groups int) error {
	in, out, err := c.planes(shape)
	if err != nil || out.Len() == 0 {
		return err
	}
	dst, src, weights := out.Data.([]float32), in.Data.([]float32), w.Data.([]float32)
	inDims, outDims := in.Shape[2:], out.Shape[2:]
	inSize, outSize, taps := product(inDims), product(outDims), product(win.kernel)
	inS := strides(inDims)
	channels, perGroup, outGroup := in.Shape[1], w.Shape[1], w.Shape[0]/groups
	return c.each(in.Shape[0]*w.Shape[0], func(item int) {
		n, o := item/w.Shape[0], item%w.Shape[0]
		first := n*channels + o/outGroup*perGroup
		at := item * outSize
		odometer(outDims, func(pos []int) {
			var sum float32
			if bias != nil {
				sum = bias[o]
			}
			tap := 0
			odometer(win.kernel, func(k []int) {
				offset, inside := 0, true
				for i := range k {
					x := pos[i]*win.stride[i] + k[i]*win.dilation[i] - pads[i]
					inside = inside && x >= 0 && x < inDims[i]
					offset += x * inS[i]
				}
				if inside {
					for ch := range perGroup {
						sum += float32(weights[(o*perGroup+ch)*taps+tap] * src[(first+ch)*inSize+offset])
					}
				}
				tap++
			})
			dst[at] = sum
			at++
		})
	})
}
