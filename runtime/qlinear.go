package runtime

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// expand replaces every QLinearConv with constant weights and scales by what it
// stands for: DequantizeLinear, Conv and QuantizeLinear, which are executed in
// integers like any other (codes.go). Sums that QLinearConv has exactly are rounded
// where no integer kernel suits.
func (b *builder) expand() error {
	if b.outer != nil || b.options.Exact || b.options.Strict {
		return nil
	}
	changed := false
	for _, n := range slices.Clone(b.graph.Nodes) {
		if n.Is("QLinearConv") && b.expandConv(n) {
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return b.graph.Sort()
}

func (b *builder) expandConv(n *onnx.Node) bool {
	out := n.Outputs[0]
	if len(n.Inputs) < 8 || slices.Contains(n.Inputs[:8], nil) || out.Type.Shape == nil {
		return false
	}
	for i, v := range n.Inputs {
		if i > 0 && v != nil && (v.Const == nil || v.IsInput()) {
			return false
		}
	}
	g := b.graph
	value := func(op string, typ onnx.Type, inputs []*onnx.Value, attributes ...*onnx.Attribute) *onnx.Value {
		node := g.NewNode(op, inputs, []string{g.UniqueName(out.Name + "_" + op)}, attributes...)
		node.Outputs[0].Type = typ
		g.InsertBefore(n, node)
		return node.Outputs[0]
	}
	in := n.Inputs
	var floats *onnx.Tensor
	if bias := n.Input(8); bias != nil {
		var err error
		if floats, err = floatBias(bias.Const, in[1].Const, in[4].Const); err != nil {
			return false // who executes the node says why
		}
	}
	x := value("DequantizeLinear", onnx.Type{Elem: onnx.Float, Shape: in[0].Type.Shape}, in[:3])
	w := value("DequantizeLinear", onnx.Type{Elem: onnx.Float, Shape: in[3].Type.Shape}, in[3:6], onnx.Attr("axis", int64(0)))
	inputs := []*onnx.Value{x, w}
	if floats != nil {
		inputs = append(inputs, g.AddInitializer(g.UniqueName(out.Name+"_bias"), floats))
	}
	y := value("Conv", onnx.Type{Elem: onnx.Float, Shape: out.Type.Shape}, inputs, n.Attrs...)
	for i, v := range []*onnx.Value{y, in[6], in[7]} {
		n.SetInput(i, v)
	}
	for i := range n.Inputs[3:] {
		n.SetInput(3+i, nil)
	}
	n.Op, n.Attrs = "QuantizeLinear", nil
	return true
}

// floatBias is an Int32 bias, whose scale is the product of two.
func floatBias(bias, inputs, weights *onnx.Tensor) (*onnx.Tensor, error) {
	var scales [2][]float32
	for i, c := range []*onnx.Tensor{inputs, weights} {
		t, err := FromONNX(c)
		if err != nil {
			return nil, err
		}
		if scales[i], err = t.Float32s(); err != nil {
			return nil, err
		}
	}
	t, err := FromONNX(bias)
	if err != nil {
		return nil, err
	}
	whole, ok := t.Data.([]int32)
	if !ok || len(scales[0]) != 1 || len(scales[1]) != 1 && len(scales[1]) != len(whole) {
		return nil, fmt.Errorf("bias %s does not fit the scales", t)
	}
	data := make([]float32, len(whole))
	for o, v := range whole {
		data[o] = float32(float64(v) * float64(scales[0][0]) * float64(scales[1][o%len(scales[1])]))
	}
	return onnx.Floats([]int64{int64(len(data))}, data...), nil
}
