package onnx

import (
	"slices"
)

// Operators that make new elements.

func init() {
	register(inferRange, "Range")
	register(inferOneHot, "OneHot")
	register(inferNonZero, "NonZero")
	register(inferRandomLike, "Bernoulli", "RandomNormalLike", "RandomUniformLike", "EyeLike")
	register(inferRandom, "RandomNormal", "RandomUniform")
}

func inferRange(c *nodeInference) error {
	c.set(0, c.elem(0), Shape{Unknown})
	start, limit, delta := c.content(0), c.content(1), c.content(2)
	if len(start) != 1 || len(limit) != 1 || len(delta) != 1 {
		return nil
	}
	count := limit[0].sub(start[0]).quotient(delta[0]).ceil()
	n, known := count.isInt()
	if known {
		count = constant(max(n, 0))
	}
	c.set(0, c.elem(0), Shape{count.dim()})
	if known && n >= 0 && n <= maxContent {
		out := make(content, n)
		for i := range out {
			out[i] = start[0].add(delta[0].times(int64(i)))
		}
		c.setContent(0, out)
	}
	return nil
}

func inferOneHot(c *nodeInference) error {
	c.set(0, c.elem(2), nil)
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	at, err := c.axis(c.n.Int("axis", -1), len(in)+1)
	if err != nil {
		return err
	}
	depth := Unknown
	if e := c.content(1); len(e) == 1 {
		depth = e[0].dim()
	}
	c.set(0, c.elem(2), slices.Insert(slices.Clone(in), at, depth))
	return nil
}

func inferNonZero(c *nodeInference) error {
	c.set(0, Int64, nil)
	in, err := c.rank(0, 0)
	if err != nil {
		return err
	}
	c.set(0, Int64, Shape{Known(int64(len(in))), Unknown})
	return nil
}

func inferRandomLike(c *nodeInference) error {
	elem := c.elem(0)
	if t := DataType(c.n.Int("dtype", 0)); t != Undefined {
		elem = t
	}
	c.set(0, elem, c.shape(0))
	return nil
}

func inferRandom(c *nodeInference) error {
	c.set(0, DataType(c.n.Int("dtype", int64(Float))), contentFrom(c.n.Ints("shape")).dims())
	return nil
}
