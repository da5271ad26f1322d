package onnx

import (
	"slices"
	"strings"
)

func init() {
	register(inferMatMul(0, 1), "MatMul", "MatMulInteger", "com.microsoft.FusedMatMul")
	register(inferMatMul(0, 3), "QLinearMatMul")
	register(inferGemm, "Gemm")
	register(inferEinsum, "Einsum")
	register(inferDet, "Det")
	register(inferAttention, "Attention")
	register(inferRecurrent, "GRU", "LSTM", "RNN")
}

func inferMatMul(x, y int) inferRule {
	return func(c *nodeInference) error {
		elem := c.elem(x)
		switch c.n.Op {
		case "MatMulInteger":
			elem = Int32
		case "QLinearMatMul":
			elem = c.elem(7)
		case "FusedMatMul":
			if c.n.Int("transA", 0)|c.n.Int("transB", 0)|c.n.Int("transBatchA", 0)|c.n.Int("transBatchB", 0) != 0 {
				return errNotInferred
			}
		}
		c.set(0, elem, nil)
		a, err := c.rank(x, 1)
		if err != nil {
			return err
		}
		b, err := c.rank(y, 1)
		if err != nil {
			return err
		}
		out, err := c.matmul(a, b)
		if err != nil {
			return err
		}
		c.set(0, elem, out)
		return nil
	}
}

// matmul is numpy.matmul on shapes.
func (c *nodeInference) matmul(a, b Shape) (Shape, error) {
	row, col := len(a) == 1, len(b) == 1
	left, right := a, b
	if row {
		left = Shape{Known(1), a[0]}
	}
	if col {
		right = Shape{b[0], Known(1)}
	}
	m, n := len(left), len(right)
	if _, ok := unify(left[m-1], right[n-2]); !ok {
		return nil, c.fail("%s times %s: the inner sizes %s and %s differ", a, b, left[m-1], right[n-2])
	}
	out, err := c.broadcast(left[:m-2], right[:n-2])
	if err != nil {
		return nil, err
	}
	out = slices.Clone(out)
	if !row {
		out = append(out, left[m-2])
	}
	if !col {
		out = append(out, right[n-1])
	}
	if out == nil {
		out = Shape{}
	}
	return out, nil
}

func inferGemm(c *nodeInference) error {
	a, err := c.rank(0, 2)
	if err != nil {
		return err
	}
	b, err := c.rank(1, 2)
	if err != nil {
		return err
	}
	m, k, k2, n := a[0], a[1], b[0], b[1]
	if c.n.Int("transA", 0) != 0 {
		m, k = k, m
	}
	if c.n.Int("transB", 0) != 0 {
		k2, n = n, k2
	}
	if _, ok := unify(k, k2); !ok {
		return c.fail("%s times %s: the inner sizes %s and %s differ", a, b, k, k2)
	}
	c.set(0, c.elem(0), Shape{m, n})
	return nil
}

func inferEinsum(c *nodeInference) error {
	equation := strings.ReplaceAll(c.n.Str("equation", ""), " ", "")
	left, right, explicit := strings.Cut(equation, "->")
	operands := strings.Split(left, ",")
	if len(operands) != len(c.n.Inputs) {
		return c.fail("equation %q has %d operands, the node %d inputs", equation, len(operands), len(c.n.Inputs))
	}
	sizes := map[rune]Dim{}
	count := map[rune]int{}
	var batch Shape // of the ellipsis
	for i, labels := range operands {
		shape, err := c.rank(i, 0)
		if err != nil {
			return err
		}
		before, after, dots := strings.Cut(labels, "...")
		if extra := len(shape) - len(before) - len(after); extra < 0 || extra > 0 && !dots {
			return c.fail("equation %q does not fit input %d, %s", equation, i, c.in(i))
		} else if dots {
			if batch, err = c.broadcast(batchOr(batch), shape[len(before):len(before)+extra]); err != nil {
				return err
			}
			shape = slices.Concat(shape[:len(before)], shape[len(before)+extra:])
		}
		for j, label := range before + after {
			old, seen := sizes[label]
			count[label]++
			switch d, ok := unify(old, shape[j]); {
			case !seen || old == Known(1):
				sizes[label] = shape[j]
			case ok:
				sizes[label] = d
			case shape[j] != Known(1):
				return c.fail("equation %q: %q is both %s and %s", equation, label, old, shape[j])
			}
		}
	}
	if !explicit {
		var once []rune
		for label, n := range count {
			if n == 1 {
				once = append(once, label)
			}
		}
		slices.Sort(once)
		right = "..." + string(once)
	}
	before, after, dots := strings.Cut(right, "...")
	out := Shape{}
	for _, label := range before {
		out = append(out, sizes[label])
	}
	if dots {
		out = append(out, batch...)
	}
	for _, label := range after {
		out = append(out, sizes[label])
	}
	c.set(0, c.elem(0), out)
	return nil
}

func batchOr(s Shape) Shape {
	if s == nil {
		return Shape{}
	}
	return s
}

func inferDet(c *nodeInference) error {
	in, err := c.rank(0, 2)
	if err != nil {
		return err
	}
	c.set(0, c.elem(0), in[:len(in)-2])
	return nil
}

// inferAttention is the rule of scaled dot product attention (opset 23), with
// heads as an own dimension (rank 4) or packed (rank 3).
func inferAttention(c *nodeInference) error {
	q, err := c.rank(0, 3)
	if err != nil {
		return err
	}
	v, err := c.rank(2, 3)
	if err != nil {
		return err
	}
	out := slices.Clone(q)
	if len(q) == 4 && len(v) == 4 {
		out[3] = v[3]
	} else {
		qHeads, kvHeads := c.n.Int("q_num_heads", 0), c.n.Int("kv_num_heads", 0)
		if kvHeads == 0 {
			return errNotInferred
		}
		out[2] = v[2].poly().quotient(constant(kvHeads)).times(qHeads).dim()
	}
	c.set(0, c.elem(0), out)
	for i := 1; i < len(c.n.Outputs); i++ {
		c.set(i, c.elem(0), nil)
	}
	return nil
}

func inferRecurrent(c *nodeInference) error {
	x, err := c.rank(0, 3)
	if err != nil {
		return err
	}
	hidden, directions := Known(c.n.Int("hidden_size", -1)), Known(1)
	if c.n.Str("direction", "forward") == "bidirectional" {
		directions = Known(2)
	}
	all, last := Shape{x[0], directions, x[1], hidden}, Shape{directions, x[1], hidden}
	if c.n.Int("layout", 0) == 1 {
		all, last = Shape{x[0], x[1], directions, hidden}, Shape{x[0], directions, hidden}
	}
	c.set(0, c.elem(0), all)
	c.set(1, c.elem(0), last)
	c.set(2, c.elem(0), last)
	return nil
}
