package runtime

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Graphs for other runtimes make more channels than are needed, as the kernels there want
// them (passes.QuantizeStatic), and cut them off behind the quantizer. Here a convolution makes those
// that are read.
//
//	x -> Conv -> QuantizeLinear -> DequantizeLinear -> Slice of channels -> y
//	x -> Conv with fewer outputs -> QuantizeLinear -> DequantizeLinear -> y
func (b *builder) narrow() {
	if b.outer != nil || b.options.Exact || b.options.Strict {
		return
	}
	pinned := b.pinned()
	gone := map[*onnx.Node]bool{}
	for _, n := range b.graph.Nodes {
		from, to := channelSlice(n)
		if to <= from || pinned[n.Outputs[0]] {
			continue
		}
		way, conv := []*onnx.Value{n.Inputs[0]}, n.Inputs[0].Producer
		for conv != nil && conv.Is("QuantizeLinear", "DequantizeLinear", "Relu") && (len(conv.Inputs) < 2 || conv.Inputs[1].Const != nil && len(conv.Inputs[1].Const.Shape) == 0) {
			way, conv = append(way, conv.Inputs[0]), conv.Inputs[0].Producer
		}
		if conv == nil || !conv.Is("Conv") || conv.Int("group", 1) != 1 || slices.ContainsFunc(way, func(v *onnx.Value) bool {
			return pinned[v] || len(v.Uses()) != 1 || v.Graph() != b.graph || len(v.Type.Shape) != 4 || v.Type.Shape[1].Value < to
		}) || !b.takeOutputs(conv, from, to) {
			continue
		}
		for _, v := range way {
			v.Type.Shape = slices.Clone(v.Type.Shape)
			v.Type.Shape[1].Value = to - from
		}
		n.Outputs[0].ReplaceUses(n.Inputs[0])
		gone[n] = true
	}
	b.graph.RemoveAll(func(n *onnx.Node) bool { return gone[n] })
}

// channelSlice returns the bounds of a Slice of channels alone; 0 and 0 for any other node.
func channelSlice(n *onnx.Node) (from, to int64) {
	if !n.Is("Slice") || len(n.Inputs) != 4 {
		return 0, 0
	}
	var at [3]int64
	for i := range at {
		v := n.Inputs[1+i]
		if v == nil || v.Const == nil {
			return 0, 0
		}
		x, err := v.Const.Int64s()
		if err != nil || len(x) != 1 || x[0] < 0 {
			return 0, 0
		}
		at[i] = x[0]
	}
	if at[2] != 1 {
		return 0, 0
	}
	return at[0], at[1]
}

// takeOutputs leaves a convolution the outputs from one to another.
func (b *builder) takeOutputs(conv *onnx.Node, from, to int64) bool {
	type change struct {
		node  *onnx.Node
		input int
		with  *onnx.Tensor
	}
	var changes []change
	take := func(n *onnx.Node, i int) bool {
		t := n.Inputs[i].Const
		if t == nil || n.Inputs[i].IsInput() || t.Type.Bits() < 8 || len(t.Shape) == 0 || t.Shape[0] < to {
			return t != nil && len(t.Shape) == 0 // one for all
		}
		size := int64(len(t.Data)) / t.Shape[0]
		changes = append(changes, change{n, i, onnx.NewTensorBytes(t.Type, append([]int64{to - from}, t.Shape[1:]...), t.Data[from*size:to*size])})
		return true
	}
	for i, v := range conv.Inputs[1:] {
		switch {
		case v == nil:
		case v.Const != nil:
			if !take(conv, 1+i) {
				return false
			}
		default:
			dq := v.Producer
			if dq == nil || !dq.Is("DequantizeLinear") || dq.Graph() != b.graph || len(v.Uses()) != 1 || dq.Int("axis", 1) != 0 || dq.Int("block_size", 0) != 0 {
				return false
			}
			for k := range dq.Inputs {
				if dq.Inputs[k] == nil || !take(dq, k) {
					return false
				}
			}
		}
	}
	for _, c := range changes {
		c.node.SetInput(c.input, b.graph.AddInitializer(b.graph.UniqueName(c.node.Inputs[c.input].Name+"_part"), c.with))
		if !c.node.Is("Conv") {
			c.node.Outputs[0].Type.Shape = onnx.ShapeOf(c.with.Shape...)
		}
	}
	return true
}
