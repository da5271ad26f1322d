package passes

import (
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// grid is a set of values with one scale and zero point. What stands between them
// only moves codes, or puts them beside others (Concat): with parameters of its own
// each of them would be rounded again, on the way from one block of a dense network
// to the next several times.
type grid struct {
	values []*onnx.Value // in graph order
	heads  []*onnx.Value // of these, those whose values are all there are: the others are moved from them or part of them
}

// joinGrids finds the grids of the values to quantize. A part of a Concat is on its
// grid when it is a Concat itself, or when nothing else reads it; not so behind an
// absorbed Relu, whose range begins at zero, or one that is moved, as its source may be
// read elsewhere.
func (p *placement) joinGrids() {
	p.grids = map[*onnx.Value]*grid{}
	for _, v := range p.values {
		p.grids[v] = &grid{values: []*onnx.Value{v}}
	}
	join := func(a, b *onnx.Value) {
		to, from := p.grids[a], p.grids[b]
		if from == nil || to == from {
			return
		}
		to.values = append(to.values, from.values...)
		for _, v := range from.values {
			p.grids[v] = to
		}
	}
	for _, v := range p.values {
		switch n := v.Producer; {
		case p.moves(n) && !p.onGrid(n.Inputs[0]):
			join(v, n.Inputs[0])
		case p.concatenates(n):
			for _, in := range n.Inputs {
				if p.concatenates(in.Producer) || p.onlyConcatenated(in) {
					join(v, in)
				}
			}
		}
	}
	for _, v := range p.values {
		g := p.grids[v]
		g.values = slices.DeleteFunc(g.values, func(w *onnx.Value) bool { return w == v })
		g.values = append(g.values, v) // all come by once, in graph order
		if whole, _ := p.whole(v); whole == nil && !(p.moves(v.Producer) && p.grids[v.Producer.Inputs[0]] == g) {
			g.heads = append(g.heads, v)
		}
	}
}

func (p *placement) onlyConcatenated(v *onnx.Value) bool {
	return v.Producer != nil && !p.moves(v.Producer) && p.target.Form(v.Producer) != target.Absorbed && !v.IsOutput() &&
		!slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return !p.concatenates(u.Node) })
}

// passedByFloats reports whether sums on a grid go on in float: what a window cuts off of them, only the layers that read
// codes miss.
func (p *placement) passedByFloats(g *grid) bool {
	isSum := func(v *onnx.Value) bool { return v.Producer != nil && p.sumsForConcat(v.Producer) }
	return slices.ContainsFunc(g.values, func(v *onnx.Value) bool {
		return isSum(v) || p.concatenates(v.Producer) && slices.ContainsFunc(v.Producer.Inputs, isSum)
	})
}

// followers gives what an absorbed Relu makes for a Concat alone the scale of that: its
// codes are then moved up by the zero point, and not rounded again. A float sum that is rounded for
// one Concat, and for convolutions that read it too, gets scale and zero point of that where
// they are no coarser than its own.
func (m *staticPlanner) followers(plan *Plan) {
	whole := map[string]*ActivationPlan{}
	for i := range plan.Activations {
		if a := &plan.Activations[i]; len(a.Readers) == 0 {
			whole[a.Tensor] = a
		}
	}
	for _, v := range m.place.values {
		a := whole[v.Name]
		if c := m.place.concatOfSum(v); c != nil {
			if of := whole[c.Outputs[0].Name]; of.Bits == a.Bits && of.Scale <= a.Scale {
				a.Scale, a.ZeroPoint = of.Scale, of.ZeroPoint
			}
			continue
		}
		if least, _ := a.codes(); a.ZeroPoint != least || v.IsOutput() || v.Producer == nil || m.target.Form(v.Producer) != target.Absorbed {
			continue
		}
		of := whole[v.Uses()[0].Node.Outputs[0].Name]
		if !slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool {
			w := whole[u.Node.Outputs[0].Name]
			return !m.place.concatenates(u.Node) || w.Bits != a.Bits || w.Scale != of.Scale
		}) {
			a.Scale = of.Scale
		}
	}
}

// concatOfSum returns the one Concat on codes that reads a float sum, nil without.
func (p *placement) concatOfSum(v *onnx.Value) (concat *onnx.Node) {
	if v.Producer == nil || !v.Producer.Is("Add", "Sub") || p.madeInIntegers(v) || v.IsOutput() {
		return nil
	}
	for _, u := range v.Uses() {
		if u.Node.Is("Concat") && !p.sideBySide(u.Node) {
			if concat != nil || !p.concatenates(u.Node) {
				return nil
			}
			concat = u.Node
		}
	}
	return concat
}

// moves and concatenates report whether a node does so on codes.
func (p *placement) moves(n *onnx.Node) bool {
	return n != nil && p.target.Form(n) == target.Moves && p.integer(n)
}

func (p *placement) concatenates(n *onnx.Node) bool {
	return n != nil && isChannelConcat(n) && p.integer(n)
}

// whole returns the Concat on the grid of v that v is a part of, nil without, and
// its channel that is the first of v.
func (p *placement) whole(v *onnx.Value) (whole *onnx.Value, at int) {
	for _, u := range v.Uses() {
		if p.concatenates(u.Node) && p.grids[u.Node.Outputs[0]] == p.grids[v] {
			for _, part := range u.Node.Inputs[:u.Index] {
				at += int(channelsOf(part))
			}
			return u.Node.Outputs[0], at
		}
	}
	return nil, 0
}

// onGridOfOthers reports whether a channel is of pixels, which take the grid of the features beside them (AlignPixels).
func (p *placement) onGridOfOthers(v *onnx.Value, c int) bool {
	v, _ = p.part(v, c)
	return isBesideFeatures(v)
}

// part returns the part on the grid of v that channel c is of, and its channel there:
// v itself unless it is a Concat.
func (p *placement) part(v *onnx.Value, c int) (*onnx.Value, int) {
	if !p.concatenates(v.Producer) {
		return v, c
	}
	at := c
	for _, in := range v.Producer.Inputs {
		n := int(channelsOf(in))
		if at < n {
			if p.grids[in] == nil || p.grids[in] != p.grids[v] {
				return v, c
			}
			return p.part(in, at)
		}
		at -= n
	}
	return v, c
}
