package runtime

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// A group is nodes executed as one step: a convolution and the element-wise
// nodes after it, or element-wise nodes alone. Only its last value leaves it;
// the others never exist as tensors. Which operands fit is known when
// compiling, from inferred shapes (onnx.Infer).
type group struct {
	conv    *onnx.Node // nil without
	nodes   []*onnx.Node
	shuffle *onnx.Node // the DepthToSpace among nodes, nil without
	tail    *tail
}

// tail is a chain with the operands that come from outside of the group: first
// the tensors of the chain after its tensor 0, which is the result, then the codes
// after those of the result, then its values.
type tail struct {
	chain    *kernels.Chain
	tensors  int
	codes    int
	operands []operand
	shuffle  shuffle
}

// operand is a value of the graph, or a constant made here.
type operand struct {
	value    *onnx.Value
	constant *Tensor
}

// maxGroup bounds the nodes of a group.
const maxGroup = 48

// fuse finds the groups among nodes in execution order, by their last node, and
// the nodes that are executed with a later one.
func (b *builder) fuse(nodes []*onnx.Node) (groups map[*onnx.Node]*group, inside map[*onnx.Node]bool) {
	groups, inside = map[*onnx.Node]*group{}, map[*onnx.Node]bool{}
	if b.outer != nil {
		return groups, inside
	}
	order := map[*onnx.Node]int{}
	for i, n := range nodes {
		order[n] = i
	}
	pinned := b.pinned()
	taken := map[*onnx.Node]bool{}
	// readers returns the nodes that read a value, and whether these are all.
	readers := func(v *onnx.Value) (list []*onnx.Node, all bool) {
		for _, u := range v.Uses() {
			if _, ok := order[u.Node]; ok {
				list = append(list, u.Node)
			} else if u.Node.Graph() != b.graph {
				return nil, false
			}
		}
		return list, !pinned[v]
	}
	for _, first := range nodes {
		if taken[first] || len(first.Outputs) == 0 || first.Outputs[0] == nil {
			continue
		}
		shape := first.Outputs[0].Type.Shape
		g := &group{}
		foreign := false // a tensor from outside is among the operands
		members, best := []*onnx.Node{first}, 0
		in := map[*onnx.Value]bool{first.Outputs[0]: true}
		if b.fusableConv(first) {
			g.conv = first
		} else if _, ok := b.lower(first, shape, nil); !ok || !known(shape) {
			continue
		}
		for len(members) < maxGroup {
			var next *onnx.Node
			open := 0
			for _, m := range members {
				list, all := readers(m.Outputs[0])
				isOpen := !all || len(list) == 0
				for _, r := range list {
					if slices.Contains(members, r) {
						continue
					}
					isOpen = true
					if next == nil || order[r] < order[next] {
						next = r
					}
				}
				if isOpen {
					open++
				}
			}
			if last := members[len(members)-1].Outputs[0]; open == 1 && (last.Type.Elem == onnx.Float || b.endsWithCodes(g, last)) {
				best = len(members)
			}
			if next == nil || taken[next] || order[next] < order[members[len(members)-1]] {
				break
			}
			if best == len(members) && !foreign && g.shuffle == nil && b.shuffles(g.conv, next) {
				g.shuffle = next
				shape = next.Outputs[0].Type.Shape
			} else if l, ok := b.lower(next, shape, in); ok {
				foreign = foreign || !in[l.a] // reads what lies in the layout before a shuffle
				for _, o := range l.ops {
					foreign = foreign || o.b.value != nil && !in[o.b.value] && slices.Equal(o.b.value.Type.Shape, shape)
				}
				if foreign && g.shuffle != nil {
					break
				}
			} else {
				break
			}
			members = append(members, next)
			in[next.Outputs[0]] = true
		}
		if best == 0 || best == 1 && g.conv != nil {
			continue
		}
		if !slices.Contains(members[:best], g.shuffle) {
			g.shuffle = nil
		}
		g.nodes = members[:best]
		if g.conv != nil {
			g.nodes = members[1:best]
		}
		g.tail = b.link(g)
		for _, m := range members[:best] {
			taken[m] = true
			inside[m] = true
		}
		last := members[best-1]
		delete(inside, last)
		groups[last] = g
	}
	return groups, inside
}

