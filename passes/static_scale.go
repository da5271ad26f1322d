package passes

import (
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// FreeSkip puts a Mul by one behind the last skip connection, which stays float
// (place): factors of channels (FoldPlan) end and begin there, so that what the
// last layers read gets its own, free of those that the long row of residual sums
// shares. Types must be inferred.
func FreeSkip(g *onnx.Graph, t *target.Target, l Layers) {
	skip := place(g, t, l).skip
	if skip == nil || channelsOf(skip.Outputs[0]) < 0 || skip.Outputs[0].IsOutput() {
		return
	}
	y := skip.Outputs[0]
	readers := y.Uses()
	ones := slices.Repeat([]float32{1}, int(channelsOf(y)))
	scale := g.AddInitializer(y.Name+"_factors", onnx.Floats([]int64{1, int64(len(ones)), 1, 1}, ones...))
	mul := g.NewNode("Mul", []*onnx.Value{y, scale}, []string{y.Name + "_scaled"})
	mul.Name, mul.Outputs[0].Type = mul.Outputs[0].Name, y.Type
	for _, u := range readers {
		u.Node.SetInput(u.Index, mul.Outputs[0])
	}
	at := slices.Index(g.Nodes, skip)
	g.Nodes = slices.Insert(g.Nodes, at+1, mul)
}

// scalesChannels reports whether a node is a Mul by a constant for each channel,
// [1,C,1,1], which takes factors as a convolution does.
func scalesChannels(n *onnx.Node) bool {
	if !n.Is("Mul") || n.Input(1) == nil || n.Inputs[1].Const == nil || n.Inputs[1].Const.Type != onnx.Float {
		return false
	}
	return slices.Equal(n.Inputs[1].Const.Shape, []int64{1, channelsOf(n.Outputs[0]), 1, 1}) && channelsOf(n.Inputs[0]) == channelsOf(n.Outputs[0])
}

// scaleFactors is scaleWeights for a node that scales channels.
func scaleFactors(n *onnx.Node, factor func(v *onnx.Value, c int) float64) {
	old, _ := n.Inputs[1].Const.Float32s()
	scaled := make([]float32, len(old))
	for c, s := range old {
		scaled[c] = float32(float64(s) * factor(n.Inputs[0], c) / factor(n.Outputs[0], c))
	}
	if !slices.Equal(old, scaled) {
		setConstant(n, 1, n.Inputs[1].Name, onnx.Floats(n.Inputs[1].Const.Shape, scaled...))
	}
}
