package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Products and convolutions of 8-bit integers as the nodes say, exactly.

func init() {
	register("MatMulInteger", 10, func(*site) (kernel, error) { return matMulInteger, nil })
	register("QLinearMatMul", 10, func(*site) (kernel, error) { return qLinearMatMul, nil })
	register("ConvInteger", 10, convInteger)
	register("QLinearConv", 10, qLinearConv)
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
