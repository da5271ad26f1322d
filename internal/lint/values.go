package lint

import (
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// valueRules: parameters that mean nothing in any runtime.
var valueRules = []Rule{
	{
		ID: "scale-value", Level: Error, Basis: "ONNX operator specification; ONNX Runtime 1.20 and 1.32 load such files, and the tensor or channel becomes constant",
		Title:  "a scale that is zero, negative or not a number",
		Remedy: "calibrate again: a channel that is always zero can have any positive scale",
		check: func(v *view, report reporter) {
			for l := range v.linears {
				if i := slices.IndexFunc(l.scale, func(s float64) bool { return !(s > 0) || math.IsInf(s, 0) }); i >= 0 {
					report(l.node, l.node.Input(1).Name, "element %d of the scale %q is %g", i, l.node.Input(1).Name, l.scale[i])
				}
			}
		},
	},
	{
		ID: "zero-point-shape", Level: Error, Basis: "ONNX operator specification; run in ONNX Runtime 1.20 to 1.32",
		Title:  "scale and zero point have different shapes, or the zero point is not of the type of the codes",
		Remedy: "give each scale its zero point, of the type of the codes",
		check: func(v *view, report reporter) {
			for l := range v.linears {
				zero := constant(l.node.Input(2))
				if zero == nil {
					continue
				}
				if l.shape != nil && len(l.scale) != len(numbers(zero)) {
					report(l.node, l.node.Input(2).Name, "%d scales, %d zero points", len(l.scale), len(numbers(zero)))
				}
				if x := l.node.Input(0); l.node.Op == "DequantizeLinear" && x != nil && x.Type.Elem != onnx.Undefined && x.Type.Elem != zero.Type {
					report(l.node, l.node.Input(2).Name, "the codes are %s, the zero point %s", x.Type.Elem, zero.Type)
				}
			}
		},
	},
	{
		ID: "int32-zero-point-old", Level: Error, Targets: ort, Until: "1.23", Basis: measured,
		Title:  "int32 codes with a zero point: the first run fails",
		Remedy: "leave the zero point out or set it to 0",
		check: func(v *view, report reporter) {
			for l := range v.linears {
				if l.node.Op == "DequantizeLinear" && l.codes == onnx.Int32 && len(l.zero) > 0 && !l.zeroIs(0) {
					report(l.node, l.node.Input(2).Name, "its zero point is %s", zeroText(l))
				}
			}
		},
	},
	{
		ID: "scale-pair", Level: Warning, Basis: "follows from the graph",
		Title:  "DequantizeLinear reads codes with another scale or zero point than they were written with",
		Remedy: "give both the same parameters, unless the difference is meant as a multiplication",
		check: func(v *view, report reporter) {
			for l := range v.linears {
				if l.node.Op != "DequantizeLinear" {
					continue
				}
				if s := sideOf(l); s.q != nil && s.q.scale != nil && s.q.zero != nil && l.scale != nil && l.zero != nil && !s.q.sameAs(l) {
					report(l.node, l.node.Outputs[0].Name, "%q wrote the codes with scale %.4g and zero point %s, it reads them with %.4g and %s",
						s.q.node.Label(), s.q.scale[0], zeroText(s.q), l.scale[0], zeroText(l))
				}
			}
		},
	},
}

// linears yields every QuantizeLinear and DequantizeLinear in the order of the graph.
func (v *view) linears(yield func(*linear) bool) {
	for _, n := range v.nodes {
		for _, op := range []string{"QuantizeLinear", "DequantizeLinear"} {
			if l := linearOf(n, op); l != nil && !yield(l) {
				return
			}
		}
	}
}
