package onnx

import "slices"

func init() {
	register(inferReduce, "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
		"ReduceProd", "ReduceSum", "ReduceSumSquare")
	register(inferArg, "ArgMax", "ArgMin")
	register(inferTopK, "TopK")
	register(inferNormalization, "LayerNormalization", "RMSNormalization")
}

func inferReduce(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	keep := c.n.Int("keepdims", 1) != 0
	axes, known := c.ints("axes", 1)
	if !known && c.has(1) {
		if keep { // which axes is not known, the rank is
			out := make(Shape, len(in))
			for i := range out {
				out[i] = Unknown
			}
			c.set(0, c.elem(0), out)
		}
		return nil
	}
	reduced := make([]bool, len(in))
	switch {
	case len(axes) == 0 && c.n.Int("noop_with_empty_axes", 0) != 0:
		c.set(0, c.elem(0), in)
		c.setContent(0, c.content(0))
		return nil
	case len(axes) == 0:
		for i := range reduced {
			reduced[i] = true
		}
	}
	for _, a := range axes {
		at, err := c.axis(a, len(in))
		if err != nil {
			return err
		}
		reduced[at] = true
	}
	c.set(0, c.elem(0), reducedShape(in, reduced, keep))
	c.reduceContent(reduced)
	return nil
}

func reducedShape(in Shape, reduced []bool, keep bool) Shape {
	out := Shape{}
	for i, d := range in {
		switch {
		case !reduced[i]:
			out = append(out, d)
		case keep:
			out = append(out, Known(1))
		}
	}
	return out
}

// reduceContent follows sums and products of vectors, which exporters use to
// count elements.
func (c *nodeInference) reduceContent(reduced []bool) {
	elems := c.content(0)
	if len(reduced) != 1 || !reduced[0] || elems == nil {
		return
	}
	var total *poly
	switch c.n.Op {
	case "ReduceSum":
		total = constant(0)
		for _, e := range elems {
			total = total.add(e)
		}
	case "ReduceProd":
		total = constant(1)
		for _, e := range elems {
			total = total.mul(e)
		}
	}
	c.setContent(0, content{total})
}

func inferArg(c *nodeInference) error {
	c.set(0, Int64, nil)
	in, err := c.rank(0, 1)
	if err != nil {
		return err
	}
	at, err := c.axis(c.n.Int("axis", 0), len(in))
	if err != nil {
		return err
	}
	reduced := make([]bool, len(in))
	reduced[at] = true
	c.set(0, Int64, reducedShape(in, reduced, c.n.Int("keepdims", 1) != 0))
	return nil
}

func inferTopK(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	c.set(1, Int64, nil)
	in, err := c.rank(0, 1)
	if err != nil {
		return err
	}
	at, err := c.axis(c.n.Int("axis", -1), len(in))
	if err != nil {
		return err
	}
	out := slices.Clone(in)
	out[at] = Unknown
	if a := c.n.Attr("k"); a != nil {
		out[at] = Known(c.n.Int("k", -1))
	} else if k := c.content(1); len(k) == 1 {
		out[at] = k[0].dim()
	}
	if out[at].IsKnown() && in[at].IsKnown() && out[at].Value > in[at].Value {
		return c.fail("the best %s of %s along axis %d", out[at], in, at)
	}
	c.set(0, c.elem(0), out)
	c.set(1, Int64, out)
	return nil
}

func inferNormalization(c *nodeInference) error {
	c.set(0, c.elem(0), c.shape(0))
	stash := DataType(c.n.Int("stash_type", int64(Float)))
	c.set(1, stash, nil)
	c.set(2, stash, nil)
	in, err := c.rank(0, 1)
	if err != nil {
		return err
	}
	at, err := c.axis(c.n.Int("axis", -1), len(in))
	if err != nil {
		return err
	}
	reduced := make([]bool, len(in))
	for i := at; i < len(in); i++ {
		reduced[i] = true
	}
	if c.has(1) {
		if out, err := c.broadcast(c.shape(1), in); err != nil {
			return err
		} else if len(out) > len(in) {
			return c.fail("scale %s has more dimensions than input %s", c.in(1), c.in(0))
		}
	}
	c.set(1, stash, reducedShape(in, reduced, true))
	c.set(2, stash, reducedShape(in, reduced, true))
	return nil
}
