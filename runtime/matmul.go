package runtime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

func init() {
	register("MatMul", 1, matMul)
	register("Gemm", 1, gemm)
	register("Einsum", 12, einsum)
}

// product2 is a batch of matrix products with NumPy's rules for rank 1 and for
// broadcasting the batch.
type product2 struct {
	m, n, k     int
	batch       []int // dimensions
	shape       []int // of the result
	batchA      []int // strides of the batch, in matrices
	batchB      []int
	resultCount int
}

func newProduct2(a, b []int) (*product2, error) {
	if len(a) == 0 || len(b) == 0 {
		return nil, fmt.Errorf("a scalar is no matrix")
	}
	left, right := a, b
	if len(a) == 1 {
		left = []int{1, a[0]}
	}
	if len(b) == 1 {
		right = []int{b[0], 1}
	}
	la, lb := len(left), len(right)
	p := &product2{m: left[la-2], k: left[la-1], n: right[lb-1]}
	batch, err := broadcastShape(left[:la-2], right[:lb-2])
	if err != nil || right[lb-2] != p.k {
		return nil, fmt.Errorf("matrices %v and %v do not fit", a, b)
	}
	p.batch = batch
	p.batchA, p.batchB = broadcastStrides(left[:la-2], batch), broadcastStrides(right[:lb-2], batch)
	p.shape = slices.Clone(batch)
	if len(a) > 1 {
		p.shape = append(p.shape, p.m)
	}
	if len(b) > 1 {
		p.shape = append(p.shape, p.n)
	}
	p.resultCount = product(batch)
	return p, nil
}

// each calls f for every matrix: its index and those of its operands.
func (p *product2) each(f func(i, a, b int) error) error {
	w := newWalk(append(slices.Clone(p.batch), 1), append(slices.Clone(p.batchA), 0), append(slices.Clone(p.batchB), 0))
	n, s := w.inner()
	var err error
	if p.resultCount == 0 {
		return nil
	}
	w.each(0, w.runs(), func(run int, off []int) {
		for i := 0; i < n && err == nil; i++ {
			err = f(run*n+i, off[0]+i*s[0], off[1]+i*s[1])
		}
	})
	return err
}

func matMul(*site) (kernel, error) {
	return func(c *call) error {
		a, err := c.need(0)
		if err != nil {
			return err
		}
		b, err := c.need(1)
		if err != nil {
			return err
		}
		return c.matMul(a, b, func(typ onnx.DataType, shape []int) (*Tensor, error) { return c.new(0, typ, shape) })
	}, nil
}

func (c *call) matMul(a, b *Tensor, output func(onnx.DataType, []int) (*Tensor, error)) error {
	p, err := newProduct2(a.Shape, b.Shape)
	if err != nil {
		return err
	}
	if a.Type != b.Type {
		return fmt.Errorf("inputs %s and %s are of different types", a, b)
	}
	out, err := output(a.Type, p.shape)
	if err != nil {
		return err
	}
	switch d := out.Data.(type) {
	case []float32:
		x, y := a.Data.([]float32), b.Data.([]float32)
		return p.each(func(i, ia, ib int) error {
			return kernels.Gemm(c.ctx, c.workers, d[i*p.m*p.n:(i+1)*p.m*p.n], x[ia*p.m*p.k:(ia+1)*p.m*p.k], y[ib*p.k*p.n:(ib+1)*p.k*p.n], p.m, p.n, p.k, false, false)
		})
	case []float64:
		return multiply(c, p, d, a.Data.([]float64), b.Data.([]float64))
	case []int32:
		return multiply(c, p, d, a.Data.([]int32), b.Data.([]int32))
	case []int64:
		return multiply(c, p, d, a.Data.([]int64), b.Data.([]int64))
	case []uint32:
		return multiply(c, p, d, a.Data.([]uint32), b.Data.([]uint32))
	case []uint64:
		return multiply(c, p, d, a.Data.([]uint64), b.Data.([]uint64))
	}
	return typeError(0, a)
}

// multiply is the plain product for the types that networks do not use.
func multiply[T number](c *call, p *product2, dst, a, b []T) error {
	return p.each(func(i, ia, ib int) error {
		return c.parallel(p.m, grain/max(1, p.n*p.k), func(lo, hi int) {
			for r := lo; r < hi; r++ {
				row := dst[(i*p.m+r)*p.n : (i*p.m+r+1)*p.n]
				clear(row)
				for k := range p.k {
					x := a[(ia*p.m+r)*p.k+k]
					for j := range row {
						row[j] += T(x * b[(ib*p.k+k)*p.n+j])
					}
				}
			}
		})
	})
}

