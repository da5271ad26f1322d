package passes

import (
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// A 1x1 convolution is a product of matrices, and where a runtime gives that of codes in floats
// (target.FloatProducts), what adds up its result in float need not round it first.

// canGiveFloats reports whether a node is a convolution that can be such a product: one that gathers
// a block, whose rounding is worth avoiding.
func (p *placement) canGiveFloats(n *onnx.Node) bool {
	if n == nil || !p.target.FloatProducts || !isPointwise(n) || p.target.Form(n) != target.Integer {
		return false
	}
	return n.Inputs[1].Const.Shape[1] >= gatherInputs
}

// givesFloats reports whether a node in integers gives floats, because all that read it take them.
func (p *placement) givesFloats(n *onnx.Node) bool {
	return p.convs[n] && p.canGiveFloats(n) && takenAsFloats(n.Outputs[0], func(n *onnx.Node) bool {
		return p.integer(n) || p.target.Form(n) == target.Absorbed
	})
}

func takenAsFloats(v *onnx.Value, takesCodes func(*onnx.Node) bool) bool {
	return len(v.Uses()) > 0 && !v.IsOutput() && !slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return takesCodes(u.Node) })
}

func isPointwise(n *onnx.Node) bool {
	if !isPlainConv(n) {
		return false
	}
	w := n.Inputs[1].Const.Shape
	return w[2] == 1 && w[3] == 1 && !padsOrStrides(n)
}

func padsOrStrides(n *onnx.Node) bool {
	return slices.ContainsFunc(n.Ints("pads"), func(x int64) bool { return x != 0 }) ||
		slices.ContainsFunc(n.Ints("strides"), func(x int64) bool { return x != 1 })
}

// sideBySide reports whether a node brings sums of blocks together for such a product alone, which reads the codes of
// each as they are: in a Concat on one grid they would be rounded once more, to one scale for all.
func (p *placement) sideBySide(n *onnx.Node) bool {
	if n == nil || !isChannelConcat(n) || slices.ContainsFunc(n.Inputs, func(v *onnx.Value) bool { return !sumsBlock(v) }) {
		return false
	}
	next := soleReader(n.Outputs[0])
	return p.convs[next] && p.canGiveFloats(next)
}

// AlignParts lets a product read parts that are side by side in units of a step of the first of them, so that weights
// are rounded for the codes. It leaves the outputs of the graph what they were.
//
//	y = Conv (Concat (a, b), W)
//	y = Conv (Mul (Concat (a, b), steps), W / steps)
func AlignParts(g *onnx.Graph, plan *Plan) {
	steps := map[string]float32{}
	for _, a := range plan.Activations {
		if len(a.Readers) == 0 {
			steps[a.Tensor] = a.Scale
		}
	}
	for _, n := range slices.Clone(g.Nodes) {
		if !isPointwise(n) || !slices.ContainsFunc(plan.Weights, func(w WeightPlan) bool { return w.Node == n.Label() }) {
			continue
		}
		x := n.Inputs[0]
		if steps[x.Name] != 0 || soleReader(x) == nil || x.Producer == nil || !isChannelConcat(x.Producer) || slices.ContainsFunc(x.Producer.Inputs, func(v *onnx.Value) bool { return steps[v.Name] == 0 }) {
			continue
		}
		factors := inFirst(x.Producer.Inputs, func(v *onnx.Value) float32 { return steps[v.Name] })
		old, _ := n.Inputs[1].Const.Float32s()
		var unscaled []float32
		for i, w := range old {
			unscaled = append(unscaled, w/factors[i%len(factors)])
		}
		setConstant(n, 1, n.Inputs[1].Name, onnx.Floats(n.Inputs[1].Const.Shape, unscaled...))
		steps := g.AddInitializer(x.Name+"_steps", onnx.Floats([]int64{1, int64(len(factors)), 1, 1}, factors...))
		n.SetInput(0, insertBefore(n, "Mul", x.Name+"_aligned", x.Type, []*onnx.Value{x, steps}))
	}
}

