package passes

import (
	"context"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Sizes replaces neighbouring sizes of a tensor that are taken from its shape one by
// one and put together again, as exporters write them, by one Slice of the shape.
// OpenVINO from 2025.4 on also needs that: where single sizes of a convolution's
// output are gathered it loses the bias (rule openvino-gathered-size of daq lint). Sizes of
// what is as large as the picture are taken from that: ONNX Runtime turns and dequantizes codes only to look
// at their shape else.
var Sizes = Pass{"gathered sizes", func(_ context.Context, m *onnx.Model) (int, error) {
	if m.Opset("") < 10 { // where the bounds of Slice became inputs
		return 0, nil
	}
	changes := 0
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		for _, n := range slices.Clone(g.Nodes) {
			if n.Is("Concat") && n.Int("axis", -1) == 0 && sliceSizes(n) {
				changes++
			}
			if n.Is("Shape") && sizesOfPicture(n) {
				changes++
			}
		}
		return nil
	})
	return changes, err
}}

// sizesOfPicture lets a Shape whose height and width alone are read have the picture as its input. Types must be inferred.
func sizesOfPicture(n *onnx.Node) bool {
	v := n.Input(0)
	if v == nil || v.IsInput() || n.Attr("start") != nil || n.Attr("end") != nil {
		return false
	}
	for _, u := range n.Outputs[0].Uses() {
		from := constInts(u.Node, "", 1)
		if !u.Node.Is("Slice", "Gather") || u.Index != 0 || len(from) != 1 || from[0] < 2 {
			return false
		}
	}
	for _, picture := range n.Graph().Inputs {
		if picture.Const == nil && sameSize(picture, v) {
			n.SetInput(0, picture)
			return true
		}
	}
	return false
}

// sliceSizes replaces the first neighbours among the inputs of a Concat.
func sliceSizes(n *onnx.Node) bool {
	for first := range n.Inputs {
		shape, i := gatheredSize(n.Inputs[first])
		if shape == nil {
			continue
		}
		last := first
		for last+1 < len(n.Inputs) {
			next, j := gatheredSize(n.Inputs[last+1])
			if next == nil || next.Producer.Inputs[0] != shape.Producer.Inputs[0] || j != i+int64(last+1-first) {
				break
			}
			last++
		}
		if last == first {
			continue
		}
		g := n.Graph()
		end := i + int64(last-first) + 1
		bounds := []*onnx.Value{shape, g.AddInitializer(n.Outputs[0].Name+"_start", onnx.Int64s(i)), g.AddInitializer(n.Outputs[0].Name+"_end", onnx.Int64s(end))}
		slice := g.NewNode("Slice", bounds, []string{g.UniqueName(n.Outputs[0].Name + "_sizes")})
		g.InsertBefore(n, slice)
		rest := slices.Clone(n.Inputs[last+1:])
		n.SetInput(first, slice.Outputs[0])
		for k := first + 1; k < len(n.Inputs); k++ {
			n.SetInput(k, nil)
		}
		n.Inputs = n.Inputs[:first+1]
		for k, v := range rest {
			n.SetInput(first+1+k, v)
		}
		return true
	}
	return false
}

// gatheredSize returns the shape and the index that a value of one element is taken
// from; nil when it is another value. Indices from the end are not looked at.
func gatheredSize(v *onnx.Value) (shape *onnx.Value, index int64) {
	if v == nil || v.Producer == nil {
		return nil, 0
	}
	gather, wide := v.Producer, 1 // dimensions of the index
	if gather.Is("Unsqueeze") {
		if axes := constInts(gather, "axes", 1); len(axes) != 1 || gather.Inputs[0] == nil || gather.Inputs[0].Producer == nil {
			return nil, 0
		}
		gather, wide = gather.Inputs[0].Producer, 0
	}
	if !gather.Is("Gather") || gather.Input(0) == nil || gather.Inputs[0].Producer == nil || gather.Int("axis", 0) != 0 {
		return nil, 0
	}
	at := constInts(gather, "", 1)
	shape = gather.Inputs[0]
	if len(at) != 1 || at[0] < 0 || len(gather.Inputs[1].Const.Shape) != wide || !shape.Producer.Is("Shape") ||
		shape.Producer.Attr("start") != nil || shape.Producer.Attr("end") != nil || shape.Producer.Input(0) == nil {
		return nil, 0
	}
	return shape, at[0]
}
