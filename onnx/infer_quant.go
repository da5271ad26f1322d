package onnx

func init() {
	register(inferQuantizeLinear, "QuantizeLinear", "com.microsoft.QuantizeLinear")
	register(inferDequantizeLinear, "DequantizeLinear", "com.microsoft.DequantizeLinear")
	register(inferDynamicQuantizeLinear, "DynamicQuantizeLinear")
}

func inferQuantizeLinear(c *nodeInference) error {
	elem := Uint8
	if t := DataType(c.n.Int("output_dtype", 0)); t != Undefined {
		elem = t
	}
	if c.has(2) {
		elem = c.elem(2)
	}
	c.set(0, elem, c.shape(0))
	return c.checkScale()
}

func inferDequantizeLinear(c *nodeInference) error {
	elem := c.elem(1)
	if t := DataType(c.n.Int("output_dtype", 0)); t != Undefined {
		elem = t
	}
	c.set(0, elem, c.shape(0))
	return c.checkScale()
}

// checkScale wants a scale per channel to have as many elements as the tensor
// has channels.
func (c *nodeInference) checkScale() error {
	in, scale := c.shape(0), c.shape(1)
	if in == nil || len(scale) != 1 || scale[0] == Known(1) || c.n.Int("block_size", 0) != 0 {
		return nil
	}
	at, err := c.axis(c.n.Int("axis", 1), len(in))
	if err != nil {
		return err
	}
	if _, ok := unify(in[at], scale[0]); !ok {
		return c.fail("input %s has size %s along axis %d, its scale has %s", c.in(0), in[at], at, scale[0])
	}
	return nil
}

func inferDynamicQuantizeLinear(c *nodeInference) error {
	c.set(0, Uint8, c.shape(0))
	c.set(1, Float, Shape{})
	c.set(2, Uint8, Shape{})
	return nil
}