// inFirst returns the step of the first part in those of each channel.
func inFirst(parts []*onnx.Value, step func(*onnx.Value) float32) (factors []float32) {
	for _, v := range parts {
		factors = append(factors, slices.Repeat([]float32{step(parts[0]) / step(v)}, int(channelsOf(v)))...)
	}
	return factors
}

// partsOf returns the dequantized parts side by side that a convolution reads in units of the first (AlignParts), nil
// for others.
func partsOf(n *onnx.Node) []*onnx.Value {
	mul := n.Inputs[0].Producer
	if !isPointwise(n) || mul == nil || !scalesChannels(mul) || mul.Inputs[0].Producer == nil || !isChannelConcat(mul.Inputs[0].Producer) {
		return nil
	}
	parts := slices.Clone(mul.Inputs[0].Producer.Inputs)
	if slices.ContainsFunc(parts, func(v *onnx.Value) bool { return !isDequantized(v) || v.Producer.Inputs[1].Const == nil }) {
		return nil
	}
	factors, _ := mul.Inputs[1].Const.Float32s()
	if !slices.Equal(factors, inFirst(parts, func(v *onnx.Value) float32 {
		scale, _ := v.Producer.Inputs[1].Const.Float32s()
		return scale[0]
	})) {
		return nil
	}
	return parts
}

// readCodes lets a product read the codes of parts side by side as if all had scale and zero point of the first.
// What zero points differ by goes to the bias, which is exact, as a product has no padding.
//
//	y = Conv (Mul (Concat (DequantizeLinear (a), DequantizeLinear (b)), steps), w, bias)
//	y = Conv (DequantizeLinear (Concat (a, b)), w, bias)
func readCodes(n *onnx.Node, parts []*onnx.Value) {
	x, first := n.Inputs[0], parts[0].Producer
	w, b := n.Inputs[1].Producer.Inputs[0].Const, n.Inputs[2].Producer
	weights, bias := onnx.ViewOf[int8](w.Data), slices.Clone(onnx.ViewOf[int32](b.Inputs[0].Const.Data))
	var codes []*onnx.Value
	at := 0
	for _, v := range parts {
		codes = append(codes, v.Producer.Inputs[0])
		off := int32(zeroPoint(first)) - int32(zeroPoint(v.Producer))
		channels := int(channelsOf(v))
		for o := range bias {
			for _, c := range weights[o*int(w.Shape[1])+at:][:channels] {
				bias[o] += off * int32(c)
			}
		}
		at += channels
	}
	setConstant(b, 0, b.Inputs[0].Name, onnx.NewTensor(onnx.Int32, b.Inputs[0].Const.Shape, bias))
	whole := insertBefore(n, "Concat", x.Name+"_codes", withChannels(codes[0].Type, channelsOf(x)), codes, onnx.Attr("axis", int64(1)))
	n.SetInput(0, insertBefore(n, "DequantizeLinear", x.Name+"_dequantized", x.Type, []*onnx.Value{whole, first.Inputs[1], first.Inputs[2]}))
	concat := x.Producer.Inputs[0].Producer
	removeUnread(x.Producer)
	removeUnread(concat)
	for i, v := range parts {
		if !slices.Contains(parts[:i], v) {
			removeUnread(v.Producer)
		}
	}
}

// zeroPoint returns the zero point of a DequantizeLinear with one for all channels.
func zeroPoint(dq *onnx.Node) uint8 { return dq.Inputs[2].Const.Data[0] }

// sumsBlock reports whether a value is the sum of what a 1x1 convolution gathers from a block and what went into it.
func sumsBlock(v *onnx.Value) bool {
	n := v.Producer
	return n != nil && n.Is("Add") && channelsOf(v) > 0 && slices.ContainsFunc(n.Inputs, func(v *onnx.Value) bool {
		return v.Producer != nil && isPointwise(v.Producer) && v.Producer.Inputs[1].Const.Shape[1] >= gatherInputs
	})
}

