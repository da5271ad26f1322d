package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Reductions. Floats are added up in float64, in one order whatever the number
// of threads, and rounded once.

func init() {
	for op, r := range map[string]reduction{
		"ReduceSum":       {},
		"ReduceMean":      {finish: func(sum float64, n int) float64 { return sum / float64(n) }},
		"ReduceSumSquare": {term: square},
		"ReduceL1":        {term: math.Abs},
		"ReduceL2":        {term: square, finish: func(sum float64, _ int) float64 { return math.Sqrt(sum) }},
		"ReduceLogSum":    {finish: func(sum float64, _ int) float64 { return math.Log(sum) }},
		"ReduceProd":      {start: 1, merge: func(a, b float64) float64 { return a * b }},
		"ReduceMax":       {start: math.Inf(-1), merge: func(a, b float64) float64 { return max(a, b) }},
		"ReduceMin":       {start: math.Inf(1), merge: func(a, b float64) float64 { return min(a, b) }},
		"ReduceLogSumExp": {logSumExp: true},
	} {
		registerBlocked(op, 1, reduce(r))
	}
	register("ArgMax", 1, argExtreme(func(a, b float64) bool { return a > b }))
	register("ArgMin", 1, argExtreme(func(a, b float64) bool { return a < b }))
	register("CumSum", 11, cumulate(0, func(a, b float64) float64 { return a + b }))
	register("CumProd", 26, cumulate(1, func(a, b float64) float64 { return a * b }))
}

func square(x float64) float64 { return x * x }

// reduction says how elements become one: start merged with term of each, then
// finish.
type reduction struct {
	start     float64
	term      func(float64) float64
	merge     func(a, b float64) float64 // addition when nil
	finish    func(x float64, n int) float64
	logSumExp bool
}

// reduce takes its axes from the attribute or, in newer opsets, the input.
func reduce(r reduction) prepare {
	return func(s *site) (kernel, error) {
		attribute, keep, noop := s.ints("axes"), s.Int("keepdims", 1) != 0, s.Int("noop_with_empty_axes", 0) != 0
		return func(c *call) error {
			in, err := c.need(0)
			if err != nil {
				return err
			}
			axes, err := c.axesInput(1, attribute)
			if err != nil {
				return err
			}
			if len(axes) == 0 {
				axes = nil
				for i := range in.Shape {
					if !noop {
						axes = append(axes, i)
					}
				}
			}
			if axes, err = axesOf(axes, len(in.Shape)); err != nil {
				return err
			}
			return c.reduce(r, in, axes, keep)
		}, nil
	}
}

func (c *call) reduce(r reduction, in *Tensor, axes []int, keep bool) error {
	if in.blocked {
		if done, err := c.reduceBlocked(r, in, axes, keep); done || err != nil {
			return err
		}
		var err error
		if in, err = c.inLayout(in, false); err != nil {
			return err
		}
	}
	shape := []int{}
	var outer, inner []int // dimensions that stay, and that are reduced
	var outerS, innerS []int
	s := strides(in.Shape)
	for i, d := range in.Shape {
		switch {
		case !slices.Contains(axes, i):
			outer, outerS = append(outer, d), append(outerS, s[i])
			shape = append(shape, d)
			continue
		case keep:
			shape = append(shape, 1)
		}
		inner, innerS = append(inner, d), append(innerS, s[i])
	}
	out, err := c.new(0, in.Type, shape)
	if err != nil {
		return err
	}
	j := reduceJob{reduction: r, outer: newWalk(outer, outerS), inner: newWalk(inner, innerS), count: product(inner), results: product(outer)}
	if j.results == 0 {
		return nil
	}
	switch d := out.Data.(type) {
	case []float32:
		return reduceAll(c, j, d, in.Data.([]float32))
	case []float64:
		return reduceAll(c, j, d, in.Data.([]float64))
	case []int32:
		return reduceAll(c, j, d, in.Data.([]int32))
	case []int64:
		return reduceAll(c, j, d, in.Data.([]int64))
	case []int8:
		return reduceAll(c, j, d, in.Data.([]int8))
	case []uint8:
		return reduceAll(c, j, d, in.Data.([]uint8))
	case []uint32:
		return reduceAll(c, j, d, in.Data.([]uint32))
	case []uint64:
		return reduceAll(c, j, d, in.Data.([]uint64))
	case []bool:
		// Max and Min of booleans: or, and.
		src := in.Data.([]bool)
		bits, res := make([]uint8, len(src)), make([]uint8, len(d))
		for i, b := range src {
			if b {
				bits[i] = 1
			}
		}
		err := reduceAll(c, j, res, bits)
		for i, v := range res {
			d[i] = v != 0
		}
		return err
	}
	return typeError(0, in)
}

type reduceJob struct {
	reduction
	outer, inner   *walk
	count, results int
}

func reduceAll[T number](c *call, j reduceJob, dst, src []T) error {
	n, s := j.outer.inner()
	return c.parallel(j.results, max(1, grain/max(1, j.count)), func(lo, hi int) {
		// lo and hi count single results; the walk counts runs of n.
		j.outer.each(lo/n, (hi+n-1)/n, func(run int, offsets []int) {
			for i := max(lo, run*n); i < min(hi, (run+1)*n); i++ {
				dst[i] = fromFloat[T](reduceOne(j, src, offsets[0]+(i-run*n)*s[0]))
			}
		})
	})
}