// gemm calculates alpha * A' * B' + beta * C.
func gemm(s *site) (kernel, error) {
	alpha, beta := s.Float("alpha", 1), s.Float("beta", 1)
	transA, transB := s.Int("transA", 0) != 0, s.Int("transB", 0) != 0
	return func(c *call) error {
		a, x, err := c.floats(0)
		if err != nil {
			return err
		}
		b, y, err := c.floats(1)
		if err != nil {
			return err
		}
		if len(a.Shape) != 2 || len(b.Shape) != 2 {
			return fmt.Errorf("inputs %s and %s are no matrices", a, b)
		}
		m, k := a.Shape[0], a.Shape[1]
		if transA {
			m, k = k, m
		}
		kb, n := b.Shape[0], b.Shape[1]
		if transB {
			kb, n = n, kb
		}
		if k != kb {
			return fmt.Errorf("matrices %s and %s do not fit", a, b)
		}
		var addend []float32
		if c.input(2) != nil {
			if addend, err = c.expanded(2, []int{m, n}); err != nil {
				return err
			}
		}
		out, err := c.new(0, onnx.Float, []int{m, n})
		if err != nil {
			return err
		}
		d := out.Data.([]float32)
		if err := kernels.Gemm(c.ctx, c.workers, d, x, y, m, n, k, transA, transB); err != nil {
			return err
		}
		if alpha == 1 && addend == nil {
			return nil
		}
		return c.parallel(len(d), grain, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				v := float32(alpha * d[i])
				if addend != nil {
					v += float32(beta * addend[i])
				}
				d[i] = v
			}
		})
	}, nil
}

// einsum contracts its operands two at a time from the left. Each product is
// brought into the form of a batch of matrix products: labels that both have
// and that are still needed are the batch, those no longer needed are summed.
func einsum(s *site) (kernel, error) {
	equation := strings.ReplaceAll(s.Str("equation", ""), " ", "")
	left, result, explicit := strings.Cut(equation, "->")
	terms := strings.Split(left, ",")
	return func(c *call) error {
		if len(terms) != len(c.in) {
			return fmt.Errorf("equation %q has %d terms for %d inputs", equation, len(terms), len(c.in))
		}
		ops := make([]labelled, len(terms))
		count := map[rune]int{}
		rest := 0 // dimensions of the ellipsis
		for i, term := range terms {
			t, err := c.need(i)
			if err != nil {
				return err
			}
			if ops[i].labels, err = expandLabels(term, len(t.Shape), &rest); err != nil {
				return fmt.Errorf("equation %q: input %s: %w", equation, t, err)
			}
			ops[i].t = t
			for _, l := range ops[i].labels {
				count[l]++
			}
		}
		var want []rune
		if explicit {
			var err error
			if want, err = expandLabels(result, len(strings.ReplaceAll(result, "...", ""))+rest, &rest); err != nil {
				return fmt.Errorf("equation %q: %w", equation, err)
			}
		} else {
			for i := range rest {
				want = append(want, ellipsis+rune(i))
			}
			var once []rune
			for l, n := range count {
				if n == 1 && l < ellipsis {
					once = append(once, l)
				}
			}
			slices.Sort(once)
			want = append(want, once...)
		}
		acc := ops[0]
		var err error
		if acc, err = c.diagonal(acc); err != nil {
			return err
		}
		for i, op := range ops[1:] {
			if op, err = c.diagonal(op); err != nil {
				return err
			}
			needed := slices.Clone(want)
			for _, later := range ops[i+2:] {
				needed = append(needed, later.labels...)
			}
			if acc, err = c.contract(acc, op, needed); err != nil {
				return err
			}
		}
		if acc, err = c.sumOut(acc, want); err != nil {
			return err
		}
		perm := make([]int, len(want))
		shape := make([]int, len(want))
		for i, l := range want {
			if perm[i] = slices.Index(acc.labels, l); perm[i] < 0 {
				return fmt.Errorf("equation %q: the result has a label that no input has", equation)
			}
			shape[i] = acc.t.Shape[perm[i]]
		}
		out, err := c.new(0, acc.t.Type, shape)
		if err != nil {
			return err
		}
		return c.permute(out, acc.t, acc.t.Shape, perm)
	}, nil
}

// ellipsis is the first label of the dimensions that "..." stands for.
const ellipsis = rune(0x10000)

type labelled struct {
	t      *Tensor
	labels []rune
}

