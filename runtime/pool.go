package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

func init() {
	registerBlocked("MaxPool", 1, maxPool)
	register("AveragePool", 1, averagePool)
	register("LpPool", 1, lpPool)
	registerBlocked("GlobalAveragePool", 1, globalPool(reduction{finish: func(sum float64, n int) float64 { return sum / float64(n) }}))
	registerBlocked("GlobalMaxPool", 1, globalPool(reduction{start: math.Inf(-1), merge: func(a, b float64) float64 { return max(a, b) }}))
	registerBlocked("GlobalLpPool", 2, func(s *site) (kernel, error) {
		p := float64(s.Int("p", 2))
		return globalPool(reduction{
			term:   func(x float64) float64 { return math.Pow(math.Abs(x), p) },
			finish: func(sum float64, _ int) float64 { return math.Pow(sum, 1/p) },
		})(s)
	})
}

func globalPool(r reduction) prepare {
	return func(*site) (kernel, error) {
		return func(c *call) error {
			in, err := c.need(0)
			if err != nil {
				return err
			}
			if len(in.Shape) < 3 {
				return fmt.Errorf("%s has no spatial dimensions", in)
			}
			var axes []int
			for i := 2; i < len(in.Shape); i++ {
				axes = append(axes, i)
			}
			return c.reduce(r, in, axes, true)
		}, nil
	}
}

// pooling is a pool over one input: geometry and loop.
type pooling struct {
	win           window
	pads          []int
	inDims, sizes []int
}

func (w window) pooling(in *Tensor) (*pooling, error) {
	if len(in.Shape) < 3 {
		return nil, fmt.Errorf("%s has no spatial dimensions", in)
	}
	if len(w.kernel) != len(in.Shape)-2 {
		return nil, fmt.Errorf("kernel_shape %v does not fit %s", w.kernel, in)
	}
	w, err := w.complete(w.kernel)
	if err != nil {
		return nil, err
	}
	p := &pooling{win: w, inDims: in.Shape[2:]}
	p.pads = w.padsFor(p.inDims)
	if p.sizes, err = w.sizes(nil, p.inDims, p.pads); err != nil {
		return nil, err
	}
	return p, nil
}

// each calls f for every output element of one plane: its index, and the
// ranges of taps [lo, hi) of each dimension that lie inside the input.
func (p *pooling) each(f func(at int, start, lo, hi []int)) {
	rank := len(p.sizes)
	start, lo, hi := make([]int, rank), make([]int, rank), make([]int, rank)
	at := 0
	odometer(p.sizes, func(pos []int) {
		for i, x := range pos {
			start[i] = x*p.win.stride[i] - p.pads[i]
			dil := p.win.dilation[i]
			lo[i], hi[i] = 0, p.win.kernel[i]
			if start[i] < 0 {
				lo[i] = (-start[i] + dil - 1) / dil
			}
			if last := p.inDims[i] - start[i]; hi[i]*dil > last+dil-1 {
				hi[i] = max(0, (last+dil-1)/dil)
			}
		}
		f(at, start, lo, hi)
		at++
	})
}

// taps calls f with the offset in the plane of every tap inside the input.
func (p *pooling) taps(start, lo, hi []int, f func(offset int)) {
	rank := len(start)
	if rank == 2 {
		dy, dx := p.win.dilation[0], p.win.dilation[1]
		for y := lo[0]; y < hi[0]; y++ {
			row := (start[0] + y*dy) * p.inDims[1]
			for x := lo[1]; x < hi[1]; x++ {
				f(row + start[1] + x*dx)
			}
		}
		return
	}
	dims := make([]int, rank)
	for i := range dims {
		dims[i] = max(0, hi[i]-lo[i])
	}
	odometer(dims, func(k []int) {
		offset := 0
		for i := range k {
			offset = offset*p.inDims[i] + start[i] + (lo[i]+k[i])*p.win.dilation[i]
		}
		f(offset)
	})
}

