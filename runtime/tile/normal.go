package tile

import "github.com/daq-sr/daq/onnx"

// splitNormalization writes InstanceNormalization as what it is made of, so that its
// statistics are seen:
//
//	y = scale * (x - mean) / sqrt(variance + epsilon) + bias
//
// Nodes whose parameters are not constants of the file stay.
func splitNormalization(m *onnx.Model) {
	g := m.Graph
	var nodes []*onnx.Node
	for _, n := range g.Nodes {
		if n.Is("InstanceNormalization") && len(n.Inputs[0].Type.Shape) == 4 && perChannel(n.Input(1)) && perChannel(n.Input(2)) {
			nodes = append(nodes, n)
		}
	}
	for _, n := range nodes {
		x, y := n.Inputs[0], n.Outputs[0]
		node := func(op string, inputs ...*onnx.Value) *onnx.Value {
			made := g.NewNode(op, inputs, []string{g.UniqueName(y.Name + "_" + op)})
			g.InsertBefore(n, made)
			return made.Outputs[0]
		}
		constant := func(name string, shape []int64, v ...float32) *onnx.Value {
			return g.AddInitializer(y.Name+"_"+name, onnx.Floats(shape, v...))
		}
		parameter := func(i int, name string) *onnx.Value {
			v, _ := n.Inputs[i].Const.Float32s()
			return constant(name, []int64{int64(len(v)), 1, 1}, v...)
		}
		centred := node("Sub", x, node("GlobalAveragePool", x))
		variance := node("GlobalAveragePool", node("Mul", centred, centred))
		deviation := node("Sqrt", node("Add", variance, constant("epsilon", nil, n.Float("epsilon", 1e-5))))
		scaled := node("Mul", node("Div", centred, deviation), parameter(1, "scale"))
		out := node("Add", scaled, parameter(2, "bias"))
		y.ReplaceUses(out)
		g.Remove(n)
	}
}

func perChannel(v *onnx.Value) bool {
	return v != nil && v.Const != nil && v.Const.Type == onnx.Float && len(v.Const.Shape) == 1
}
