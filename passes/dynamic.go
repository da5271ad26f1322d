package passes

import "github.com/daq-sr/daq/onnx"

// FreeSize makes height and width of the input picture dynamic where a network
// was exported for one size, as torch.onnx.export does unless told otherwise. It
// reports whether the model now takes pictures of any size: shape inference must
// prove that the output then is a multiple of the input, so sizes that the
// exporter wrote into the graph as constants keep it as it is. Types are inferred
// when it changed something. What is no network of one picture is left alone.
func FreeSize(m *onnx.Model) (bool, error) {
	if len(m.Graph.Inputs) == 0 || len(m.Graph.Outputs) != 1 {
		return true, nil
	}
	shape := m.Graph.Inputs[0].Type.Shape
	if len(shape) != 4 || !shape[2].IsKnown() && !shape[3].IsKnown() {
		return true, nil
	}
	trial := m.Clone()
	if err := freeSize(trial); err != nil || !scales(trial.Graph) {
		return false, nil // what was inferred for other sizes is no fault of the model
	}
	return true, freeSize(m)
}

func freeSize(m *onnx.Model) error {
	x := m.Graph.Inputs[0]
	x.Type.Shape = onnx.Shape{x.Type.Shape[0], x.Type.Shape[1], onnx.Symbol("height"), onnx.Symbol("width")}
	for _, n := range m.Graph.Nodes {
		for _, v := range n.Outputs {
			if v != nil && v.Type.IsTensor() {
				v.Type.Shape = nil
			}
		}
	}
	return onnx.Infer(m)
}

// scales reports whether output height and width are the same multiple of those
// of the input.
func scales(g *onnx.Graph) bool {
	in, out := g.Inputs[0].Type.Shape, g.Outputs[0].Type.Shape
	if len(out) != 4 {
		return false
	}
	high, ok := out[2].Over(in[2])
	wide, also := out[3].Over(in[3])
	return ok && also && high == wide
}
