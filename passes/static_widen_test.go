package passes

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// TestWidenChannels: integer convolutions (named i...) get the channels they are fast with,
// whatever is around them, and values stay what they were.
func TestWidenChannels(t *testing.T) {
	for _, tc := range []struct {
		name, graph string
		want        []string // input and output channels of the convolutions
		sliced      int
	}{
		{"chain", `g (float[1,3,h,w] x, float[18,3,3,3] k, float[18] b, float[18,18,1,1] l, float[3,18,1,1] m) => (float[1,3,h,w] y)
{ [i1] a = Conv <pads = [1,1,1,1]> (x, k, b)  r = LeakyRelu (a)  [i2] c = Conv (r, l)  s = Add (c, a)  [f] y = Conv (s, m) }`,
			[]string{"3-20", "20-20", "20-3"}, 0},
		{"few outputs, shuffled", `g (float[1,16,h,w] x, float[12,16,1,1] k, float[12] b) => (float[1,3,H,W] y)
{ [i1] a = Conv (x, k, b)  y = DepthToSpace <blocksize = 2> (a) }`, []string{"16-16"}, 1},
		{"output of the graph", `g (float[1,5,h,w] x, float[5,5,1,1] k) => (float[1,5,h,w] y)
{ [i1] y = Conv (x, k) }`, []string{"5-5"}, 0},
		{"sum that comes out", `g (float[1,5,h,w] x, float[5,5,1,1] k) => (float[1,5,h,w] y) <float s = {0.1}, uint8 z = {128}>
{ [i1] a = Conv (x, k)  q = QuantizeLinear (a, s, z)  d = DequantizeLinear (q, s, z)  y = Add (d, x) }`, []string{"5-16"}, 1},
		{"codes that come out", `g (float[1,5,h,w] x, float[5,5,1,1] k) => (float[1,5,h,w] y) <float s = {0.1}, uint8 z = {128}>
{ [i1] a = Conv (x, k)  q = QuantizeLinear (a, s, z)  y = DequantizeLinear (q, s, z) }`, []string{"5-5"}, 0},
		{"float convolutions need none", `g (float[1,5,h,w] x, float[6,5,1,1] k, float[5,6,1,1] l) => (float[1,5,h,w] y)
{ [f1] a = Conv (x, k)  [f2] y = Conv (a, l) }`, []string{"5-6", "6-5"}, 0},
		{"Concat", `g (float[1,5,h,w] x, float[17,5,1,1] k, float[18,5,1,1] l, float[5,35,1,1] m) => (float[1,5,h,w] y)
{ [i1] a = Conv (x, k)  [i2] b = Conv (x, l)  c = Concat <axis = 1> (a, b)  [i3] y = Conv (c, m) }`,
			[]string{"5-20", "5-20", "40-5"}, 0},
		{"Concat of odd parts that convolutions read", `g (float[1,5,h,w] x, float[17,5,1,1] k, float[18,5,1,1] l, float[5,35,1,1] m, float[18,18,1,1] o) => (float[1,5,h,w] y)
{ [i1] a = Conv (x, k)  [i2] b = Conv (x, l)  [i3] d = Conv (b, o)  c = Concat <axis = 1> (a, b)  [i4] e = Conv (c, m)  f = ReduceMean <axes = [1]> (d)  y = Add (e, f) }`,
			[]string{"5-20", "5-18", "18-20", "35-16"}, 3},
		{"Concat that others read", `g (float[1,5,h,w] x, float[17,5,1,1] k, float[18,5,1,1] l, float[5,35,1,1] m) => (float[1,5,h,w] y)
{ [i1] a = Conv (x, k)  [i2] b = Conv (x, l)  c = Concat <axis = 1> (a, b)  e = Tanh (c)  [i3] y = Conv (e, m) }`,
			[]string{"5-20", "5-20", "35-5"}, 2},
		{"constants of channels", `g (float[1,5,h,w] x, float[18,5,1,1] k, float[18,1,1] p, float[1,18,1,1] q, float[5,18,1,1] m) => (float[1,5,h,w] y)
{ [i1] a = Conv (x, k)  r = PRelu (a, p)  s = Mul (q, r)  [i2] y = Conv (s, m) }`, []string{"5-20", "20-5"}, 0},
		{"attention at another size", `g (float[1,5,h,w] x, float[18,5,1,1] k, float[6,18,3,3] l, float[18,6,1,1] m, float[5,18,1,1] o) => (float[1,5,h,w] y)
<int64[1] zero = {0}, int64[1] two = {2}, int64[1] four = {4}>
{ [i1] a = Conv (x, k)  [i2] b = Conv <strides = [2,2]> (a, l)  p = MaxPool <kernel_shape = [2,2]> (b)
  sb = Shape (p)  nc = Slice (sb, zero, two)  sa = Shape (a)  hw = Slice (sa, two, four)  sizes = Concat <axis = 0> (nc, hw)
  e = Resize <mode = "linear"> (p, , , sizes)  [i3] d = Conv (e, m)  s = Sigmoid (d)  z = Mul (s, a)  [i4] y = Conv (z, o) }`,
			[]string{"5-20", "20-16", "16-20", "20-5"}, 0},
		{"a channel for all", `g (float[1,5,h,w] x, float[18,5,1,1] k, float[1,18,1,1] l, float[5,18,1,1] m) => (float[1,5,h,w] y)
{ [i1] a = Conv (x, k)  [i2] d = Conv (a, l)  s = Sigmoid (d)  z = Mul (s, a)  [i3] y = Conv (z, m) }`,
			[]string{"5-20", "20-16", "18-5"}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]> `+tc.graph)
			fill(t, m)
			for _, n := range m.Graph.Nodes {
				if n.Is("Conv") && n.Name[0] == 'i' {
					for i := range n.Inputs[1:] {
						dequantizeConstant(n, 1+i)
					}
				}
			}
			if err := m.Graph.Sort(); err != nil {
				t.Fatal(err)
			}
			before := m.Clone()
			widenChannels(m.Graph, &target.Target{Channels: target.Channels{Multiple: 4, Outputs: 16}})
			declared := map[*onnx.Value]string{}
			for _, n := range m.Graph.Nodes {
				declared[n.Outputs[0]], n.Outputs[0].Type.Shape = n.Outputs[0].Type.Shape.String(), nil
			}
			if err := onnx.Infer(m); err != nil {
				t.Fatal(err)
			}
			for v, shape := range declared { // runtimes refuse what is declared otherwise
				if v.Producer.Is("DequantizeLinear") && shape != v.Type.Shape.String() {
					t.Errorf("%s is declared %s: it is %s", v.Name, shape, v.Type.Shape)
				}
			}
			var got []string
			slice := 0
			for _, n := range m.Graph.Nodes {
				if n.Is("Conv") {
					got = append(got, fmt.Sprintf("%d-%d", channelsOf(n.Inputs[0]), channelsOf(n.Outputs[0])))
				}
				if n.Is("Slice") && channelsOf(n.Outputs[0]) > 0 {
					slice++
				}
			}
			if !slices.Equal(got, tc.want) || slice != tc.sliced {
				t.Errorf("convolutions are %v, want %v; %d Slices, want %d", got, tc.want, slice, tc.sliced)
			}
			pairs := pairsOf(before.Graph)
			for pair := range pairsOf(m.Graph) {
				if !pairs[pair] {
					t.Errorf("weights %v meet", pair)
				}
			}
			channels := int(m.Graph.Inputs[0].Type.Shape[1].Value)
			data := make([]float32, channels*9*8)
			for i := range data {
				data[i] = float32(i*37%101)/50 - 1
			}
			x, _ := runtime.Of([]int{1, channels, 9, 8}, data)
			sameValues(t, run(t, m, x), run(t, before, x))
		})
	}
}

// pairsOf returns the codes of weights that are not zero of channels 2i and 2i+1 at the same tap.
func pairsOf(g *onnx.Graph) map[[2]int8]bool {
	pairs := map[[2]int8]bool{}
	for _, n := range g.Nodes {
		if !n.Is("Conv") || n.Inputs[1].Const != nil {
			continue
		}
		t := n.Inputs[1].Producer.Inputs[0].Const
		codes, taps := onnx.ViewOf[int8](t.Data), int(t.Shape[2]*t.Shape[3])
		for o := range int(t.Shape[0]) {
			row := codes[o*int(t.Shape[1])*taps:][:int(t.Shape[1])*taps]
			for i := 0; i+2*taps <= len(row); i += 2 * taps {
				for tap := range taps {
					if a, b := row[i+tap], row[i+taps+tap]; a != 0 && b != 0 {
						pairs[[2]int8{a, b}] = true
					}
				}
			}
		}
	}
	return pairs
}

// dequantizeConstant makes input i of a convolution codes with a scale for each output channel.
func dequantizeConstant(n *onnx.Node, i int) {
	g, v := n.Graph(), n.Inputs[i]
	data, _ := v.Const.Float32s()
	outputs := v.Const.Shape[0]
	codes, scales := make([]int8, len(data)), make([]float32, outputs)
	for o := range scales {
		scales[o] = 0.02 + 0.001*float32(o)
	}
	for at, x := range data {
		codes[at] = int8(min(max(math.Round(float64(x/scales[at/(len(data)/int(outputs))])), -127), 127))
	}
	dq := g.NewNode("DequantizeLinear", []*onnx.Value{
		g.AddInitializer(v.Name+"_codes", onnx.NewTensor(onnx.Int8, v.Const.Shape, codes)),
		g.AddInitializer(v.Name+"_scale", onnx.Floats([]int64{outputs}, scales...)),
	}, []string{v.Name + "_dequantized"}, onnx.Attr("axis", int64(0)))
	dq.Outputs[0].Type = v.Type
	n.SetInput(i, dq.Outputs[0])
	g.InsertBefore(n, dq)
}
