package onnx

import "math"

// content is the elements of a small tensor, row-major; an element nothing is
// known about is nil. A nil content is a tensor nothing is known about.
type content []*poly

const maxContent = 256

// content returns what is known of the elements of input i.
func (c *nodeInference) content(i int) content {
	v := c.n.Input(i)
	if v == nil {
		return nil
	}
	if v.Const != nil {
		return contentOf(v.Const)
	}
	return c.inference.contents[v]
}

// contentOf returns the elements of a constant.
func contentOf(t *Tensor) content {
	n, err := t.Elements()
	if err != nil || n > maxContent || t.Check() != nil {
		return nil
	}
	switch t.Type {
	case Int64:
		return contentFrom(ViewOf[int64](t.Data))
	case Int32:
		return contentFrom(ViewOf[int32](t.Data))
	case Uint8, Bool:
		return contentFrom(t.Data)
	case Float:
		return contentFrom(ViewOf[float32](t.Data))
	case Double:
		return contentFrom(ViewOf[float64](t.Data))
	}
	return nil
}

func contentFrom[T Number](s []T) content {
	out := make(content, len(s))
	for i, v := range s {
		if half := T(1) / T(2); half == 0 {
			out[i] = constant(int64(v))
		} else {
			out[i] = fraction(float64(v))
		}
	}
	return out
}

// fraction returns a float as an exact fraction with a denominator small enough
// that arithmetic of sizes with it is exact in float32 too; otherwise nil.
func fraction(v float64) *poly {
	const den = 1 << 10
	scaled := v * den
	if scaled != math.Trunc(scaled) || math.Abs(scaled) > 1<<40 {
		return nil
	}
	return normal([]term{{coef: int64(scaled)}}, den)
}

// exactInFloat reports whether all fractions of p are exact in binary.
func (p *poly) exactInFloat() bool { return p != nil && p.den&(p.den-1) == 0 }

// ints returns the elements when all are known numbers.
func (e content) ints() ([]int64, bool) {
	if e == nil {
		return nil, false
	}
	out := make([]int64, len(e))
	for i, p := range e {
		n, ok := p.isInt()
		if !ok {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}

// dims returns the elements as a shape.
func (e content) dims() Shape {
	if e == nil {
		return nil
	}
	out := make(Shape, len(e))
	for i, p := range e {
		out[i] = p.dim()
	}
	return out
}

// smallShape returns the sizes of a shape of numbers with few elements.
func smallShape(s Shape) ([]int, bool) {
	sizes, ok := s.Ints()
	if !ok {
		return nil, false
	}
	n, err := Elements(sizes)
	if err != nil || n > maxContent {
		return nil, false
	}
	out := make([]int, len(sizes))
	for i, d := range sizes {
		out[i] = int(d)
	}
	return out, true
}

// rearrange builds content of shape out whose element at an index is element
// source(index) of e.
func rearrange(e content, out Shape, source func(index []int) int) content {
	sizes, ok := smallShape(out)
	if e == nil || !ok {
		return nil
	}
	count := 1
	for _, d := range sizes {
		count *= d
	}
	result := make(content, count)
	index := make([]int, len(sizes))
	for i := range result {
		s := source(index)
		if s < 0 || s >= len(e) {
			return nil
		}
		result[i] = e[s]
		for d := len(index) - 1; d >= 0; d-- {
			if index[d]++; index[d] < sizes[d] {
				break
			}
			index[d] = 0
		}
	}
	return result
}

// strides returns the row-major strides of sizes.
func strides(sizes []int) []int {
	out := make([]int, len(sizes))
	step := 1
	for i := len(sizes) - 1; i >= 0; i-- {
		out[i] = step
		step *= sizes[i]
	}
	return out
}

// expand brings content of one shape to another by broadcasting.
func (e content) expand(from, to Shape) content {
	sizes, ok := smallShape(from)
	if !ok || len(from) > len(to) {
		return nil
	}
	step := strides(sizes)
	return rearrange(e, to, func(index []int) int {
		at := 0
		for i, d := range sizes {
			if d > 1 {
				at += step[i] * index[i+len(to)-len(from)]
			}
		}
		return at
	})
}

// elementwise fills output 0 from inputs that broadcast, element by element.
func (c *nodeInference) elementwise(f func(args []*poly) *poly) {
	out := c.types[0].Shape
	args := make([]content, len(c.n.Inputs))
	for i := range c.n.Inputs {
		if args[i] = c.content(i).expand(c.shape(i), out); args[i] == nil {
			return
		}
	}
	sizes, ok := smallShape(out)
	if !ok {
		return
	}
	count := 1
	for _, d := range sizes {
		count *= d
	}
	result := make(content, count)
	for i := range result {
		row := make([]*poly, len(args))
		for j := range args {
			row[j] = args[j][i]
		}
		result[i] = f(row)
	}
	c.setContent(0, result)
}
