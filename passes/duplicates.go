package passes

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/daq-sr/daq/onnx"
)

// Duplicates lets readers of a node read an earlier one that computes the same,
// and readers of an initializer an earlier one that holds the same.
var Duplicates = Pass{"duplicate", func(_ context.Context, m *onnx.Model) (int, error) {
	changes := 0
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		changes += mergeInitializers(g) + mergeNodes(g)
		return nil
	})
	return changes, err
}}

func mergeInitializers(g *onnx.Graph) int {
	changes := 0
	first := map[string]*onnx.Value{}
	for _, v := range g.Initializers() {
		t := v.Const
		if t.Type == onnx.String || len(v.Uses()) == 0 || v.IsInput() || v.IsOutput() || t.Check() != nil {
			continue
		}
		key := fmt.Sprintf("%s%v%x", t.Type, t.Shape, sha256.Sum256(t.Data))
		if old := first[key]; old != nil {
			v.ReplaceUses(old)
			changes++
			continue
		}
		first[key] = v
	}
	return changes
}

func mergeNodes(g *onnx.Graph) int {
	changes := 0
	first := map[string]*onnx.Node{}
	for _, n := range slices.Clone(g.Nodes) {
		key, ok := nodeKey(n)
		if !ok {
			continue
		}
		old := first[key]
		if old == nil {
			first[key] = n
			continue
		}
		if slices.ContainsFunc(n.Outputs, func(v *onnx.Value) bool { return v != nil && (v.IsOutput() || listedInside(g, v)) }) {
			continue
		}
		for i, v := range n.Outputs {
			if v != nil {
				v.ReplaceUses(old.Outputs[i])
			}
		}
		g.Remove(n)
		changes++
	}
	return changes
}

// nodeKey is equal for nodes that compute the same; false for nodes it cannot
// compare.
func nodeKey(n *onnx.Node) (string, bool) {
	if strings.HasPrefix(n.Op, "Random") || n.Is("Bernoulli", "Multinomial", "Dropout") {
		return "", false
	}
	parts := make([]string, 0, len(n.Attrs))
	for _, a := range n.Attrs {
		switch a.Value.(type) {
		case nil, *onnx.Tensor, *onnx.Graph:
			return "", false
		}
		parts = append(parts, fmt.Sprintf("%s=%T%v", a.Name, a.Value, a.Value))
	}
	slices.Sort(parts)
	for _, v := range n.Inputs {
		parts = append(parts, fmt.Sprintf("%p", v))
	}
	for _, v := range n.Outputs {
		parts = append(parts, fmt.Sprint(v != nil))
	}
	return fmt.Sprintf("%q %q %q %q", n.Domain, n.Op, n.Overload, parts), true
}
