package runtime

import (
	"math"

	"github.com/daq-sr/daq/onnx"
)

func isHalf(t onnx.DataType) bool { return t == onnx.Float16 || t == onnx.Bfloat16 }

// Widened returns a Float16 or Bfloat16 tensor as Float, in memory of its own.
func Widened(t *Tensor) *Tensor {
	d := t.Data.([]uint16)
	f := make([]float32, len(d))
	for i, h := range d {
		f[i] = fromHalf(t.Type, h)
	}
	return &Tensor{Type: onnx.Float, Shape: t.Shape, Data: f}
}

// narrow rounds the elements of src, a Float tensor, into dst.
func narrow(dst, src *Tensor) {
	d := dst.Data.([]uint16)
	for i, f := range src.Data.([]float32) {
		d[i] = toHalf(dst.Type, f)
	}
}

func fromHalf(t onnx.DataType, h uint16) float32 {
	if t == onnx.Bfloat16 {
		return math.Float32frombits(uint32(h) << 16)
	}
	return float32(binary16.decode(uint32(h)))
}

func toHalf(t onnx.DataType, f float32) uint16 {
	if t == onnx.Bfloat16 {
		bits := math.Float32bits(f)
		if f != f {
			return uint16(bits>>16) | 0x40
		}
		return uint16((bits + 0x7fff + bits>>16&1) >> 16)
	}
	return uint16(binary16.encode(float64(f), false))
}

// miniFloat is a floating point format of at most 16 bits: sign, exponent,
// mantissa, in the variants of the ONNX specification (docs/docsgen, float8).
type miniFloat struct {
	exponent, mantissa int // bits
	bias               int
	infinity           bool // the highest exponent means infinity and NaN, as in IEEE 754
	nan                bool // without infinity: has a NaN
	negZeroNaN         bool // the code of -0 is the only NaN (FNUZ)
}

var binary16 = miniFloat{exponent: 5, mantissa: 10, bias: 15, infinity: true, nan: true}

var miniFloats = map[onnx.DataType]miniFloat{
	onnx.Float16:        binary16,
	onnx.Bfloat16:       {exponent: 8, mantissa: 7, bias: 127, infinity: true, nan: true},
	onnx.Float8E4M3FN:   {exponent: 4, mantissa: 3, bias: 7, nan: true},
	onnx.Float8E4M3FNUZ: {exponent: 4, mantissa: 3, bias: 8, nan: true, negZeroNaN: true},
	onnx.Float8E5M2:     {exponent: 5, mantissa: 2, bias: 15, infinity: true, nan: true},
	onnx.Float8E5M2FNUZ: {exponent: 5, mantissa: 2, bias: 16, nan: true, negZeroNaN: true},
	onnx.Float4E2M1:     {exponent: 2, mantissa: 1, bias: 1},
}

func (m miniFloat) decode(code uint32) float64 {
	sign := 1.0
	top := m.exponent + m.mantissa
	if code>>top&1 != 0 {
		sign = -1
		if m.negZeroNaN && code&(1<<top-1) == 0 {
			return math.NaN()
		}
	}
	exp := int(code >> m.mantissa & (1<<m.exponent - 1))
	frac := float64(code & (1<<m.mantissa - 1))
	highest := exp == 1<<m.exponent-1
	switch {
	case highest && m.infinity && frac == 0:
		return sign * math.Inf(1)
	case highest && m.infinity,
		highest && m.nan && !m.negZeroNaN && code&(1<<m.mantissa-1) == 1<<m.mantissa-1:
		return math.NaN()
	case exp == 0:
		return sign * math.Ldexp(frac, 1-m.bias-m.mantissa)
	}
	return sign * math.Ldexp(frac+float64(int(1)<<m.mantissa), exp-m.bias-m.mantissa)
}

// largest returns the code of the largest finite number.
func (m miniFloat) largest() uint32 {
	all := uint32(1)<<(m.exponent+m.mantissa) - 1
	switch {
	case m.infinity:
		return all - 1<<m.mantissa
	case m.nan && !m.negZeroNaN:
		return all - 1
	}
	return all
}

// encode rounds half to even. What is too large becomes the largest number if
// saturate is set or the format has no infinity and no NaN, otherwise infinity or NaN.
func (m miniFloat) encode(x float64, saturate bool) uint32 {
	top := m.exponent + m.mantissa
	var sign uint32
	if math.Signbit(x) {
		sign = 1 << top
	}
	notANumber := uint32(1)<<top - 1
	switch {
	case m.negZeroNaN:
		notANumber = 1 << top
	case m.infinity:
		notANumber = (1<<m.exponent-1)<<m.mantissa | 1<<(m.mantissa-1)
	}
	if x != x {
		if !m.nan { // undefined; -0 is what other implementations give
			return 1 << top
		}
		if m.negZeroNaN {
			return notANumber
		}
		return notANumber | sign
	}
	tooLarge := func() uint32 {
		switch {
		case saturate || !m.nan:
			return m.largest() | sign
		case m.infinity:
			return (1<<m.exponent-1)<<m.mantissa | sign
		case m.negZeroNaN:
			return notANumber
		}
		return notANumber | sign
	}
	a := math.Abs(x)
	if math.IsInf(a, 1) {
		return tooLarge()
	}
	_, e := math.Frexp(a) // a = f * 2^e with f in [0.5, 1)
	e = max(e-1, 1-m.bias)
	// Units of the last place at exponent e; subnormals share that of the lowest.
	units := uint32(math.RoundToEven(math.Ldexp(a, m.mantissa-e)))
	if units == 0 {
		if m.negZeroNaN {
			return 0
		}
		return sign
	}
	code := units // subnormal: exponent field 0
	if units >= 1<<m.mantissa {
		code = uint32(e+m.bias)<<m.mantissa + (units - 1<<m.mantissa)
	}
	if code > m.largest() {
		return tooLarge()
	}
	return code | sign
}
