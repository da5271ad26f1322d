package passes

import (
	"context"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Compose puts a 1x1 convolution that alone reads another one into its weights, where that
// gives no more multiplications: EDSR and CARN end in one that adds the mean colour. Borders stay what they are,
// as it has none of its own. Weights are computed in float64.
//
//	y = Conv (Conv (x, W, b), V, c)
//	y = Conv (x, V W, V b + c)
var Compose = Pass{"1x1 into convolution", func(_ context.Context, m *onnx.Model) (int, error) {
	changes := 0
	err := eachGraph(m.Graph, func(g *onnx.Graph) error {
		for _, n := range slices.Clone(g.Nodes) {
			if !isPointwise(n) {
				continue
			}
			conv, out := n.Inputs[0].Producer, n.Outputs[0]
			if conv == nil || soleReader(conv.Outputs[0]) != n || !composable(conv, n) || listedInside(g, out) || listedInside(g, conv.Outputs[0]) || !compose(conv, n) {
				continue
			}
			conv.Outputs[0].Type = out.Type
			out.ReplaceUses(conv.Outputs[0])
			g.Remove(n)
			changes++
		}
		return nil
	})
	return changes, err
}}

// composable reports whether a convolution can take in one of 1x1 without growing.
func composable(conv, next *onnx.Node) bool {
	for _, n := range []*onnx.Node{conv, next} {
		if !isPlainConv(n) || floatConst(n, 1) == nil || n.Input(2) != nil && floatConst(n, 2) == nil || len(floatBias(n)) != int(n.Inputs[1].Const.Shape[0]) {
			return false
		}
	}
	w, v := conv.Inputs[1].Const.Shape, next.Inputs[1].Const.Shape
	row := w[1] * w[2] * w[3]
	return v[1] == w[0] && row > 0 && w[0] > 0 && v[0]*row <= w[0]*(row+v[0])
}

// compose changes weights and bias of conv; false when that would not give finite numbers.
func compose(conv, next *onnx.Node) bool {
	w, v := conv.Inputs[1].Const, next.Inputs[1].Const
	inner, _ := w.Float32s()
	outer, _ := v.Float32s()
	innerBias, bias := floatBias(conv), slices.Clone(floatBias(next))
	middle := int(w.Shape[0])
	row := len(inner) / middle
	var weights []float32
	for o, factors := range slices.Collect(slices.Chunk(outer, middle)) {
		sum, offset := make([]float64, row), float64(bias[o])
		for i, f := range factors {
			for k, x := range inner[i*row : (i+1)*row] {
				sum[k] += float64(f) * float64(x)
			}
			offset += float64(f) * float64(innerBias[i])
		}
		for _, x := range sum {
			weights = append(weights, float32(x))
		}
		bias[o] = float32(offset)
	}
	if !finite(weights) || !finite(bias) {
		return false
	}
	setConstant(conv, 1, conv.Inputs[1].Name, onnx.Floats([]int64{v.Shape[0], w.Shape[1], w.Shape[2], w.Shape[3]}, weights...))
	setConstant(conv, 2, conv.Label()+"_bias", onnx.Floats([]int64{v.Shape[0]}, bias...))
	return true
}