// pinned returns the values that must exist as tensors: outputs, observed ones,
// results of subgraphs.
func (b *builder) pinned() map[*onnx.Value]bool {
	pinned := map[*onnx.Value]bool{}
	var visit func(g *onnx.Graph)
	visit = func(g *onnx.Graph) {
		for _, v := range g.Outputs {
			pinned[v] = true
		}
		for _, n := range g.Nodes {
			for _, v := range n.Outputs {
				if v != nil && b.observe[v.Name] {
					pinned[v] = true
				}
			}
			for _, sub := range n.Subgraphs() {
				visit(sub)
			}
		}
	}
	visit(b.graph)
	return pinned
}

// fusableConv reports whether a node is a convolution that takes a tail: of two
// dimensions, with weights packed when compiling.
func (b *builder) fusableConv(n *onnx.Node) bool {
	return b.packedConv(n) && n.Outputs[0].Type.Elem == onnx.Float && len(n.Outputs[0].Type.Shape) == 4 && known(n.Outputs[0].Type.Shape)
}

// packedConv reports whether a node is a convolution whose weights and padding
// are known when compiling.
func (b *builder) packedConv(n *onnx.Node) bool {
	if !n.Is("Conv") || len(n.Inputs) < 2 {
		return false
	}
	for _, v := range n.Inputs[1:min(3, len(n.Inputs))] {
		if v == nil {
			continue
		}
		if t, err := b.constOf(v); err != nil || t == nil || t.Type != onnx.Float || t.Len() == 0 {
			return false
		}
	}
	pad := n.Str("auto_pad", "NOTSET")
	return pad != "SAME_UPPER" && pad != "SAME_LOWER"
}

// known reports whether every dimension is a number or a symbol.
func known(s onnx.Shape) bool {
	return s != nil && !slices.ContainsFunc(s, func(d onnx.Dim) bool { return !d.IsKnown() && d.Param == "" })
}

// lowered is a node as operations of a chain: each is applied to the result of
// the one before, the first to a. Without operations the node changes the type
// of a only.
type lowered struct {
	a   *onnx.Value
	ops []loweredOp
}

type loweredOp struct {
	op        kernels.Op
	b         operand // empty when the operation has one operand
	quantizer *kernels.Quantizer
}

