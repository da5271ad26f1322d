package runtime

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

// constantsOf are the initializers of a quantized convolution, number i: codes w of a
// type between -top-1 and top about the zero point z, scales s and floats b.
func constantsOf(i int, typ string, in, out, kernel, top, zero int, perOutput bool) string {
	r := rand.New(rand.NewPCG(uint64(in), uint64(i)))
	list := func(n int, value func() string) string {
		var v []string
		for range n {
			v = append(v, value())
		}
		return strings.Join(v, ", ")
	}
	scales := 1
	shape := ""
	if perOutput {
		scales, shape = out, fmt.Sprintf("[%d]", out)
	}
	return fmt.Sprintf("%s[%d,%d,%d,%d] w%d = {%s}, float%s s%[6]d = {%[9]s}, %[1]s%[8]s z%[6]d = {%[10]s}, float[%[2]d] b%[6]d = {%[11]s}",
		typ, out, in, kernel, kernel, i,
		list(in*out*kernel*kernel, func() string { return fmt.Sprint(zero + r.IntN(2*top+2) - top - 1) }), shape,
		list(scales, func() string { return fmt.Sprint(float32(0.3+r.Float64()) / float32(kernel*top) / 5) }),
		list(scales, func() string { return fmt.Sprint(zero) }),
		list(out, func() string { return fmt.Sprint(float32(r.NormFloat64()) / 2) }))
}

// ops are the operators that a program executes, in order.
func (p *Program) ops() string {
	var list []string
	for _, st := range p.plan.steps {
		list = append(list, strings.TrimPrefix(st.op, Domain+"."))
	}
	return strings.Join(list, " ")
}

