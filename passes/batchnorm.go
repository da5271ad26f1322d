package passes

import (
	"context"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Affine puts what follows a convolution and is one factor and one offset for
// each channel into its weights and bias: BatchNormalization, Mul and Div by
// constants, Add and Sub of constants. A sum of convolutions and DepthToSpace may stand
// between: pictures are scaled and get their mean back there. Nothing else may read what is
// between. Weights are computed in float64.
var Affine = Pass{"batchnorm", func(_ context.Context, m *onnx.Model) (int, error) {
	changes := 0
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		for _, n := range slices.Clone(g.Nodes) {
			x, a := affineOf(n, m.Opset(""))
			if a == nil || !canShortCut(n.Outputs[0], x) || listedInside(g, n.Outputs[0]) || listedInside(g, x) || !intoAll(a.takers(x)) {
				continue
			}
			out := n.Outputs[0]
			x.Type = out.Type
			out.ReplaceUses(x)
			g.Remove(n)
			changes++
		}
		return nil
	})
	return changes, err
}}

// affine is y = scale*x + offset for each channel.
type affine struct{ scale, offset []float64 }

func newAffine(channels int64) *affine {
	a := &affine{make([]float64, channels), make([]float64, channels)}
	for c := range a.scale {
		a.scale[c] = 1
	}
	return a
}

// affineOf returns the operand of n that convolutions alone make and what n does to
// its channels; nil when n is none of that.
func affineOf(n *onnx.Node, opset int64) (*onnx.Value, *affine) {
	if !n.Is("BatchNormalization", "Mul", "Div", "Add", "Sub") || floatConst(n, 1-operand(n)) == nil {
		return nil, nil
	}
	x := n.Input(operand(n))
	if x == nil || soleReader(x) != n {
		return nil, nil
	}
	channels, rank := convChannels(x)
	switch {
	case channels == 0:
		return nil, nil
	case n.Is("BatchNormalization"):
		return x, batchNormalization(n, channels, opset)
	}
	return x, constantAffine(n, channels, rank)
}

// convChannels returns how many channels the convolutions have that alone make a value, and how many
// dimensions it has; 0 when something else does.
func convChannels(x *onnx.Value) (channels int64, rank int) {
	if x == nil || x.Producer == nil || soleReader(x) == nil {
		return 0, 0
	}
	switch n := x.Producer; {
	case n.Is("Conv", "ConvTranspose"):
		w, group := floatConst(n, 1), n.Int("group", 1)
		if w == nil || len(w.Shape) < 3 || len(w.Data) == 0 || group < 1 || w.Shape[0]%group != 0 || n.Input(2) != nil && floatConst(n, 2) == nil {
			return 0, 0
		}
		if n.Is("ConvTranspose") {
			return w.Shape[1] * group, len(w.Shape)
		}
		return w.Shape[0], len(w.Shape)
	case n.Is("DepthToSpace"):
		channels, rank = convChannels(n.Input(0))
		block := n.Int("blocksize", 1)
		if block < 1 || block > channels || channels%(block*block) != 0 {
			return 0, 0
		}
		return channels / (block * block), rank
	case n.Is("Add") && len(n.Inputs) == 2 && n.Inputs[0] != n.Inputs[1]:
		channels, rank = convChannels(n.Inputs[0])
		if other, dims := convChannels(n.Inputs[1]); other != channels || dims != rank {
			return 0, 0
		}
		return channels, rank
	}
	return 0, 0
}

// taker is a convolution and what it must do to its channels.
type taker struct {
	conv *onnx.Node
	do   *affine
}

// takers returns what must be done by the convolutions that alone make a value (convChannels) for
// a to be done to it: all sides of a sum are scaled, the first gets the offset.
func (a *affine) takers(x *onnx.Value) []taker {
	switch n := x.Producer; n.Op {
	case "DepthToSpace":
		channels, _ := convChannels(n.Inputs[0])
		before := newAffine(channels)
		for c := range before.scale {
			to := shuffledOf(n, c, len(before.scale), len(a.scale))
			before.scale[c], before.offset[c] = a.scale[to], a.offset[to]
		}
		return before.takers(n.Inputs[0])
	case "Add":
		factors := affine{a.scale, make([]float64, len(a.scale))}
		return append(a.takers(n.Inputs[0]), factors.takers(n.Inputs[1])...)
	default:
		return []taker{{n, a}}
	}
}

// operand returns which input of an Add, Sub, Mul or Div is the one that a constant
// is applied to.
func operand(n *onnx.Node) int {
	if n.Is("Mul", "Add") && n.Input(0) != nil && n.Inputs[0].Const != nil {
		return 1
	}
	return 0
}

