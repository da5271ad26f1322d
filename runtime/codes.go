package runtime

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Static Q/DQ in integers. A QuantizeLinear with one constant scale for all, whose
// codes are read by DequantizeLinear with the same scale only, becomes Encode of
// domain daq.runtime, a Clip of the codes included; those become Decode. The codes are
// a feature map of bytes between the two, and whoever can reads them instead of their
// values: convolutions with whole weights (codes_conv.go), chains of element-wise
// nodes (lowerCodes). Encode goes to the front of what only moves elements.
//
//	x -> QuantizeLinear -> Clip -> DequantizeLinear -> Conv -> Relu -> QuantizeLinear -> ...
//	x -> Encode -> Conv, Relu, Encode -> ...

// isCodes reports whether a value is codes from Encode on.
func (b *builder) isCodes(v *onnx.Value) bool {
	_, ok := b.quantizers[v]
	return ok
}

// codes rewrites the nodes that are executed. What it returns is in no particular
// order; those gone are in the graph still.
func (b *builder) codes(nodes []*onnx.Node, pinned map[*onnx.Value]bool) (all []*onnx.Node, gone map[*onnx.Node]bool) {
	c := &coder{builder: b, pinned: pinned, nodes: slices.Clone(nodes), gone: map[*onnx.Node]bool{}}
	for _, n := range nodes {
		if n.Is("QuantizeLinear") {
			c.encode(n)
		}
	}
	if len(b.quantizers) == 0 {
		return nodes, c.gone
	}
	for i := 0; i < len(c.nodes); i++ { // it grows
		if n := c.nodes[i]; isOurs(n, "Encode") && !c.gone[n] {
			c.forward(n)
		}
	}
	for _, n := range c.nodes {
		if isOurs(n, "Decode") && !c.gone[n] {
			c.readers(n)
		}
	}
	return c.nodes, c.gone
}

func isOurs(n *onnx.Node, op string) bool { return n != nil && n.Domain == Domain && n.Op == op }

type coder struct {
	*builder
	pinned map[*onnx.Value]bool
	nodes  []*onnx.Node
	gone   map[*onnx.Node]bool
}

// alone reports whether v is made in this graph by a node, for nodes of this graph only.
func (c *coder) alone(v *onnx.Value) bool {
	return v != nil && !c.pinned[v] && v.Producer != nil && v.Graph() == c.graph &&
		!slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return u.Node.Graph() != c.graph })
}

// live returns the uses of v by nodes that stay.
func (c *coder) live(v *onnx.Value) []onnx.Use {
	return slices.DeleteFunc(v.Uses(), func(u onnx.Use) bool { return c.gone[u.Node] })
}

// quantizerOf returns the constants of a QuantizeLinear or DequantizeLinear for codes of
// a type, from its least code on.
func (c *coder) quantizerOf(n *onnx.Node, codes onnx.DataType) (q kernels.Quantizer, least int, ok bool) {
	lo, hi, isInt := codeRange(codes)
	scale, _ := c.constOf(n.Inputs[1])
	if !isInt || codes.Bits() > 8 || scale == nil || scale.Type != onnx.Float || scale.Len() != 1 || n.Int("block_size", 0) != 0 {
		return q, 0, false
	}
	zero := 0
	if v := n.Input(2); v != nil {
		t, _ := c.constOf(v)
		if t == nil || t.Type != codes || t.Len() != 1 {
			return q, 0, false
		}
		z, err := toInts(t)
		if err != nil {
			return q, 0, false
		}
		zero = z[0]
	}
	return kernels.Quantizer{Scale: scale.Data.([]float32)[0], Zero: zero - int(lo), Top: int(hi - lo)}, int(lo), true
}

