package lint

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

const triedOpenVINO = "run in OpenVINO 2026.4 (CPU)"

// openvinoRules: what OpenVINO's CPU plugin computes in float. It needs no Q/DQ
// behind a convolution.
var openvinoRules = []Rule{
	{
		ID: "openvino-conv-float", Level: Warning, Targets: []string{"openvino"}, Basis: triedOpenVINO,
		Title:  "a convolution of this form is computed in float",
		Remedy: "one scale for its input, at most 8 bits; int8 weights with zero point 0 and a scale for each output channel",
		check:  openvinoConvolutions,
	},
	{
		ID: "openvino-per-axis-concat", Level: Error, Targets: []string{"openvino"}, Basis: triedOpenVINO,
		Title:  "Concat of uint8 activations with a scale for each channel: the model is not compiled",
		Remedy: "use one scale for the whole tensor",
		check: perAxis(func(n *onnx.Node, in, _ *linear) bool {
			return n.Is("Concat") && in != nil && in.codes == onnx.Uint8
		}),
	},
	{
		ID: "openvino-gathered-size", Level: Error, Targets: []string{"openvino"}, Since: "2025.4", Basis: triedOpenVINO + " and 2025.4, 2026.1 to 2026.3; 2023.0 to 2025.3 give the right values",
		Title:  "a convolution between Q/DQ loses its bias where single sizes of its output are gathered from its shape",
		Remedy: "take neighbouring sizes from the shape with one Slice (daq simplifies exported graphs so), or from the shape of the convolution's input",
		check:  openvinoGatheredSizes,
	},
	{
		ID: "openvino-negative-factor", Level: Error, Targets: []string{"openvino"}, Since: "2023.3", Basis: triedOpenVINO + " and 2023.3, 2024.6, 2025.0 and 2025.4",
		Title:  "a tensor of unknown height or width is multiplied for each channel, by some numbers below zero, and quantized: the codes are wrong",
		Remedy: "fix the height and width, or put Neg in front and multiply by positive numbers",
		check:  openvinoNegativeFactors,
	},
	{
		ID: "openvino-pixel-shuffle-old", Level: Warning, Targets: []string{"openvino"}, Until: "2023", Basis: "openvino#439, not run here; OpenVINO 2024.0, 2025.0 and 2026.4 make DepthToSpace of it (run)",
		Title:  "a PixelShuffle written as Reshape, Transpose of 6 dimensions and Reshape breaks the integer part",
		Remedy: "write DepthToSpace (daq simplifies exported PixelShuffles to it)",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if !n.Is("Transpose") || len(n.Ints("perm")) != 6 || n.Input(0) == nil || n.Input(0).Producer == nil || !n.Input(0).Producer.Is("Reshape") {
					continue
				}
				if q, _ := v.out(n.Outputs[0]); q != nil || v.in(n.Input(0)) != nil {
					report(n, "", "it transposes 6 dimensions between Q/DQ")
				}
			}
		},
	},
}

func openvinoConvolutions(v *view, report reporter) {
	for _, n := range v.nodes {
		if !n.Is("Conv", "ConvTranspose") {
			continue
		}
		x, w := v.in(n.Input(0)), v.in(n.Input(1))
		if x == nil && w == nil {
			continue
		}
		why := ""
		switch {
		case w == nil:
			if constant(n.Input(1)) == nil {
				continue
			}
			why = fmt.Sprintf("its weights %q are float", n.Input(1).Name)
		case x == nil:
			why = fmt.Sprintf("its input %q comes from no DequantizeLinear", n.Input(0).Name)
		case x.linear().perAxis():
			why = fmt.Sprintf("its input has %d scales", len(x.linear().scale))
		case x.linear().codes.Bits() > 8:
			why = fmt.Sprintf("its input is %s", x.linear().codes)
		case w.linear().codes.Bits() != 8:
			why = fmt.Sprintf("its weights are %s", w.linear().codes)
		case w.linear().zero != nil && !w.linear().zeroIs(0):
			why = fmt.Sprintf("its weights are %s with zero point %s", w.linear().codes, zeroText(w.linear()))
		case n.Is("ConvTranspose") && x.linear().zero != nil && !x.linear().zeroIs(0):
			why = fmt.Sprintf("its input has zero point %s, which ConvTranspose has no integer kernel for", zeroText(x.linear()))
		default:
			continue
		}
		report(n, "", "%s", why)
	}
}

// openvinoGatheredSizes looks behind each convolution for a Shape of what it gives,
// quantized or not, and for a Gather of one element of that.
func openvinoGatheredSizes(v *view, report reporter) {
	for _, n := range v.nodes {
		if !n.Is("Conv", "ConvTranspose") || n.Input(2) == nil || v.in(n.Input(0)) == nil || v.in(n.Input(1)) == nil {
			continue
		}
		for _, x := range throughLinears(n.Outputs[0]) {
			for _, shape := range x.Uses() {
				if !shape.Node.Is("Shape") || len(shape.Node.Outputs) == 0 || shape.Node.Outputs[0] == nil {
					continue
				}
				for _, use := range shape.Node.Outputs[0].Uses() {
					at := constant(use.Node.Input(1))
					if use.Node.Is("Gather") && at != nil && len(numbers(at)) == 1 {
						report(n, n.Input(2).Name, "%s takes a single size of its output", use.Node)
					}
				}
			}
		}
	}
}

// openvinoNegativeFactors looks in front of each QuantizeLinear for factors, which OpenVINO
// takes into it. What it computes in one kernel with a Conv or another operator on
// elements is right, and so is what has fixed sizes.
func openvinoNegativeFactors(v *view, report reporter) {
	for _, n := range v.nodes {
		q := linearOf(n, "QuantizeLinear")
		if q == nil {
			continue
		}
		from := n.Input(0)
		if r := from.Producer; r != nil && r.Is("Relu") && lacks(r) == "" && q.zeroIs(0) { // which goes
			from = r.Input(0)
		}
		for mul := from.Producer; mul != nil && mul.Is("Mul", "Div") && lacks(mul) == ""; mul = mul.Input(0).Producer {
			factors := constant(mul.Input(1))
			if _, fixed := mul.Outputs[0].Type.Shape.Ints(); factors == nil || fixed || !inOwnKernel(mul.Input(0)) {
				break
			}
			if f := numbers(factors); len(f) > 1 && slices.ContainsFunc(f, func(x float64) bool { return x < 0 }) {
				report(mul, mul.Outputs[0].Name, "%s has factors below zero, and %s reads what it gives", factors.Name, n)
				break
			}
		}
	}
}

// inOwnKernel reports whether OpenVINO computes what it makes of x apart from what gives x.
func inOwnKernel(x *onnx.Value) bool {
	return x.Producer == nil || x.Producer.Is("Concat", "Mul", "Div", "Identity")
}

// throughLinears returns a value, and where QuantizeLinear reads it the codes and what
// is dequantized from them.
func throughLinears(x *onnx.Value) []*onnx.Value {
	list := []*onnx.Value{x}
	for _, use := range x.Uses() {
		if n := use.Node; use.Index == 0 && (isLinear(n, "QuantizeLinear") || isLinear(n, "DequantizeLinear")) && lacks(n) == "" {
			list = append(list, throughLinears(n.Outputs[0])...)
		}
	}
	return list
}
