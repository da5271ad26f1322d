package passes

import (
	"context"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Constants turns Constant nodes into initializers, and initializers that are
// listed as inputs, as IR version 3 asked for, into initializers only.
var Constants = Pass{"constant", func(_ context.Context, m *onnx.Model) (int, error) {
	changes := 0
	if fixed := withoutDefaults(m.Graph.Inputs); len(fixed) < len(m.Graph.Inputs) {
		changes += len(m.Graph.Inputs) - len(fixed)
		m.Graph.Inputs = fixed
		m.IRVersion = max(m.IRVersion, 4)
	}
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		for _, n := range slices.Clone(g.Nodes) {
			t := n.ConstantTensor()
			if t == nil || n.Outputs[0].IsOutput() {
				continue // a graph output stays the output of a node
			}
			replaceByConstant(n.Outputs[0], t)
			changes++
		}
		return nil
	})
	return changes, err
}}

func withoutDefaults(inputs []*onnx.Value) []*onnx.Value {
	var fixed []*onnx.Value
	for _, v := range inputs {
		if v.Const == nil {
			fixed = append(fixed, v)
		}
	}
	return fixed
}

// replaceByConstant makes readers of v read an initializer of the same name,
// and removes the node that gave v when nothing else of it is read. The value
// must not be a graph output.
func replaceByConstant(v *onnx.Value, t *onnx.Tensor) {
	n, g, name := v.Producer, v.Graph(), v.Name
	v.Rename(g.UniqueName(name + "_old"))
	v.ReplaceUses(g.AddInitializer(name, t.Clone()))
	removeUnread(n)
}

// removeUnread removes a node whose outputs nothing reads.
func removeUnread(n *onnx.Node) {
	for _, v := range n.Outputs {
		if v != nil && (len(v.Uses()) > 0 || v.IsOutput()) {
			return
		}
	}
	n.Graph().Remove(n)
}
