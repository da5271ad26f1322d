package runtime

import (
	"fmt"

	"github.com/daq-sr/daq/onnx"
)

// Operators whose every element is one of their inputs: by a condition, or between two bounds.

func init() {
	registerAny("Where", 9, func(*site) (kernel, error) { return where, nil })
	register("Clip", 1, clip)
}

// where selects elements of one of two tensors.
func where(c *call) error {
	for i := range 3 {
		if _, err := c.need(i); err != nil {
			return err
		}
	}
	cond, ok := c.in[0].Data.([]bool)
	if !ok {
		return typeError(0, c.in[0])
	}
	a, b := c.in[1], c.in[2]
	if a.Type != b.Type {
		return fmt.Errorf("inputs %s and %s are of different types", a, b)
	}
	shape, err := broadcastShape(c.in[0].Shape, a.Shape, b.Shape)
	if err != nil {
		return err
	}
	out, err := c.new(0, a.Type, shape)
	if err != nil {
		return err
	}
	w := newWalk(shape, broadcastStrides(c.in[0].Shape, shape), broadcastStrides(a.Shape, shape), broadcastStrides(b.Shape, shape))
	if d, ok := out.Data.([]string); ok {
		return selectRuns(c, w, d, cond, a.Data.([]string), b.Data.([]string))
	}
	d, x, y := bytesOf(out), bytesOf(a), bytesOf(b)
	switch entryBytes(out.Type) {
	case 1:
		return selectRuns(c, w, d, cond, x, y)
	case 2:
		return selectRuns(c, w, sliceOf[uint16](d), cond, sliceOf[uint16](x), sliceOf[uint16](y))
	case 4:
		return selectRuns(c, w, sliceOf[uint32](d), cond, sliceOf[uint32](x), sliceOf[uint32](y))
	}
	return selectRuns(c, w, sliceOf[uint64](d), cond, sliceOf[uint64](x), sliceOf[uint64](y))
}

func selectRuns[T any](c *call, w *walk, dst []T, cond []bool, a, b []T) error {
	_, inner := w.inner()
	return c.forRuns(w, func(out int, off []int, n int) {
		ic, ia, ib := off[0], off[1], off[2]
		for i := range n {
			if cond[ic] {
				dst[out+i] = a[ia]
			} else {
				dst[out+i] = b[ib]
			}
			ic, ia, ib = ic+inner[0], ia+inner[1], ib+inner[2]
		}
	})
}

// clip takes its bounds from attributes before opset 11, from inputs after.
func clip(s *site) (kernel, error) {
	var low, high *Tensor
	if s.opset < 11 {
		if s.Attr("min") != nil {
			low = &Tensor{Type: onnx.Float, Data: []float32{s.Float("min", 0)}}
		}
		if s.Attr("max") != nil {
			high = &Tensor{Type: onnx.Float, Data: []float32{s.Float("max", 0)}}
		}
	}
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		lo, hi := low, high
		if t := c.input(1); t != nil {
			lo = t
		}
		if t := c.input(2); t != nil {
			hi = t
		}
		for _, t := range []*Tensor{lo, hi} {
			if t != nil && (t.Len() != 1 || t.Type != in.Type) {
				return fmt.Errorf("a bound is %s, want one %s", t, in.Type)
			}
		}
		out, err := c.newOver(0, 0, in.Type, in.Shape)
		if err != nil {
			return err
		}
		switch d := out.Data.(type) {
		case []float32:
			return clipLoop(c, d, in, lo, hi)
		case []float64:
			return clipLoop(c, d, in, lo, hi)
		case []int8:
			return clipLoop(c, d, in, lo, hi)
		case []int16:
			return clipLoop(c, d, in, lo, hi)
		case []int32:
			return clipLoop(c, d, in, lo, hi)
		case []int64:
			return clipLoop(c, d, in, lo, hi)
		case []uint8:
			return clipLoop(c, d, in, lo, hi)
		case []uint16:
			return clipLoop(c, d, in, lo, hi)
		case []uint32:
			return clipLoop(c, d, in, lo, hi)
		case []uint64:
			return clipLoop(c, d, in, lo, hi)
		}
		return typeError(0, in)
	}, nil
}

func clipLoop[T number](c *call, dst []T, in, lo, hi *Tensor) error {
	src := in.Data.([]T)
	return c.parallel(len(dst), grain, func(from, to int) {
		d := dst[from:to]
		copy(d, src[from:to])
		if lo != nil {
			least := lo.Data.([]T)[0]
			for i, x := range d {
				if x < least {
					d[i] = least
				}
			}
		}
		if hi != nil {
			most := hi.Data.([]T)[0]
			for i, x := range d {
				if x > most {
					d[i] = most
				}
			}
		}
	})
}
