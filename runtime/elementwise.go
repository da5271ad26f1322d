package runtime

import (
	"fmt"
	"math"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Element-wise operators. Floats are calculated as ONNX Runtime does, in
// float32, one rounding for each operation; functions such as Exp are
// calculated in float64 and rounded once, Sigmoid by the kernels.

func init() {
	for op, f := range map[string]func(float64) float64{
		"Acos": math.Acos, "Acosh": math.Acosh, "Asin": math.Asin, "Asinh": math.Asinh, "Atan": math.Atan, "Atanh": math.Atanh,
		"Cos": math.Cos, "Cosh": math.Cosh, "Sin": math.Sin, "Sinh": math.Sinh, "Tan": math.Tan, "Tanh": math.Tanh,
		"Exp": math.Exp, "Log": math.Log, "Erf": math.Erf, "Softplus": softplus,
		"Softsign": func(x float64) float64 { return x / (1 + math.Abs(x)) },
		"Ceil":     math.Ceil, "Round": math.RoundToEven,
		"Mish": func(x float64) float64 { return x * math.Tanh(softplus(x)) },
	} {
		registerBlocked(op, 1, floatFunction(func(*site) func(float64) float64 { return f }))
	}
	for op, prepare := range map[string]func(s *site) func(float64) float64{
		"Elu":             elu,
		"Celu":            celu,
		"Selu":            selu,
		"Gelu":            gelu,
		"Swish":           swish,
		"HardSigmoid":     hardSigmoid,
		"HardSwish":       func(*site) func(float64) float64 { return hardSwish },
		"ThresholdedRelu": thresholdedRelu,
		"Shrink":          shrink,
	} {
		registerBlocked(op, 1, floatFunction(prepare))
	}
	registerBlocked("Relu", 1, unary(func(*site) loops {
		return sameLoops(rowOf(kernels.Max, 0), reluLoop[float64], reluLoop[int8], reluLoop[int16], reluLoop[int32], reluLoop[int64])
	}))
	registerBlocked("Abs", 1, unary(func(*site) loops {
		return append(sameLoops(absLoop[float32], absLoop[float64], absLoop[int8], absLoop[int16], absLoop[int32], absLoop[int64]),
			sameLoop(copyLoop[uint8]), sameLoop(copyLoop[uint16]), sameLoop(copyLoop[uint32]), sameLoop(copyLoop[uint64]))
	}))
	registerBlocked("Neg", 1, unary(func(*site) loops {
		return sameLoops(negLoop[float32], negLoop[float64], negLoop[int8], negLoop[int16], negLoop[int32], negLoop[int64])
	}))
	registerBlocked("Sign", 1, unary(func(*site) loops {
		return append(sameLoops(signLoop[float32], signLoop[float64], signLoop[int8], signLoop[int16], signLoop[int32], signLoop[int64]),
			sameLoop(signLoop[uint8]), sameLoop(signLoop[uint16]), sameLoop(signLoop[uint32]), sameLoop(signLoop[uint64]))
	}))
	registerBlocked("Sqrt", 1, unary(func(*site) loops { return loops{sameLoop(rowOf(kernels.Sqrt, 0)), sameLoop(sqrtLoop)} }))
	registerBlocked("Reciprocal", 1, unary(func(*site) loops { return loops{sameLoop(reciprocalLoop[float32]), sameLoop(reciprocalLoop[float64])} }))
	registerBlocked("LeakyRelu", 1, unary(leakyRelu))
	registerBlocked("Sigmoid", 1, unary(func(*site) loops { return loops{sameLoop(rowOf(kernels.Sigmoid, 0)), sameLoop(each1(sigmoid))} }))
	registerBlocked("Floor", 1, unary(func(*site) loops { return loops{sameLoop(rowOf(kernels.Floor, 0)), sameLoop(each1(math.Floor))} }))
	registerBlocked("Not", 1, unary(func(*site) loops { return loops{sameLoop(notLoop)} }))
	registerBlocked("BitwiseNot", 18, unary(func(*site) loops {
		return loops{sameLoop(bitNotLoop[int8]), sameLoop(bitNotLoop[int16]), sameLoop(bitNotLoop[int32]), sameLoop(bitNotLoop[int64]),
			sameLoop(bitNotLoop[uint8]), sameLoop(bitNotLoop[uint16]), sameLoop(bitNotLoop[uint32]), sameLoop(bitNotLoop[uint64])}
	}))
	registerBlocked("IsNaN", 9, unary(func(*site) loops { return loops{toBool(isNaN[float32]), toBool(isNaN[float64])} }))
	registerBlocked("IsInf", 10, unary(isInf))
}

// loop runs over neighbouring elements of one element type.
type loop func(dst, src any) (run func(lo, hi int), typ onnx.DataType, ok bool)

// loops are the element types that an operator takes.
type loops []loop

// sameLoop gives elements of the type it takes.
func sameLoop[T Element](f func(dst, src []T)) loop {
	return func(dst, src any) (func(lo, hi int), onnx.DataType, bool) {
		s, ok := src.([]T)
		if !ok {
			return nil, 0, false
		}
		d, _ := dst.([]T)
		return func(lo, hi int) { f(d[lo:hi], s[lo:hi]) }, onnx.Undefined, true
	}
}

func sameLoops(f32 func(dst, src []float32), f64 func(dst, src []float64), i8 func(dst, src []int8), i16 func(dst, src []int16),
	i32 func(dst, src []int32), i64 func(dst, src []int64)) loops {
	return loops{sameLoop(f32), sameLoop(f64), sameLoop(i8), sameLoop(i16), sameLoop(i32), sameLoop(i64)}
}

// toBool gives booleans.
func toBool[T Element](f func(T) bool) loop {
	return func(dst, src any) (func(lo, hi int), onnx.DataType, bool) {
		s, ok := src.([]T)
		if !ok {
			return nil, 0, false
		}
		d, _ := dst.([]bool)
		return func(lo, hi int) {
			for i := lo; i < hi; i++ {
				d[i] = f(s[i])
			}
		}, onnx.Bool, true
	}
}

// unary prepares an operator of one tensor, executed in place where possible.
func unary(loopsOf func(s *site) loops) prepare {
	return func(s *site) (kernel, error) {
		list := loopsOf(s)
		return func(c *call) error {
			in, err := c.need(0)
			if err != nil {
				return err
			}
			for _, l := range list {
				_, typ, ok := l(nil, in.Data)
				if !ok {
					continue
				}
				if typ == onnx.Undefined {
					typ = in.Type
				}
				if typ != onnx.Float {
					if in, err = c.inLayout(in, false); err != nil {
						return err
					}
					c.in[0] = in
				}
				out, err := c.newOver(0, 0, typ, in.Shape)
				if err != nil {
					return err
				}
				run, _, _ := l(out.Data, in.Data)
				return c.parallel(dataLen(in.Data), grain, run)
			}
			return typeError(0, in)
		}, nil
	}
}

func typeError(i int, t *Tensor) error {
	return fmt.Errorf("input %d is %s, a type the operator does not take", i, t)
}

// floatFunction prepares a function of floats.
func floatFunction(prepare func(s *site) func(float64) float64) prepare {
	return unary(func(s *site) loops {
		f := prepare(s)
		return loops{
			sameLoop(func(dst, src []float32) {
				for i, x := range src {
					dst[i] = float32(f(float64(x)))
				}
			}),
			sameLoop(each1(f)),
		}
	})
}

// rowOf is an operation of the kernels.
func rowOf(op kernels.Op, b float32) func(dst, src []float32) {
	return func(dst, src []float32) { kernels.RowOne(op, dst, src, b) }
}

func each1(f func(float64) float64) func(dst, src []float64) {
	return func(dst, src []float64) {
		for i, x := range src {
			dst[i] = f(x)
		}
	}
}

func reluLoop[T number](dst, src []T) {
	for i, x := range src {
		if x < 0 { // NaN stays
			x = 0
		}
		dst[i] = x
	}
}

func absLoop[T number](dst, src []T) {
	for i, x := range src {
		if x <= 0 { // also -0
			x = 0 - x
		}
		dst[i] = x
	}
}

func negLoop[T number](dst, src []T) {
	for i, x := range src {
		dst[i] = -x
	}
}

func signLoop[T number](dst, src []T) {
	for i, x := range src {
		var zero T
		switch {
		case x > 0:
			zero++
		case x < 0:
			zero--
		}
		dst[i] = zero
	}
}

func copyLoop[T number](dst, src []T) { copy(dst, src) }

func sqrtLoop(dst, src []float64) {
	for i, x := range src {
		dst[i] = math.Sqrt(x)
	}
}

func reciprocalLoop[T float32 | float64](dst, src []T) {
	for i, x := range src {
		dst[i] = 1 / x
	}
}

func notLoop(dst, src []bool) {
	for i, x := range src {
		dst[i] = !x
	}
}

func bitNotLoop[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](dst, src []T) {
	for i, x := range src {
		dst[i] = ^x
	}
}

func isNaN[T float32 | float64](x T) bool { return x != x }

func isInf(s *site) loops {
	positive, negative := s.Int("detect_positive", 1) != 0, s.Int("detect_negative", 1) != 0
	test := func(x float64) bool { return positive && math.IsInf(x, 1) || negative && math.IsInf(x, -1) }
	return loops{toBool(func(x float32) bool { return test(float64(x)) }), toBool(test)}
}

func leakyRelu(s *site) loops {
	alpha := s.Float("alpha", 0.01)
	return loops{sameLoop(rowOf(kernels.Leaky, alpha)), sameLoop(leakyLoop(float64(alpha)))}
}

func leakyLoop(alpha float64) func(dst, src []float64) {
	return func(dst, src []float64) {
		for i, x := range src {
			if x < 0 {
				x *= alpha
			}
			dst[i] = x
		}
	}
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func softplus(x float64) float64 {
	if x > 0 {
		return x + math.Log1p(math.Exp(-x))
	}
	return math.Log1p(math.Exp(x))
}

func elu(s *site) func(float64) float64 {
	alpha := float64(s.Float("alpha", 1))
	return func(x float64) float64 {
		if x < 0 {
			return alpha * math.Expm1(x)
		}
		return x
	}
}

func celu(s *site) func(float64) float64 {
	alpha := float64(s.Float("alpha", 1))
	return func(x float64) float64 { return max(0, x) + min(0, alpha*math.Expm1(x/alpha)) }
}

func selu(s *site) func(float64) float64 {
	alpha, gamma := float64(s.Float("alpha", 1.67326319217681884765625)), float64(s.Float("gamma", 1.05070102214813232421875))
	return func(x float64) float64 {
		if x > 0 {
			return gamma * x
		}
		return gamma * alpha * math.Expm1(x)
	}
}

func gelu(s *site) func(float64) float64 {
	if s.Str("approximate", "none") == "tanh" {
		return func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}
	}
	return func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }
}

func swish(s *site) func(float64) float64 {
	alpha := float64(s.Float("alpha", 1))
	return func(x float64) float64 { return x * sigmoid(alpha*x) }
}

func hardSigmoid(s *site) func(float64) float64 {
	alpha, beta := float64(s.Float("alpha", 0.2)), float64(s.Float("beta", 0.5))
	return func(x float64) float64 { return max(0, min(1, alpha*x+beta)) }
}

func hardSwish(x float64) float64 { return x * max(0, min(1, x/6+0.5)) }

func thresholdedRelu(s *site) func(float64) float64 {
	alpha := float64(s.Float("alpha", 1))
	return func(x float64) float64 {
		if x > alpha {
			return x
		}
		return 0
	}
}

func shrink(s *site) func(float64) float64 {
	bias, lambd := float64(s.Float("bias", 0)), float64(s.Float("lambd", 0.5))
	return func(x float64) float64 {
		switch {
		case x < -lambd:
			return x + bias
		case x > lambd:
			return x - bias
		}
		return 0
	}
}
