package onnx

import (
	"math"
	"slices"
)

// Operators that pick elements.

func init() {
	register(inferSlice, "Slice")
	register(inferGather, "Gather")
	register(inferGatherElements, "GatherElements")
	register(inferGatherND, "GatherND")
	register(inferCompress, "Compress")
}

func inferSlice(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 1)
	if err != nil {
		return err
	}
	starts, ends, steps := c.content(1), c.content(2), c.content(4)
	axes, known := c.ints("axes", 3)
	if c.n.Attr("starts") != nil {
		starts, ends = contentFrom(c.n.Ints("starts")), contentFrom(c.n.Ints("ends"))
	}
	if !known && c.has(3) {
		c.set(0, c.elem(0), slices.Repeat(Shape{Unknown}, len(in)))
		return nil
	}
	if !known {
		count := len(in)
		if starts != nil {
			count = len(starts)
		}
		for i := range min(count, len(in)) {
			axes = append(axes, int64(i))
		}
	}
	if starts != nil && len(starts) != len(axes) || ends != nil && len(ends) != len(axes) || steps != nil && len(steps) != len(axes) {
		return c.fail("starts, ends, axes and steps have different lengths")
	}
	out := slices.Clone(in)
	first := make([]int64, len(in)) // where each axis starts, and its step
	step := slices.Repeat([]int64{1}, len(in))
	for i, a := range axes {
		at, err := c.axis(a, len(in))
		if err != nil {
			return err
		}
		by := int64(1)
		known := !c.has(4) || steps != nil
		if steps != nil {
			by, known = steps[i].isInt()
		}
		out[at] = Unknown
		if !known || starts == nil || ends == nil {
			continue
		}
		if by == 0 {
			return c.fail("step 0")
		}
		out[at], first[at] = sliceDim(in[at], starts[i], ends[i], by)
		step[at] = by
	}
	c.set(0, c.elem(0), out)
	if sizes, ok := smallShape(in); ok {
		stride := strides(sizes)
		c.setContent(0, rearrange(c.content(0), out, func(index []int) int {
			at := 0
			for i, x := range index {
				at += stride[i] * int(first[i]+int64(x)*step[i])
			}
			return at
		}))
	}
	return nil
}

// sliceDim returns the size of a slice and, where all is known, its first index.
// A symbolic size is taken to be large enough that constants that count from
// its ends stay inside.
func sliceDim(size Dim, start, end *poly, step int64) (Dim, int64) {
	s, known1 := start.isInt()
	e, known2 := end.isInt()
	if n := size.Value; size.IsKnown() && known1 && known2 {
		low, high := int64(0), n
		if step < 0 {
			low, high = -1, n-1
		}
		bound := func(v int64) int64 {
			if v < 0 {
				v = max(v+n, -1)
			}
			return min(max(v, low), high)
		}
		s, e = bound(s), bound(e)
		if step < 0 {
			return Known(max(0, (s-e-step-1)/-step)), s
		}
		return Known(max(0, (e-s+step-1)/step)), s
	}
	n := size.poly()
	if step < 0 {
		// Only the whole axis backwards.
		if step == -1 && known1 && known2 && (s == -1 || s >= math.MaxInt32) && e <= math.MinInt32 {
			return size, 0
		}
		return Unknown, 0
	}
	if known1 && s < 0 {
		start = n.plus(s)
	}
	switch {
	case known2 && e < 0:
		end = n.plus(e)
	case known2 && e >= math.MaxInt32:
		end = n
	case !known2 && end.times(-1).nonNegative(): // symbolic and negative
		end = n.add(end)
	default:
		end = end.smaller(n)
	}
	return end.sub(start).quotient(constant(step)).ceil().dim(), s
}

func inferGather(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 1)
	if err != nil {
		return err
	}
	index, err := c.rank(1, 0)
	if err != nil {
		return err
	}
	at, err := c.axis(c.n.Int("axis", 0), len(in))
	if err != nil {
		return err
	}
	c.set(0, c.elem(0), slices.Concat(in[:at], index, in[at+1:], Shape{}))
	if len(in) == 1 && len(index) == 0 {
		c.types[0].Shape = Shape{}
	}
	elems := c.content(0)
	picks, ok := c.content(1).ints()
	if len(in) != 1 || elems == nil || !ok {
		return nil
	}
	out := make(content, len(picks))
	for i, p := range picks {
		if p < 0 {
			p += int64(len(elems))
		}
		if p < 0 || p >= int64(len(elems)) {
			return c.fail("index %d of %s", picks[i], c.in(0))
		}
		out[i] = elems[p]
	}
	c.setContent(0, out)
	return nil
}

func inferGatherElements(c *nodeInference) error {
	c.set(0, c.elem(0), c.shape(1))
	return nil
}

func inferGatherND(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 1)
	if err != nil {
		return err
	}
	index, err := c.rank(1, 1)
	if err != nil {
		return err
	}
	batch, last := c.n.Int("batch_dims", 0), index[len(index)-1]
	if !last.IsKnown() {
		return nil
	}
	if batch < 0 || last.Value+batch > int64(len(in)) {
		return c.fail("indices %s into %s", c.in(1), c.in(0))
	}
	c.set(0, c.elem(0), slices.Concat(Shape{}, index[:len(index)-1], in[batch+last.Value:]))
	if c.types[0].Shape == nil {
		c.types[0].Shape = Shape{}
	}
	return nil
}

func inferCompress(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 1)
	if err != nil {
		return err
	}
	out := Shape{Unknown}
	if c.n.Attr("axis") != nil {
		at, err := c.axis(c.n.Int("axis", 0), len(in))
		if err != nil {
			return err
		}
		out = slices.Clone(in)
		out[at] = Unknown
	}
	c.set(0, c.elem(0), out)
	return nil
}
