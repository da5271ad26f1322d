package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Operators of two or more tensors that broadcast against each other.

func init() {
	register("Add", 1, binary(arithmetic("Add")))
	register("Sub", 1, binary(arithmetic("Sub")))
	register("Mul", 1, binary(arithmetic("Mul")))
	register("Div", 1, binary(arithmetic("Div")))
	register("Mod", 10, binary(mod))
	register("Pow", 1, pow)
	register("PRelu", 1, binary(prelu))
	for _, op := range []string{"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"} {
		register(op, 1, binary(compare(op)))
	}
	for op, f := range map[string]func(a, b bool) bool{
		"And": func(a, b bool) bool { return a && b }, "Or": func(a, b bool) bool { return a || b }, "Xor": func(a, b bool) bool { return a != b },
	} {
		register(op, 1, binary(func(*site) []pair { return []pair{same(each2(f))} }))
	}
	register("Max", 1, variadic(arithmetic("Max"), false))
	register("Min", 1, variadic(arithmetic("Min"), false))
	register("Sum", 1, variadic(arithmetic("Add"), false))
	register("Mean", 1, variadic(arithmetic("Add"), true))
}

// loop2 calculates a run of elements from two operands whose strides are 0 or
// 1.
type loop2[T, R Element] func(dst []R, a, b []T, strideA, strideB int)

// pair binds a loop2 to tensors whose type it takes.
type pair func(dst, a, b any) (run func(out, offA, offB, n, strideA, strideB int), typ onnx.DataType, ok bool)

func typed[T, R Element](f loop2[T, R], typ onnx.DataType) pair {
	return func(dst, a, b any) (func(int, int, int, int, int, int), onnx.DataType, bool) {
		as, okA := a.([]T)
		bs, okB := b.([]T)
		d, _ := dst.([]R)
		return func(out, offA, offB, n, strideA, strideB int) {
			f(d[out:out+n], as[offA:offA+(n-1)*strideA+1], bs[offB:offB+(n-1)*strideB+1], strideA, strideB)
		}, typ, okA && okB
	}
}

// same is a pair whose result has the type of its operands.
func same[T Element](f loop2[T, T]) pair { return typed(f, onnx.Undefined) }

// each2 makes a loop2 of a function of single elements.
func each2[T, R Element](f func(a, b T) R) loop2[T, R] {
	return func(dst []R, a, b []T, strideA, strideB int) {
		ia, ib := 0, 0
		for i := range dst {
			dst[i] = f(a[ia], b[ib])
			ia += strideA
			ib += strideB
		}
	}
}

// binary prepares an operator of two tensors. Before opset 7 operands
// broadcast along an attribute axis, which the shapes of real models of that
// age do not need: where they do, the shapes do not fit and that is an error.
func binary(pairsOf func(s *site) []pair) prepare {
	return func(s *site) (kernel, error) {
		pairs := pairsOf(s)
		return func(c *call) error {
			a, err := c.need(0)
			if err != nil {
				return err
			}
			b, err := c.need(1)
			if err != nil {
				return err
			}
			return c.binary(pairs, a, b, func(typ onnx.DataType, shape []int) (*Tensor, error) { return c.outputOf2(typ, shape) })
		}, nil
	}
}

// outputOf2 makes output 0 in the memory of one of the first two inputs if
// that has the shape of the output and dies here.
func (c *call) outputOf2(typ onnx.DataType, shape []int) (*Tensor, error) {
	j := 0
	if !c.dies[0] || !slices.Equal(c.in[0].Shape, shape) {
		j = 1
	}
	if !slices.Equal(c.in[j].Shape, shape) {
		return c.new(0, typ, shape)
	}
	return c.newOver(0, j, typ, shape)
}

func (c *call) binary(pairs []pair, a, b *Tensor, output func(onnx.DataType, []int) (*Tensor, error)) error {
	shape, err := broadcastShape(a.Shape, b.Shape)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		_, typ, ok := p(nil, a.Data, b.Data)
		if !ok {
			continue
		}
		if typ == onnx.Undefined {
			typ = a.Type
		}
		out, err := output(typ, shape)
		if err != nil {
			return err
		}
		run, _, _ := p(out.Data, a.Data, b.Data)
		w := newWalk(shape, broadcastStrides(a.Shape, shape), broadcastStrides(b.Shape, shape))
		_, inner := w.inner()
		return c.forRuns(w, func(at int, off []int, n int) { run(at, off[0], off[1], n, inner[0], inner[1]) })
	}
	return fmt.Errorf("inputs %s and %s are of types the operator does not take", a, b)
}

