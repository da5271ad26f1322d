package passes

import (
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// FreeSkip puts a Mul by one behind the last skip connection, which stays float
// (place): factors of channels (FoldPlan) end and begin there, so that what the
// last layers read gets its own, free of those that the long row of residual sums
// shares. Where it costs little, values above and below zero become channels of their own
// (readSigns); not where sums of blocks are concatenated, which lose many times as much. Types must be inferred.
func FreeSkip(m *onnx.Model, t *target.Target, l Layers) {
	g := m.Graph
	p := place(g, t, l)
	skip := p.skip
	if skip == nil || channelsOf(skip.Outputs[0]) < 0 || !slices.ContainsFunc(skip.Outputs[0].Uses(), p.wantsFactors) {
		return
	}
	y := skip.Outputs[0]
	readers, x := y.Uses(), y
	factors := slices.Repeat([]float32{1}, int(channelsOf(y)))
	at := slices.Index(g.Nodes, skip)
	add := func(op, name string, inputs []*onnx.Value, channels int, attrs ...*onnx.Attribute) *onnx.Value {
		n := g.NewNode(op, inputs, []string{y.Name + name}, attrs...)
		n.Name, n.Outputs[0].Type = n.Outputs[0].Name, withChannels(y.Type, int64(channels))
		at++
		g.Nodes = slices.Insert(g.Nodes, at, n)
		return n.Outputs[0]
	}
	signs := !t.Activations.Symmetric && p.canReadSigns(readers) && !slices.ContainsFunc(g.Nodes, p.sumsForConcat) && share(m, readers) <= signsShare
	if channels, _ := convChannels(y); channels > 0 && !signs {
		return // both sides are made by convolutions for it alone, which take factors themselves
	}
	if signs {
		// Not factors of -1: OpenVINO takes them into the codes wrongly (rule openvino-negative-factor of daq lint).
		below := add("Neg", "_negative", []*onnx.Value{y}, len(factors))
		factors = append(factors, factors...)
		x = add("Concat", "_sides", []*onnx.Value{y, below}, len(factors), onnx.Attr("axis", int64(1)))
	}
	scale := g.AddInitializer(y.Name+"_factors", onnx.Floats([]int64{1, int64(len(factors)), 1, 1}, factors...))
	x = add("Mul", "_scaled", []*onnx.Value{x, scale}, len(factors))
	if signs {
		x = add("Relu", "_signs", []*onnx.Value{x}, len(factors))
	}
	for _, u := range readers {
		u.Node.SetInput(u.Index, x)
		if signs {
			readSigns(u.Node)
		}
	}
}

// wantsFactors reports whether what reads a value could have factors of its channels: not a convolution in float.
func (p *placement) wantsFactors(u onnx.Use) bool {
	return !u.Node.Is("Conv", "ConvTranspose") || p.convs[u.Node]
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
