package passes

import (
	"fmt"

	"github.com/daq-sr/daq/onnx"
)

// FoldPlan divides the channels of a tensor, and with them those of all tensors
// that the graph ties to it, by factors: the convolutions that make them
// have their weights and biases divided, those that read them multiplied.
type FoldPlan struct {
	Tensor  string    `json:"tensor"`
	Factors []float32 `json:"factors"` // one for each channel, above 0
}

// FoldScales rewrites the weights as the plans say. It leaves the outputs of the
// graph what they were. Types must be inferred.
func FoldScales(g *onnx.Graph, plans []FoldPlan) error {
	if len(plans) == 0 {
		return nil
	}
	t := newTies(g)
	factors := map[int]float32{} // by root
	for _, p := range plans {
		v := g.Value(p.Tensor)
		if v == nil {
			return fmt.Errorf("plan: fold of tensor %q: the graph has no such tensor: make the plan from this model", p.Tensor)
		}
		if int64(len(p.Factors)) != channelsOf(v) {
			return fmt.Errorf("plan: fold of tensor %q: %d factors for %d channels: give one for each that prunes leave, or take the fold out", p.Tensor, len(p.Factors), channelsOf(v))
		}
		for c, f := range p.Factors {
			root := t.root(v, c)
			before, again := factors[root]
			switch {
			case !(f > 0):
				return fmt.Errorf("plan: fold of tensor %q, channel %d: factor %g, want it above 0", p.Tensor, c, f)
			case root < 0 || t.fixed[root] && f != 1:
				return fmt.Errorf("plan: fold of tensor %q, channel %d: a factor cannot pass all nodes that this channel goes through: set it to 1", p.Tensor, c)
			case again && before != f:
				return fmt.Errorf("plan: fold of tensor %q, channel %d: the graph ties it to a channel of factor %g", p.Tensor, c, before)
			}
			factors[root] = f
		}
	}
	of := func(v *onnx.Value, c int) float64 {
		if f, ok := factors[t.root(v, c)]; ok {
			return float64(f)
		}
		return 1
	}
	for _, n := range g.Nodes {
		if scalesChannels(n) {
			scaleFactors(n, of)
		}
		if takesFactors(n) {
			if err := scaleWeights(n, of); err != nil {
				return err
			}
		}
	}
	return nil
}

// scaleWeights multiplies the weights of a convolution by the factors of its input
// channels and divides weights and bias by those of its outputs.
func scaleWeights(n *onnx.Node, factor func(v *onnx.Value, c int) float64) error {
	x, y, float := n.Inputs[0], n.Outputs[0], n.Inputs[1].Const
	data, err := float.Float32s()
	if err != nil {
		return err
	}
	m := matrixOf(n, float.Shape)
	scaled := make([]float32, len(data))
	changed := false
	for g := range m.groups {
		for o := range m.outputs {
			down := factor(y, g*m.outputs+o)
			for i := range m.inputs {
				up := factor(x, (g*m.inputs+i)/m.taps)
				changed = changed || up != down
				at := m.index(g, o, i)
				scaled[at] = float32(float64(data[at]) * up / down)
			}
		}
	}
	if changed {
		setConstant(n, 1, n.Inputs[1].Name, onnx.Floats(float.Shape, scaled...))
	}
	if n.Input(2) == nil {
		return nil
	}
	old, err := n.Inputs[2].Const.Float32s()
	if err != nil {
		return err
	}
	bias, changed := make([]float32, len(old)), false
	for c, b := range old {
		f := factor(y, c)
		changed = changed || f != 1
		bias[c] = float32(float64(b) / f)
	}
	if changed {
		setConstant(n, 2, n.Inputs[2].Name, onnx.Floats([]int64{int64(len(bias))}, bias...))
	}
	return nil
}
