package passes

import (
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// splitSides gives what convolutions make for float sums a quantizer for each side of zero: 256
// codes for what is above and 256 for what is below, each with a range of its own. That is at
// most a quarter of the noise of one quantizer for both, and two convolutions in integers take
// less time than one in float. It is done to the convolution in front of the last skip
// connection and to those whose sums are concatenated, whose errors all that follows reads. Values stay what they were. Types must be inferred.
//
//	y = Conv (x, W, b)
//	y = Sub (Relu (Conv (x, W, b)), Relu (Conv (x, -W, -b)))
func splitSides(m *onnx.Model, t *target.Target, l Layers) {
	if t.Activations.Symmetric || t.Operators["Relu"] != target.Absorbed {
		return // codes for one side alone are what it has not
	}
	p := place(m.Graph, t, l)
	for _, n := range slices.Clone(m.Graph.Nodes) {
		if !p.canHaveSides(n) || l.Exclude != nil && l.Exclude.MatchString(n.Label()) {
			continue
		}
		last := p.endsInSkip(n) && soleReader(n.Outputs[0]) == p.skip
		if last && share(m, []onnx.Use{{Node: n}}) >= skipShare || p.convs[n] && p.gathers(n) {
			splitConv(n)
		}
	}
}

// skipShare is the share that the convolution in front of the last skip has of a network's multiplications at
// least where computing it in integers is worth 0.01 dB: EDSR_x2 (0.046) is 7% faster then, SRResNet_x4
// (0.022) 2%.
const skipShare = 1. / 30

// gatherInputs are as many products as an output has at least of a convolution that gathers a block.
const gatherInputs = 128

// canHaveSides reports whether two convolutions in integers can take the place of one. What
// it reads is rounded already: else that would cost more than it saves.
func (p *placement) canHaveSides(n *onnx.Node) bool {
	return n.Is("Conv") && takesFactors(n) && p.target.Form(n) == target.Integer && !isPicture(n.Inputs[0]) && p.quantizes(n.Inputs[0]) && !isThin(n.Outputs[0]) && !p.canGiveFloats(n)
}

// gathers reports whether a convolution gives what a concatenated sum reads, of many inputs.
func (p *placement) gathers(n *onnx.Node) bool {
	shape := n.Inputs[1].Const.Shape
	return shape[1]*shape[2]*shape[3] >= gatherInputs && slices.ContainsFunc(n.Outputs[0].Uses(), func(u onnx.Use) bool { return p.sumsForConcat(u.Node) })
}

func splitConv(n *onnx.Node) {
	g, y := n.Graph(), n.Outputs[0]
	readers := y.Uses()
	inputs := []*onnx.Value{n.Inputs[0]}
	for _, v := range n.Inputs[1:] {
		if v != nil {
			v = g.AddInitializer(v.Name+"_below", negated(v.Const))
		}
		inputs = append(inputs, v)
	}
	at := slices.Index(g.Nodes, n) + 1
	add := func(op, name string, inputs []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
		node := g.NewNode(op, inputs, []string{name}, attrs...)
		node.Name, node.Outputs[0].Type = node.Outputs[0].Name, y.Type
		g.Nodes = slices.Insert(g.Nodes, at, node)
		at++
		return node.Outputs[0]
	}
	name := n.Label()
	above := add("Relu", name+"_above", []*onnx.Value{y})
	below := add("Conv", name+"_negative", inputs, slices.Clone(n.Attrs)...)
	below = add("Relu", name+"_below", []*onnx.Value{below})
	both := add("Sub", name+"_sides", []*onnx.Value{above, below})
	for _, u := range readers {
		u.Node.SetInput(u.Index, both)
	}
}

func negated(t *onnx.Tensor) *onnx.Tensor {
	data, _ := t.Float32s()
	return onnx.Floats(t.Shape, negative(data)...)
}

// isSide reports whether a convolution makes one side of zero of a value (splitSides).
func isSide(n *onnx.Node) bool {
	relu := soleReader(n.Outputs[0])
	if relu == nil || !relu.Is("Relu") {
		return false
	}
	sub := soleReader(relu.Outputs[0])
	if sub == nil || !sub.Is("Sub") {
		return false
	}
	return !slices.ContainsFunc(sub.Inputs, func(v *onnx.Value) bool { return v.Producer == nil || !v.Producer.Is("Relu") })
}