func maxPool(s *site) (kernel, error) {
	win, columnMajor := newWindow(s), s.Int("storage_order", 0) != 0
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		p, err := win.pooling(in)
		if err != nil {
			return err
		}
		shape := slices.Concat(in.Shape[:2], p.sizes)
		if in.blocked && len(shape) == 4 && (len(c.wanted) < 2 || !c.wanted[1]) {
			return c.maxBlocked(p, in, shape)
		}
		if in, err = c.inLayout(in, false); err != nil {
			return err
		}
		out, err := c.new(0, in.Type, shape)
		if err != nil {
			return err
		}
		var indices []int64
		if len(c.wanted) > 1 && c.wanted[1] {
			t, err := c.new(1, onnx.Int64, slices.Clone(shape))
			if err != nil {
				return err
			}
			indices = t.Data.([]int64)
		}
		switch d := out.Data.(type) {
		case []float32:
			return maxPlanes(c, p, d, in.Data.([]float32), indices, columnMajor)
		case []float64:
			return maxPlanes(c, p, d, in.Data.([]float64), indices, columnMajor)
		case []uint8:
			return maxPlanes(c, p, d, in.Data.([]uint8), indices, columnMajor)
		case []int8:
			return maxPlanes(c, p, d, in.Data.([]int8), indices, columnMajor)
		}
		return typeError(0, in)
	}, nil
}

func maxPlanes[T number](c *call, p *pooling, dst, src []T, indices []int64, columnMajor bool) error {
	inSize, outSize := product(p.inDims), product(p.sizes)
	if outSize == 0 {
		return nil
	}
	return c.each(len(dst)/outSize, func(plane int) {
		in := src[plane*inSize : (plane+1)*inSize]
		p.each(func(at int, start, lo, hi []int) {
			best := -1
			p.taps(start, lo, hi, func(offset int) {
				if best < 0 || in[offset] > in[best] {
					best = offset
				}
			})
			if best < 0 { // a window of padding only
				dst[plane*outSize+at] = fromFloat[T](math.Inf(-1))
				return
			}
			dst[plane*outSize+at] = in[best]
			if indices != nil {
				if columnMajor {
					best = transposedIndex(best, p.inDims)
				}
				indices[plane*outSize+at] = int64(plane*inSize + best)
			}
		})
	})
}

// transposedIndex turns a row-major index into the column-major one.
func transposedIndex(i int, dims []int) int {
	index, factor := 0, product(dims)
	for _, d := range slices.Backward(dims) {
		factor /= d
		index += i % d * factor
		i /= d
	}
	return index
}

func averagePool(s *site) (kernel, error) {
	win, withPads := newWindow(s), s.Int("count_include_pad", 0) != 0
	return floatPool(win, func(p *pooling, in []float32, start, lo, hi []int) float64 {
		sum, n := 0.0, 1
		for i := range lo {
			if !withPads {
				n *= max(0, hi[i]-lo[i])
				continue
			}
			// Padding counts, what lies behind it (ceil_mode) does not.
			end := p.inDims[i] + p.pads[len(p.pads)/2+i] - start[i]
			n *= min(p.win.kernel[i], (end+p.win.dilation[i]-1)/p.win.dilation[i])
		}
		p.taps(start, lo, hi, func(offset int) { sum += float64(in[offset]) })
		return sum / float64(n)
	}), nil
}

func lpPool(s *site) (kernel, error) {
	win, power := newWindow(s), float64(s.Int("p", 2))
	return floatPool(win, func(p *pooling, in []float32, start, lo, hi []int) float64 {
		sum := 0.0
		p.taps(start, lo, hi, func(offset int) { sum += math.Pow(math.Abs(float64(in[offset])), power) })
		return math.Pow(sum, 1/power)
	}), nil
}

func floatPool(win window, f func(p *pooling, in []float32, start, lo, hi []int) float64) kernel {
	return func(c *call) error {
		in, src, err := c.floats(0)
		if err != nil {
			return err
		}
		p, err := win.pooling(in)
		if err != nil {
			return err
		}
		out, err := c.new(0, onnx.Float, slices.Concat(in.Shape[:2], p.sizes))
		if err != nil {
			return err
		}
		dst := out.Data.([]float32)
		inSize, outSize := product(p.inDims), product(p.sizes)
		return c.each(product(in.Shape[:2]), func(plane int) {
			p.each(func(at int, start, lo, hi []int) {
				dst[plane*outSize+at] = float32(f(p, src[plane*inSize:(plane+1)*inSize], start, lo, hi))
			})
		})
	}
}
