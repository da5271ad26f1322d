package lint

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
)

var tensorrt = []string{"tensorrt"}

// tensorrtRules are taken from TensorRT's documentation and issues. There is no
// TensorRT here to run them in.
var tensorrtRules = []Rule{
	{
		ID: "tensorrt-zero-point", Level: Error, Targets: tensorrt, Basis: "not run here: TensorRT documentation, quantized types (symmetric only); its parser refuses other zero points",
		Title:  "zero points other than 0 are refused",
		Remedy: "quantize symmetrically: daq quantize --target tensorrt",
		check: func(v *view, report reporter) {
			for l := range v.linears {
				if l.node.Op == "QuantizeLinear" || constant(l.node.Input(0)) != nil {
					if len(l.zero) > 0 && !l.zeroIs(0) {
						report(l.node, valueName(l.node.Input(2)), "its zero point is %s", zeroText(l))
					}
				}
			}
		},
	},
	{
		ID: "tensorrt-type", Level: Error, Targets: tensorrt, Basis: "not run here: TensorRT documentation, quantized types (int8, int4 for weights, fp8, fp4)",
		Title:  "codes of a type that is not supported",
		Remedy: "use int8, or int4 for weights alone: daq quantize --target tensorrt",
		check: func(v *view, report reporter) {
			for l := range v.linears {
				weights := constant(l.node.Input(0)) != nil
				if !weights && l.node.Op == "DequantizeLinear" {
					continue // its QuantizeLinear is named
				}
				known := []onnx.DataType{onnx.Int8, onnx.Float8E4M3FN, onnx.Float4E2M1}
				if weights {
					known = append(known, onnx.Int4, onnx.Int32) // biases
				}
				if !slices.Contains(known, l.codes) {
					report(l.node, "", "its codes are %s", l.codes)
				}
			}
		},
	},
	{
		ID: "tensorrt-per-axis", Level: Error, Targets: tensorrt, Basis: "not run here: TensorRT documentation, explicit quantization (int8 activations per tensor)",
		Title:  "activations with a scale for each channel are refused",
		Remedy: "use one scale for the whole tensor",
		check: func(v *view, report reporter) {
			for l := range v.linears {
				if l.node.Op == "QuantizeLinear" && constant(l.node.Input(0)) == nil && l.perAxis() {
					report(l.node, l.node.Input(0).Name, "it has %d scales", len(l.scale))
				}
			}
		},
	},
	{
		ID: "tensorrt-residual", Level: Warning, Targets: tensorrt, Basis: "not run here: TensorRT#1992",
		Title:  "a residual branch without Q/DQ keeps the Add, and with it the convolution, from int8",
		Remedy: "put QuantizeLinear and DequantizeLinear on the branch that does not come from the convolution",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if !n.Is("Add") || constant(n.Input(0)) != nil || constant(n.Input(1)) != nil {
					continue
				}
				for i := range 2 {
					conv, other := n.Input(i), n.Input(1-i)
					if conv == nil || conv.Producer == nil || !conv.Producer.Is("Conv") || v.in(conv.Producer.Input(0)) == nil || other == nil {
						continue
					}
					if v.in(other) == nil && (other.Producer == nil || !other.Producer.Is("Conv")) {
						report(n, other.Name, "its input %q has no Q/DQ", other.Name)
						break
					}
				}
			}
		},
	},
	{
		ID: "tensorrt-resize", Level: Warning, Targets: tensorrt, Basis: "not run here: TensorRT#2976",
		Title:  "Q/DQ in front of a Resize keep it from a good kernel",
		Remedy: "leave the input of the Resize float",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if n.Is("Resize", "Upsample") && v.in(n.Input(0)) != nil {
					report(n, n.Input(0).Name, "its input %q comes from a DequantizeLinear", n.Input(0).Name)
				}
			}
		},
	},
	{
		ID: "tensorrt-prelu", Level: Warning, Targets: tensorrt, Basis: "not run here: TensorRT#2162",
		Title:  "PRelu is not fused into the convolution in front of it",
		Remedy: "replace it by Relu or LeakyRelu and fine-tune",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if n.Is("PRelu") && n.Input(0) != nil && n.Input(0).Producer != nil && n.Input(0).Producer.Is("Conv") && v.in(n.Input(0).Producer.Input(0)) != nil {
					report(n, "", "it stands between %s and the next quantizer", n.Input(0).Producer)
				}
			}
		},
	},
}