// constantAffine returns what a Mul, Div, Add or Sub with a constant does to the
// channels of its operand; nil when it is none of that.
func constantAffine(n *onnx.Node, channels int64, rank int) *affine {
	if !n.Is("Mul", "Div", "Add", "Sub") {
		return nil
	}
	t := floatConst(n, 1-operand(n))
	if t == nil {
		return nil
	}
	values := perChannel(t, channels, rank)
	if values == nil {
		return nil
	}
	a := newAffine(channels)
	for c, v := range values {
		switch n.Op {
		case "Mul":
			a.scale[c] = v
		case "Div":
			a.scale[c] = 1 / v
		case "Add":
			a.offset[c] = v
		case "Sub":
			a.offset[c] = -v
		}
	}
	return a
}

func floatConst(n *onnx.Node, i int) *onnx.Tensor {
	v := n.Input(i)
	if v == nil || v.Const == nil || v.Const.Type != onnx.Float || v.Const.Check() != nil || v.IsInput() {
		return nil
	}
	return v.Const
}

// batchNormalization returns the affine form of inference: the statistics are
// constants.
func batchNormalization(n *onnx.Node, channels, opset int64) *affine {
	if n.Int("training_mode", 0) != 0 || opset < 9 && n.Int("spatial", 1) == 0 || opset < 7 && n.Int("is_test", 0) == 0 {
		return nil
	}
	for _, v := range n.Outputs[1:] {
		if v != nil {
			return nil
		}
	}
	var p [4][]float32 // scale, bias, mean, variance
	for i := range p {
		t := floatConst(n, i+1)
		if t == nil || int64(len(t.Data)) != 4*channels {
			return nil
		}
		p[i], _ = t.Float32s()
	}
	a := newAffine(channels)
	epsilon := float64(n.Float("epsilon", 1e-5))
	for c := range a.scale {
		a.scale[c] = float64(p[0][c]) / math.Sqrt(float64(p[3][c])+epsilon)
		a.offset[c] = float64(p[1][c]) - float64(p[2][c])*a.scale[c]
	}
	return a
}

// perChannel returns the value for each channel of a constant that broadcasts to
// NCHW without changing its shape and is the same within a channel.
func perChannel(t *onnx.Tensor, channels int64, rank int) []float64 {
	data, err := t.Float32s()
	if err != nil || len(t.Shape) > rank {
		return nil
	}
	out := make([]float64, channels)
	axis := len(t.Shape) - (rank - 1) // of the channel
	for i, d := range t.Shape {
		if d != 1 && (i != axis || d != channels) {
			return nil
		}
	}
	for c := range out {
		switch int64(len(data)) {
		case 1:
			out[c] = float64(data[0])
		case channels:
			out[c] = float64(data[c])
		default:
			return nil
		}
	}
	return out
}

// intoAll changes weights and bias of convolutions; false, and nothing is changed, when that
// would not give finite numbers.
func intoAll(takers []taker) bool {
	weights, biases := make([]*onnx.Tensor, len(takers)), make([]*onnx.Tensor, len(takers))
	for i, t := range takers {
		if weights[i], biases[i] = t.do.into(t.conv); weights[i] == nil {
			return false
		}
	}
	for i, t := range takers {
		name := t.conv.Label() + "_bias"
		if t.conv.Input(2) != nil {
			name = t.conv.Inputs[2].Name
		}
		setConstant(t.conv, 1, t.conv.Inputs[1].Name, weights[i])
		setConstant(t.conv, 2, name, biases[i])
	}
	return true
}

// into returns the weights and bias of a convolution that also does a; nil when they would
// not be finite.
func (a *affine) into(conv *onnx.Node) (weights, biases *onnx.Tensor) {
	weight := conv.Inputs[1].Const
	old, _ := weight.Float32s()
	data := make([]float32, len(old))
	group := conv.Int("group", 1)
	inner := int64(1)
	for _, d := range weight.Shape[2:] {
		inner *= d
	}
	for i, w := range old {
		row := int64(i) / inner / weight.Shape[1]
		c := row
		if conv.Is("ConvTranspose") { // [in, out/group, ...]
			c = row/(weight.Shape[0]/group)*weight.Shape[1] + int64(i)/inner%weight.Shape[1]
		}
		data[i] = float32(float64(w) * a.scale[c])
	}
	bias := make([]float32, len(a.scale))
	if conv.Input(2) != nil {
		before, _ := conv.Inputs[2].Const.Float32s()
		if len(before) != len(bias) {
			return nil, nil
		}
		copy(bias, before)
	}
	for c := range bias {
		bias[c] = float32(float64(bias[c])*a.scale[c] + a.offset[c])
	}
	if !finite(data) || !finite(bias) {
		return nil, nil
	}
	return onnx.NewTensor(onnx.Float, weight.Shape, data), onnx.Floats([]int64{int64(len(bias))}, bias...)
}

func finite(data []float32) bool {
	return !slices.ContainsFunc(data, func(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) })
}

// setConstant gives input i of a node a constant: under the old name when no
// other node reads that.
func setConstant(n *onnx.Node, i int, name string, t *onnx.Tensor) {
	if v := n.Input(i); v != nil && len(v.Uses()) == 1 && !v.IsOutput() && v.Graph() == n.Graph() {
		v.SetConst(t)
		return
	}
	n.SetInput(i, n.Graph().AddInitializer(name, t))
}
