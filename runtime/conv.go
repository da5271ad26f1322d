package runtime

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

func init() {
	registerBlocked("Conv", 1, conv)
	registerBlocked("ConvTranspose", 1, convTranspose)
}

// window is what Conv, ConvTranspose and the pools share: attributes for each
// spatial dimension.
type window struct {
	autoPad                    string
	kernel, stride, dilation   []int
	pads                       []int // begin of each dimension, then end
	outputPadding, outputShape []int
	ceil                       bool
}

func newWindow(s *site) window {
	return window{
		autoPad: s.Str("auto_pad", "NOTSET"), kernel: s.ints("kernel_shape"), stride: s.ints("strides"), dilation: s.ints("dilations"),
		pads: s.ints("pads"), outputPadding: s.ints("output_padding"), outputShape: s.ints("output_shape"), ceil: s.Int("ceil_mode", 0) != 0,
	}
}

// complete fills in defaults for the given kernel, and checks lengths and
// signs.
func (w window) complete(kernel []int) (window, error) {
	rank := len(kernel)
	if w.kernel == nil {
		w.kernel = kernel
	}
	if !slices.Equal(w.kernel, kernel) {
		return w, fmt.Errorf("kernel_shape %v does not fit weights of %v", w.kernel, kernel)
	}
	for _, a := range []struct {
		list    *[]int
		name    string
		n       int
		missing int
		least   int
	}{
		{&w.kernel, "kernel_shape", rank, 1, 1}, {&w.stride, "strides", rank, 1, 1}, {&w.dilation, "dilations", rank, 1, 1},
		{&w.pads, "pads", 2 * rank, 0, -math.MaxInt32}, {&w.outputPadding, "output_padding", rank, 0, 0},
	} {
		if len(*a.list) == 0 {
			*a.list = slices.Repeat([]int{a.missing}, a.n)
		}
		if len(*a.list) != a.n {
			return w, fmt.Errorf("%s %v does not have %d entries", a.name, *a.list, a.n)
		}
		for _, v := range *a.list {
			if v < a.least || v > math.MaxInt32 {
				return w, fmt.Errorf("%s %v is out of range", a.name, *a.list)
			}
		}
	}
	switch w.autoPad {
	case "NOTSET", "SAME_UPPER", "SAME_LOWER":
	case "VALID":
		w.pads = make([]int, 2*rank)
	default:
		return w, fmt.Errorf("auto_pad %q is not known", w.autoPad)
	}
	return w, nil
}

func (w window) extent(i int) int { return (w.kernel[i]-1)*w.dilation[i] + 1 }

// same reports whether pads follow from the input size.
func (w window) same() bool { return w.autoPad == "SAME_UPPER" || w.autoPad == "SAME_LOWER" }

// padsFor returns the pads for spatial dimensions in.
func (w window) padsFor(in []int) []int {
	if !w.same() {
		return w.pads
	}
	rank := len(in)
	pads := make([]int, 2*rank)
	for i, d := range in {
		out := (d + w.stride[i] - 1) / w.stride[i]
		w.share(pads, i, max(0, (out-1)*w.stride[i]+w.extent(i)-d))
	}
	return pads
}

// share divides padding of dimension i between begin and end.
func (w window) share(pads []int, i, total int) {
	small, rank := total/2, len(pads)/2
	if w.autoPad == "SAME_LOWER" {
		pads[i], pads[rank+i] = total-small, small
	} else {
		pads[i], pads[rank+i] = small, total-small
	}
}

// sizes appends the spatial dimensions of the output of a convolution or pool.
func (w window) sizes(shape, in, pads []int) ([]int, error) {
	rank := len(in)
	for i, d := range in {
		free := d + pads[i] + pads[rank+i] - w.extent(i)
		if free < 0 {
			return nil, fmt.Errorf("a window of %d does not fit into %d with pads %d and %d", w.extent(i), d, pads[i], pads[rank+i])
		}
		n := free/w.stride[i] + 1
		if w.ceil {
			n = (free+w.stride[i]-1)/w.stride[i] + 1
			if (n-1)*w.stride[i] >= d+pads[i] { // a window may not start in the end padding
				n--
			}
		}
		shape = append(shape, n)
	}
	return shape, nil
}

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
	return floatConv(s)
}