// lower translates a node whose result has the given shape. in are the values
// of the group so far; only those and codes may be of another type than
// Float, for a chain has floats for everything.
func (b *builder) lower(n *onnx.Node, shape onnx.Shape, in map[*onnx.Value]bool) (l lowered, ok bool) {
	out := n.Outputs[0]
	if len(n.Inputs) == 0 || n.Inputs[0] == nil || !slices.Equal(out.Type.Shape, shape) {
		return l, false
	}
	float := func(v *onnx.Value) bool { return v.Type.Elem == onnx.Float || b.isCodes(v) }
	fits := func(v *onnx.Value) bool { // as a tensor
		return v != nil && slices.Equal(v.Type.Shape, shape) && (in[v] || float(v))
	}
	if n.Domain == Domain {
		return b.lowerCodes(n, in, fits)
	}
	if n.Domain != "" && n.Domain != "ai.onnx" {
		return l, false
	}
	second := func(o operand) (operand, bool) {
		if o.constant != nil {
			return o, true
		}
		return o, o.value != nil && (fits(o.value) || o.value.Type.Elem == onnx.Float && isValues(o.value.Type.Shape, shape))
	}
	x := n.Inputs[0]
	unary := func(op kernels.Op, b float32) (lowered, bool) {
		return lowered{x, []loweredOp{{op: op, b: operand{constant: scalar(b)}}}}, fits(x) && float(x)
	}
	binary := func(op, reversed kernels.Op) (lowered, bool) {
		if len(n.Inputs) != 2 || !float(x) || n.Inputs[1] == nil || !float(n.Inputs[1]) {
			return l, false
		}
		if fits(x) {
			y, ok := second(operand{value: n.Inputs[1]})
			return lowered{x, []loweredOp{{op: op, b: y}}}, ok
		}
		y, ok := second(operand{value: x})
		return lowered{n.Inputs[1], []loweredOp{{op: reversed, b: y}}}, ok && fits(n.Inputs[1]) && reversed != none
	}
	switch n.Op {
	case "Relu":
		return unary(kernels.Max, 0)
	case "LeakyRelu":
		return unary(kernels.Leaky, n.Float("alpha", 0.01))
	case "Sigmoid":
		return unary(kernels.Sigmoid, 0)
	case "Floor":
		return unary(kernels.Floor, 0)
	case "Sqrt":
		return unary(kernels.Sqrt, 0)
	case "Add":
		return binary(kernels.Add, kernels.Add)
	case "Sub":
		return binary(kernels.Sub, kernels.SubFrom)
	case "Mul":
		return binary(kernels.Mul, kernels.Mul)
	case "Div":
		return binary(kernels.Div, kernels.DivInto)
	case "PRelu":
		return binary(kernels.Leaky, none)
	case "Greater":
		return binary(kernels.Greater, none)
	case "Max", "Min":
		op := kernels.Max
		if n.Op == "Min" {
			op = kernels.Min
		}
		l, ok := binary(op, op)
		return l, ok && !fits(l.ops[0].b.value) // of two tensors NaN wins, in a chain only that of the first
	case "Pow":
		if len(n.Inputs) < 2 {
			return l, false
		}
		e, _ := b.constOf(n.Inputs[1])
		if e == nil || e.Len() != 1 || toFloat64(e) == nil || toFloat64(e).Data.([]float64)[0] != 2 {
			return l, false
		}
		return lowered{x, []loweredOp{{op: kernels.Mul, b: operand{value: x}}}}, fits(x) && float(x)
	case "Clip":
		l = lowered{a: x}
		for i, op := range []kernels.Op{kernels.Max, kernels.Min} {
			if v := n.Input(i + 1); v != nil {
				t, _ := b.constOf(v)
				if t == nil || t.Type != onnx.Float || t.Len() != 1 {
					return l, false
				}
				l.ops = append(l.ops, loweredOp{op: op, b: operand{constant: t}})
			} else if name := []string{"min", "max"}[i]; n.Attr(name) != nil {
				l.ops = append(l.ops, loweredOp{op: op, b: operand{constant: scalar(n.Float(name, 0))}})
			}
		}
		return l, fits(x) && float(x) && len(l.ops) > 0
	case "BatchNormalization":
		var p [4]*Tensor
		for i := range p {
			v := n.Input(i + 1)
			if v == nil {
				return l, false
			}
			if p[i], _ = b.constOf(v); p[i] == nil || p[i].Type != onnx.Float {
				return l, false
			}
		}
		factor, offset, err := affine(p, float64(n.Float("epsilon", 1e-5)))
		if err != nil || n.Int("training_mode", 0) != 0 || len(shape) != 4 || shape[1] != onnx.Known(int64(len(factor))) || len(n.Outputs) > 1 {
			return l, false
		}
		channels := func(v []float32) operand {
			return operand{constant: &Tensor{Type: onnx.Float, Shape: []int{len(v)}, Data: v}}
		}
		return lowered{x, []loweredOp{{op: kernels.Mul, b: channels(factor)}, {op: kernels.Add, b: channels(offset)}}}, fits(x) && float(x)
	case "Cast":
		switch from, to := x.Type.Elem, onnx.DataType(n.Int("to", 0)); {
		case from == onnx.Float && to == onnx.Uint8:
			return unary(kernels.Truncate, 0)
		case (from == onnx.Uint8 || from == onnx.Bool) && to == onnx.Float:
			return lowered{a: x}, in[x]
		}
	}
	return l, false
}

// none marks an operation that does not have its operands the other way round.
const none = kernels.Op(-1)

func scalar(v float32) *Tensor { return &Tensor{Type: onnx.Float, Data: []float32{v}} }

// isValues reports whether an operand has one value, or one for each channel of
// a tensor [N,C,H,W].
func isValues(s, shape onnx.Shape) bool {
	one := onnx.Known(1)
	if s == nil {
		return false
	}
	if !slices.ContainsFunc(s, func(d onnx.Dim) bool { return d != one }) {
		return true
	}
	if len(shape) != 4 || len(s) < 3 || len(s) > 4 {
		return false
	}
	if len(s) == 4 {
		if s[0] != one && s[0] != shape[0] {
			return false
		}
		s = s[1:]
	}
	return s[0] == shape[1] && s[1] == one && s[2] == one
}
