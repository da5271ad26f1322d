package passes

import (
	"context"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Identities removes nodes that give back their input: Identity, Dropout outside
// of training, Cast to the same type, and data movement that moves nothing.
var Identities = Pass{"identity", func(_ context.Context, m *onnx.Model) (int, error) {
	if err := onnx.Infer(m); err != nil {
		return 0, err
	}
	changes := 0
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		for _, n := range slices.Clone(g.Nodes) {
			if !isIdentity(n) {
				continue
			}
			in, out := n.Inputs[0], n.Outputs[0]
			if !canShortCut(out, in) || listedInside(g, out) {
				continue
			}
			out.ReplaceUses(in)
			removeUnread(n)
			changes++
		}
		return nil
	})
	return changes, err
}}

func isIdentity(n *onnx.Node) bool {
	if n.Input(0) == nil || len(n.Outputs) == 0 || n.Outputs[0] == nil {
		return false
	}
	in, out := n.Inputs[0].Type, n.Outputs[0].Type
	switch {
	case n.Is("Identity"):
		return true
	case n.Is("Dropout"):
		training := n.Input(2)
		inference := training == nil || training.Const != nil && len(training.Const.Data) == 1 && training.Const.Data[0] == 0
		return inference && (len(n.Outputs) < 2 || n.Outputs[1] == nil || len(n.Outputs[1].Uses()) == 0 && !n.Outputs[1].IsOutput())
	case n.Is("Cast"):
		return in.IsTensor() && in.Elem == onnx.DataType(n.Int("to", 0))
	case n.Is("Concat", "Sum", "Max", "Min", "Mean"):
		return len(n.Inputs) == 1
	case n.Is("Transpose"):
		return n.Attr("perm") != nil && slices.IsSorted(n.Ints("perm"))
	case n.Is("Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze", "Flatten"):
		return sameShape(in, out)
	case n.Is("Slice"):
		return sameShape(in, out) && forward(n)
	case n.Is("Pad"):
		return sameShape(in, out) && allZero(constInts(n, "pads", 1))
	case n.Is("Resize"):
		return allOne(n)
	}
	return false
}

// sameShape reports whether two types are equal and all sizes are known, if only
// by name: one unknown size is not another.
func sameShape(a, b onnx.Type) bool {
	return a.IsTensor() && a.Shape != nil && a.Elem == b.Elem && slices.Equal(a.Shape, b.Shape) && !slices.Contains(a.Shape, onnx.Unknown)
}

// constInts returns an attribute, or else a constant input; nil when neither is
// there.
func constInts(n *onnx.Node, name string, input int) []int64 {
	if n.Attr(name) != nil {
		return n.Ints(name)
	}
	v := n.Input(input)
	if v == nil || v.Const == nil || v.Const.Check() != nil {
		return nil
	}
	switch v.Const.Type {
	case onnx.Int64:
		return onnx.ViewOf[int64](v.Const.Data)
	case onnx.Int32:
		var out []int64
		for _, x := range onnx.ViewOf[int32](v.Const.Data) {
			out = append(out, int64(x))
		}
		return out
	}
	return nil
}

func allZero(list []int64) bool {
	return list != nil && !slices.ContainsFunc(list, func(x int64) bool { return x != 0 })
}

// forward reports whether a Slice has only steps of 1.
func forward(n *onnx.Node) bool {
	if n.Input(4) == nil {
		return true
	}
	steps := constInts(n, "steps", 4)
	return steps != nil && !slices.ContainsFunc(steps, func(s int64) bool { return s != 1 })
}

// allOne reports whether a Resize has the constant scale 1 everywhere, where
// all modes but tf_crop_and_resize give the input back.
func allOne(n *onnx.Node) bool {
	v := n.Input(len(n.Inputs) - 1)
	if len(n.Inputs) > 3 || v == nil || v.Const == nil || n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize" {
		return false
	}
	scales, err := v.Const.Float32s()
	return err == nil && len(scales) > 0 && !slices.ContainsFunc(scales, func(s float32) bool { return s != 1 })
}

// listedInside reports whether a subgraph gives the value of an outer graph as
// its own output, which is no use that can be redirected.
func listedInside(g *onnx.Graph, v *onnx.Value) bool {
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			if slices.Contains(sub.Outputs, v) || listedInside(sub, v) {
				return true
			}
		}
	}
	return false
}
