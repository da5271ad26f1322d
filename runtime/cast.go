package runtime

import (
	"fmt"
	"math"
	"strconv"

	"github.com/daq-sr/daq/onnx"
)

func init() {
	registerAny("Cast", 1, cast)
	registerAny("CastLike", 15, castLike)
	registerAny("BitCast", 26, bitCast)
}

func cast(s *site) (kernel, error) {
	to := onnx.DataType(s.Int("to", 0))
	saturate := s.Int("saturate", 1) != 0
	return func(c *call) error { return c.cast(to, saturate) }, nil
}

func castLike(s *site) (kernel, error) {
	saturate := s.Int("saturate", 1) != 0
	return func(c *call) error {
		like, err := c.need(1)
		if err != nil {
			return err
		}
		return c.cast(like.Type, saturate)
	}, nil
}

func (c *call) cast(to onnx.DataType, saturate bool) error {
	in, err := c.need(0)
	if err != nil {
		return err
	}
	if in.Type == to {
		c.view(0, 0, in.Shape)
		return nil
	}
	out, err := c.new(0, to, in.Shape)
	if err != nil {
		return err
	}
	if floats, ok := in.Data.([]float32); ok {
		// The conversions of quantized networks, without a detour.
		switch d := out.Data.(type) {
		case []uint8:
			if to == onnx.Uint8 {
				return c.parallel(len(d), grain, func(lo, hi int) {
					for i, x := range floats[lo:hi] {
						d[lo+i] = uint8(int32(x))
					}
				})
			}
		}
	}
	if codes, ok := in.Data.([]uint8); ok && to == onnx.Float && in.Type.Bits() <= 8 && miniFloats[in.Type].exponent == 0 {
		d := out.Data.([]float32)
		return c.parallel(len(d), grain, func(lo, hi int) {
			for i, x := range codes[lo:hi] {
				d[lo+i] = float32(x)
			}
		})
	}
	return convertInto(out, in, saturate)
}

// convertInto converts every element of src to the type of dst. Floats become
// integers by truncation, and what is too large for an integer type keeps its
// low bits; 8-bit floats saturate if asked to.
func convertInto(dst, src *Tensor, saturate bool) error {
	if dst.Type == onnx.String {
		return formatInto(dst.Data.([]string), src)
	}
	if m, ok := miniFloats[src.Type]; ok {
		return convertFrom(dst, src.Len(), miniReader(m, src), saturate)
	}
	switch s := src.Data.(type) {
	case []float32:
		return convertFrom(dst, len(s), floatReader(s), saturate)
	case []float64:
		return convertFrom(dst, len(s), floatReader(s), saturate)
	case []int8:
		return convertFrom(dst, len(s), intReader(s), saturate)
	case []int16:
		return convertFrom(dst, len(s), intReader(s), saturate)
	case []int32:
		return convertFrom(dst, len(s), intReader(s), saturate)
	case []int64:
		return convertFrom(dst, len(s), intReader(s), saturate)
	case []uint8:
		return convertFrom(dst, len(s), intReader(s), saturate)
	case []uint16:
		return convertFrom(dst, len(s), intReader(s), saturate)
	case []uint32:
		return convertFrom(dst, len(s), intReader(s), saturate)
	case []uint64:
		return convertFrom(dst, len(s), func(i int) (float64, int64) {
			return float64(s[i]), int64(s[i])
		}, saturate)
	case []bool:
		return convertFrom(dst, len(s), func(i int) (float64, int64) {
			if s[i] {
				return 1, 1
			}
			return 0, 0
		}, saturate)
	case []string:
		return parseInto(dst, s, saturate)
	}
	return fmt.Errorf("%s cannot be converted to %s", src.Type, dst.Type)
}

// reader gives an element as a float and as an integer.
type reader func(i int) (float64, int64)

func floatReader[T float32 | float64](s []T) reader {
	return func(i int) (float64, int64) { return float64(s[i]), truncate(float64(s[i])) }
}

func intReader[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32](s []T) reader {
	return func(i int) (float64, int64) { return float64(s[i]), int64(s[i]) }
}

