package runtime

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// Codes of convolutions with whole biases are those that ONNX Runtime's QLinearConv makes: the
// sum with the bias times one factor of float32, rounded to even. No value differs.
func TestRequantize(t *testing.T) {
	for _, c := range []struct {
		name          string
		in, out, pad  int
		groups        int // 0 for one
		relu, shuffle bool
		ops           string
	}{
		{name: "3x3", in: 20, out: 32, pad: 1, ops: "Encode Conv"},
		{name: "relu", in: 20, out: 16, pad: 1, relu: true, ops: "Encode Conv"},
		{name: "shuffled", in: 20, out: 64, pad: 1, shuffle: true, ops: "Encode Conv"},
		{name: "picture without pad", in: 3, out: 32, relu: true, ops: "Encode Decode Conv"},
		{name: "picture", in: 3, out: 5, pad: 2, ops: "Encode Decode Conv"},
		{name: "picture in groups", in: 4, out: 6, groups: 2, ops: "Encode Decode Conv"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(c.in*c.out)))
			groups := max(1, c.groups)
			each := c.in / groups
			const sx, sy, zx, zy = float32(0.0173), float32(0.0391), 7, 101
			weights, bias, scales := make([]int, c.out*each*9), make([]int, c.out), make([]float32, c.out)
			for i := range weights {
				weights[i] = r.IntN(255) - 127
			}
			for o := range scales {
				scales[o], bias[o] = float32(0.001+r.Float64()*0.004), r.IntN(200000)-100000
			}
			biasScales := make([]float32, c.out)
			for o := range scales {
				biasScales[o] = sx * scales[o]
			}
			sum, body := "e", ""
			if c.relu {
				sum, body = "d", "e = Relu (d)"
			}
			end := "y = DequantizeLinear (q, sy, zy)"
			if c.shuffle {
				end = "f = DequantizeLinear (q, sy, zy)  g = DepthToSpace <blocksize = 2> (f)  p = QuantizeLinear (g, sy, zy)  y = DequantizeLinear (p, sy, zy)"
			}
			m := parse(t, fmt.Sprintf(`<ir_version: 8, opset_import: ["" : 13]>
g (float[1,%[1]d,H,W] x) => (float[1,C,h,w] y) <int8[%[2]d,%[15]d,3,3] w = {%[3]s}, int32[%[2]d] b = {%[4]s}, float[%[2]d] sw = {%[5]s}, float[%[2]d] sb = {%[6]s}, float sx = {%[7]v}, float sy = {%[8]v}, uint8 zx = {%[9]d}, uint8 zy = {%[10]d}>
{ a = QuantizeLinear (x, sx, zx)  v = DequantizeLinear (a, sx, zx)  k = DequantizeLinear <axis = 0> (w, sw)  n = DequantizeLinear <axis = 0> (b, sb)
  %[14]s = Conv <group = %[16]d, pads = [%[11]d,%[11]d,%[11]d,%[11]d]> (v, k, n)  %[12]s  q = QuantizeLinear (e, sy, zy)  %[13]s }`,
				c.in, c.out, list(weights), list(bias), list(scales), list(biasScales), sx, sy, zx, zy, c.pad, body, end, sum, each, groups))
			const h, w = 13, 17
			codes, data := make([]int, c.in*h*w), make([]float32, c.in*h*w)
			for i := range codes {
				codes[i] = r.IntN(256)
				data[i] = float32(codes[i]-zx) * sx
			}
			x, _ := Of([]int{1, c.in, h, w}, data)
			program, err := Compile(m, Options{Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			if got := program.ops(); got != c.ops {
				t.Errorf("steps are %s, want %s", got, c.ops)
			}
			result, err := program.Run(context.Background(), map[string]*Tensor{"x": x}, nil)
			if err != nil {
				t.Fatal(err)
			}
			y := result["y"]
			oh, ow := h+2*c.pad-2, w+2*c.pad-2
			for o := range c.out {
				for i := range oh {
					for j := range ow {
						sum := bias[o]
						for k := range each {
							ch := o/(c.out/groups)*each + k
							for u := range 3 {
								for v := range 3 {
									if a, b := i+u-c.pad, j+v-c.pad; a >= 0 && a < h && b >= 0 && b < w {
										sum += weights[((o*each+k)*3+u)*3+v] * (codes[(ch*h+a)*w+b] - zx)
									}
								}
							}
						}
						if c.relu {
							sum = max(sum, 0)
						}
						factor := sx * scales[o] / sy
						code := math.RoundToEven(float64(min(max(float32(sum)*factor, -zy), 255-zy)))
						at := (o*oh+i)*ow + j
						if c.shuffle { // mode DCR
							block, ch := o/(c.out/4), o%(c.out/4)
							at = (ch*2*oh+2*i+block/2)*2*ow + 2*j + block%2
						}
						if got, want := y.Data.([]float32)[at], float32(code)*sy; got != want {
							t.Fatalf("value [%d,%d,%d] is %g, want %g", o, i, j, got, want)
						}
					}
				}
			}
		})
	}
}

func list[T any](v []T) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(v), " ", ", "), "[]")
}
