package runtime

import (
	"fmt"
	"math"
	"slices"
)

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
