package passes

import (
	"context"
	"strconv"

	"github.com/daq-sr/daq/onnx"
)

// Names gives nodes of the main graph that share a name, which ONNX allows, names
// of their own: plans, --include and --exclude tell convolutions apart by name.
var Names = Pass{"name", func(_ context.Context, m *onnx.Model) (int, error) {
	taken := map[string]bool{}
	for _, n := range m.Graph.Nodes {
		taken[n.Name] = true
	}
	changes := 0
	seen := map[string]bool{"": true} // nameless nodes go by their output
	for _, n := range m.Graph.Nodes {
		if n.Name != "" && seen[n.Name] {
			n.Name = freeName(n.Name, taken)
			taken[n.Name] = true
			changes++
		}
		seen[n.Name] = true
	}
	return changes, nil
}}

func freeName(base string, taken map[string]bool) string {
	for i := 1; ; i++ {
		if name := base + "_" + strconv.Itoa(i); !taken[name] {
			return name
		}
	}
}