func expandLabels(term string, rank int, rest *int) ([]rune, error) {
	before, after, dots := strings.Cut(term, "...")
	labels := []rune(before)
	if dots {
		n := rank - len(before) - len(after)
		if n < 0 {
			return nil, fmt.Errorf("%d dimensions are too few", rank)
		}
		*rest = max(*rest, n)
		for i := range n {
			labels = append(labels, ellipsis+rune(*rest-n+i))
		}
		labels = append(labels, []rune(after)...)
	}
	if len(labels) != rank {
		return nil, fmt.Errorf("%d labels for %d dimensions", len(labels), rank)
	}
	return labels, nil
}

// diagonal merges dimensions with the same label.
func (c *call) diagonal(x labelled) (labelled, error) {
	var labels []rune
	var shape, from []int
	s := strides(x.t.Shape)
	for i, l := range x.labels {
		if at := slices.Index(labels, l); at >= 0 {
			if shape[at] != x.t.Shape[i] {
				return x, fmt.Errorf("a label stands for %d and %d", shape[at], x.t.Shape[i])
			}
			from[at] += s[i]
			continue
		}
		labels, shape, from = append(labels, l), append(shape, x.t.Shape[i]), append(from, s[i])
	}
	if len(labels) == len(x.labels) {
		return x, nil
	}
	t, err := New(x.t.Type, shape...)
	if err != nil {
		return x, err
	}
	return labelled{t, labels}, c.copyStrided(t, x.t, 0, from)
}

// sumOut adds up along the labels that are not needed.
func (c *call) sumOut(x labelled, needed []rune) (labelled, error) {
	var axes []int
	var labels []rune
	for i, l := range x.labels {
		if slices.Contains(needed, l) {
			labels = append(labels, l)
		} else {
			axes = append(axes, i)
		}
	}
	if axes == nil {
		return x, nil
	}
	inner := *c
	inner.out = nil
	inner.arena = newArena(c.arena.limit - c.arena.inUse)
	if err := inner.reduce(reduction{}, x.t, axes, false); err != nil {
		return x, err
	}
	return labelled{inner.out[0], labels}, nil
}

func (c *call) contract(a, b labelled, needed []rune) (labelled, error) {
	a, err := c.sumOut(a, slices.Concat(needed, b.labels))
	if err != nil {
		return a, err
	}
	if b, err = c.sumOut(b, slices.Concat(needed, a.labels)); err != nil {
		return b, err
	}
	var batch, sum, onlyA, onlyB []rune
	for _, l := range a.labels {
		switch {
		case !slices.Contains(b.labels, l):
			onlyA = append(onlyA, l)
		case slices.Contains(needed, l):
			batch = append(batch, l)
		default:
			sum = append(sum, l)
		}
	}
	for _, l := range b.labels {
		if !slices.Contains(a.labels, l) {
			onlyB = append(onlyB, l)
		}
	}
	x, sizesA, err := c.arranged(a, batch, onlyA, sum)
	if err != nil {
		return a, err
	}
	y, sizesB, err := c.arranged(b, batch, sum, onlyB)
	if err != nil {
		return a, err
	}
	var t *Tensor
	inner := *c
	inner.arena = newArena(c.arena.limit - c.arena.inUse)
	err = inner.matMul(x, y, func(typ onnx.DataType, shape []int) (_ *Tensor, err error) {
		t, err = inner.arena.tensor(typ, shape)
		return t, err
	})
	if err != nil {
		return a, err
	}
	var shape []int
	for _, l := range batch {
		shape = append(shape, max(sizesA[l], sizesB[l]))
	}
	for _, l := range onlyA {
		shape = append(shape, sizesA[l])
	}
	for _, l := range onlyB {
		shape = append(shape, sizesB[l])
	}
	t.Shape = shape
	return labelled{t, slices.Concat(batch, onlyA, onlyB)}, nil
}

// arranged copies an operand into the dimensions batch..., rows, columns.
func (c *call) arranged(x labelled, batch, rows, cols []rune) (*Tensor, map[rune]int, error) {
	sizes := map[rune]int{}
	var perm, shape []int
	groups := [2]int{1, 1}
	for g, labels := range [][]rune{batch, rows, cols} {
		for _, l := range labels {
			at := slices.Index(x.labels, l)
			perm = append(perm, at)
			sizes[l] = x.t.Shape[at]
			if g == 0 {
				shape = append(shape, sizes[l])
			} else {
				groups[g-1] *= sizes[l]
			}
		}
	}
	t, err := New(x.t.Type, append(shape, groups[0], groups[1])...)
	if err != nil {
		return nil, nil, err
	}
	return t, sizes, c.permute(t, x.t, x.t.Shape, perm)
}