// Static Q/DQ in integers gives what its nodes give one by one: a value at the border
// of two codes may get either, others the same. Which nodes are left says what is
// computed in integers.
func TestCodesAgreeWithNodes(t *testing.T) {
	const in, out = 20, 32
	signed := constantsOf(0, "int8", in, out, 3, 127, 0, true)
	second := constantsOf(1, "int8", out, in, 3, 127, 0, true)
	third := constantsOf(2, "int8", in, in, 3, 127, 0, true)
	const open = "a = QuantizeLinear (x, s, z)  b = DequantizeLinear (a, s, z)  "
	const weights = "w = DequantizeLinear <axis = 0> (w0, s0, z0)  "
	const conv = weights + "c = Conv <pads = [1, 1, 1, 1]> (b, w, b0)  "
	const shut = "p = QuantizeLinear (c, r, z)  y = DequantizeLinear (p, r, z)"
	const next = "v = DequantizeLinear <axis = 0> (w1, s1, z1)  e = Conv <pads = [1, 1, 1, 1]> (d, v, b1)  "
	for _, c := range []struct{ name, constants, body, ops string }{
		{"3x3", signed, open + conv + shut, "Encode Conv"},
		{"relu, two layers", signed + ", " + second, open + conv + "m = Relu (c)  q = QuantizeLinear (m, r, first)  d = DequantizeLinear (q, r, first)  " + next +
			"g = QuantizeLinear (e, s, z)  y = DequantizeLinear (g, s, z)", "Encode Conv Conv"},
		{"residual", signed + ", " + second + ", " + third, open + conv + "m = LeakyRelu <alpha = 0.2> (c)  q = QuantizeLinear (m, r, z)  d = DequantizeLinear (q, r, z)  " + next +
			"g = QuantizeLinear (e, s, z)  h = DequantizeLinear (g, s, z)  i = Add (b, h)  j = QuantizeLinear (i, r, z)  k = DequantizeLinear (j, r, z)  " +
			"u = DequantizeLinear <axis = 0> (w2, s2, z2)  l = Conv <pads = [1, 1, 1, 1]> (k, u)  n = QuantizeLinear (l, s, z)  o = DequantizeLinear (n, s, z)  y = Add (o, k)",
			"Encode Conv Conv Conv"},
		{"signed activations", signed, "a = QuantizeLinear (x, s, signed)  b = DequantizeLinear (a, s, signed)  " + conv + shut, "Encode Conv"},
		{"no zero point", signed, "a = QuantizeLinear (x, s)  b = DequantizeLinear (a, s)  " + conv + shut, "Encode Conv"},
		{"clipped codes", signed, "a = QuantizeLinear (x, t4, z)  i = Clip (a, high, more)  b = DequantizeLinear (i, t4, z)  " + conv + "p = QuantizeLinear (c, t4, first)  q = Clip (p, least, most)  y = DequantizeLinear (q, t4, first)",
			"Encode Conv"},
		{"uint4", signed, "a = QuantizeLinear (x, t4, zu4)  b = DequantizeLinear (a, t4, zu4)  " + conv + shut, "Encode Conv"},
		{"int4, weights too", constantsOf(0, "int4", in, out, 3, 7, 0, true), "a = QuantizeLinear (x, t4, i4)  b = DequantizeLinear (a, t4, i4)  " + conv + shut, "Encode Conv"},
		{"uint2 and int2", constantsOf(0, "int2", in, out, 3, 1, 0, true), "a = QuantizeLinear (x, q2, zu2)  b = DequantizeLinear (a, q2, zu2)  " + conv + "p = QuantizeLinear (c, q2, i2)  y = DequantizeLinear (p, q2, i2)",
			"Encode Conv"},
		{"unsigned weights", constantsOf(0, "uint8", in, out, 3, 120, 123, true), open + conv + shut, "Encode Conv"},
		{"one scale", constantsOf(0, "int8", in, out, 3, 127, 0, false), open + "w = DequantizeLinear (w0, s0, z0)  c = Conv <pads = [1, 1, 1, 1]> (b, w)  " + shut, "Encode Conv"},
		{"1x1", constantsOf(0, "int8", in, out, 1, 127, 0, true), open + weights + "c = Conv (b, w, b0)  " + shut, "Encode Conv"},
		{"groups", constantsOf(0, "int8", in/4, out, 3, 127, 0, true), open + weights + "c = Conv <group = 4, pads = [1, 1, 1, 1]> (b, w, b0)  " + shut, "Encode Conv"},
		{"shuffled", constantsOf(0, "int8", in, 64, 3, 127, 0, true), open + conv + "p = QuantizeLinear (c, r, z)  q = DequantizeLinear (p, r, z)  o = DepthToSpace <blocksize = 2> (q)  n = QuantizeLinear (o, r, z)  y = DequantizeLinear (n, r, z)",
			"Encode Conv"},
		{"shuffled as CRD", constantsOf(0, "int8", in, 64, 3, 127, 0, true), open + conv + `o = DepthToSpace <blocksize = 2, mode = "CRD"> (c)  n = QuantizeLinear (o, r, z)  y = DequantizeLinear (n, r, z)`, "Encode Conv"},
		{"shuffled to floats", constantsOf(0, "int8", in, 64, 3, 127, 0, true), open + conv + "y = DepthToSpace <blocksize = 2> (c)", "Encode Conv"},
		{"shuffled between blocks", constantsOf(0, "int8", in, 48, 3, 127, 0, true), open + conv + "o = DepthToSpace <blocksize = 2> (c)  p = QuantizeLinear (o, r, z)  y = DequantizeLinear (p, r, z)", "Encode Conv DepthToSpace Decode"},
		{"Concat", signed + ", " + constantsOf(1, "int8", in+out, in, 1, 127, 0, true), open + conv + "p = QuantizeLinear (c, r, z)  q = DequantizeLinear (p, r, z)  o = Concat <axis = 1> (b, q)  n = QuantizeLinear (o, s, z)  " +
			"d = DequantizeLinear (n, s, z)  v = DequantizeLinear <axis = 0> (w1, s1, z1)  y = Conv (d, v)", "Encode Conv Concat Conv"},
		{"sum of codes", signed, open + conv + "p = QuantizeLinear (c, r, z)  q = DequantizeLinear (p, r, z)  m = Relu (c)  f = QuantizeLinear (m, s, first)  d = DequantizeLinear (f, s, first)  " +
			"i = Add (q, d)  j = GlobalMaxPool (i)  k = GlobalMaxPool (q)  l = GlobalMaxPool (d)  y = Concat <axis = 1> (j, k, l)", "Encode Conv Encode Decode Encode Decode Add GlobalMaxPool GlobalMaxPool GlobalMaxPool Concat"},
		{"slopes, factors, bounds", signed, open + conv + "d = PRelu (c, slopes)  e = Mul (d, half)  f = Clip (e, low, half)  g = QuantizeLinear (f, s, z)  y = DequantizeLinear (g, s, z)", "Encode Conv"},
		{"QLinearConv", signed + fmt.Sprintf(", int32[%d] whole = {%s}", out, strings.TrimSuffix(strings.Repeat("700, -40000, ", out/2), ", ")), "a = QuantizeLinear (x, s, z)  p = QLinearConv <pads = [1, 1, 1, 1]> (a, s, z, w0, s0, z0, r, first, whole)  y = DequantizeLinear (p, r, first)",
			"Encode Conv"},
		{"QLinearConv twice", signed + ", " + second, "a = QuantizeLinear (x, s, signed)  p = QLinearConv <pads = [1, 1, 1, 1]> (a, s, signed, w0, s0, z0, r, first)  q = QLinearConv <pads = [1, 1, 1, 1]> (p, r, first, w1, s1, z1, s, z)  y = DequantizeLinear (q, s, z)",
			"Encode Conv Conv"},
		// What is computed in floats, by value.
		{"stride", signed, open + weights + "c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (b, w, b0)  " + shut, "Decode Conv"},
		{"no pads", signed, open + weights + "c = Conv (b, w)  " + shut, "Decode Conv"},
		{"pads of one side", signed, open + weights + "c = Conv <pads = [0, 2, 1, 1]> (b, w)  " + shut, "Decode Conv"},
		{"dilation", signed, open + weights + "c = Conv <dilations = [2, 2], pads = [2, 2, 2, 2]> (b, w)  " + shut, "Decode Conv"},
		{"five groups", constantsOf(0, "int8", in/5, 30, 3, 127, 0, true), open + weights + "c = Conv <group = 5, pads = [1, 1, 1, 1]> (b, w, b0)  " + shut, "Decode Conv"},
		{"5x5", constantsOf(0, "int8", in, out, 5, 127, 0, true), open + weights + "c = Conv <pads = [2, 2, 2, 2]> (b, w)  " + shut, "Decode Conv"},
		{"SAME", signed, open + weights + `c = Conv <auto_pad = "SAME_UPPER"> (b, w, b0)  ` + shut, "Decode Conv Decode"},
		{"float weights", signed, open + "f = Cast <to = 1> (w0)  g = Mul (f, tiny)  c = Conv <pads = [1, 1, 1, 1]> (b, g)  " + shut, "Decode Conv"},
		{"scales of each input", constantsOf(0, "int8", in, in, 3, 127, 0, true), open + "w = DequantizeLinear <axis = 1> (w0, s0, z0)  c = Conv <pads = [1, 1, 1, 1]> (b, w)  " + shut, "Decode Conv"},
		{"QLinearConv with stride", signed, "a = QuantizeLinear (x, s, z)  p = QLinearConv <strides = [2, 2]> (a, s, z, w0, s0, z0, r, first)  y = DequantizeLinear (p, r, first)", "Decode Conv"},
		{"Softmax between", signed, open + "d = Softmax <axis = 1> (b)  " + weights + "e = QuantizeLinear (d, s, first)  f = DequantizeLinear (e, s, first)  c = Conv <pads = [1, 1, 1, 1]> (f, w)  " + shut, "Decode Softmax Encode Conv"},
		// What is executed as it is.
		{"scales of each channel", signed, "a = QuantizeLinear (x, each, eachz)  b = DequantizeLinear (a, each, eachz)  " + conv + "y = Relu (c)", "QuantizeLinear DequantizeLinear Conv"},
		{"another scale back", signed, "a = QuantizeLinear (x, s, z)  b = DequantizeLinear (a, r, z)  " + conv + "y = Relu (c)", "QuantizeLinear DequantizeLinear Conv"},
		{"codes read by others", signed, "a = QuantizeLinear (x, s, z)  b = DequantizeLinear (a, s, z)  i = Cast <to = 1> (a)  " + conv + "j = GlobalMaxPool (i)  k = GlobalMaxPool (c)  y = Concat <axis = 1> (j, k)",
			"QuantizeLinear DequantizeLinear Cast Conv GlobalMaxPool GlobalMaxPool Concat"},
	} {
		t.Run(c.name, func(t *testing.T) {
			step := 0.052 // of the last codes, and of those added to them
			switch c.name {
			case "clipped codes":
				step = 0.31
			case "uint2 and int2":
				step = 0.91
			}
			zeros := strings.TrimSuffix(strings.Repeat("119, ", in), ", ")
			m, err := onnx.Parse(fmt.Sprintf(`<ir_version: 13, opset_import: ["": 25]>
g (float[N,%d,H,W] x) => (float[N,C,H1,W1] y)
<%s, float s = {0.02}, float r = {0.031}, uint8 z = {119}, uint8 first = {0}, int8 signed = {-7}, uint4 zu4 = {6}, int4 i4 = {-2}, uint2 zu2 = {1}, int2 i2 = {0},
 float t4 = {0.3}, float q2 = {0.9}, uint8 least = {0}, uint8 most = {15}, uint8 high = {113}, uint8 more = {128}, float half = {0.5}, float low = {-0.5}, float tiny = {0.003},
 float[%[1]d] each = {%[3]s}, uint8[%[1]d] eachz = {%[4]s}, float[%[5]d,1,1] slopes = {%[6]s}>
{
%[7]s
}`, in, c.constants, strings.ReplaceAll(zeros, "119", "0.02"), zeros, out, strings.TrimSuffix(strings.Repeat("0.25, ", out), ", "), c.body))
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range [][3]int{{1, 17, 30}, {2, 3, 5}, {1, 1, 9}} {
				if size[1] < 3 && !strings.Contains(c.body, "pads = [1, 1, 1, 1]> (b, w, b0)") {
					continue // windows that do not fit
				}
				checkAgree(t, m, noise(size[0], in, size[1], size[2], 4), c.ops, step)
			}
		})
	}
}