func arithmetic(op string) func(*site) []pair {
	return func(*site) []pair {
		return []pair{
			same(rowLoops[op]), same(floatLoop[float64](op)),
			same(intLoop[int32](op)), same(intLoop[int64](op)), same(intLoop[int8](op)), same(intLoop[int16](op)),
			same(intLoop[uint8](op)), same(intLoop[uint16](op)), same(intLoop[uint32](op)), same(intLoop[uint64](op)),
		}
	}
}

func floatLoop[T float32 | float64](op string) loop2[T, T] {
	switch op {
	case "Add":
		return each2(func(a, b T) T { return a + b })
	case "Sub":
		return each2(func(a, b T) T { return a - b })
	case "Mul":
		return each2(func(a, b T) T { return a * b })
	case "Div":
		return each2(func(a, b T) T { return a / b })
	case "Max": // NaN wins, as in NumPy
		return each2(func(a, b T) T { return max(a, b) })
	}
	return each2(func(a, b T) T { return min(a, b) })
}

// rowLoop is a floatLoop by the kernels, with the same operation for operands
// the other way round. Where both are rows, otherwise does it unless nil.
func rowLoop(op, reversed kernels.Op, otherwise loop2[float32, float32]) loop2[float32, float32] {
	return func(dst, a, b []float32, sa, sb int) {
		switch {
		case sa == 1 && sb == 1 && otherwise == nil:
			kernels.Row(op, dst, a, b)
		case sa == 1 && sb == 1:
			otherwise(dst, a, b, sa, sb)
		case sa == 1:
			kernels.RowOne(op, dst, a, b[0])
		case sb == 1:
			kernels.RowOne(reversed, dst, b, a[0])
		default:
			var one [1]float32
			kernels.RowOne(op, one[:], a[:1], b[0])
			for i := range dst {
				dst[i] = one[0]
			}
		}
	}
}

// rowLoops are the operations that the kernels have.
var rowLoops = map[string]loop2[float32, float32]{
	"Add": rowLoop(kernels.Add, kernels.Add, nil),
	"Sub": rowLoop(kernels.Sub, kernels.SubFrom, nil),
	"Mul": rowLoop(kernels.Mul, kernels.Mul, nil),
	"Div": rowLoop(kernels.Div, kernels.DivInto, nil),
	"Max": rowLoop(kernels.Max, kernels.Max, floatLoop[float32]("Max")),
	"Min": rowLoop(kernels.Min, kernels.Min, floatLoop[float32]("Min")),
}

func intLoop[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](op string) loop2[T, T] {
	f := map[string]func(a, b T) T{
		"Add": func(a, b T) T { return a + b },
		"Sub": func(a, b T) T { return a - b },
		"Mul": func(a, b T) T { return a * b },
		"Div": func(a, b T) T { return a / b },
		"Max": func(a, b T) T { return max(a, b) },
		"Min": func(a, b T) T { return min(a, b) },
	}
	return each2(f[op])
}

// mod follows the sign of the divisor, with fmod set that of the dividend.
func mod(s *site) []pair {
	fmod := s.Int("fmod", 0) != 0
	float := func(a, b float64) float64 {
		r := math.Mod(a, b)
		if !fmod && r != 0 && (r < 0) != (b < 0) {
			r += b
		}
		return r
	}
	return []pair{
		same(each2(func(a, b float32) float32 { return float32(float(float64(a), float64(b))) })), same(each2(float)),
		same(each2(intMod[int8](fmod))), same(each2(intMod[int16](fmod))), same(each2(intMod[int32](fmod))), same(each2(intMod[int64](fmod))),
		same(each2(intMod[uint8](fmod))), same(each2(intMod[uint16](fmod))), same(each2(intMod[uint32](fmod))), same(each2(intMod[uint64](fmod))),
	}
}

func intMod[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](fmod bool) func(a, b T) T {
	return func(a, b T) T {
		r := a % b
		if !fmod && r != 0 && (r < 0) != (b < 0) {
			r += b
		}
		return r
	}
}

// pow takes an exponent of another type than the base, which gives the type of
// the result.
func pow(s *site) (kernel, error) {
	pairs := []pair{
		same(each2(power32)), same(each2(math.Pow)),
		same(each2(intPow[int32])), same(each2(intPow[int64])),
	}
	return func(c *call) error {
		a, err := c.need(0)
		if err != nil {
			return err
		}
		b, err := c.need(1)
		if err != nil {
			return err
		}
		output := func(typ onnx.DataType, shape []int) (*Tensor, error) { return c.new(0, typ, shape) }
		if a.Type == b.Type {
			return c.binary(pairs, a, b, output)
		}
		// Through float64: exact for every base and exponent that matters.
		x, y := toFloat64(a), toFloat64(b)
		if x == nil || y == nil {
			return fmt.Errorf("inputs %s and %s are of types the operator does not take", a, b)
		}
		var raised *Tensor
		err = c.binary(pairs, x, y, func(typ onnx.DataType, shape []int) (t *Tensor, err error) {
			raised, err = c.scratch(typ, shape...)
			return raised, err
		})
		if err != nil {
			return err
		}
		defer c.release(raised)
		out, err := c.new(0, a.Type, raised.Shape)
		if err != nil {
			return err
		}
		return convertInto(out, raised, true)
	}, nil
}

