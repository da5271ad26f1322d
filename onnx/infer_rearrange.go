package onnx

import (
	"slices"
)

// Shapes of operators that cut, join, move or repeat elements.

func init() {
	register(inferTranspose, "Transpose")
	register(inferConcat, "Concat")
	register(inferSplit, "Split")
	register(inferPad, "Pad")
	register(inferExpand, "Expand")
	register(inferTile, "Tile")
	register(inferCenterCropPad, "CenterCropPad")
	register(inferCol2Im, "Col2Im")
	register(inferRoiAlign, "RoiAlign")
}

func inferTranspose(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	perm := c.n.Ints("perm")
	if len(perm) == 0 {
		for i := range in {
			perm = append(perm, int64(len(in)-1-i))
		}
	}
	if len(perm) != len(in) {
		return c.fail("perm %v for %s", perm, c.in(0))
	}
	out := make(Shape, len(in))
	for i, p := range perm {
		at, err := c.axis(p, len(in))
		if err != nil {
			return err
		}
		out[i] = in[at]
	}
	c.set(0, c.elem(0), out)
	if sizes, ok := smallShape(in); ok {
		step := strides(sizes)
		c.setContent(0, rearrange(c.content(0), out, func(index []int) int {
			at := 0
			for i, p := range perm {
				at += index[i] * step[(int(p)+len(in))%len(in)]
			}
			return at
		}))
	}
	return nil
}

func inferConcat(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	first, err := c.rank(0, 1)
	if err != nil {
		return err
	}
	at, err := c.axis(c.n.Int("axis", 1), len(first)) // opset 1 has a default
	if err != nil {
		return err
	}
	out := slices.Clone(first)
	sum := first[at].poly()
	elems := slices.Clone(c.content(0))
	for i := 1; i < len(c.n.Inputs); i++ {
		s := c.shape(i)
		if s == nil {
			return errNotInferred
		}
		if len(s) != len(first) {
			return c.fail("input 0 is %s, input %d %s", c.in(0), i, c.in(i))
		}
		for j := range out {
			d, ok := unify(out[j], s[j])
			if j == at {
				continue
			}
			if !ok {
				return c.fail("along axis %d, input 0 is %s, input %d %s", at, c.in(0), i, c.in(i))
			}
			out[j] = d
		}
		sum = sum.add(s[at].poly())
		if e := c.content(i); e == nil {
			elems = nil
		} else if elems != nil {
			elems = append(elems, e...)
		}
	}
	out[at] = sum.dim()
	c.set(0, c.elem(0), out)
	if len(first) == 1 && len(elems) <= maxContent {
		c.setContent(0, elems)
	}
	return nil
}

func inferSplit(c *nodeInference) error {
	for i := range c.n.Outputs {
		c.set(i, c.elem(0), nil)
	}
	in, err := c.rank(0, 1)
	if err != nil {
		return err
	}
	at, err := c.axis(c.n.Int("axis", 0), len(in))
	if err != nil {
		return err
	}
	sizes := c.content(1)
	if a := c.n.Attr("split"); a != nil {
		sizes = contentFrom(c.n.Ints("split"))
	}
	count := len(c.n.Outputs)
	if sizes == nil && !c.has(1) {
		sizes = c.equalParts(in[at], count)
	}
	if sizes != nil && len(sizes) != count {
		return c.fail("%d sizes for %d outputs", len(sizes), count)
	}
	total, start := constant(0), int64(0)
	for _, s := range sizes {
		total = total.add(s)
	}
	n, ok := total.isInt()
	if sizes != nil && ok && in[at].IsKnown() && in[at].Value != n {
		return c.fail("sizes %s do not add up to axis %d of %s", sizes.text(), at, c.in(0))
	}
	for i := range c.n.Outputs {
		out := slices.Clone(in)
		out[at] = Unknown
		if sizes != nil {
			out[at] = sizes[i].dim()
		}
		c.set(i, c.elem(0), out)
		if elems := c.content(0); elems != nil && len(in) == 1 && out[at].IsKnown() && start+out[at].Value <= int64(len(elems)) {
			c.setContent(i, elems[start:start+out[at].Value])
			start += out[at].Value
		}
	}
	return nil
}

