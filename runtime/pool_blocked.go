package runtime

import (
	"math"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// maxBlocked takes the maximum over the rows of a window first, for whole rows of
// pixels, then over its columns.
func (c *call) maxBlocked(p *pooling, in *Tensor, shape []int) error {
	out, err := c.newBlocked(0, shape)
	if err != nil || out.Len() == 0 {
		return err
	}
	planes, h, w, oh, ow := in.Shape[0]*kernels.Blocks(in.Shape[1]), in.Shape[2], in.Shape[3], shape[2], shape[3]
	scratch, err := c.scratch(onnx.Float, planes*oh, w*lanes)
	if err != nil {
		return err
	}
	defer c.release(scratch)
	src, dst, lines := in.Data.([]float32), out.Data.([]float32), scratch.Data.([]float32)
	// inside returns the first and the last of the taps of an axis that exist.
	inside := func(axis, pos, size int) (start, lo, hi int) {
		start = pos*p.win.stride[axis] - p.pads[axis]
		dilation := p.win.dilation[axis]
		hi = p.win.kernel[axis]
		for lo < hi && start+lo*dilation < 0 {
			lo++
		}
		for lo < hi && start+(hi-1)*dilation >= size {
			hi--
		}
		return start, lo, hi
	}
	return c.parallel(planes*oh, max(1, grain/(w*lanes*p.win.kernel[0])), func(lo, hi int) {
		for row := lo; row < hi; row++ {
			plane, line, to := src[row/oh*h*w*lanes:], lines[row*w*lanes:][:w*lanes], dst[row*ow*lanes:][:ow*lanes]
			y, first, last := inside(0, row%oh, h)
			if first == last { // a window of padding only
				fillWith(to, float32(math.Inf(-1)))
				continue
			}
			for k := first; k < last; k++ {
				from := plane[(y+k*p.win.dilation[0])*w*lanes:][:w*lanes]
				if k == first {
					copy(line, from)
				} else {
					kernels.Row(kernels.Max, line, line, from)
				}
			}
			for x := range ow {
				pixel := to[x*lanes:][:lanes]
				at, first, last := inside(1, x, w)
				if first == last {
					fillWith(pixel, float32(math.Inf(-1)))
					continue
				}
				for k := first; k < last; k++ {
					from := line[(at+k*p.win.dilation[1])*lanes:][:lanes]
					if k == first {
						copy(pixel, from)
					} else {
						kernels.Row(kernels.Max, pixel, pixel, from)
					}
				}
			}
		}
	})
}

func fillWith(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}