func power32(x, y float32) float32 {
	if y == 2 { // the power that matters in networks, rounded once either way
		return x * x
	}
	return float32(math.Pow(float64(x), float64(y)))
}

func intPow[T int32 | int64](x, y T) T {
	if y < 0 {
		return T(math.Pow(float64(x), float64(y)))
	}
	r := T(1)
	for ; y > 0; y >>= 1 {
		if y&1 != 0 {
			r *= x
		}
		x *= x
	}
	return r
}

// toFloat64 returns a number tensor as Double in memory of its own, nil when
// it holds no numbers.
func toFloat64(t *Tensor) *Tensor {
	out := &Tensor{Type: onnx.Double, Shape: t.Shape, Data: make([]float64, t.Len())}
	if convertInto(out, t, true) != nil {
		return nil
	}
	return out
}

func prelu(*site) []pair {
	return []pair{
		same(preluRow), same(preluLoop[float64]),
		same(preluLoop[int32]), same(preluLoop[int64]), same(preluLoop[uint32]), same(preluLoop[uint64]),
	}
}

func preluRow(dst, a, b []float32, sa, sb int) {
	switch {
	case sa == 1 && sb == 1:
		kernels.Row(kernels.Leaky, dst, a, b)
	case sa == 1:
		kernels.RowOne(kernels.Leaky, dst, a, b[0])
	default:
		preluLoop(dst, a, b, sa, sb)
	}
}

func preluLoop[T number](dst, a, b []T, sa, sb int) {
	ia, ib := 0, 0
	for i := range dst {
		x := a[ia]
		if x < 0 {
			x *= b[ib]
		}
		dst[i] = x
		ia += sa
		ib += sb
	}
}

func compare(op string) func(*site) []pair {
	return func(*site) []pair {
		pairs := []pair{
			compareLoop[float32](op), compareLoop[float64](op),
			compareLoop[int32](op), compareLoop[int64](op), compareLoop[int8](op), compareLoop[int16](op),
			compareLoop[uint8](op), compareLoop[uint16](op), compareLoop[uint32](op), compareLoop[uint64](op),
		}
		if op == "Equal" {
			pairs = append(pairs, typed(each2(func(a, b bool) bool { return a == b }), onnx.Bool),
				typed(each2(func(a, b string) bool { return a == b }), onnx.Bool))
		}
		return pairs
	}
}

func compareLoop[T number](op string) pair {
	f := map[string]func(a, b T) bool{
		"Equal":          func(a, b T) bool { return a == b },
		"Greater":        func(a, b T) bool { return a > b },
		"GreaterOrEqual": func(a, b T) bool { return a >= b },
		"Less":           func(a, b T) bool { return a < b },
		"LessOrEqual":    func(a, b T) bool { return a <= b },
	}
	return typed(each2(f[op]), onnx.Bool)
}

// variadic prepares an operator of any number of tensors, applied from the
// first to the last.
func variadic(pairsOf func(*site) []pair, mean bool) prepare {
	return func(s *site) (kernel, error) {
		pairs := pairsOf(s)
		divide := arithmetic("Div")(s)
		return func(c *call) error {
			acc, err := c.need(0)
			if err != nil {
				return err
			}
			if len(c.in) == 1 && !mean {
				c.view(0, 0, acc.Shape)
				return nil
			}
			step := func(pairs []pair, b *Tensor, last bool) error {
				var next *Tensor
				err := c.binary(pairs, acc, b, func(typ onnx.DataType, shape []int) (t *Tensor, err error) {
					if last {
						next, err = c.new(0, typ, shape)
					} else {
						next, err = c.scratch(typ, shape...)
					}
					return next, err
				})
				if err != nil {
					return err
				}
				if acc != c.in[0] {
					c.release(acc)
				}
				acc = next
				return nil
			}
			for i := 1; i < len(c.in); i++ {
				b, err := c.need(i)
				if err != nil {
					return err
				}
				if err := step(pairs, b, i == len(c.in)-1 && !mean); err != nil {
					return err
				}
			}
			if !mean {
				return nil
			}
			n, err := New(acc.Type)
			if err != nil {
				return err
			}
			if err := fill(n, float64(len(c.in))); err != nil {
				return err
			}
			return step(divide, n, true)
		}, nil
	}
}