// encode turns a QuantizeLinear and what reads it into Encode and Decode, if it can.
func (c *coder) encode(n *onnx.Node) {
	out, x := n.Outputs[0], n.Inputs[0]
	typ := out.Type.Elem
	q, least, ok := c.quantizerOf(n, typ)
	if !ok || !c.alone(out) || x.Type.Elem != onnx.Float || len(x.Type.Shape) != 4 || !known(x.Type.Shape) || !slices.Equal(x.Type.Shape, out.Type.Shape) {
		return
	}
	codes, clipped := out, q
	var clip *onnx.Node
	if uses := out.Uses(); len(uses) == 1 && uses[0].Index == 0 && uses[0].Node.Is("Clip") {
		clip = uses[0].Node
		if codes = clip.Outputs[0]; !c.alone(codes) {
			return
		}
		if clipped, ok = c.clipped(clip, q, least); !ok {
			return
		}
	}
	uses := codes.Uses()
	for _, u := range uses {
		if u.Index != 0 || !u.Node.Is("DequantizeLinear") || u.Node.Outputs[0].Type.Elem != onnx.Float {
			return
		}
		if back, _, ok := c.quantizerOf(u.Node, typ); !ok || back != q {
			return
		}
	}
	if !clipped.Valid() || len(uses) == 0 {
		return
	}
	c.ours(n, "Encode")
	for _, u := range uses {
		u.Node.SetInput(0, out)
		c.ours(u.Node, "Decode")
	}
	if clip != nil {
		c.gone[clip] = true
	}
	out.Type.Elem = onnx.Uint8
	c.quantizers[out] = clipped
}

// clipped narrows a quantizer to the codes that a Clip leaves.
func (c *coder) clipped(clip *onnx.Node, q kernels.Quantizer, least int) (kernels.Quantizer, bool) {
	bounds := [2]int{0, q.Top}
	for i := range bounds {
		v := clip.Input(i + 1)
		if v == nil {
			continue
		}
		t, _ := c.constOf(v)
		if t == nil || t.Len() != 1 {
			return q, false
		}
		b, err := toInts(t)
		if err != nil {
			return q, false
		}
		bounds[i] = min(max(b[0]-least, 0), q.Top)
	}
	return kernels.Quantizer{Scale: q.Scale, Zero: q.Zero - bounds[0], Top: bounds[1] - bounds[0]}, true
}

// ours makes n a node of our own operators of one operand.
func (c *coder) ours(n *onnx.Node, op string) {
	n.Op, n.Domain = op, Domain
	for i := range n.Inputs[1:] {
		n.SetInput(1+i, nil)
	}
}

// forward moves an Encode in front of what only moves elements, for that alone, and
// drops it where its input has the same codes already.
func (c *coder) forward(n *onnx.Node) {
	x, out := n.Inputs[0], n.Outputs[0]
	q := c.quantizers[out]
	if !c.alone(x) {
		return
	}
	before := x.Producer
	if isOurs(before, "Decode") && c.quantizers[before.Inputs[0]] == q {
		out.ReplaceUses(before.Inputs[0])
		delete(c.quantizers, out)
		c.gone[n] = true
		return
	}
	if len(c.live(x)) > 1 || !c.moves(before) {
		return
	}
	for i, v := range before.Inputs {
		e := c.encoded(v, q)
		before.SetInput(i, e)
	}
	x.Type.Elem = onnx.Uint8
	c.quantizers[x] = q
	out.ReplaceUses(x)
	delete(c.quantizers, out)
	c.gone[n] = true
}

// moves reports whether a node is one that moves bytes as well as floats, and an
// Encode is better before than behind it: one that a convolution in floats does by
// itself is left alone.
func (c *coder) moves(n *onnx.Node) bool {
	if c.gone[n] || n.Domain != "" && n.Domain != "ai.onnx" {
		return false
	}
	for _, v := range n.Inputs {
		if v == nil || v.Graph() != c.graph || v.Producer == nil || v.Type.Elem != onnx.Float || len(v.Type.Shape) != 4 || !known(v.Type.Shape) {
			return false
		}
	}
	if n.Is("DepthToSpace") {
		p := n.Inputs[0].Producer
		return !c.fusableConv(p) || c.wholeConv(p) != nil
	}
	_, ok := concatChannels(n)
	return ok
}

