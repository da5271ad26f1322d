package runtime

import (
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Dynamic DAQ in integers. After functions are inlined a quantizer is a chain of
// element-wise nodes, and its statistics are averages over squares:
//
//	code  = Min(Max(Floor((X - offset) / scale + 1/2), 0), top)    as Uint8
//	x_hat = code * scale + offset
//	y     = Conv(x_hat, weights, bias)
//
// A convolution that reads such a chain reads X itself instead, with scale and
// offset as its inputs 3 and 4, and computes in integers (quantized_conv.go).
// Averages become daq.runtime.Moments, of each part of a Concat once. What lies
// between them, on one value for each channel, stays as the graph has it. Where
// anything but a convolution reads a value of the chain, or somebody observes it,
// the nodes are executed one by one.

// quantizedInput is what a convolution knows of its input when compiling.
type quantizedInput struct {
	levels []int       // of each channel, or one for all
	codes  *codesInput // instead, of a static one
}

// match takes a chain of nodes apart, from its last value on.
type match struct {
	*builder
	pinned map[*onnx.Value]bool
	nodes  []*onnx.Node // that go when the match is used
}

// step returns the node that makes v if its operator is op and nothing outside of
// the chain reads v, which has so many uses.
func (m *match) step(v *onnx.Value, op string, uses int) *onnx.Node {
	if v == nil || v.Producer == nil || !v.Producer.Is(op) || v.Graph() != m.graph || len(v.Producer.Outputs) != 1 {
		return nil
	}
	if m.pinned[v] || len(v.Uses()) != uses {
		return nil
	}
	m.nodes = append(m.nodes, v.Producer)
	return v.Producer
}

// chain follows first inputs through unary and binary operators, from the last to
// the first, and returns the second inputs and what goes in.
func (m *match) chain(v *onnx.Value, ops ...string) (seconds []*onnx.Value, in *onnx.Value) {
	for i, op := range ops {
		uses := 1
		if i == 0 {
			uses = len(v.Uses()) // the caller's to check
		}
		n := m.step(v, op, uses)
		if n == nil || len(n.Inputs) == 0 {
			return nil, nil
		}
		seconds = append(seconds, n.Input(1))
		v = n.Inputs[0]
	}
	return seconds, v
}

// one reports whether v is a constant of one element x.
func (m *match) one(v *onnx.Value, x float32) bool {
	c := m.values(v)
	return len(c) == 1 && c[0] == x
}

// values returns the elements of a float constant that has one for all channels or
// one for each, and nil for anything else.
func (m *match) values(v *onnx.Value) []float32 {
	if v == nil {
		return nil
	}
	t, err := m.constOf(v)
	if err != nil || t == nil || t.Type != onnx.Float || t.Len() == 0 {
		return nil
	}
	if t.Len() > 1 && (len(t.Shape) != 4 || t.Shape[0] != 1 || t.Shape[1] != t.Len()) {
		return nil
	}
	return t.Data.([]float32)
}

// integers rewrites the nodes that are executed so that quantized convolutions are
// computed in integers.
func (b *builder) integers(nodes []*onnx.Node) ([]*onnx.Node, error) {
	if b.outer != nil || b.options.Exact || b.options.Strict {
		return nodes, nil
	}
	pinned := b.pinned()
	nodes, gone := b.codes(nodes, pinned)
	for _, n := range nodes {
		if !n.Is("Add") {
			continue
		}
		m := &match{builder: b, pinned: pinned}
		x, scale, offset, levels := m.quantizer(n)
		if x == nil {
			continue
		}
		for _, u := range n.Outputs[0].Uses() {
			u.Node.SetInput(0, x)
			u.Node.SetInput(3, scale)
			u.Node.SetInput(4, offset)
			b.quantized[u.Node] = quantizedInput{levels: levels}
		}
		for _, old := range m.nodes {
			gone[old] = true
		}
	}
	if len(gone) == 0 {
		return nodes, nil
	}
	b.graph.RemoveAll(func(n *onnx.Node) bool { return gone[n] })
	nodes = slices.DeleteFunc(nodes, func(n *onnx.Node) bool { return gone[n] })
	nodes = b.statistics(nodes, pinned)
	if err := b.graph.Sort(); err != nil {
		return nil, err
	}
	order := make(map[*onnx.Node]int, len(b.graph.Nodes))
	for i, n := range b.graph.Nodes {
		order[n] = i
	}
	slices.SortFunc(nodes, func(x, y *onnx.Node) int { return order[x] - order[y] })
	return nodes, nil
}

// quantizer matches what ends with x_hat = Add(..., offset), read by convolutions
// only.
func (m *match) quantizer(last *onnx.Node) (x, scale, offset *onnx.Value, levels []int) {
	out := last.Outputs[0]
	if m.pinned[out] || len(out.Uses()) == 0 || len(out.Type.Shape) != 4 {
		return nil, nil, nil, nil
	}
	for _, u := range out.Uses() {
		if u.Index != 0 || len(u.Node.Inputs) > 3 || !m.fusableConv(u.Node) || len(out.Uses()) > 1 && u.Node.Graph() != m.graph {
			return nil, nil, nil, nil
		}
	}
	second, x := m.chain(out, "Add", "Mul", "Cast", "Cast", "Min", "Max", "Floor", "Add", "Div", "Sub")
	if x == nil {
		return nil, nil, nil, nil
	}
	offset, scale = second[0], second[1]
	tops := m.values(second[4])
	if second[9] != offset || second[8] != scale || offset == nil || scale == nil || len(tops) == 0 ||
		!m.one(second[7], 0.5) || !m.one(second[5], 0) || x.Type.Elem != onnx.Float ||
		m.nodes[3].Int("to", 0) != int64(onnx.Uint8) || m.nodes[2].Int("to", 0) != int64(onnx.Float) {
		return nil, nil, nil, nil
	}
	for _, t := range tops {
		l := int(t) + 1
		if float32(l-1) != t || l < 2 || l > kernels.MaxLevels {
			return nil, nil, nil, nil
		}
		levels = append(levels, l)
	}
	channels := out.Type.Shape[1]
	if len(levels) > 1 && channels != onnx.Known(int64(len(levels))) || !channels.IsKnown() {
		return nil, nil, nil, nil
	}
	return x, scale, offset, levels
}

// statistic is the mean and the variance of the values of X above floor.
type statistic struct {
	x              *onnx.Value
	mean, variance *onnx.Value
	floor          []float32 // one for all channels, or one for each
}

// statistics replaces averages over X and over the squared distances from their
// mean. What it returns is in no particular order.
func (b *builder) statistics(nodes []*onnx.Node, pinned map[*onnx.Value]bool) []*onnx.Node {
	gone := map[*onnx.Node]bool{}
	var made []*onnx.Node
	parts := map[partKey]statistic{}
	for _, n := range nodes {
		m := &match{builder: b, pinned: pinned}
		s, ok := m.centred(n)
		if !ok {
			m.nodes = nil
			s, ok = m.above(n)
		}
		if !ok {
			continue
		}
		mean, variance, added := b.moments(s.x, s.floor, parts)
		b.graph.InsertBefore(n, added...)
		made = append(made, added...)
		s.mean.ReplaceUses(mean)
		s.variance.ReplaceUses(variance)
		for _, old := range m.nodes {
			gone[old] = true
		}
	}
	if len(made) > 0 {
		joined := b.averages(nodes, made, pinned, gone)
		b.graph.Append(joined...)
		made = append(made, joined...)
	}
	b.graph.RemoveAll(func(n *onnx.Node) bool { return gone[n] })
	return append(slices.DeleteFunc(nodes, func(n *onnx.Node) bool { return gone[n] }), made...)
}

// centred matches variance = GlobalAveragePool(c*c), c = X - GlobalAveragePool(X).
func (m *match) centred(last *onnx.Node) (s statistic, ok bool) {
	if !last.Is("GlobalAveragePool") || m.pinned[last.Outputs[0]] {
		return s, false
	}
	m.nodes = append(m.nodes, last)
	square := m.step(last.Inputs[0], "Mul", 1)
	if square == nil || square.Inputs[0] != square.Inputs[1] {
		return s, false
	}
	sub := m.step(square.Inputs[0], "Sub", 2)
	if sub == nil {
		return s, false
	}
	s = statistic{x: sub.Inputs[0], mean: sub.Inputs[1], variance: last.Outputs[0], floor: []float32{float32(math.Inf(-1))}}
	return s, m.average(s.mean, s.x) && m.suits(s)
}

// average matches v = GlobalAveragePool(x), which others may read.
func (m *match) average(v, x *onnx.Value) bool {
	n := m.step(v, "GlobalAveragePool", len(v.Uses()))
	return n != nil && n.Inputs[0] == x
}

func (m *match) suits(s statistic) bool {
	shape := s.x.Type.Shape
	if s.x.Type.Elem != onnx.Float || len(shape) != 4 || !shape[1].IsKnown() || m.pinned[s.mean] {
		return false
	}
	return len(s.floor) == 1 || shape[1] == onnx.Known(int64(len(s.floor)))
}

// above matches the same over the values that Greater(X, floor) finds, as averages
// over all values divided by the share of those.
func (m *match) above(last *onnx.Node) (s statistic, ok bool) {
	if !last.Is("Div") || m.pinned[last.Outputs[0]] || len(last.Inputs) != 2 {
		return s, false
	}
	m.nodes = append(m.nodes, last)
	share := last.Inputs[1]
	pool := m.step(last.Inputs[0], "GlobalAveragePool", 1)
	if pool == nil {
		return s, false
	}
	square := m.step(pool.Inputs[0], "Mul", 1)
	if square == nil || square.Inputs[0] != square.Inputs[1] {
		return s, false
	}
	masked := m.step(square.Inputs[0], "Mul", 2)
	if masked == nil {
		return s, false
	}
	sub, inside := m.step(masked.Inputs[0], "Sub", 1), m.step(masked.Inputs[1], "Cast", 2)
	least := m.step(share, "Max", 2)
	if sub == nil || inside == nil || least == nil || inside.Int("to", 0) != int64(onnx.Float) || !m.one(least.Input(1), leastShare) {
		return s, false
	}
	greater, shares := m.step(inside.Inputs[0], "Greater", 1), m.step(least.Inputs[0], "GlobalAveragePool", 1)
	mean := m.step(sub.Inputs[1], "Div", len(sub.Inputs[1].Uses()))
	if greater == nil || shares == nil || mean == nil || shares.Inputs[0] != inside.Outputs[0] || mean.Inputs[1] != share {
		return s, false
	}
	s = statistic{x: sub.Inputs[0], mean: mean.Outputs[0], variance: last.Outputs[0], floor: m.values(greater.Input(1))}
	return s, s.floor != nil && greater.Inputs[0] == s.x && len(mean.Inputs[0].Uses()) == 1 && m.average(mean.Inputs[0], s.x) && m.suits(s)
}

// leastShare keeps channels without a value above floor from dividing by zero.
const leastShare = 1e-12
