package passes

import (
	"context"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Affine puts what follows a convolution and is one factor and one offset for
// each channel into its weights and bias: BatchNormalization, Mul and Div by
// constants, Add and Sub of constants. The convolution must have no other
// reader. Weights are computed in float64.
var Affine = Pass{"batchnorm", func(_ context.Context, m *onnx.Model) (int, error) {
	changes := 0
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		for _, n := range slices.Clone(g.Nodes) {
			conv, a := affineAfterConv(n, m.Opset(""))
			if a == nil || !canShortCut(n.Outputs[0], conv.Outputs[0]) || listedInside(g, n.Outputs[0]) || listedInside(g, conv.Outputs[0]) {
				continue
			}
			if !a.into(conv) {
				continue
			}
			out := n.Outputs[0]
			conv.Outputs[0].Type = out.Type
			out.ReplaceUses(conv.Outputs[0])
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

// affineAfterConv returns the convolution that n alone reads and what n does to
// its channels; nil when n is none of that.
func affineAfterConv(n *onnx.Node, opset int64) (*onnx.Node, *affine) {
	if !n.Is("BatchNormalization", "Mul", "Div", "Add", "Sub") {
		return nil, nil
	}
	at := operand(n)
	x := n.Input(at)
	if x == nil || x.Producer == nil || !x.Producer.Is("Conv", "ConvTranspose") || len(x.Uses()) != 1 || x.IsOutput() || x.Graph() != n.Graph() {
		return nil, nil
	}
	conv := x.Producer
	weight := floatConst(conv, 1)
	if weight == nil || len(weight.Shape) < 3 || len(weight.Data) == 0 || conv.Int("group", 1) < 1 || weight.Shape[0]%conv.Int("group", 1) != 0 || conv.Input(2) != nil && floatConst(conv, 2) == nil {
		return nil, nil
	}
	count := weight.Shape[0]
	if conv.Is("ConvTranspose") {
		count = weight.Shape[1] * conv.Int("group", 1)
	}
	if n.Is("BatchNormalization") {
		return conv, batchNormalization(n, count, opset)
	}
	return conv, constantAffine(n, count, len(weight.Shape))
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

// into changes weights and bias of a convolution; false when that would not
// give finite numbers.
func (a *affine) into(conv *onnx.Node) bool {
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
			return false
		}
		copy(bias, before)
	}
	for c := range bias {
		bias[c] = float32(float64(bias[c])*a.scale[c] + a.offset[c])
	}
	if !finite(data) || !finite(bias) {
		return false
	}
	biasName := conv.Label() + "_bias"
	if conv.Input(2) != nil {
		biasName = conv.Inputs[2].Name
	}
	setConstant(conv, 1, conv.Inputs[1].Name, onnx.NewTensor(onnx.Float, weight.Shape, data))
	setConstant(conv, 2, biasName, onnx.Floats([]int64{int64(len(bias))}, bias...))
	return true
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
