package runtime

import (
	"fmt"
	"slices"
)

// broadcastShape returns the common shape of operands (ONNX docs/Broadcasting.md).
func broadcastShape(shapes ...[]int) ([]int, error) {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := make([]int, rank)
	for i := range out {
		out[i] = 1
	}
	for _, s := range shapes {
		for i, d := range s {
			o := &out[rank-len(s)+i]
			switch {
			case *o == 1:
				*o = d
			case d != 1 && d != *o:
				return nil, fmt.Errorf("shapes %v do not broadcast", shapes)
			}
		}
	}
	return out, nil
}

// broadcastStrides returns the strides with which an operand is read along
// the dimensions of out: 0 where it is repeated.
func broadcastStrides(shape, out []int) []int {
	s := strides(shape)
	b := make([]int, len(out))
	for i := range shape {
		if shape[i] != 1 {
			b[len(out)-len(shape)+i] = s[i]
		}
	}
	return b
}

// walk is a nest of loops over operands with strides, merged into as few
// dimensions as possible. The innermost dimension is a run.
type walk struct {
	shape   []int
	strides [][]int // by operand
}

// newWalk merges neighbouring dimensions along which every operand continues.
func newWalk(shape []int, operands ...[]int) *walk {
	w := &walk{strides: make([][]int, len(operands))}
	for i, d := range shape {
		if d == 1 {
			continue
		}
		last := len(w.shape) - 1
		merge := last >= 0
		for k, s := range operands {
			merge = merge && w.strides[k][last] == s[i]*d
		}
		if merge {
			w.shape[last] *= d
			for k, s := range operands {
				w.strides[k][last] = s[i]
			}
			continue
		}
		w.shape = append(w.shape, d)
		for k, s := range operands {
			w.strides[k] = append(w.strides[k], s[i])
		}
	}
	if len(w.shape) == 0 {
		w.shape = []int{1}
		for k := range w.strides {
			w.strides[k] = []int{0}
		}
	}
	return w
}

// inner returns the length of a run and the strides of the operands along it.
func (w *walk) inner() (n int, strides []int) {
	last := len(w.shape) - 1
	for _, s := range w.strides {
		strides = append(strides, s[last])
	}
	return w.shape[last], strides
}

// runs returns how many runs there are.
func (w *walk) runs() int { return product(w.shape[:len(w.shape)-1]) }

// each calls f for the runs [lo, hi) with the offset of each operand.
func (w *walk) each(lo, hi int, f func(run int, offsets []int)) {
	outer := w.shape[:len(w.shape)-1]
	index := make([]int, len(outer))
	offsets := make([]int, len(w.strides))
	rest := lo
	for i, d := range slices.Backward(outer) {
		index[i] = rest % d
		rest /= d
		for k, s := range w.strides {
			offsets[k] += index[i] * s[i]
		}
	}
	for run := lo; run < hi; run++ {
		f(run, offsets)
		for i, d := range slices.Backward(outer) {
			index[i]++
			for k, s := range w.strides {
				offsets[k] += s[i]
			}
			if index[i] < d {
				break
			}
			index[i] = 0
			for k, s := range w.strides {
				offsets[k] -= d * s[i]
			}
		}
	}
}

// grain is the number of elements that a thread handles at a time.
const grain = 1 << 15

// forRuns calls f in parallel for every run of an elementwise operation. Long
// runs are cut: f gets the offset of each operand and the length.
func (c *call) forRuns(w *walk, f func(out int, offsets []int, n int)) error {
	n, inner := w.inner()
	if n == 0 || w.runs() == 0 {
		return nil
	}
	if w.runs() == 1 {
		return c.parallel(n, grain, func(lo, hi int) {
			offsets := make([]int, len(inner))
			for k, s := range inner {
				offsets[k] = lo * s
			}
			f(lo, offsets, hi-lo)
		})
	}
	return c.parallel(w.runs(), grain/n, func(lo, hi int) {
		w.each(lo, hi, func(run int, offsets []int) { f(run*n, offsets, n) })
	})
}

// copyBlock copies n neighbouring elements between tensors of the same type.
func copyBlock(dst *Tensor, to int, src *Tensor, from, n int) {
	if s, ok := src.Data.([]string); ok {
		copy(dst.Data.([]string)[to:to+n], s[from:from+n])
		return
	}
	size := entryBytes(src.Type)
	copy(bytesOf(dst)[to*size:(to+n)*size], bytesOf(src)[from*size:(from+n)*size])
}

// copyStrided fills dst, dense, from src read with the given offset and
// strides (which may be negative or 0) along the dimensions of dst.
func (c *call) copyStrided(dst, src *Tensor, offset int, srcStrides []int) error {
	switch d := dst.Data.(type) {
	case []string:
		return copyRuns(c, dst.Shape, d, src.Data.([]string), offset, srcStrides)
	}
	d, s := bytesOf(dst), bytesOf(src)
	switch entryBytes(dst.Type) {
	case 1:
		return copyRuns(c, dst.Shape, d, s, offset, srcStrides)
	case 2:
		return copyRuns(c, dst.Shape, sliceOf[uint16](d), sliceOf[uint16](s), offset, srcStrides)
	case 4:
		return copyRuns(c, dst.Shape, sliceOf[uint32](d), sliceOf[uint32](s), offset, srcStrides)
	}
	return copyRuns(c, dst.Shape, sliceOf[uint64](d), sliceOf[uint64](s), offset, srcStrides)
}

func copyRuns[T any](c *call, shape []int, dst, src []T, offset int, srcStrides []int) error {
	w := newWalk(shape, srcStrides)
	_, inner := w.inner()
	step := inner[0]
	return c.forRuns(w, func(out int, offsets []int, n int) {
		d, at := dst[out:out+n], offset+offsets[0]
		switch step {
		case 1:
			copy(d, src[at:at+n])
		case 0:
			v := src[at]
			for i := range d {
				d[i] = v
			}
		default:
			for i := range d {
				d[i] = src[at]
				at += step
			}
		}
	})
}
