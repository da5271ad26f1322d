package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

func init() {
	register("QuantizeLinear", 10, quantizeLinear)
	registerAny("DequantizeLinear", 10, dequantizeLinear)
	register("DynamicQuantizeLinear", 11, func(*site) (kernel, error) { return dynamicQuantize, nil })
	register("MatMulInteger", 10, func(*site) (kernel, error) { return matMulInteger, nil })
	register("QLinearMatMul", 10, func(*site) (kernel, error) { return qLinearMatMul, nil })
	register("ConvInteger", 10, convInteger)
	register("QLinearConv", 10, qLinearConv)
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
			scales = widened(scales)
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

// shifted returns an 8-bit tensor as Int32 with its zero point taken off. The
// zero point is one number, or one for each index of an axis.
func shifted(t, zero *Tensor, axis int) (*Tensor, error) {
	v, err := toInts(t)
	if err != nil || t.Type != onnx.Uint8 && t.Type != onnx.Int8 {
		return nil, fmt.Errorf("%s where 8-bit integers are needed", t)
	}
	out := make([]int32, len(v))
	var z []int
	if zero != nil {
		if z, err = toInts(zero); err != nil {
			return nil, err
		}
	}
	var l layout
	switch {
	case len(z) <= 1:
		l = layout{max(1, len(v)), func(int) int { return 0 }}
	case len(zero.Shape) > 1: // [.., rows, 1] or [.., 1, columns] of a matrix product
		full, err := broadcastShape(zero.Shape, t.Shape)
		if err != nil || !slices.Equal(full, t.Shape) {
			return nil, fmt.Errorf("zero point %s does not fit %s", zero, t)
		}
		w := newWalk(full, broadcastStrides(zero.Shape, full))
		n, s := w.inner()
		w.each(0, w.runs(), func(run int, off []int) {
			for i := range n {
				out[run*n+i] = int32(v[run*n+i] - z[off[0]+i*s[0]])
			}
		})
		return &Tensor{Type: onnx.Int32, Shape: t.Shape, Data: out}, nil
	default:
		if l, err = scaleLayout(t.Shape, zero.Shape, axis, 0); err != nil {
			return nil, err
		}
	}
	for i, x := range v {
		if len(z) > 0 {
			x -= z[l.index(i/l.run)]
		}
		out[i] = int32(x)
	}
	return &Tensor{Type: onnx.Int32, Shape: t.Shape, Data: out}, nil
}

// matMulInteger takes off the zero points of rows of A and columns of B.
func matMulInteger(c *call) error {
	a, b, err := c.shiftedPair(0, 1, 2, 3)
	if err != nil {
		return err
	}
	return c.matMul(a, b, func(typ onnx.DataType, shape []int) (*Tensor, error) { return c.new(0, typ, shape) })
}

func (c *call) shiftedPair(a, b, zeroA, zeroB int) (x, y *Tensor, err error) {
	ta, err := c.need(a)
	if err != nil {
		return nil, nil, err
	}
	tb, err := c.need(b)
	if err != nil {
		return nil, nil, err
	}
	if x, err = shifted(ta, c.input(zeroA), max(0, len(ta.Shape)-2)); err != nil {
		return nil, nil, err
	}
	y, err = shifted(tb, c.input(zeroB), len(tb.Shape)-1)
	return x, y, err
}

func qLinearMatMul(c *call) error {
	for i := range 8 {
		if _, err := c.need(i); err != nil {
			return err
		}
	}
	a, b, err := c.shiftedPair(0, 3, 2, 5)
	if err != nil {
		return err
	}
	var sum *Tensor
	err = c.matMul(a, b, func(typ onnx.DataType, shape []int) (t *Tensor, err error) {
		sum, err = c.scratch(typ, shape...)
		return sum, err
	})
	if err != nil {
		return err
	}
	defer c.release(sum)
	scaleA, scaleB, scaleY := toFloat64(c.in[1]), toFloat64(c.in[4]), toFloat64(c.in[6])
	sa, sb := scaleA.Data.([]float64), scaleB.Data.([]float64)
	rows, cols := 1, 1
	if n := len(sum.Shape); n > 0 {
		cols = sum.Shape[n-1]
		if n > 1 {
			rows = sum.Shape[n-2]
		}
	}
	if len(sa) != 1 && len(sa) != rows || len(sb) != 1 && len(sb) != cols || scaleY.Len() != 1 {
		return fmt.Errorf("scales %s and %s do not fit %s", c.in[1], c.in[4], sum)
	}
	return c.requantize(sum, c.in[7], func(i int) float64 {
		return sa[i/cols%rows%len(sa)] * sb[i%cols%len(sb)] / scaleY.Data.([]float64)[0]
	})
}

// requantize makes output 0 of Int32 sums: round(sum * factor) + zero point.
func (c *call) requantize(sum, zero *Tensor, factor func(i int) float64) error {
	least, most, ok := codeRange(zero.Type)
	if !ok || zero.Len() != 1 {
		return fmt.Errorf("zero point %s of the output is not supported", zero)
	}
	z, err := toInts(zero)
	if err != nil {
		return err
	}
	out, err := c.new(0, zero.Type, sum.Shape)
	if err != nil {
		return err
	}
	s := sum.Data.([]int32)
	return convertFrom(out, out.Len(), func(i int) (float64, int64) {
		v := math.RoundToEven(float64(float32(float64(s[i])*factor(i)))) + float64(z[0])
		return v, int64(min(max(v, least), most))
	}, true)
}

// integerConv convolves 8-bit integers exactly, by the definition.
func (c *call) integerConv(win window, groups int, x, w, zeroX, zeroW *Tensor) (*Tensor, error) {
	a, err := shifted(x, zeroX, 1)
	if err != nil {
		return nil, err
	}
	b, err := shifted(w, zeroW, 0)
	if err != nil {
		return nil, err
	}
	full, err := win.complete(w.Shape[2:])
	if err != nil {
		return nil, err
	}
	pads := full.padsFor(x.Shape[2:])
	sizes, err := full.sizes(nil, x.Shape[2:], pads)
	if err != nil {
		return nil, err
	}
	out, err := c.scratch(onnx.Int32, append([]int{x.Shape[0], w.Shape[0]}, sizes...)...)
	if err != nil {
		return nil, err
	}
	return out, integerConvPlain(c, out, a, b, full, pads, groups)
}

func integerConvPlain(c *call, out, in, w *Tensor, win window, pads []int, groups int) error {
	dst, src, weights := out.Data.([]int32), in.Data.([]int32), w.Data.([]int32)
	inDims, outDims := in.Shape[2:], out.Shape[2:]
	inSize, outSize, count := product(inDims), product(outDims), product(win.kernel)
	channels, perGroup, outGroup := in.Shape[1], w.Shape[1], w.Shape[0]/groups
	p := &pooling{win: win, pads: pads, inDims: inDims, sizes: outDims}
	kS := strides(win.kernel)
	return c.each(in.Shape[0]*w.Shape[0], func(item int) {
		n, o := item/w.Shape[0], item%w.Shape[0]
		first := n*channels + o/outGroup*perGroup
		p.each(func(at int, start, lo, hi []int) {
			var sum int32
			dims := make([]int, len(lo))
			for i := range dims {
				dims[i] = max(0, hi[i]-lo[i])
			}
			odometer(dims, func(k []int) {
				offset, tap := 0, 0
				for i := range k {
					tap += (lo[i] + k[i]) * kS[i]
					offset = offset*inDims[i] + start[i] + (lo[i]+k[i])*win.dilation[i]
				}
				for ch := range perGroup {
					sum += weights[(o*perGroup+ch)*count+tap] * src[(first+ch)*inSize+offset]
				}
			})
			dst[item*outSize+at] = sum
		})
	})
}

func checkConv(x, w *Tensor, groups int) error {
	if len(w.Shape) < 3 || len(x.Shape) != len(w.Shape) || groups < 1 || x.Shape[1] != w.Shape[1]*groups || w.Shape[0]%groups != 0 {
		return fmt.Errorf("input %s does not fit weights %s in %d groups", x, w, groups)
	}
	return nil
}

func convInteger(s *site) (kernel, error) {
	win, groups := newWindow(s), int(s.Int("group", 1))
	return func(c *call) error {
		x, err := c.need(0)
		if err != nil {
			return err
		}
		w, err := c.need(1)
		if err != nil {
			return err
		}
		if err := checkConv(x, w, groups); err != nil {
			return err
		}
		sum, err := c.integerConv(win, groups, x, w, c.input(2), c.input(3))
		if err != nil {
			return err
		}
		c.set(0, sum)
		return nil
	}, nil
}

func qLinearConv(s *site) (kernel, error) {
	win, groups := newWindow(s), int(s.Int("group", 1))
	return func(c *call) error {
		for i := range 8 {
			if _, err := c.need(i); err != nil {
				return err
			}
		}
		x, w := c.in[0], c.in[3]
		if err := checkConv(x, w, groups); err != nil {
			return err
		}
		sum, err := c.integerConv(win, groups, x, w, c.in[2], c.in[5])
		if err != nil {
			return err
		}
		defer c.release(sum)
		channels, size := sum.Shape[1], product(sum.Shape[2:])
		if b := c.input(8); b != nil {
			bias, ok := b.Data.([]int32)
			if !ok || len(bias) != channels {
				return fmt.Errorf("bias %s does not fit %d channels", b, channels)
			}
			d := sum.Data.([]int32)
			for i := range d {
				d[i] += bias[i/size%channels]
			}
		}
		sx, sw, sy := toFloat64(c.in[1]), toFloat64(c.in[4]), toFloat64(c.in[6])
		if sx == nil || sw == nil || sy == nil || sx.Len() != 1 || sy.Len() != 1 || sw.Len() != 1 && sw.Len() != channels {
			return fmt.Errorf("scales %s, %s and %s do not fit", c.in[1], c.in[4], c.in[6])
		}
		ratio, scales := sx.Data.([]float64)[0]/sy.Data.([]float64)[0], sw.Data.([]float64)
		return c.requantize(sum, c.in[7], func(i int) float64 { return ratio * scales[i/size%channels%len(scales)] })
	}, nil
}
