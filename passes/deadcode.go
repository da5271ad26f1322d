package passes

import (
	"context"

	"github.com/daq-sr/daq/onnx"
)

// DeadCode removes nodes and initializers that no output needs.
var DeadCode = Pass{"dead code", func(_ context.Context, m *onnx.Model) (int, error) {
	changes := 0
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		live := map[*onnx.Node]bool{}
		for _, o := range g.Outputs {
			markLive(o, live)
		}
		before := len(g.Nodes)
		g.RemoveAll(func(n *onnx.Node) bool { return !live[n] })
		changes += before - len(g.Nodes)
		before = len(g.Initializers())
		g.DropUnused()
		changes += before - len(g.Initializers())
		return nil
	})
	return changes, err
}}

// markLive marks the nodes a value needs, in outer graphs too. It keeps a stack
// of its own: a network may be deeper than that of the machine.
func markLive(v *onnx.Value, live map[*onnx.Node]bool) {
	stack := []*onnx.Value{v}
	for len(stack) > 0 {
		v, stack = stack[len(stack)-1], stack[:len(stack)-1]
		if v == nil || v.Producer == nil || live[v.Producer] {
			continue
		}
		live[v.Producer] = true
		stack = append(stack, needs(v.Producer)...)
	}
}

// needs returns what a node reads, in its subgraphs too.
func needs(n *onnx.Node) []*onnx.Value {
	values := append([]*onnx.Value(nil), n.Inputs...)
	for _, sub := range n.Subgraphs() {
		values = append(values, sub.Outputs...)
		for _, inner := range sub.Nodes {
			values = append(values, needs(inner)...)
		}
	}
	return values
}
