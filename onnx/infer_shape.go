package onnx

import (
	"slices"
)

func init() {
	register(inferShape, "Shape")
	register(inferSize, "Size")
	register(inferConstant, "Constant")
	register(inferConstantOfShape, "ConstantOfShape")
	register(inferReshape, "Reshape")
	register(inferFlatten, "Flatten")
	register(inferSqueeze, "Squeeze")
	register(inferUnsqueeze, "Unsqueeze")
}

// pass gives output 0 a shape and the elements of input 0 in the same order.
func (c *nodeInference) pass(shape Shape) {
	c.set(0, c.elem(0), shape)
	c.setContent(0, c.content(0))
}

func inferShape(c *nodeInference) error {
	c.set(0, Int64, Shape{Unknown})
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	n := int64(len(in))
	clamp := func(v int64) int64 {
		if v < 0 {
			v += n
		}
		return min(max(v, 0), n)
	}
	start, end := clamp(c.n.Int("start", 0)), clamp(c.n.Int("end", n))
	part := in[start:max(start, end)]
	c.set(0, Int64, ShapeOf(int64(len(part))))
	c.setContent(0, part.polys())
	return nil
}

func inferSize(c *nodeInference) error {
	c.set(0, Int64, Shape{})
	c.setContent(0, content{c.shape(0).product()})
	return nil
}

func inferConstant(c *nodeInference) error {
	t := c.n.ConstantTensor()
	if t == nil {
		return errNotInferred
	}
	c.set(0, t.Type, ShapeOf(t.Shape...))
	c.setContent(0, contentOf(t))
	return nil
}

// ConstantTensor returns the value of a Constant node, whichever attribute holds
// it; nil when the node is none or holds a sparse tensor.
func (n *Node) ConstantTensor() *Tensor {
	if !n.Is("Constant") {
		return nil
	}
	for _, a := range n.Attrs {
		switch v := a.Value.(type) {
		case *Tensor:
			return v
		case float32:
			return Scalar(v)
		case int64:
			return NewTensor(Int64, nil, []int64{v})
		case []float32:
			return Floats([]int64{int64(len(v))}, v...)
		case []int64:
			return Int64s(v...)
		case []byte:
			return &Tensor{Type: String, Strings: [][]byte{v}}
		case [][]byte:
			return &Tensor{Type: String, Shape: []int64{int64(len(v))}, Strings: v}
		}
	}
	return nil
}

func inferConstantOfShape(c *nodeInference) error {
	elem := Float
	fill := constant(0)
	if t := c.n.Tensor("value"); t != nil {
		elem, fill = t.Type, nil
		if e := contentOf(t); len(e) == 1 {
			fill = e[0]
		}
	}
	shape := c.shapeFrom(0)
	c.set(0, elem, shape)
	if sizes, ok := smallShape(shape); ok {
		count := 1
		for _, d := range sizes {
			count *= d
		}
		c.setContent(0, slices.Repeat(content{fill}, count))
	}
	return nil
}

// shapeFrom returns the shape that the elements of input i spell; of unknown
// sizes when only their number is known.
func (c *nodeInference) shapeFrom(i int) Shape {
	if e := c.content(i); e != nil {
		return e.dims()
	}
	if s := c.shape(i); len(s) == 1 && s[0].IsKnown() && s[0].Value < 64 {
		return slices.Repeat(Shape{Unknown}, int(s[0].Value))
	}
	return nil
}

func inferReshape(c *nodeInference) error {
	in := c.shape(0)
	target := c.content(1)
	if a := c.n.Attr("shape"); a != nil {
		target = contentFrom(c.n.Ints("shape"))
	}
	if target == nil {
		c.set(0, c.elem(0), c.shapeFrom(1))
		return nil
	}
	allowZero := c.n.Int("allowzero", 0) != 0
	out := make(Shape, len(target))
	hole := -1
	rest := constant(1)
	for i, e := range target {
		n, known := e.isInt()
		switch {
		case known && n == 0 && !allowZero:
			out[i] = Unknown
			if in != nil {
				if i >= len(in) {
					return c.fail("target %s copies dimension %d of input %s", target.text(), i, c.in(0))
				}
				out[i] = in[i]
			}
		case known && n < 0:
			if n != -1 || hole >= 0 {
				return c.fail("target %s", target.text())
			}
			hole = i
			continue
		default:
			out[i] = e.dim()
		}
		rest = rest.mul(out[i].poly())
	}
	total := in.product()
	if hole >= 0 {
		out[hole] = Unknown
		if total != nil && rest != nil {
			n, ok1 := total.isInt()
			m, ok2 := rest.isInt()
			if ok1 && ok2 && m != 0 && n%m != 0 {
				return c.fail("input %s cannot have the shape %s", c.in(0), target.text())
			}
			out[hole] = total.quotient(rest).dim()
		}
	} else if n, ok := total.isInt(); ok {
		if m, ok := rest.isInt(); ok && m != n {
			return c.fail("input %s cannot have the shape %s", c.in(0), target.text())
		}
	}
	c.pass(out)
	return nil
}

func (e content) text() string {
	s := "["
	for i, p := range e {
		if i > 0 {
			s += ","
		}
		s += p.String()
	}
	return s + "]"
}

func inferFlatten(c *nodeInference) error {
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	at := int(c.n.Int("axis", 1))
	if at < 0 {
		at += len(in)
	}
	if at < 0 || at > len(in) {
		return c.fail("axis %d of %s", at, c.in(0))
	}
	c.pass(Shape{in[:at].product().dim(), in[at:].product().dim()})
	return nil
}

func inferSqueeze(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	axes, known := c.ints("axes", 1)
	if !known && c.has(1) {
		return nil
	}
	drop := make([]bool, len(in))
	for _, a := range axes {
		at, err := c.axis(a, len(in))
		if err != nil {
			return err
		}
		if in[at].IsKnown() && in[at].Value != 1 {
			return c.fail("axis %d of %s is not 1", a, c.in(0))
		}
		drop[at] = true
	}
	out := Shape{}
	for i, d := range in {
		if !known {
			if !d.IsKnown() {
				return nil
			}
			drop[i] = d.Value == 1
		}
		if !drop[i] {
			out = append(out, d)
		}
	}
	c.pass(out)
	return nil
}

func inferUnsqueeze(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	axes, known := c.ints("axes", 1)
	if !known {
		return nil
	}
	one := make([]bool, len(in)+len(axes))
	for _, a := range axes {
		at, err := c.axis(a, len(one))
		if err != nil {
			return err
		}
		if one[at] {
			return c.fail("axes %v name an axis twice", axes)
		}
		one[at] = true
	}
	out := make(Shape, 0, len(one))
	for i := range one {
		if one[i] {
			out = append(out, Known(1))
		} else {
			out, in = append(out, in[0]), in[1:]
		}
	}
	c.pass(out)
	return nil
}

// inferCompress: how many elements are kept depends on data.