// giveFloats writes the 1x1 convolutions of codes whose result is read in float as products of
// matrices.
//
//	y = Conv (x, w, b)
//	y = Transpose (Add (MatMul (Transpose (x), w), b))
func giveFloats(g *onnx.Graph) {
	for _, n := range slices.Clone(g.Nodes) {
		if !isProduct(n) {
			continue
		}
		dq := n.Inputs[1].Producer
		codes := dq.Inputs[0].Const
		name, x, y := n.Label(), n.Inputs[0], n.Outputs[0]
		add := func(op, suffix string, shape []onnx.Dim, inputs []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
			return insertBefore(n, op, name+suffix, onnx.Type{Elem: onnx.Float, Shape: shape}, inputs, attrs...)
		}
		outs, ins := int(codes.Shape[0]), int(codes.Shape[1])
		turned := make([]byte, len(codes.Data))
		for o := range outs {
			for i := range ins {
				turned[i*outs+o] = codes.Data[o*ins+i]
			}
		}
		w := g.AddInitializer(g.UniqueName(dq.Inputs[0].Name+"_turned"), onnx.NewTensorBytes(codes.Type, []int64{int64(ins), int64(outs)}, turned))
		matrix := add("DequantizeLinear", "_matrix", onnx.ShapeOf(int64(ins), int64(outs)), []*onnx.Value{w, dq.Inputs[1], dq.Inputs[2]}, onnx.Attr("axis", int64(1)))
		last := func(s []onnx.Dim) []onnx.Dim { return []onnx.Dim{s[0], s[2], s[3], s[1]} }
		rows := add("Transpose", "_rows", last(x.Type.Shape), []*onnx.Value{x}, onnx.Attr("perm", []int64{0, 2, 3, 1}))
		product := add("MatMul", "_product", last(y.Type.Shape), []*onnx.Value{rows, matrix})
		if bias := biasOf(n); slices.ContainsFunc(bias, func(b float32) bool { return b != 0 }) {
			product = add("Add", "_biased", last(y.Type.Shape), []*onnx.Value{product, g.AddInitializer(g.UniqueName(name+"_bias"), onnx.Floats([]int64{int64(outs)}, bias...))})
		}
		turn := g.NewNode("Transpose", []*onnx.Value{product}, []string{g.UniqueName(name + "_turned")}, onnx.Attr("perm", []int64{0, 3, 1, 2}))
		turn.Name, turn.Outputs[0].Type = n.Name, y.Type
		g.InsertBefore(n, turn)
		y.ReplaceUses(turn.Outputs[0])
		parameters := []*onnx.Node{dq, n.Inputs[2].Producer}
		g.RemoveAll(func(m *onnx.Node) bool { return m == n })
		g.RemoveAll(func(m *onnx.Node) bool { return slices.Contains(parameters, m) && len(m.Outputs[0].Uses()) == 0 })
	}
}

func isDequantized(v *onnx.Value) bool {
	return v != nil && v.Producer != nil && v.Producer.Is("DequantizeLinear")
}

// isProduct reports whether a node is a 1x1 convolution of codes whose result is read in float.
func isProduct(n *onnx.Node) bool {
	if !n.Is("Conv") || n.Int("group", 1) != 1 || padsOrStrides(n) || !isDequantized(n.Inputs[0]) || !isDequantized(n.Inputs[1]) {
		return false
	}
	w := n.Inputs[1].Producer.Inputs[0].Const
	return w != nil && w.Shape[2] == 1 && w.Shape[3] == 1 && isDequantized(n.Input(2)) &&
		takenAsFloats(n.Outputs[0], func(n *onnx.Node) bool { return n.Is("QuantizeLinear", "Relu") })
}

// biasOf returns the bias that a convolution in integers dequantizes.
func biasOf(n *onnx.Node) []float32 {
	dq := n.Inputs[2].Producer
	codes := onnx.ViewOf[int32](dq.Inputs[0].Const.Data)
	scale, _ := dq.Inputs[1].Const.Float32s()
	bias := make([]float32, len(codes))
	for i, c := range codes {
		bias[i] = float32(c) * scale[i]
	}
	return bias
}