// fromFloat converts a result. Infinity, the value of an empty maximum, is the
// extreme of integer types.
func fromFloat[T number](x float64) T {
	var zero T
	switch any(zero).(type) {
	case float32, float64:
		return T(x)
	}
	if math.IsInf(x, 0) {
		var low, high T
		ones := ^uint64(0)
		switch any(zero).(type) {
		case int8:
			low, high = T(ones<<7), T(ones>>57)
		case int32:
			low, high = T(ones<<31), T(ones>>33)
		case int64:
			low, high = T(ones<<63), T(ones>>1)
		default:
			high = T(ones)
		}
		if x < 0 {
			return low
		}
		return high
	}
	return T(int64(x))
}

func reduceOne[T number](j reduceJob, src []T, at int) float64 {
	n, s := j.inner.inner()
	step := s[0]
	if j.count == 0 {
		n = 0
	}
	acc := j.start
	if j.logSumExp {
		highest := math.Inf(-1)
		j.visit(func(offset int) {
			for i := range n {
				highest = max(highest, float64(src[at+offset+i*step]))
			}
		})
		if math.IsInf(highest, 0) {
			return highest
		}
		j.visit(func(offset int) {
			for i := range n {
				acc += math.Exp(float64(src[at+offset+i*step]) - highest)
			}
		})
		return math.Log(acc) + highest
	}
	j.visit(func(offset int) {
		p := at + offset
		switch {
		case j.merge == nil && j.term == nil && step == 1:
			acc += sumOf(src[p : p+n])
		case j.merge == nil && j.term == nil:
			for range n {
				acc += float64(src[p])
				p += step
			}
		case j.merge == nil:
			for range n {
				acc += j.term(float64(src[p]))
				p += step
			}
		default:
			for range n {
				acc = j.merge(acc, float64(src[p]))
				p += step
			}
		}
	})
	if j.finish != nil {
		return j.finish(acc, j.count)
	}
	return acc
}

// visit calls f with the offset of every run of the reduced dimensions.
func (j reduceJob) visit(f func(offset int)) {
	if j.count == 0 {
		return
	}
	j.inner.each(0, j.inner.runs(), func(_ int, offsets []int) { f(offsets[0]) })
}

// sumOf adds in chains, which the processor can run side by side.
func sumOf[T number](s []T) float64 {
	if f, ok := any(s).([]float32); ok {
		return kernels.Sum(f)
	}
	var a, b, c, d float64
	for ; len(s) >= 4; s = s[4:] {
		a += float64(s[0])
		b += float64(s[1])
		c += float64(s[2])
		d += float64(s[3])
	}
	for _, x := range s {
		a += float64(x)
	}
	return (a + b) + (c + d)
}

func argExtreme(better func(a, b float64) bool) prepare {
	return func(s *site) (kernel, error) {
		axis, keep, last := int(s.Int("axis", 0)), s.Int("keepdims", 1) != 0, s.Int("select_last_index", 0) != 0
		return func(c *call) error {
			in, err := c.need(0)
			if err != nil {
				return err
			}
			at, err := axisOf(axis, len(in.Shape))
			if err != nil {
				return err
			}
			values := toFloat64(in)
			if values == nil {
				return typeError(0, in)
			}
			src := values.Data.([]float64)
			shape := slices.Clone(in.Shape)
			shape[at] = 1
			if !keep {
				shape = slices.Delete(shape, at, at+1)
			}
			d, inner := in.Shape[at], product(in.Shape[at+1:])
			out, err := c.new(0, onnx.Int64, shape)
			if err != nil {
				return err
			}
			if d == 0 && out.Len() > 0 {
				return fmt.Errorf("axis %d of %s is empty", at, in)
			}
			for i := range out.Data.([]int64) {
				first := i/inner*d*inner + i%inner
				best := 0
				for k := 1; k < d; k++ {
					x, y := src[first+k*inner], src[first+best*inner]
					if better(x, y) || last && x == y {
						best = k
					}
				}
				out.Data.([]int64)[i] = int64(best)
			}
			return nil
		}, nil
	}
}

func cumulate(start float64, merge func(a, b float64) float64) prepare {
	return func(s *site) (kernel, error) {
		exclusive, reverse := s.Int("exclusive", 0) != 0, s.Int("reverse", 0) != 0
		return func(c *call) error {
			in, err := c.need(0)
			if err != nil {
				return err
			}
			axis, err := c.ints(1)
			if err != nil {
				return err
			}
			if len(axis) != 1 {
				return fmt.Errorf("%d axes, want 1", len(axis))
			}
			at, err := axisOf(axis[0], len(in.Shape))
			if err != nil {
				return err
			}
			values := toFloat64(in)
			if values == nil {
				return typeError(0, in)
			}
			v := values.Data.([]float64)
			d, inner := in.Shape[at], product(in.Shape[at+1:])
			for line := range product(in.Shape[:at]) * inner {
				acc := start
				for k := range d {
					if reverse {
						k = d - 1 - k
					}
					p := &v[line/inner*d*inner+k*inner+line%inner]
					next := merge(acc, *p)
					*p = next
					if exclusive {
						*p = acc
					}
					acc = next
				}
			}
			out, err := c.new(0, in.Type, in.Shape)
			if err != nil {
				return err
			}
			return convertInto(out, values, true)
		}, nil
	}
}
