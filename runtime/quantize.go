package runtime

import (
	"fmt"
	"math"

	"github.com/daq-sr/daq/onnx"
)

func init() {
	register("QuantizeLinear", 10, quantizeLinear)
	registerAny("DequantizeLinear", 10, dequantizeLinear)
	register("DynamicQuantizeLinear", 11, func(*site) (kernel, error) { return dynamicQuantize, nil })
}

// codeRange returns the least and greatest value of a quantized integer type.
func codeRange(t onnx.DataType) (lo, hi float64, ok bool) {
	bits := t.Bits()
	switch t {
	case onnx.Uint8, onnx.Uint16, onnx.Uint4, onnx.Uint2:
		return 0, float64(int(1)<<bits - 1), true
	case onnx.Int8, onnx.Int16, onnx.Int4, onnx.Int2, onnx.Int32:
		return -float64(int(1) << (bits - 1)), float64(int(1)<<(bits-1) - 1), true
	}
	return 0, 0, false
}

// layout maps elements to their scale: one for all, one for each index of an
// axis, or one for each block along the axis. Neighbours in a run share it.
type layout struct {
	run   int             // elements with one scale
	index func(r int) int // scale of run r
}

func scaleLayout(shape, scale []int, axis, block int) (layout, error) {
	if product(scale) == 1 && len(scale) <= 1 {
		return layout{max(1, product(shape)), func(int) int { return 0 }}, nil
	}
	at, err := axisOf(axis, len(shape))
	if err != nil {
		return layout{}, err
	}
	d, inner := shape[at], product(shape[at+1:])
	if block == 0 {
		if len(scale) != 1 || scale[0] != d {
			return layout{}, fmt.Errorf("scales of shape %v do not fit axis %d of %v", scale, at, shape)
		}
		return layout{max(1, inner), func(r int) int { return r % d }}, nil
	}
	fits := len(scale) == len(shape)
	for i := range scale {
		switch {
		case !fits:
		case i == at:
			fits = scale[i] == (d+block-1)/block
		default:
			fits = scale[i] == shape[i]
		}
	}
	if !fits {
		return layout{}, fmt.Errorf("scales of shape %v do not fit blocks of %d along axis %d of %v", scale, block, at, shape)
	}
	blocks := (d + block - 1) / block
	return layout{1, func(r int) int {
		outer, k, in := r/(d*inner), r/inner%d, r%inner
		return (outer*blocks+k/block)*inner + in
	}}, nil
}

// each calls f for parts of runs in parallel: elements lo to hi share scale i.
func (l layout) each(c *call, n int, f func(lo, hi, i int)) error {
	return c.parallel(n, grain, func(lo, hi int) {
		for lo < hi {
			r := lo / l.run
			end := min(hi, (r+1)*l.run)
			f(lo, end, l.index(r))
			lo = end
		}
	})
}

// quantizeLinear: saturate(round_half_even(x / scale) + zero_point).
func quantizeLinear(s *site) (kernel, error) {
	axis, block := int(s.Int("axis", 1)), int(s.Int("block_size", 0))
	to, saturate := onnx.DataType(s.Int("output_dtype", 0)), s.Int("saturate", 1) != 0
	if block < 0 {
		return nil, fmt.Errorf("block size %d is negative", block)
	}
	return func(c *call) error {
		in, src, err := c.floats(0)
		if err != nil {
			if in = c.input(0); in == nil || in.Type != onnx.Int32 {
				return err
			}
			src = make([]float32, in.Len())
			for i, v := range in.Data.([]int32) {
				src[i] = float32(v)
			}
		}
		scales, scale, err := c.floats(1)
		if err != nil {
			return err
		}
		typ := to
		zero := c.input(2)
		if zero != nil {
			typ = zero.Type
		}
		if typ == onnx.Undefined {
			typ = onnx.Uint8
		}
		l, err := scaleLayout(in.Shape, scales.Shape, axis, block)
		if err != nil {
			return err
		}
		var zeros []float64
		if zero != nil {
			f := toFloat64(zero)
			if f == nil || zero.Len() != len(scale) {
				return fmt.Errorf("zero point %s does not fit scale %s", zero, scales)
			}
			zeros = f.Data.([]float64)
		}
		out, err := c.new(0, typ, in.Shape)
		if err != nil {
			return err
		}
		if m, ok := miniFloats[typ]; ok {
			d, ok := out.Data.([]uint8)
			if !ok {
				return fmt.Errorf("quantization to %s is not supported", typ)
			}
			return l.each(c, len(src), func(lo, hi, i int) {
				for k := lo; k < hi; k++ {
					d[k] = uint8(m.encode(float64(src[k]/scale[i]), saturate))
				}
			})
		}
		least, most, ok := codeRange(typ)
		if !ok {
			return fmt.Errorf("quantization to %s is not supported", typ)
		}
		switch d := out.Data.(type) {
		case []uint8:
			return quantizeRuns(c, l, d, src, scale, zeros, least, most)
		case []int8:
			return quantizeRuns(c, l, d, src, scale, zeros, least, most)
		case []uint16:
			return quantizeRuns(c, l, d, src, scale, zeros, least, most)
		case []int16:
			return quantizeRuns(c, l, d, src, scale, zeros, least, most)
		}
		return fmt.Errorf("quantization to %s is not supported", typ)
	}, nil
}

