package onnx

// inferRule fills in the output types of a node. It returns errNotInferred
// where the inputs do not tell enough.
type inferRule func(c *nodeInference) error

// inferRules maps an operator, with its domain in front when it is not the
// default one, to its rule.
var inferRules = map[string]inferRule{}

func register(rule inferRule, ops ...string) {
	for _, op := range ops {
		inferRules[op] = rule
	}
}

func init() {
	register(likeInput, "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Celu", "Clip", "Cos", "Cosh",
		"CumSum", "CumProd", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Hardmax", "InstanceNormalization",
		"LRN", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Mish", "PRelu", "Reciprocal", "Relu",
		"ReverseSequence", "Round", "ScatterElements", "ScatterND", "Scatter", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
		"Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Trilu", "GroupNormalization",
		"RotaryEmbedding", "TensorScatter", "com.microsoft.Gelu", "com.microsoft.FastGelu", "com.microsoft.QuickGelu")
	register(unary(func(x *poly) *poly { return x }), "Identity")
	register(unary(func(x *poly) *poly { return x.times(-1) }), "Neg")
	register(unary(func(x *poly) *poly { return x.floor() }), "Floor")
	register(unary(func(x *poly) *poly { return x.ceil() }), "Ceil")
	register(arithmetic(func(a, b *poly, _ bool) *poly { return a.add(b) }), "Add", "Sum")
	register(arithmetic(func(a, b *poly, _ bool) *poly { return a.sub(b) }), "Sub")
	register(arithmetic(multiply), "Mul")
	register(arithmetic(divide), "Div")
	register(arithmetic(func(a, b *poly, _ bool) *poly { return a.larger(b) }), "Max")
	register(arithmetic(func(a, b *poly, _ bool) *poly { return a.smaller(b) }), "Min")
	register(arithmetic(func(a, b *poly, float bool) *poly {
		if float || !a.nonNegative() || !b.nonNegative() {
			return nil
		}
		return a.sub(a.quotient(b).floor().mul(b))
	}), "Mod")
	register(arithmetic(nothing), "Pow", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Mean")
	register(comparison(func(d float64) bool { return d == 0 }), "Equal")
	register(comparison(func(d float64) bool { return d > 0 }), "Greater")
	register(comparison(func(d float64) bool { return d >= 0 }), "GreaterOrEqual")
	register(comparison(func(d float64) bool { return d < 0 }), "Less")
	register(comparison(func(d float64) bool { return d <= 0 }), "LessOrEqual")
	register(logical(func(a, b bool) bool { return a && b }), "And")
	register(logical(func(a, b bool) bool { return a || b }), "Or")
	register(logical(func(a, b bool) bool { return a != b }), "Xor")
	register(inferNot, "Not")
	register(func(c *nodeInference) error { c.set(0, Bool, c.shape(0)); return nil }, "IsNaN", "IsInf")
	register(inferWhere, "Where")
	register(inferCast, "Cast")
	register(inferCastLike, "CastLike")
	register(inferDropout, "Dropout")
}

// likeInput is the rule of operators whose output looks like their first input.
func likeInput(c *nodeInference) error {
	c.set(0, c.elem(0), c.shape(0))
	return nil
}

func unary(f func(*poly) *poly) inferRule {
	return func(c *nodeInference) error {
		if t := c.in(0); t.other != nil { // a sequence or optional passes through Identity
			c.types[0] = t
			return nil
		}
		c.set(0, c.elem(0), c.shape(0))
		c.elementwise(func(a []*poly) *poly { return f(a[0]) })
		return nil
	}
}

func nothing(_, _ *poly, _ bool) *poly { return nil }

func multiply(a, b *poly, float bool) *poly {
	if float && (!a.exactInFloat() || !b.exactInFloat()) {
		return nil
	}
	return a.mul(b)
}

// divide is the division of floats, or that of integers, which rounds towards
// zero.
func divide(a, b *poly, float bool) *poly {
	q := a.quotient(b)
	if q == nil || float || q.den == 1 {
		return q
	}
	if v, ok := q.isConst(); ok && v < 0 {
		return q.ceil()
	}
	if !q.nonNegative() {
		return nil
	}
	return q.floor()
}

// arithmetic is the rule of operators that broadcast two or more inputs of one
// type.
func arithmetic(f func(a, b *poly, float bool) *poly) inferRule {
	return func(c *nodeInference) error {
		shape, err := c.broadcastAll()
		if err != nil {
			return err
		}
		elem := Undefined
		for i := range c.n.Inputs {
			if elem == Undefined {
				elem = c.elem(i)
			}
		}
		c.set(0, elem, shape)
		float := elem == Float || elem == Double || elem == Float16 || elem == Bfloat16
		c.elementwise(func(args []*poly) *poly {
			r := args[0]
			for _, a := range args[1:] {
				r = f(r, a, float)
			}
			return r
		})
		return nil
	}
}

func (c *nodeInference) broadcastAll() (Shape, error) {
	if len(c.n.Inputs) == 0 {
		return nil, errNotInferred
	}
	shape := c.shape(0)
	for i := range c.n.Inputs[1:] {
		var err error
		if shape, err = c.broadcast(shape, c.shape(i+1)); err != nil {
			return nil, err
		}
	}
	return shape, nil
}

func truth(b bool) *poly {
	if b {
		return constant(1)
	}
	return constant(0)
}

// comparison decides on the difference where that is a constant.
func comparison(holds func(difference float64) bool) inferRule {
	return func(c *nodeInference) error {
		shape, err := c.broadcastAll()
		if err != nil {
			return err
		}
		c.set(0, Bool, shape)
		c.elementwise(func(args []*poly) *poly {
			if len(args) != 2 {
				return nil
			}
			d, ok := args[0].sub(args[1]).isConst()
			if !ok {
				return nil
			}
			return truth(holds(d))
		})
		return nil
	}
}

func logical(f func(a, b bool) bool) inferRule {
	return func(c *nodeInference) error {
		shape, err := c.broadcastAll()
		if err != nil {
			return err
		}
		c.set(0, Bool, shape)
		c.elementwise(func(args []*poly) *poly {
			if len(args) != 2 {
				return nil
			}
			a, ok1 := args[0].isInt()
			b, ok2 := args[1].isInt()
			if !ok1 || !ok2 {
				return nil
			}
			return truth(f(a != 0, b != 0))
		})
		return nil
	}
}

func inferNot(c *nodeInference) error {
	c.set(0, Bool, c.shape(0))
	c.elementwise(func(args []*poly) *poly {
		a, ok := args[0].isInt()
		if !ok {
			return nil
		}
		return truth(a == 0)
	})
	return nil
}

func inferWhere(c *nodeInference) error {
	shape, err := c.broadcastAll()
	if err != nil {
		return err
	}
	elem := c.elem(1)
	if elem == Undefined {
		elem = c.elem(2)
	}
	c.set(0, elem, shape)
	c.elementwise(func(args []*poly) *poly {
		if len(args) != 3 {
			return nil
		}
		switch cond, ok := args[0].isInt(); {
		case !ok && args[1].equal(args[2]):
			return args[1]
		case !ok:
			return nil
		case cond != 0:
			return args[1]
		}
		return args[2]
	})
	return nil
}

func inferCast(c *nodeInference) error {
	c.cast(DataType(c.n.Int("to", 0)))
	return nil
}

func inferCastLike(c *nodeInference) error {
	c.set(0, c.elem(1), c.shape(0))
	return nil
}

func (c *nodeInference) cast(to DataType) {
	c.set(0, to, c.shape(0))
	from := c.elem(0)
	c.elementwise(func(args []*poly) *poly {
		x := args[0]
		switch {
		case x == nil:
			return nil
		case to == Int64 || to == Int32:
			if v, ok := x.isConst(); ok && v < 0 {
				return x.ceil()
			}
			if x.den != 1 && !x.nonNegative() {
				return nil
			}
			return x.floor()
		case to == Float || to == Double || to == from:
			return x
		case to == Bool:
			if v, ok := x.isConst(); ok {
				return truth(v != 0)
			}
		}
		return nil
	})
}

func inferDropout(c *nodeInference) error {
	c.set(0, c.elem(0), c.shape(0))
	mask := Bool
	if c.opset() < 10 {
		mask = c.elem(0)
	}
	c.set(1, mask, c.shape(0))
	return nil
}