func checkAgree(t *testing.T, m *onnx.Model, x *Tensor, ops string, step float64) {
	t.Helper()
	for i, d := 0, x.Data.([]float32); i < len(d); i++ {
		d[i] -= 1.7
	}
	run := func(o Options) []float32 {
		p, err := Compile(m, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.ops(); !o.Exact && got != ops {
			t.Fatalf("executed as %s, want %s", got, ops)
		}
		out, err := p.Run(context.Background(), map[string]*Tensor{"x": x}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out["y"].Data.([]float32)
	}
	got, want := run(Options{Threads: 1}), run(Options{Exact: true})
	if !slices.Equal(got, run(Options{Threads: 3})) {
		t.Error("the number of threads changes the output")
	}
	differ, worst, largest := 0, 0.0, 0.0
	for i, v := range want {
		d := math.Abs(float64(got[i] - v))
		if worst = max(worst, d); d > 1e-5 {
			differ++
		}
		largest = max(largest, math.Abs(float64(v)))
	}
	if !(worst < step) || differ*1000 > len(want)+1000 {
		t.Errorf("%v: %d of %d values differ, the most by %g of %g", x.Shape, differ, len(want), worst, largest)
	}
	t.Logf("%v: %d of %d values differ, the most by %.2g of %.2g", x.Shape, differ, len(want), worst, largest)
}
