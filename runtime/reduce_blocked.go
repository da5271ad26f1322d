package runtime

import "github.com/daq-sr/daq/runtime/kernels"

// reduceBlocked adds up pixels in the blocked layout, in the order in which
// planar ones are, if the axes are the last ones, spatial, and stay.
func (c *call) reduceBlocked(r reduction, in *Tensor, axes []int, keep bool) (done bool, err error) {
	if !keep || r.term != nil || r.merge != nil || r.logSumExp || len(axes) == 0 || axes[0] < 2 || axes[0]+len(axes) != len(in.Shape) {
		return false, nil
	}
	shape := append([]int(nil), in.Shape...)
	for _, a := range axes {
		shape[a] = 1
	}
	out, err := c.newBlocked(0, shape)
	if err != nil {
		return false, err
	}
	src, dst, n := in.Data.([]float32), out.Data.([]float32), product(in.Shape[axes[0]:])
	return true, c.parallel(len(dst)/lanes, max(1, grain/max(1, n*lanes)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			sums := kernels.SumPixels(src[i*n*lanes:][:n*lanes])
			for l, s := range sums {
				if r.finish != nil {
					s = r.finish(s, n)
				}
				dst[i*lanes+l] = float32(s)
			}
		}
	})
}