func quantizeRuns[T number](c *call, l layout, dst []T, src, scale []float32, zeros []float64, least, most float64) error {
	return l.each(c, len(src), func(lo, hi, i int) {
		s, z := scale[i], 0.0
		if zeros != nil {
			z = zeros[i]
		}
		for k, x := range src[lo:hi] {
			v := math.RoundToEven(float64(x/s)) + z
			if !(v > least) { // also NaN
				v = least
			}
			dst[lo+k] = T(int64(min(v, most)))
		}
	})
}

// dequantizeLinear: (x - zero_point) * scale.
func dequantizeLinear(s *site) (kernel, error) {
	axis, block := int(s.Int("axis", 1)), int(s.Int("block_size", 0))
	to := onnx.DataType(s.Int("output_dtype", 0))
	if block < 0 {
		return nil, fmt.Errorf("block size %d is negative", block)
	}
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		scales, err := c.need(1)
		if err != nil {
			return err
		}
		typ := to
		if typ == onnx.Undefined {
			typ = scales.Type
		}
		if isHalf(scales.Type) {
			scales = Widened(scales)
		}
		scale, ok := scales.Data.([]float32)
		if !ok {
			return typeError(1, scales)
		}
		l, err := scaleLayout(in.Shape, scales.Shape, axis, block)
		if err != nil {
			return err
		}
		zero := c.input(2)
		if zero != nil && (zero.Len() != len(scale) || zero.Type != in.Type) {
			return fmt.Errorf("zero point %s does not fit scale %s and input %s", zero, scales, in)
		}
		out, err := c.arena.tensor(onnx.Float, in.Shape)
		if err != nil {
			return err
		}
		d := out.Data.([]float32)
		if m, ok := miniFloats[in.Type]; ok {
			codes, ok := in.Data.([]uint8)
			if !ok {
				return typeError(0, in)
			}
			err = l.each(c, len(codes), func(lo, hi, i int) {
				var z float32
				if zero != nil {
					z = float32(m.decode(uint32(zero.Data.([]uint8)[i])))
				}
				for k := lo; k < hi; k++ {
					d[k] = (float32(m.decode(uint32(codes[k]))) - z) * scale[i]
				}
			})
		} else {
			switch x := in.Data.(type) {
			case []uint8:
				err = dequantizeRuns(c, l, d, x, scale, zero)
			case []int8:
				err = dequantizeRuns(c, l, d, x, scale, zero)
			case []uint16:
				err = dequantizeRuns(c, l, d, x, scale, zero)
			case []int16:
				err = dequantizeRuns(c, l, d, x, scale, zero)
			case []int32:
				err = dequantizeRuns(c, l, d, x, scale, zero)
			default:
				err = typeError(0, in)
			}
		}
		if err != nil {
			return err
		}
		if typ == onnx.Float {
			c.set(0, out)
			return nil
		}
		if !isHalf(typ) {
			return fmt.Errorf("dequantization to %s is not supported", typ)
		}
		half, err := c.new(0, typ, in.Shape)
		if err != nil {
			return err
		}
		narrow(half, out)
		c.release(out)
		return nil
	}, nil
}

func dequantizeRuns[T int8 | int16 | int32 | uint8 | uint16](c *call, l layout, dst []float32, src []T, scale []float32, zero *Tensor) error {
	return l.each(c, len(src), func(lo, hi, i int) {
		s, z := scale[i], int64(0)
		if zero != nil {
			z = int64(zero.Data.([]T)[i])
		}
		for k, x := range src[lo:hi] {
			dst[lo+k] = float32(int64(x)-z) * s
		}
	})
}

// dynamicQuantize quantizes to Uint8 with the range of the data, widened to
// hold zero.
func dynamicQuantize(c *call) error {
	in, src, err := c.floats(0)
	if err != nil {
		return err
	}
	var lo, hi float32
	for _, x := range src {
		lo, hi = min(lo, x), max(hi, x)
	}
	scale := (hi - lo) / 255
	zero := float32(0)
	if scale > 0 {
		zero = float32(math.RoundToEven(float64(min(255, max(0, -lo/scale)))))
	}
	out, err := c.new(0, onnx.Uint8, in.Shape)
	if err != nil {
		return err
	}
	for i, v := range []*Tensor{{Type: onnx.Float, Shape: []int{}, Data: []float32{scale}}, {Type: onnx.Uint8, Shape: []int{}, Data: []uint8{uint8(zero)}}} {
		c.set(i+1, v)
	}
	if scale == 0 {
		clear(out.Data.([]uint8))
		return nil
	}
	l := layout{max(1, len(src)), func(int) int { return 0 }}
	return quantizeRuns(c, l, out.Data.([]uint8), src, []float32{scale}, []float64{float64(zero)}, 0, 255)
}
