package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

func init() { registerBlocked("ConvTranspose", 1, convTranspose) }

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
