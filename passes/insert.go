package passes

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// insertBefore puts a node of one output in front of another and returns the output, by whose name, made
// unique, the node goes too.
func insertBefore(at *onnx.Node, op, name string, t onnx.Type, inputs []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	g := at.Graph()
	n := g.NewNode(op, inputs, []string{name}, attrs...)
	n.Name, n.Outputs[0].Type = n.Outputs[0].Name, t
	g.InsertBefore(at, n)
	return n.Outputs[0]
}

// withChannels returns the type of feature maps with another number of channels.
func withChannels(t onnx.Type, channels int64) onnx.Type {
	t.Shape = slices.Clone(t.Shape)
	t.Shape[1] = onnx.Known(channels)
	return t
}