// equalParts splits a dimension into equal parts, the last one smaller where
// they do not fill it.
func (c *nodeInference) equalParts(d Dim, count int) content {
	part := d.poly().quotient(constant(int64(count)))
	if part == nil {
		return nil
	}
	if c.opset() >= 18 {
		part = part.ceil()
	} else {
		part = part.floor()
	}
	sizes := slices.Repeat(content{part}, count)
	if c.opset() >= 18 {
		sizes[count-1] = d.poly().sub(part.times(int64(count - 1)))
	}
	return sizes
}

func inferPad(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	pads := c.content(1)
	for _, name := range []string{"pads", "paddings"} { // opset 1 says paddings
		if c.n.Attr(name) != nil {
			pads = contentFrom(c.n.Ints(name))
		}
	}
	axes, known := c.ints("", 3)
	if !known && c.has(3) || pads == nil {
		c.set(0, c.elem(0), slices.Repeat(Shape{Unknown}, len(in)))
		return nil
	}
	if !known {
		for i := range in {
			axes = append(axes, int64(i))
		}
	}
	if len(pads) != 2*len(axes) {
		return c.fail("%d pads for %d axes of %s", len(pads), len(axes), c.in(0))
	}
	out := slices.Clone(in)
	for i, a := range axes {
		at, err := c.axis(a, len(in))
		if err != nil {
			return err
		}
		out[at] = out[at].poly().add(pads[i]).add(pads[i+len(axes)]).dim()
	}
	c.set(0, c.elem(0), out)
	return nil
}

func inferExpand(c *nodeInference) error {
	out, err := c.broadcast(c.shape(0), c.shapeFrom(1))
	if err != nil {
		return err
	}
	c.set(0, c.elem(0), out)
	c.setContent(0, c.content(0).expand(c.shape(0), out))
	return nil
}

func inferTile(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	repeats := c.content(1)
	out := slices.Repeat(Shape{Unknown}, len(in))
	if repeats != nil {
		if len(repeats) != len(in) {
			return c.fail("%d repeats for %s", len(repeats), c.in(0))
		}
		for i, d := range in {
			out[i] = d.poly().mul(repeats[i]).dim()
		}
	}
	c.set(0, c.elem(0), out)
	return nil
}

func inferCenterCropPad(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	out := slices.Clone(in)
	target := c.shapeFrom(1)
	axes := c.n.Ints("axes")
	if len(axes) == 0 {
		for i := range in {
			axes = append(axes, int64(i))
		}
	}
	for i, a := range axes {
		at, err := c.axis(a, len(in))
		if err != nil {
			return err
		}
		out[at] = Unknown
		if i < len(target) {
			out[at] = target[i]
		}
	}
	c.set(0, c.elem(0), out)
	return nil
}

func inferCol2Im(c *nodeInference) error {
	in, err := c.rank(0, 3)
	if err != nil {
		return err
	}
	image := c.shapeFrom(1)
	if image == nil {
		return errNotInferred
	}
	out := append(Shape{in[0], in[1].poly().quotient(c.shapeFrom(2).product()).dim()}, image...)
	c.set(0, c.elem(0), out)
	return nil
}

func inferRoiAlign(c *nodeInference) error {
	in, err := c.rank(0, 4)
	if err != nil {
		return err
	}
	rois, err := c.rank(1, 1)
	if err != nil {
		return err
	}
	c.set(0, c.elem(0), Shape{rois[0], in[1], Known(c.n.Int("output_height", 1)), Known(c.n.Int("output_width", 1))})
	return nil
}