// encoded returns the codes of v, by an Encode that is there or a new one.
func (c *coder) encoded(v *onnx.Value, q kernels.Quantizer) *onnx.Value {
	for _, u := range c.live(v) {
		if isOurs(u.Node, "Encode") && c.quantizers[u.Node.Outputs[0]] == q {
			return u.Node.Outputs[0]
		}
	}
	n := c.graph.NewNode("Encode", []*onnx.Value{v}, []string{c.graph.UniqueName(v.Name + "_codes")})
	n.Domain = Domain
	c.graph.InsertBefore(v.Uses()[0].Node, n)
	n.Outputs[0].Type = onnx.Type{Elem: onnx.Uint8, Shape: v.Type.Shape}
	c.quantizers[n.Outputs[0]] = q
	c.nodes = append(c.nodes, n)
	return n.Outputs[0]
}

// readers lets those who can read codes instead of the values that n makes of them.
func (c *coder) readers(n *onnx.Node) {
	codes, values := n.Inputs[0], n.Outputs[0]
	for _, u := range c.live(values) {
		if u.Node.Graph() != c.graph {
			continue
		}
		if u.Index == 0 && u.Node.Is("Conv") {
			if w := c.wholeConv(u.Node); w != nil {
				u.Node.SetInput(0, codes)
				if bias, ok := c.wholeBias(u.Node, w.scale); ok && c.requantize(u.Node, w.scale) {
					w.whole(bias)
				}
				c.quantized[u.Node] = quantizedInput{codes: w}
			} else {
				c.pictureConv(u.Node)
			}
			continue
		}
		u.Node.SetInput(u.Index, codes)
		if !c.lowers(u.Node) {
			u.Node.SetInput(u.Index, values)
		}
	}
	if len(c.live(values)) == 0 && !c.pinned[values] {
		c.gone[n] = true
	}
}

// lowers reports whether a node is a step of a chain, by itself if need be.
func (c *coder) lowers(n *onnx.Node) bool {
	out := n.Outputs[0]
	if len(n.Outputs) != 1 || !known(out.Type.Shape) || out.Type.Elem != onnx.Float && !c.isCodes(out) {
		return false
	}
	_, ok := c.lower(n, out.Type.Shape, nil)
	return ok
}

// lowerCodes is lower for Encode and Decode.
func (b *builder) lowerCodes(n *onnx.Node, in map[*onnx.Value]bool, fits func(*onnx.Value) bool) (lowered, bool) {
	x := n.Inputs[0]
	switch {
	case isOurs(n, "Encode") && b.isCodes(n.Outputs[0]):
		q := b.quantizer(n, n.Outputs[0])
		ops := []loweredOp{{op: kernels.Level, quantizer: &q}}
		if b.unscaled[n] {
			ops = append(ops, loweredOp{op: kernels.Mul, b: operand{constant: scalar(b.quantizers[n.Outputs[0]].Scale)}})
		}
		return lowered{x, ops}, fits(x)
	case isOurs(n, "Decode") && b.isCodes(x):
		if in[x] {
			return lowered{a: x}, !b.unscaled[n]
		}
		q := b.quantizer(n, x)
		return lowered{x, []loweredOp{{op: kernels.Decode, quantizer: &q}}}, fits(x)
	}
	return lowered{}, false
}

// quantizer returns that of codes as an Encode or Decode of them knows it.
func (b *builder) quantizer(n *onnx.Node, codes *onnx.Value) kernels.Quantizer {
	q := b.quantizers[codes]
	if b.unscaled[n] {
		q.Scale = 1
	}
	return q
}

// endsWithCodes reports whether a group may end with codes: convolutions of floats
// store floats.
func (b *builder) endsWithCodes(g *group, v *onnx.Value) bool {
	return b.isCodes(v) && (g.conv == nil || b.quantized[g.conv].codes != nil)
}
