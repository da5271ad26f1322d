package passes

import (
	"math"

	"github.com/daq-sr/daq/onnx"
)

// Sums and products of codes are requantized with factors that each runtime multiplies in its
// own order, so that a result on the border of two codes becomes either. There are 65536
// pairs of codes; a scale that none of them falls on the border with makes all runtimes agree.

// borderWidth is how near to the border of two codes, in steps, rounding of float32 can
// move a result from one side to the other.
const borderWidth = 4e-5

// A scale in a few hundred has no pair that near: those tried are larger by apartStep each,
// until apartMost.
const apartStep, apartMost = 1e-5, 0.02

// apart widens scales of sums and products of codes until no pair of codes is on a border.
func (m *staticPlanner) apart(g *onnx.Graph, plan *Plan) {
	of := map[*grid][]*ActivationPlan{} // quantizers for all readers
	for i := range plan.Activations {
		if a := &plan.Activations[i]; len(a.Readers) == 0 {
			on := m.place.grids[g.Value(a.Tensor)]
			of[on] = append(of[on], a)
		}
	}
	quantizer := func(v *onnx.Value) *ActivationPlan {
		if on := m.place.grids[v]; on != nil && len(of[on]) > 0 {
			return of[on][0]
		}
		return nil
	}
	for _, n := range g.Nodes {
		if !n.Is("Add", "Mul") || !m.place.integer(n) {
			continue
		}
		y := n.Outputs[0]
		if !m.place.quantizes(y) && len(y.Uses()) == 1 {
			y = y.Uses()[0].Node.Outputs[0] // of the Relu that is absorbed
		}
		a, b, sum := quantizer(n.Inputs[0]), quantizer(n.Inputs[1]), of[m.place.grids[y]]
		if a == nil || b == nil || len(sum) == 0 {
			continue
		}
		scale := apartScale(n.Op == "Mul", a, b, sum[0])
		for _, s := range sum {
			s.Scale = scale
		}
	}
}

// apartScale returns the scale for y, near the one it has.
func apartScale(product bool, a, b, y *ActivationPlan) float32 {
	for wider := 0.0; wider < apartMost; wider += apartStep {
		if scale := float32(float64(y.Scale) * (1 + wider)); isApart(product, a, b, y, float64(scale)) {
			return scale
		}
	}
	return y.Scale
}

func isApart(product bool, a, b, y *ActivationPlan, scale float64) bool {
	lowA, highA := a.codes()
	lowB, highB := b.codes()
	low, high := y.codes()
	least, most := float64(low-y.ZeroPoint), float64(high-y.ZeroPoint)
	for i := lowA; i <= highA; i++ {
		for j := lowB; j <= highB; j++ {
			p, q := float64(i-a.ZeroPoint)*float64(a.Scale), float64(j-b.ZeroPoint)*float64(b.Scale)
			code := (p + q) / scale
			if product {
				code = p * q / scale
			}
			if code < least || code > most {
				continue
			}
			if _, fraction := math.Modf(math.Abs(code) + 0.5); fraction < borderWidth || fraction > 1-borderWidth {
				return false
			}
		}
	}
	return true
}
