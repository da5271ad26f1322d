package lint

import (
	"math"

	"github.com/daq-sr/daq/onnx"
)

// lostRules: what loads, and gives other values than the graph says.
var lostRules = []Rule{
	{
		ID: "relu-dropped", Level: Error, Targets: ort, Basis: measured,
		Title:  "a Relu in front of a 2- or 4-bit QuantizeLinear whose zero point is not the least code is dropped: negative values come through",
		Remedy: "use the least code as zero point (0 for uint4, -8 for int4), or uint8 codes with an integer Clip",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if !n.Is("Relu") || len(n.Outputs[0].Uses()) != 1 || n.Outputs[0].IsOutput() {
					continue
				}
				q := linearOf(n.Outputs[0].Uses()[0].Node, "QuantizeLinear")
				if q != nil && q.codes.Bits() < 8 && !q.perAxis() && q.zero != nil && !q.zeroIs(least(q.codes)) {
					report(n, n.Outputs[0].Name, "%q quantizes it to %s with zero point %s", q.node.Label(), q.codes, zeroText(q))
				}
			}
		},
	},
	{
		ID: "concat-per-axis-old", Level: Error, Targets: ort, Until: "1.31", Basis: measured,
		Title:  "Concat between activations with a scale for each channel uses the first scale for all: wrong values",
		Remedy: "use one scale for the whole tensor, or ONNX Runtime 1.32",
		check: perAxis(func(n *onnx.Node, _, _ *linear) bool {
			return n.Is("Concat")
		}),
	},
	{
		ID: "bias-scale-old", Level: Error, Targets: ort, Until: "1.26", Basis: measured,
		Title:  "an int32 bias whose scale is not that of input times weights is taken as if it were: wrong values",
		Remedy: "store the bias with the scale of the input times that of the weights, zero point 0",
		check:  biasScale,
	},
	{
		ID: "bias-scale", Level: Warning, Targets: ort, Since: "1.27", Basis: measured,
		Title:  "an int32 bias whose scale is not that of input times weights keeps the convolution float",
		Remedy: "store the bias with the scale of the input times that of the weights, zero point 0",
		check:  biasScale,
	},
	{
		ID: "float-weights", Level: Warning, Targets: ort, Since: "1.21", Basis: measured,
		Title:  "float weights between quantized activations are rounded to 8 bits by the runtime itself",
		Remedy: "quantize the weights in the file (int8, one scale for each output channel), or to keep them float store the bias as int32 with a DequantizeLinear",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if !n.Is("Conv", "ConvTranspose") || constant(n.Input(1)) == nil || n.Input(2) != nil && constant(n.Input(2)) == nil {
					continue
				}
				in := v.in(n.Input(0))
				out, stop := v.out(n.Outputs[0])
				if in != nil && !in.linear().perAxis() && (out != nil || stop != nil && stop.Is("Relu", "Clip")) {
					report(n, n.Input(1).Name, "its weights %q are float", n.Input(1).Name)
				}
			}
		},
	},
	{
		ID: "requantized", Level: Note, Targets: ort, Basis: measured,
		Title:  "DequantizeLinear and QuantizeLinear with other parameters directly behind it are merged with their neighbours: one rounding instead of two",
		Remedy: "expect differences of up to one step, or keep one pair only",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				dq := linearOf(n, "DequantizeLinear")
				if dq == nil || constant(n.Input(0)) != nil {
					continue
				}
				for _, u := range n.Outputs[0].Uses() {
					if q := linearOf(u.Node, "QuantizeLinear"); q != nil && u.Index == 0 && !q.sameAs(dq) {
						report(n, n.Outputs[0].Name, "%q quantizes it again", u.Node.Label())
					}
				}
			}
		},
	},
}

func biasScale(v *view, report reporter) {
	for _, n := range v.nodes {
		if !n.Is("Conv") || v.in(n.Input(2)) == nil {
			continue
		}
		if out, _ := v.out(n.Outputs[0]); out != nil && v.in(n.Input(0)) != nil && v.in(n.Input(1)) != nil && !biasScaleFits(v, n) {
			report(n, n.Input(2).Name, "the scale of its bias %q is not that of %q times that of %q", n.Input(2).Name, n.Input(0).Name, n.Input(1).Name)
		}
	}
}

// biasScaleFits reports whether the bias of a convolution has the scale that integer
// kernels take it to have. What is computed counts as fitting.
func biasScaleFits(v *view, n *onnx.Node) bool {
	x, w, b := v.in(n.Input(0)), v.in(n.Input(1)), v.in(n.Input(2))
	if x == nil || w == nil || b == nil || len(x.linear().scale) != 1 || len(w.linear().scale) == 0 || len(b.linear().scale) == 0 {
		return true
	}
	for i, have := range b.linear().scale {
		want := x.linear().scale[0] * w.linear().scale[min(i, len(w.linear().scale)-1)]
		if math.Abs(have-want) > 1e-3*math.Abs(want) {
			return false
		}
	}
	return true
}
