package runtime

import (
	"math"

	"github.com/daq-sr/daq/onnx"
)

// Sums of whole numbers are exact, and so are codes made of them in the order in which ONNX Runtime
// does it: bias added as a whole number, one factor for each output, rounded.
//
//	code = round((sum + bias) * (scale of inputs * scale of weights / scale of outputs)) + zero point
//
// Factors and offsets one after the other, as the nodes have it, differ at ties.

// wholeBias returns the bias of a convolution in steps of its scales; false where it is none.
func (c *coder) wholeBias(n *onnx.Node, scale []float32) ([]float32, bool) {
	bias := make([]float32, len(scale))
	v := n.Input(2)
	if v == nil {
		return bias, true
	}
	p := v.Producer
	if p == nil || !p.Is("DequantizeLinear") || p.Graph() != c.graph {
		return nil, false
	}
	codes, _ := c.constOf(p.Inputs[0])
	steps, _ := c.constOf(p.Inputs[1])
	if codes == nil || steps == nil || codes.Type != onnx.Int32 || codes.Len() != len(bias) || steps.Type != onnx.Float || steps.Len() != len(bias) {
		return nil, false
	}
	if z := p.Input(2); z != nil {
		t, _ := c.constOf(z)
		zeros, err := []int(nil), error(nil)
		if t != nil {
			zeros, err = toInts(t)
		}
		if t == nil || err != nil {
			return nil, false
		}
		for _, zero := range zeros {
			if zero != 0 {
				return nil, false
			}
		}
	}
	whole, err := toInts(codes)
	if err != nil {
		return nil, false
	}
	for o, b := range whole {
		if steps.Data.([]float32)[o] != scale[o] || b > exactFloat || b < -exactFloat {
			return nil, false
		}
		bias[o] = float32(b)
	}
	return bias, true
}

// exactFloat bounds whole numbers whose sums are exact in float32.
const exactFloat = 1<<24 - 1

// requantize lets an Encode that alone reads the result of a convolution, through a Relu or not,
// take whole numbers times factors. It returns whether it does.
func (c *coder) requantize(n *onnx.Node, scale []float32) bool {
	v := n.Outputs[0]
	next := c.onlyReader(v)
	if next != nil && next.Is("Relu") {
		v = next.Outputs[0]
		next = c.onlyReader(v)
	}
	if !isOurs(next, "Encode") {
		return false
	}
	factors := make([]float32, len(scale))
	for o, s := range scale {
		factors[o] = s / c.quantizers[next.Outputs[0]].Scale
	}
	next.SetInput(0, c.multiplied(v, factors))
	c.unscaled[next] = true
	return true
}

// onlyReader returns the node that alone reads a value.
func (c *coder) onlyReader(v *onnx.Value) *onnx.Node {
	if uses := c.live(v); len(uses) == 1 && c.alone(v) {
		return uses[0].Node
	}
	return nil
}

// multiplied returns channels of v times factors.
func (c *coder) multiplied(v *onnx.Value, factors []float32) *onnx.Value {
	g := c.graph
	f := g.AddInitializer(g.UniqueName(v.Name+"_factors"), onnx.Floats([]int64{1, int64(len(factors)), 1, 1}, factors...))
	n := g.NewNode("Mul", []*onnx.Value{v, f}, []string{v.Name + "_multiplied"})
	n.Outputs[0].Type = v.Type
	c.insert(n)
	return n.Outputs[0]
}

func (c *coder) insert(n *onnx.Node) {
	c.graph.Append(n)
	c.nodes = append(c.nodes, n)
}

// pictureConv lets a convolution that reads the codes of a picture, and suits no kernel for codes, add
// whole numbers in float where that is exact. It reports whether it does.
func (c *coder) pictureConv(n *onnx.Node) bool {
	in := c.wholeWeights(n)
	if in == nil || in.shape.In > pictureChannels {
		return false
	}
	bias, ok := c.wholeBias(n, in.scale)
	if !ok {
		return false
	}
	each, far := len(in.weights)/in.shape.Out, max(in.quantizer.Zero, in.quantizer.Top-in.quantizer.Zero)
	weights := make([]float32, len(in.weights))
	for o, b := range bias {
		sum := int(math.Abs(float64(b)))
		for i, w := range in.weights[o*each:][:each] {
			weights[o*each+i] = float32(w)
			sum += far * max(int(w), -int(w))
		}
		if sum > exactFloat {
			return false
		}
	}
	g, codes, out := c.graph, n.Inputs[0].Producer.Inputs[0], n.Outputs[0]
	dims, known := n.Inputs[1].Type.Shape.Ints()
	if !known || !c.requantize(n, in.scale) {
		return false
	}
	decode := g.NewNode("Decode", []*onnx.Value{codes}, []string{codes.Name + "_whole"})
	decode.Domain, decode.Outputs[0].Type = Domain, n.Inputs[0].Type
	c.insert(decode)
	c.unscaled[decode], c.exact[n] = true, true
	n.SetInput(0, decode.Outputs[0])
	n.SetInput(1, g.AddInitializer(g.UniqueName(out.Name+"_weights"), onnx.Floats(dims, weights...)))
	n.SetInput(2, g.AddInitializer(g.UniqueName(out.Name+"_bias"), onnx.Floats([]int64{int64(len(bias))}, bias...)))
	return true
}

// pictureChannels is the largest number of channels that a picture has.
const pictureChannels = 4
