package passes

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// A 1x1 convolution is a product of matrices, and where a runtime gives that of codes in floats
// (target.FloatProducts), what adds up its result in float need not round it first.

// canGiveFloats reports whether a node is a convolution that can be such a product: one that gathers
// a block, whose rounding is worth avoiding, or a part of a sum of products alone.
func (p *placement) canGiveFloats(n *onnx.Node) bool {
	if n == nil || !p.target.FloatProducts || !isPointwise(n) || p.target.Form(n) != target.Integer {
		return false
	}
	return n.Inputs[1].Const.Shape[1] >= gatherInputs || isSumOfProducts(soleReader(n.Outputs[0]))
}

func isSumOfProducts(n *onnx.Node) bool {
	return n != nil && n.Is("Add") && !slices.ContainsFunc(n.Inputs, func(v *onnx.Value) bool {
		return v.Producer == nil || !isPointwise(v.Producer) && !isSumOfProducts(v.Producer)
	})
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

// sumsProducts reports whether a node adds up such products and float sums alone, which is done in float.
func (p *placement) sumsProducts(n *onnx.Node) bool {
	return n.Is("Add") && !slices.ContainsFunc(n.Inputs, func(v *onnx.Value) bool {
		return v.Producer == nil || !p.canGiveFloats(v.Producer) && !p.sumsForConcat(v.Producer) && !p.sumsProducts(v.Producer)
	})
}

func isPointwise(n *onnx.Node) bool {
	if !n.Is("Conv") || !takesFactors(n) || n.Int("group", 1) != 1 {
		return false
	}
	w := n.Inputs[1].Const.Shape
	return w[2] == 1 && w[3] == 1 && !padsOrStrides(n)
}

func padsOrStrides(n *onnx.Node) bool {
	return slices.ContainsFunc(n.Ints("pads"), func(x int64) bool { return x != 0 }) ||
		slices.ContainsFunc(n.Ints("strides"), func(x int64) bool { return x != 1 })
}

// readParts lets a 1x1 convolution of the concatenated sums of blocks read each of them by itself: in a Concat
// they would be rounded once more, to one scale for all.
//
//	y = Conv (Concat (a, b), [V, W], bias)
//	y = Add (Conv (a, V, bias), Conv (b, W))
func readParts(g *onnx.Graph, l Layers) {
	for _, n := range slices.Clone(g.Nodes) {
		if !isPointwise(n) || l.Exclude != nil && l.Exclude.MatchString(n.Label()) {
			continue
		}
		whole := n.Inputs[0].Producer
		if whole == nil || !isChannelConcat(whole) || soleReader(whole.Outputs[0]) != n || slices.ContainsFunc(whole.Inputs, func(v *onnx.Value) bool { return !sumsBlock(v) }) {
			continue
		}
		w := n.Inputs[1].Const
		old, _ := w.Float32s()
		name, at, sum := n.Label(), 0, (*onnx.Value)(nil)
		add := func(op, suffix string, inputs []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
			return insertBefore(n, op, name+"_"+suffix, n.Outputs[0].Type, inputs, attrs...)
		}
		for i, v := range whole.Inputs {
			channels := int(channelsOf(v))
			var part []float32
			for row := range slices.Chunk(old, int(w.Shape[1])) {
				part = append(part, row[at:at+channels]...)
			}
			at += channels
			inputs := []*onnx.Value{v, g.AddInitializer(g.UniqueName(fmt.Sprintf("%s_part%d", n.Inputs[1].Name, i)), onnx.Floats([]int64{w.Shape[0], int64(channels), 1, 1}, part...))}
			if i == 0 && n.Input(2) != nil {
				inputs = append(inputs, n.Inputs[2])
			}
			product := add("Conv", fmt.Sprint("part", i), inputs, slices.Clone(n.Attrs)...)
			if sum == nil {
				sum = product
			} else {
				sum = add("Add", fmt.Sprint("sum", i), []*onnx.Value{sum, product})
			}
		}
		n.Outputs[0].ReplaceUses(sum)
		g.RemoveAll(func(m *onnx.Node) bool { return m == n || m == whole })
	}
}

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
	bias := map[*onnx.Node][]float32{}
	for _, n := range g.Nodes {
		if isProduct(n) {
			bias[n] = biasOf(n)
		}
	}
	for _, n := range g.Nodes { // one bias for a sum
		if !n.Is("Add") {
			continue
		}
		a, b := firstProduct(n.Inputs[0], bias), firstProduct(n.Inputs[1], bias)
		if a != nil && b != nil {
			for i := range bias[a] {
				bias[a][i] += bias[b][i]
			}
			clear(bias[b])
		}
	}
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
		if bias := bias[n]; slices.ContainsFunc(bias, func(b float32) bool { return b != 0 }) {
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

// firstProduct returns the first of the products that alone make up a sum which nothing else reads, nil without.
func firstProduct(v *onnx.Value, products map[*onnx.Node][]float32) *onnx.Node {
	switch n := v.Producer; {
	case n == nil || len(v.Uses()) != 1:
		return nil
	case products[n] != nil:
		return n
	case n.Is("Add") && firstProduct(n.Inputs[1], products) != nil:
		return firstProduct(n.Inputs[0], products)
	}
	return nil
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
