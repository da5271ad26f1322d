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
		if product != nil && product.Is("Add") && isBias(product.Inputs[1], product.Inputs[0].Type.Shape) {
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
		side := codesSideBySide(first.Inputs[0], alone)
		if side != nil && !splits(w.Producer, bias, side) {
			side = nil
		}
		last.Op, last.Attrs = "Conv", nil
		last.SetInput(0, first.Inputs[0])
		last.SetInput(1, w)
		if bias != nil {
			last.SetInput(2, bias)
		}
		if side != nil {
			readParts(last, side)
			gone[side], gone[side.Inputs[0].Producer] = true, true
		}
		gone[first] = true
		for _, n := range between {
			gone[n] = true
		}
	}
	g.RemoveAll(func(n *onnx.Node) bool { return gone[n] })
}

// isBias reports whether a value is a constant for each channel, the last dimension of a shape.
func isBias(v *onnx.Value, shape []onnx.Dim) bool {
	return v.Const != nil && !v.IsInput() && len(v.Const.Shape) == 1 && len(shape) == 4 && shape[3] == onnx.Known(v.Const.Shape[0])
}

// codesSideBySide returns the DequantizeLinear that gives all the codes of several quantizers, which a Concat brings
// together, the same scale and zero point; nil for others.
func codesSideBySide(v *onnx.Value, alone func(*onnx.Value) *onnx.Node) *onnx.Node {
	dq := alone(v)
	if dq == nil || !dq.Is("DequantizeLinear") || !hasQuantizer(dq) {
		return nil
	}
	concat := alone(dq.Inputs[0])
	if concat == nil || !concat.Is("Concat") || concat.Int("axis", 0) != 1 || len(concat.Inputs) < 2 || slices.ContainsFunc(concat.Inputs, func(codes *onnx.Value) bool { return quantizerOf(codes) == nil }) {
		return nil
	}
	return dq
}

// quantizerOf returns the QuantizeLinear that gives codes, nil for others.
func quantizerOf(codes *onnx.Value) *onnx.Node {
	n := codes.Producer
	if n != nil && n.Is("Clip") {
		n = n.Inputs[0].Producer
	}
	if n == nil || !n.Is("QuantizeLinear") || !hasQuantizer(n) || len(codes.Type.Shape) != 4 || !codes.Type.Shape[1].IsKnown() {
		return nil
	}
	return n
}

// hasQuantizer reports whether scale and zero point, of unsigned codes, are constant and those of all channels.
func hasQuantizer(n *onnx.Node) bool {
	scale, zero := n.Inputs[1].Const, n.Input(2)
	return scale != nil && scale.Type == onnx.Float && len(scale.Data) == 4 && zero != nil && zero.Const != nil && zero.Const.Type == onnx.Uint8
}

// splits reports whether weights [outs,ins,1,1] of the codes side by side are constants that readParts can tell apart:
// of signed codes with a scale for each output and no zero point, and as many as there are codes.
func splits(dq *onnx.Node, bias *onnx.Value, side *onnx.Node) bool {
	codes, scales, zero := dq.Inputs[0].Const, dq.Inputs[1].Const, dq.Input(2)
	channels := int64(0)
	for _, part := range side.Inputs[0].Producer.Inputs {
		channels += part.Type.Shape[1].Value
	}
	forEach := func(t *onnx.Tensor) bool {
		return t != nil && t.Type == onnx.Float && int64(len(t.Data)) == 4*codes.Shape[0]
	}
	return codes.Type == onnx.Int8 && codes.Shape[1] == channels && forEach(scales) && (bias == nil || forEach(bias.Const)) &&
		zero != nil && zero.Const != nil && !slices.ContainsFunc(zero.Const.Data, func(b byte) bool { return b != 0 })
}

// readParts lets a 1x1 convolution of codes side by side be the sum of one for each quantizer, of its own values.
//
//	y = Conv (DequantizeLinear (Concat (a, b), s, z), [v, w], bias)
//	y = Add (Conv (DequantizeLinear (a, sa, za), v, bias), Conv (DequantizeLinear (b, sb, zb), w))
func readParts(n, side *onnx.Node) {
	g, y, dq := n.Graph(), n.Outputs[0], n.Inputs[1].Producer
	add := func(op, suffix string, t onnx.Type, inputs []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
		part := g.NewNode(op, inputs, []string{g.UniqueName(y.Name + suffix)}, attrs...)
		part.Name, part.Outputs[0].Type = part.Outputs[0].Name, t
		g.InsertBefore(n, part)
		return part.Outputs[0]
	}
	constant := func(suffix string, t *onnx.Tensor) *onnx.Value {
		return g.AddInitializer(g.UniqueName(y.Name+suffix), t)
	}
	parameters := func(n *onnx.Node) (scale float32, zero int) {
		s, _ := n.Inputs[1].Const.Float32s()
		return s[0], int(n.Inputs[2].Const.Data[0])
	}
	scale, zero := parameters(side)
	weights := dq.Inputs[0].Const
	scales, _ := dq.Inputs[1].Const.Float32s()
	outs, ins := int(weights.Shape[0]), int(weights.Shape[1])
	bias := make([]float64, outs)
	if b := n.Input(2); b != nil {
		old, _ := b.Const.Float32s()
		for o := range bias {
			bias[o] = float64(old[o])
		}
	}
	var products []*onnx.Value
	at := 0
	for _, codes := range side.Inputs[0].Producer.Inputs {
		q, channels := quantizerOf(codes), int(codes.Type.Shape[1].Value)
		own, ownZero := parameters(q)
		var part []byte
		ownScales := make([]float32, outs)
		for o := range outs {
			row := weights.Data[o*ins+at:][:channels]
			part = append(part, row...)
			ownScales[o] = scales[o] * scale / own
			for _, c := range row {
				bias[o] += float64(int8(c)) * float64(scales[o]) * float64(scale) * float64(ownZero-zero)
			}
		}
		at += channels
		shape := []int64{int64(outs), int64(channels), 1, 1}
		values := add("DequantizeLinear", "_values", onnx.Type{Elem: onnx.Float, Shape: codes.Type.Shape}, []*onnx.Value{codes, q.Inputs[1], q.Inputs[2]})
		w := add("DequantizeLinear", "_part", onnx.Type{Elem: onnx.Float, Shape: onnx.ShapeOf(shape...)},
			[]*onnx.Value{constant("_codes", onnx.NewTensorBytes(weights.Type, shape, part)), constant("_scales", onnx.Floats(shape[:1], ownScales...)), dq.Inputs[2]}, onnx.Attr("axis", int64(0)))
		product := add("Conv", "_product", y.Type, []*onnx.Value{values, w})
		products = append(products, product)
	}
	total := make([]float32, outs)
	for o, b := range bias {
		total[o] = float32(b)
	}
	products[0].Producer.SetInput(2, constant("_bias", onnx.Floats([]int64{int64(outs)}, total...)))
	sum, last := products[0], len(products)-1
	for _, product := range products[1:last] {
		sum = add("Add", "_sum", y.Type, []*onnx.Value{sum, product})
	}
	n.Op = "Add"
	n.SetInput(0, sum)
	n.SetInput(1, products[last])
	n.SetInput(2, nil)
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
