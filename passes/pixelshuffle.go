package passes

import (
	"context"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// PixelShuffle makes a DepthToSpace of the Reshape, Transpose and Reshape through six
// dimensions that some exporters write for it: runtimes compute DepthToSpace on codes,
// and blocks of channels move as a whole.
var PixelShuffle = Pass{"pixelshuffle", func(_ context.Context, m *onnx.Model) (int, error) {
	if err := onnx.Infer(m); err != nil {
		return 0, err
	}
	changes := 0
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		for _, last := range slices.Clone(g.Nodes) {
			x, block, mode := pixelShuffle(last, m.Opset(""))
			if x == nil {
				continue
			}
			attrs := []*onnx.Attribute{onnx.Attr("blocksize", block)}
			if mode != "DCR" {
				attrs = append(attrs, onnx.Attr("mode", mode))
			}
			out := last.Outputs[0]
			n := g.NewNode("DepthToSpace", []*onnx.Value{x}, []string{out.Name + "_shuffled"}, attrs...)
			n.Name = last.Name
			n.Outputs[0].Type = out.Type
			g.InsertBefore(last, n)
			if !canShortCut(out, n.Outputs[0]) || listedInside(g, out) {
				g.Remove(n)
				continue
			}
			out.ReplaceUses(n.Outputs[0])
			removeUnread(last)
			changes++
		}
		return nil
	})
	return changes, err
}}

// Modes of DepthToSpace by how Transpose orders [N, .., H, W] of six dimensions.
var shuffleModes = []struct {
	mode          string
	channels      int     // which dimension
	rows, columns int     // inside a block
	perm          []int64 // to [N, channels, H, rows, W, columns]
	opset         int64
}{
	{"CRD", 1, 2, 3, []int64{0, 1, 4, 2, 5, 3}, 11}, // [N, C, r, r, H, W]
	{"DCR", 3, 1, 2, []int64{0, 3, 4, 1, 5, 2}, 1},  // [N, r, r, C, H, W]
}

// pixelShuffle returns what DepthToSpace would read to give the output of a Reshape,
// or nil.
func pixelShuffle(last *onnx.Node, opset int64) (x *onnx.Value, block int64, mode string) {
	transpose := producer(last, "Reshape")
	first := producer(transpose, "Transpose")
	if first == nil || !first.Is("Reshape") {
		return nil, 0, ""
	}
	x = first.Inputs[0]
	in, six, out := x.Type.Shape, first.Outputs[0].Type.Shape, last.Outputs[0].Type.Shape
	if len(in) != 4 || len(six) != 6 || len(out) != 4 || slices.Contains(in, onnx.Unknown) {
		return nil, 0, ""
	}
	for _, m := range shuffleModes {
		r := six[m.rows]
		if opset >= m.opset && slices.Equal(transpose.Ints("perm"), m.perm) && r.IsKnown() && r.Value > 1 && six[m.columns] == r && six[m.channels].IsKnown() &&
			slices.Equal(six[4:], in[2:]) && six[0] == in[0] && in[1] == six[m.channels].Times(r.Value*r.Value) &&
			slices.Equal(out, onnx.Shape{in[0], six[m.channels], in[2].Times(r.Value), in[3].Times(r.Value)}) {
			return x, r.Value, m.mode
		}
	}
	return nil, 0, ""
}

// producer returns what computes the first input of a node of this operator, nil where
// there is none.
func producer(n *onnx.Node, op string) *onnx.Node {
	if n == nil || !n.Is(op) || n.Input(0) == nil {
		return nil
	}
	return n.Inputs[0].Producer
}
