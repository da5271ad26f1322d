package passes

import (
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// A Sigmoid is flat where its input is large: a window as wide as the values wastes
// its codes there. So the window of what a Sigmoid alone reads is the one whose errors are least
// behind it.

// gateBehind moves the activation function behind a product with a gate in front of it: a
// gate is not negative, so the result is the same, but the product is rounded once instead of twice, and
// a part below zero that is hardly seen takes no codes of it. Types must be inferred.
//
//	x, gate -> Mul -> LeakyRelu -> y
//	x -> LeakyRelu, gate -> Mul -> y
func gateBehind(g *onnx.Graph) {
	for _, mul := range slices.Clone(g.Nodes) {
		if !mul.Is("Mul") || len(mul.Inputs) != 2 {
			continue
		}
		y, side := mul.Outputs[0], slices.IndexFunc(mul.Inputs, func(v *onnx.Value) bool { return !isGate(v) })
		activation := onlyReader(y)
		if side < 0 || !isGate(mul.Inputs[1-side]) || activation == nil || !activation.Is("Relu", "LeakyRelu", "PRelu") || activation.Outputs[0].IsOutput() {
			continue
		}
		x := mul.Inputs[side]
		if !sameShape(x.Type, y.Type) || activation.Is("PRelu") && activation.Inputs[1].Const == nil {
			continue
		}
		front := g.NewNode(activation.Op, append([]*onnx.Value{x}, activation.Inputs[1:]...), []string{x.Name + "_activated"}, slices.Clone(activation.Attrs)...)
		front.Name, front.Outputs[0].Type = activation.Name, x.Type
		g.InsertBefore(mul, front)
		mul.SetInput(side, front.Outputs[0])
		activation.Outputs[0].ReplaceUses(y)
		g.Remove(activation)
	}
}

// opensGate reports whether a Sigmoid alone reads a value.
func opensGate(v *onnx.Value) bool {
	n := onlyReader(v)
	return n != nil && n.Is("Sigmoid")
}

// gateError is the mean squared error behind a Sigmoid of a window from low to high with
// a step; what clipping adds counts as in other windows.
func (s *spectrum) gateError(low, high, step float64) float64 {
	sum, total := 0.0, 0.0
	for _, b := range s.bins {
		x := (b.Lo + b.Hi) / 2
		y, e := sigmoid(x), 0.0
		if x < low || x > high {
			d := y - sigmoid(min(max(x, low), high))
			e = (1 + clipWeight) * d * d
		} else {
			slope := y * (1 - y) * step
			e = slope * slope / 12
		}
		sum += b.Mass * e
		total += b.Mass
	}
	return sum / total
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
