package passes

import (
	"context"
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// TapSums is what a convolution lost when its weights were rounded, summed over the taps:
// times the mean of every input channel it is, but for the border, what the means of the
// outputs lost.
type TapSums struct {
	Node  string    // the convolution
	Input string    // what it reads, before that is quantized: [N,C,H,W]
	Lost  []float32 // [Out, C/group]
}

// LostTapSums returns, in graph order, the tap sums of the convolutions of a quantized
// network behind which no other is quantized: their errors reach the picture as they are.
// float is the network that was quantized.
func LostTapSums(ctx context.Context, float, quantized *onnx.Model) ([]TapSums, error) {
	weights := map[string]*onnx.Tensor{}
	for _, n := range float.Graph.Nodes {
		if quantizable(n) {
			weights[n.Label()] = n.Inputs[1].Const
		}
	}
	var last []*onnx.Node
	coded := map[*onnx.Value]bool{} // read by a quantized convolution, sooner or later
	for _, n := range slices.Backward(quantized.Graph.Nodes) {
		behind := slices.ContainsFunc(n.Outputs, func(v *onnx.Value) bool { return coded[v] })
		if quantizedInput(n) != nil {
			if w := weights[n.Label()]; !behind && n.Is("Conv") && n.Inputs[1].Const == nil && w != nil && len(w.Shape) == 4 {
				last = append(last, n)
			}
			behind = true
		}
		for _, v := range needs(n) {
			coded[v] = coded[v] || behind && v != nil
		}
	}
	slices.Reverse(last)
	levels, err := dequantizedWeights(ctx, quantized, last)
	if err != nil {
		return nil, err
	}
	var sums []TapSums
	for i, n := range last {
		before, err := weights[n.Label()].Float32s()
		if err != nil {
			return nil, err
		}
		taps := matrixOf(n, weights[n.Label()].Shape).taps
		s := TapSums{Node: n.Label(), Input: quantizedInput(n).Name, Lost: make([]float32, len(before)/taps)}
		for k := range s.Lost {
			sum := 0.0
			for t := k * taps; t < (k+1)*taps; t++ {
				sum += float64(before[t]) - float64(levels[i][t])
			}
			s.Lost[k] = float32(sum)
		}
		sums = append(sums, s)
	}
	return sums, nil
}

// quantizedInput returns the tensor whose levels a convolution reads, nil for others.
func quantizedInput(n *onnx.Node) *onnx.Value {
	if !n.Is("Conv", "ConvTranspose") {
		return nil
	}
	v := n.Inputs[0]
	for range 2 { // daq.Dequantize of what daq.Quantize or one of its kind makes
		if v.Producer == nil || v.Producer.Domain != Domain {
			return nil
		}
		v = v.Producer.Inputs[0]
	}
	return v
}

// dequantizedWeights returns the weights that convolutions compute with.
func dequantizedWeights(ctx context.Context, m *onnx.Model, convolutions []*onnx.Node) ([][]float32, error) {
	if len(convolutions) == 0 {
		return nil, nil
	}
	m = m.Clone()
	m.Graph.Inputs, m.Graph.Outputs = nil, nil
	for _, n := range convolutions {
		if v := m.Graph.Value(n.Inputs[1].Name); !v.IsOutput() { // several may share them
			m.Graph.AddOutput(v)
		}
	}
	if _, err := DeadCode.Run(ctx, m); err != nil {
		return nil, err
	}
	program, err := runtime.Compile(m, runtime.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	values, err := program.Run(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	var weights [][]float32
	for _, n := range convolutions {
		w, err := values[n.Inputs[1].Name].Float32s()
		if err != nil {
			return nil, err
		}
		weights = append(weights, w)
	}
	return weights, nil
}

// HoldTapSums gives the outputs of convolutions back what they lost: the lost sums times
// how far the means of the inputs are, in the picture at hand, from those that the biases make
// up for already: means has one for every channel of each input.
func HoldTapSums(g *onnx.Graph, sums []TapSums, means [][]float64) error {
	nodes := map[string]*onnx.Node{}
	for _, n := range g.Nodes {
		nodes[n.Label()] = n
	}
	pools := map[string]*onnx.Node{}
	for i, s := range sums {
		n := nodes[s.Node]
		if n == nil {
			return fmt.Errorf("the graph has no convolution %q", s.Node)
		}
		pool := pools[s.Input]
		if pool == nil {
			pool = g.NewNode("GlobalAveragePool", []*onnx.Value{g.Value(s.Input)}, []string{s.Input + "_mean"})
			pools[s.Input] = pool
			g.Append(pool)
		}
		group := int(n.Int("group", 1))
		inputs := len(means[i]) / group
		bias := make([]float32, len(s.Lost)/inputs)
		for o := range bias {
			sum, first := 0.0, o/(len(bias)/group)*inputs
			for c, lost := range s.Lost[o*inputs : (o+1)*inputs] {
				sum -= float64(float64(lost) * means[i][first+c])
			}
			bias[o] = float32(sum)
		}
		y := n.Outputs[0]
		lost := g.NewNode("Conv", []*onnx.Value{
			pool.Outputs[0],
			g.AddInitializer(s.Node+"_tap_sums", onnx.Floats([]int64{int64(len(bias)), int64(inputs), 1, 1}, s.Lost...)),
			g.AddInitializer(s.Node+"_tap_bias", onnx.Floats([]int64{int64(len(bias))}, bias...)),
		}, []string{y.Name + "_lost"}, onnx.Attr("group", int64(group)))
		held := g.NewNode("Add", []*onnx.Value{nil, lost.Outputs[0]}, []string{y.Name + "_held"})
		held.Outputs[0].Type = y.Type
		y.ReplaceUses(held.Outputs[0])
		held.SetInput(0, y)
		g.Append(lost, held)
	}
	return g.Sort()
}
