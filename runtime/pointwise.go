package runtime

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Pointwise writes products of matrices over the channels, which static graphs for ONNX Runtime have
// (passes.QuantizeStatic), as the 1x1 convolutions that they are. Values that are watched stay.
// Types must be inferred.
//
//	y = Transpose (Add (MatMul (Transpose (x), w), b))
//	y = Conv (x, w, b)
func Pointwise(g *onnx.Graph, watched func(*onnx.Value) bool) {
	alone := func(v *onnx.Value) *onnx.Node {
		if v == nil || v.Producer == nil || v.Graph() != g || len(v.Uses()) != 1 || v.IsOutput() || watched(v) {
			return nil
		}
		return v.Producer
	}
	gone := map[*onnx.Node]bool{}
	for _, last := range slices.Clone(g.Nodes) {
		if !last.Is("Transpose") || !slices.Equal(last.Ints("perm"), []int64{0, 3, 1, 2}) {
			continue
		}
		var bias *onnx.Value
		product := alone(last.Inputs[0])
		between := []*onnx.Node{product}
		if product != nil && product.Is("Add") && product.Inputs[1].Const != nil && !product.Inputs[1].IsInput() && len(product.Inputs[1].Const.Shape) == 1 {
			bias, product = product.Inputs[1], alone(product.Inputs[0])
			between = append(between, product)
		}
		if product == nil || !product.Is("MatMul") {
			continue
		}
		first := alone(product.Inputs[0])
		if first == nil || !first.Is("Transpose") || !slices.Equal(first.Ints("perm"), []int64{0, 2, 3, 1}) {
			continue
		}
		w := turned(alone(product.Inputs[1]))
		if w == nil {
			continue
		}
		last.Op, last.Attrs = "Conv", nil
		last.SetInput(0, first.Inputs[0])
		last.SetInput(1, w)
		if bias != nil {
			last.SetInput(2, bias)
		}
		gone[first] = true
		for _, n := range between {
			gone[n] = true
		}
	}
	g.RemoveAll(func(n *onnx.Node) bool { return gone[n] })
}

// turned makes a DequantizeLinear of constant weights [in, out], with a scale for each output, one of
// weights [out, in, 1, 1]; nil if it cannot.
func turned(dq *onnx.Node) *onnx.Value {
	if dq == nil || !dq.Is("DequantizeLinear") || dq.Int("axis", 1) != 1 || dq.Int("block_size", 0) != 0 {
		return nil
	}
	codes := dq.Inputs[0]
	t := codes.Const
	if t == nil || codes.IsInput() || t.Type.Bits() != 8 || len(t.Shape) != 2 {
		return nil
	}
	ins, outs := t.Shape[0], t.Shape[1]
	data := make([]byte, len(t.Data))
	for i := range ins {
		for o := range outs {
			data[o*ins+i] = t.Data[i*outs+o]
		}
	}
	g, shape := dq.Graph(), []int64{outs, ins, 1, 1}
	dq.SetInput(0, g.AddInitializer(g.UniqueName(codes.Name+"_turned"), onnx.NewTensorBytes(t.Type, shape, data)))
	dq.SetAttr("axis", int64(0))
	dq.Outputs[0].Type.Shape = onnx.ShapeOf(shape...)
	return dq.Outputs[0]
}