func miniReader(m miniFloat, src *Tensor) reader {
	code := func(i int) uint32 { return 0 }
	switch d := src.Data.(type) {
	case []uint8:
		code = func(i int) uint32 { return uint32(d[i]) }
	case []uint16:
		code = func(i int) uint32 { return uint32(d[i]) }
	}
	return func(i int) (float64, int64) {
		x := m.decode(code(i))
		return x, truncate(x)
	}
}

// truncate is defined for every float, unlike Go's conversion.
func truncate(x float64) int64 {
	switch {
	case x != x, x < math.MinInt64:
		return math.MinInt64
	case x >= math.MaxUint64:
		return math.MaxInt64
	case x >= math.MaxInt64:
		return int64(uint64(x))
	}
	return int64(x)
}

func convertFrom(dst *Tensor, n int, read reader, saturate bool) error {
	if m, ok := miniFloats[dst.Type]; ok {
		switch d := dst.Data.(type) {
		case []uint8:
			for i := range n {
				x, _ := read(i)
				d[i] = uint8(m.encode(x, saturate))
			}
		case []uint16:
			for i := range n {
				x, _ := read(i)
				d[i] = uint16(m.encode(x, false))
			}
		}
		return nil
	}
	if dst.Type == onnx.Float8E8M0 {
		return fmt.Errorf("conversion to %s is not supported", dst.Type)
	}
	// Elements below 8 bits keep their low bits, with the sign spread.
	shift := max(0, 8-dst.Type.Bits())
	switch d := dst.Data.(type) {
	case []float32:
		for i := range n {
			x, _ := read(i)
			d[i] = float32(x)
		}
	case []float64:
		for i := range n {
			d[i], _ = read(i)
		}
	case []int8:
		for i := range n {
			_, v := read(i)
			d[i] = int8(v) << shift >> shift
		}
	case []uint8:
		for i := range n {
			_, v := read(i)
			d[i] = uint8(v) << shift >> shift
		}
	case []int16:
		convertInt(d, read)
	case []uint16:
		convertInt(d, read)
	case []int32:
		convertInt(d, read)
	case []uint32:
		convertInt(d, read)
	case []int64:
		convertInt(d, read)
	case []uint64:
		convertInt(d, read)
	case []bool:
		for i := range n {
			x, _ := read(i)
			d[i] = x != 0
		}
	default:
		return fmt.Errorf("conversion to %s is not supported", dst.Type)
	}
	return nil
}

func convertInt[T number](dst []T, read reader) {
	for i := range dst {
		_, v := read(i)
		dst[i] = T(v)
	}
}

func formatInto(dst []string, src *Tensor) error {
	switch s := src.Data.(type) {
	case []float32:
		for i, x := range s {
			dst[i] = formatFloat(float64(x), 32)
		}
	case []float64:
		for i, x := range s {
			dst[i] = formatFloat(x, 64)
		}
	case []bool:
		for i, x := range s {
			dst[i] = strconv.FormatBool(x)
		}
	default:
		v, err := toInts(src)
		if err != nil || isHalf(src.Type) {
			return fmt.Errorf("%s cannot be converted to string", src.Type)
		}
		for i, x := range v {
			dst[i] = strconv.Itoa(x)
		}
	}
	return nil
}

func formatFloat(x float64, bits int) string {
	switch {
	case x != x:
		return "NaN"
	case math.IsInf(x, 1):
		return "INF"
	case math.IsInf(x, -1):
		return "-INF"
	}
	return strconv.FormatFloat(x, 'g', -1, bits)
}

func parseInto(dst *Tensor, src []string, saturate bool) error {
	values := make([]float64, len(src))
	for i, s := range src {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", s)
		}
		values[i] = x
	}
	return convertFrom(dst, len(src), floatReader(values), saturate)
}

// bitCast gives the same bits another type of the same size.
func bitCast(s *site) (kernel, error) {
	to := onnx.DataType(s.Int("to", 0))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if to.Bits() != in.Type.Bits() || entryBytes(to) == 0 || in.Type == onnx.String {
			return fmt.Errorf("%s and %s differ in size", in.Type, to)
		}
		out, err := c.new(0, to, in.Shape)
		if err != nil {
			return err
		}
		copy(bytesOf(out), bytesOf(in))
		return nil
	}, nil
}

// fill sets every element to a number.
func fill(t *Tensor, value float64) error {
	return convertFrom(t, t.Len(), func(int) (float64, int64) { return value, truncate(value) }, true)
}
