package runtime

import (
	"github.com/daq-sr/daq/runtime/kernels"
)

// runBlocked resizes height and width in the blocked layout, in which a tensor is
// one of planes [N*blocks, H, W, 16].
func (r resizer) runBlocked(c *call, in *Tensor, dims []dimension) error {
	shape := []int{in.Shape[0], in.Shape[1], dims[2].count, dims[3].count}
	out, err := c.newBlocked(0, shape)
	if err != nil || out.Len() == 0 {
		return err
	}
	planes := in.Shape[0] * kernels.Blocks(in.Shape[1])
	fixed := func(n int) dimension { return dimension{in: n, out: n, scale: 1, end: 1, have: n, count: n} }
	if r.mode != "nearest" {
		return r.interpolate(c, out.asPlanes(), in.asPlanes(), []dimension{fixed(planes), dims[2], dims[3], fixed(lanes)})
	}
	var index [2][]int
	for i, d := range dims[2:] {
		for x := range d.count {
			at, _ := r.source(d, d.start+x)
			index[i] = append(index[i], d.index(r.nearestIndex(at, d.in)))
		}
	}
	src, dst := in.Data.([]float32), out.Data.([]float32)
	h, width := in.Shape[2], in.Shape[3]
	return c.parallel(planes*shape[2], max(1, grain/(shape[3]*lanes)), func(lo, hi int) {
		for row := lo; row < hi; row++ {
			from := src[(row/shape[2]*h+index[0][row%shape[2]])*width*lanes:][:width*lanes]
			to := dst[row*shape[3]*lanes:][:shape[3]*lanes]
			for x, at := range index[1] {
				*(*[lanes]float32)(to[x*lanes:]) = *(*[lanes]float32)(from[at*lanes:])
			}
		}
	})
}