func floatConv(s *site) (kernel, error) {
	win, groups := newWindow(s), int(s.Int("group", 1))
	tail, base := s.tail, len(s.Inputs)
	options := kernels.Options{Strict: s.strict, Relu: tail.startsWithRelu()}
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

func convTranspose(s *site) (kernel, error) {
	win, groups := newWindow(s), int(s.Int("group", 1))
	weights := s.constant(1)
	bias := s.constant(2)
	fixed := weights != nil && (!s.has(2) || bias != nil)
	if fixed {
		if weights = s.takeFloats(1); weights == nil {
			return nil, fmt.Errorf("the weights are %s, want float", s.constant(1))
		}
		if s.has(2) {
			if bias = s.takeFloats(2); bias == nil {
				return nil, fmt.Errorf("the bias is %s, want float", s.constant(2))
			}
		}
	}
	// Packed for the pads that do not depend on the input.
	var packed convolver
	if fixed && len(weights.Shape) >= 3 && len(weights.Shape) <= 4 && win.outputShape == nil {
		full, err := win.complete(weights.Shape[2:])
		if err != nil {
			return nil, err
		}
		if !full.same() && groups > 0 {
			if packed, err = packTransposed(weights, bias, full, full.pads, groups); err != nil {
				return nil, err
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
		w, b := weights, bias
		if !fixed {
			if w, _, err = c.floats(1); err != nil {
				return err
			}
			b = nil
			if c.input(2) != nil {
				if b, _, err = c.floats(2); err != nil {
					return err
				}
			}
		}
		if len(w.Shape) < 3 || len(in.Shape) != len(w.Shape) || groups < 1 || in.Shape[1] != w.Shape[0] || in.Shape[1]%groups != 0 {
			return fmt.Errorf("input %s does not fit weights of shape %v in %d groups", in, w.Shape, groups)
		}
		channels := w.Shape[1] * groups
		if b != nil && b.Len() != channels {
			return fmt.Errorf("%d biases for %d channels", b.Len(), channels)
		}
		full, err := win.complete(w.Shape[2:])
		if err != nil {
			return err
		}
		pads, sizes, err := full.transposed(in.Shape[2:])
		if err != nil {
			return err
		}
		shape := append([]int{in.Shape[0], channels}, sizes...)
		if len(sizes) > 2 {
			return c.transposePlain(shape, w, b, full, pads, groups)
		}
		k := packed
		if k == nil {
			if k, err = packTransposed(w, b, full, pads, groups); err != nil {
				return err
			}
		}
		h, wd := plane(in.Shape)
		oh, ow := plane(shape)
		if gotH, gotW := k.OutputSize(h, wd); gotH != oh || gotW != ow {
			return c.transposePlain(shape, w, b, full, pads, groups)
		}
		return c.convolve(k, shape, nil, 0)
	}, nil
}

func packTransposed(w, bias *Tensor, full window, pads []int, groups int) (convolver, error) {
	var b []float32
	if bias != nil {
		b = bias.Data.([]float32)
	}
	return kernels.NewConvTranspose(shape2(full, pads, w.Shape[0], w.Shape[1]*groups, groups), w.Data.([]float32), b, kernels.Options{})
}

// transposed returns pads and spatial dimensions of the output of a transposed
// convolution (ONNX operator ConvTranspose: output_shape and auto_pad give
// pads, pads give the shape).
func (w window) transposed(in []int) (pads, out []int, err error) {
	rank := len(in)
	out = make([]int, rank)
	pads = slices.Clone(w.pads)
	if w.outputShape != nil && len(w.outputShape) != rank && len(w.outputShape) != rank+2 {
		return nil, nil, fmt.Errorf("output_shape %v does not fit", w.outputShape)
	}
	for i, d := range in {
		whole := (d-1)*w.stride[i] + w.outputPadding[i] + w.extent(i)
		switch {
		case w.outputShape != nil:
			out[i] = w.outputShape[len(w.outputShape)-rank+i]
			w.shareTransposed(pads, i, whole-out[i])
		case w.same():
			out[i] = d * w.stride[i]
			w.shareTransposed(pads, i, whole-out[i])
		default:
			out[i] = whole - pads[i] - pads[rank+i]
		}
		if d == 0 || out[i] < 0 || out[i] > math.MaxInt32 {
			return nil, nil, fmt.Errorf("the output would have dimensions %v", out)
		}
	}
	return pads, out, nil
}

func (w window) shareTransposed(pads []int, i, total int) {
	total = max(0, total)
	small, rank := total/2, len(pads)/2
	if w.autoPad == "SAME_UPPER" {
		pads[i], pads[rank+i] = small, total-small
	} else {
		pads[i], pads[rank+i] = total-small, small
	}
}

// transposePlain is the definition for any number of dimensions.
func (c *call) transposePlain(shape []int, w, bias *Tensor, win window, pads []int, groups int) error {
	in, out, err := c.planes(shape)
	if err != nil || out.Len() == 0 {
		return err
	}
	dst, src, weights := out.Data.([]float32), in.Data.([]float32), w.Data.([]float32)
	inDims, outDims := in.Shape[2:], out.Shape[2:]
	inSize, outSize, taps := product(inDims), product(outDims), product(win.kernel)
	inS, kS := strides(inDims), strides(win.kernel)
	channels, perGroup := in.Shape[1], w.Shape[1]
	inGroup := channels / groups
	return c.each(in.Shape[0]*out.Shape[1], func(item int) {
		n, o := item/out.Shape[1], item%out.Shape[1]
		first := o / perGroup * inGroup
		at := item * outSize
		odometer(outDims, func(pos []int) {
			var sum float32
			if bias != nil {
				sum = bias.Data.([]float32)[o]
			}
			odometer(win.kernel, func(k []int) {
				offset, tap := 0, 0
				for i := range k {
					x := pos[i] + pads[i] - k[i]*win.dilation[i]
					if x < 0 || x%win.stride[i] != 0 || x/win.stride[i] >= inDims[i] {
						return
					}
					offset += x / win.stride[i] * inS[i]
					tap += k[i] * kS[i]
				}
				for ch := first; ch < first+inGroup; ch++ {
					sum += float32(weights[(ch*perGroup+o%perGroup)*taps+tap] * src[(n*channels+ch)*inSize+offset])
				}
			})
			dst[at] = sum
			at++
		})
	})
}
