package passes

import (
	"context"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Shapes replaces shape arithmetic by what inference knows: a number that is the
// same for every image becomes a constant, a Reshape to computed sizes gets a
// constant target with 0 (same size) and -1 (the rest), and a Resize to sizes
// that are a whole multiple of its input gets constant scales.
var Shapes = Pass{"shape arithmetic", func(_ context.Context, m *onnx.Model) (int, error) {
	known, err := onnx.InferValues(m)
	if err != nil {
		return 0, err
	}
	changes := 0
	err = eachGraph(m.Graph, func(g *onnx.Graph) error {
		for _, n := range slices.Clone(g.Nodes) {
			switch {
			case len(n.Outputs) == 1 && known[n.Outputs[0]] != nil && !n.Outputs[0].IsOutput() && !n.Is("Constant") && !listedInside(g, n.Outputs[0]):
				replaceByConstant(n.Outputs[0], known[n.Outputs[0]])
			case n.Is("Reshape") && fixReshape(n), n.Is("Resize") && fixResize(n, m.Opset("")):
			default:
				continue
			}
			changes++
		}
		return nil
	})
	return changes, err
}}

func fixReshape(n *onnx.Node) bool {
	target := n.Input(1)
	if target == nil || target.Const != nil || n.Input(0) == nil {
		return false
	}
	in, out := n.Inputs[0].Type.Shape, n.Outputs[0].Type.Shape
	if out == nil {
		return false
	}
	shape := make([]int64, len(out))
	holes := 0
	for i, d := range out {
		switch {
		case d.Value == 0:
			return false
		case d.IsKnown():
			shape[i] = d.Value
		case d != onnx.Unknown && i < len(in) && in[i] == d:
			shape[i] = 0
		default:
			shape[i] = -1
			holes++
		}
	}
	if holes > 1 {
		return false
	}
	n.RemoveAttr("allowzero")
	n.SetInput(1, n.Graph().AddInitializer(n.Outputs[0].Name+"_shape", onnx.Int64s(shape...)))
	return true
}

// fixResize uses that sizes which are k times the input give the scale k
// exactly.
func fixResize(n *onnx.Node, opset int64) bool {
	sizes := n.Input(3)
	if opset < 11 || sizes == nil || n.Inputs[0] == nil || n.Attr("axes") != nil ||
		n.Str("keep_aspect_ratio_policy", "stretch") != "stretch" || n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize" {
		return false
	}
	in, out := n.Inputs[0].Type.Shape, n.Outputs[0].Type.Shape
	if len(in) == 0 || len(in) != len(out) {
		return false
	}
	scales := make([]float32, len(in))
	for i := range in {
		k, ok := out[i].Over(in[i])
		if !ok || k < 1 || k > 1<<10 {
			return false
		}
		scales[i] = float32(k)
	}
	n.SetInput(2, n.Graph().AddInitializer(n.Outputs[0].Name+"_scales", onnx.Floats([]int64{int64(len(scales))}, scales...)))
	n.SetInput(3, nil)
	n.Inputs = n.Inputs[:3]
	return true
}
