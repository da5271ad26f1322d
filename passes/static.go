package passes

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// QuantizeStatic rewrites a model whose scales are folded (FoldScales) as a static
// plan says: planned tensors pass QuantizeLinear and DequantizeLinear, with an
// integer Clip between them below 8 bits, and weights and biases become integers
// with a DequantizeLinear. The model is changed in place; its types must be
// inferred.
func QuantizeStatic(m *onnx.Model, p *Plan, rounding Rounding, t *target.Target, opset int64) (*Quantized, error) {
	opset = max(opset, t.MinOpset, m.Opset(""))
	if opset > t.MaxOpset {
		return nil, fmt.Errorf("opset %d: %s reads opsets up to %d", opset, t.For, t.MaxOpset)
	}
	if err := Upgrade(m, opset); err != nil {
		return nil, err
	}
	e := &staticEmitter{g: m.Graph, target: t, rounding: rounding, plan: p, dequantized: map[string]*onnx.Value{}, parameters: map[*onnx.Value]*ActivationPlan{}, shared: map[string]*onnx.Value{}}
	for _, whole := range []bool{true, false} { // quantizers for some readers read those for all
		for i := range p.Activations {
			if a := &p.Activations[i]; (len(a.Readers) == 0) == whole {
				if err := e.activation(a); err != nil {
					return nil, fmt.Errorf("plan: tensor %q: %w", a.Tensor, err)
				}
			}
		}
	}
	nodes := map[string]*onnx.Node{}
	for _, n := range e.g.Nodes {
		if quantizable(n) {
			nodes[n.Label()] = n
		}
	}
	for i := range p.Weights {
		w := &p.Weights[i]
		if nodes[w.Node] == nil {
			return nil, fmt.Errorf("plan: the graph has no convolution %q with constant weights: make the plan from this model", w.Node)
		}
		if err := e.weights(nodes[w.Node], w); err != nil {
			return nil, fmt.Errorf("plan: weights of %q: %w", w.Node, err)
		}
	}
	m.IRVersion = max(m.IRVersion, onnx.IRVersionFor(opset))
	if err := e.g.Sort(); err != nil {
		return nil, err
	}
	if t.Weights.RoundsFloat {
		keepFloat(e.g)
	}
	widenChannels(e.g, t)
	if t.FloatProducts {
		giveFloats(e.g)
	}
	e.g.DropTypes() // ONNX Runtime plans its memory better without: RDN_x2 is 5% faster, CARN_x2 4%
	e.g.DropUnused()
	return &e.done, nil
}

type staticEmitter struct {
	g           *onnx.Graph
	target      *target.Target
	plan        *Plan
	rounding    Rounding
	dequantized map[string]*onnx.Value          // by planned tensor
	parameters  map[*onnx.Value]*ActivationPlan // of dequantized values
	shared      map[string]*onnx.Value          // constants
	done        Quantized
}

// activation puts X -> Q -> (Clip) -> DQ in front of all readers of X, or of those
// that the plan names, which read X after its quantizer for all.
func (e *staticEmitter) activation(a *ActivationPlan) error {
	x := e.dequantized[a.Tensor]
	if x == nil {
		x = e.g.Value(a.Tensor)
	}
	if x == nil || x.Const != nil || x.Producer == nil && !x.IsInput() {
		return fmt.Errorf("the graph computes no such tensor: make the plan from this model")
	}
	e.done.Tensors++
	if len(a.Readers) == 0 {
		if e.dequantized[a.Tensor] != nil {
			return fmt.Errorf("it is planned twice for all readers: keep one entry")
		}
		readers := x.Uses()
		y := e.quantizer(x, a, a.Tensor)
		for _, u := range readers {
			if !slices.Contains(a.Except, u.Node.Label()) {
				u.Node.SetInput(u.Index, y)
			}
		}
		if i := slices.Index(e.g.Outputs, x); i >= 0 {
			name := x.Name
			x.Rename(e.g.UniqueName(name + "_float"))
			y.Rename(name)
			e.g.Outputs[i] = y
		}
		e.dequantized[a.Tensor] = y
		return nil
	}
	y := e.quantizer(x, a, fmt.Sprintf("%s_%dbit", a.Tensor, a.Bits))
	found := 0
	for _, u := range x.Uses() {
		if u.Index == 0 && quantizable(u.Node) && slices.Contains(a.Readers, u.Node.Label()) {
			u.Node.SetInput(0, y)
			found++
		}
	}
	if found != len(a.Readers) {
		return fmt.Errorf("%d of the convolutions %q read it: make the plan from this model", found, a.Readers)
	}
	return nil
}

// quantizer adds the nodes of a quantizer behind the producer of x.
func (e *staticEmitter) quantizer(x *onnx.Value, a *ActivationPlan, name string) *onnx.Value {
	scale := e.constant("scale", onnx.Scalar(a.Scale))
	zero := e.constant("zero_point", codeScalar(e.target.Activations.Type, a.ZeroPoint))
	q := e.node("QuantizeLinear", []*onnx.Value{x, scale, zero}, name+"_quantized")
	codes := onnx.Type{Elem: e.target.Activations.Type, Shape: x.Type.Shape}
	q.Outputs[0].Type = codes
	nodes := []*onnx.Node{q}
	if a.Bits < 8 {
		least, most := a.codes()
		clip := e.node("Clip", []*onnx.Value{q.Outputs[0], e.constant("least", codeScalar(codes.Elem, least)), e.constant("most", codeScalar(codes.Elem, most))}, name+"_clipped")
		clip.Outputs[0].Type = codes
		nodes = append(nodes, clip)
	}
	dq := e.node("DequantizeLinear", []*onnx.Value{nodes[len(nodes)-1].Outputs[0], scale, zero}, name+"_dequantized")
	y := dq.Outputs[0]
	y.Type = x.Type
	e.parameters[y] = a
	at := slices.Index(e.g.Nodes, x.Producer) // -1 for an input
	e.g.Nodes = slices.Insert(e.g.Nodes, at+1, append(nodes, dq)...)
	return y
}

func (e *staticEmitter) node(op string, inputs []*onnx.Value, output string, attrs ...*onnx.Attribute) *onnx.Node {
	n := e.g.NewNode(op, inputs, []string{output}, attrs...)
	n.Name = n.Outputs[0].Name
	return n
}

// constant returns an initializer that all quantizers with this content share.
func (e *staticEmitter) constant(name string, t *onnx.Tensor) *onnx.Value {
	key := fmt.Sprintf("%s %s %x", name, t.Type, t.Data)
	if e.shared[key] == nil {
		e.shared[key] = e.g.AddInitializer("daq_"+name, t)
	}
	return e.shared[key]
}

func codeScalar(t onnx.DataType, code int) *onnx.Tensor {
	return onnx.NewTensor(t, nil, []uint8{uint8(code)}) // two's complement serves int8 too
}

// weights replaces weights and bias of a convolution by integers with a
// DequantizeLinear.
func (e *staticEmitter) weights(n *onnx.Node, w *WeightPlan) error {
	x := e.parameters[n.Inputs[0]]
	parts := partsOf(n)
	if parts != nil {
		x = e.parameters[parts[0]]
	}
	if x == nil {
		return fmt.Errorf("its input %q is not quantized: plan that too, or leave the weights out", n.Inputs[0].Name)
	}
	float := n.Inputs[1].Const
	r, err := e.rounded(n, w)
	if err != nil {
		return err
	}
	half := (e.plan.weightLevels(w) - 1) / 2
	codes := make([]int8, len(r.codes))
	for i, c := range r.codes {
		codes[i] = int8(int(c) - half)
	}
	axis, channels := int64(0), int64(len(r.scales))
	if n.Op == "ConvTranspose" {
		axis = 1
	}
	name := n.Inputs[1].Name
	bias := make([]int32, channels)
	biasScale := make([]float32, channels)
	scales := slices.Clone(r.scales)
	for c, b := range r.bias {
		if scales[c] == quant.Eps { // of weights that are zero: a bias would not fit in units of that
			scales[c] = max(scales[c], float32(math.Abs(float64(b)))/x.Scale/(1<<20))
		}
		biasScale[c] = x.Scale * scales[c]
		bias[c] = int32(min(max(math.RoundToEven(float64(b)/float64(biasScale[c])), math.MinInt32), math.MaxInt32))
	}
	dequantize := func(input int, name string, codes, scale *onnx.Tensor, zeroType onnx.DataType, axis int64) {
		zero := onnx.NewTensorBytes(zeroType, []int64{channels}, make([]byte, zeroType.Bytes(channels)))
		dq := e.node("DequantizeLinear", []*onnx.Value{
			e.g.AddInitializer(name+"_codes", codes), e.g.AddInitializer(name+"_scale", scale), e.constant(fmt.Sprintf("zeros_%d", channels), zero),
		}, name+"_dequantized", onnx.Attr("axis", axis))
		dq.Outputs[0].Type = onnx.Type{Elem: onnx.Float, Shape: onnx.ShapeOf(codes.Shape...)}
		n.SetInput(input, dq.Outputs[0])
		e.g.InsertBefore(n, dq)
	}
	dequantize(1, name, onnx.NewTensor(onnx.Int8, float.Shape, codes), onnx.Floats([]int64{channels}, scales...), onnx.Int8, axis)
	dequantize(2, n.Label()+"_bias", onnx.NewTensor(onnx.Int32, []int64{channels}, bias), onnx.Floats([]int64{channels}, biasScale...), onnx.Int32, 0)
	if parts != nil {
		readCodes(n, parts)
	}
	e.done.Convolutions++
	e.done.FloatBytes += int64(len(float.Data))
	e.done.WeightBytes += int64(len(codes)) + 4*channels
	return nil
}

// rounded returns the weights as Round left them or, without pictures, rounded to
// the nearest code.
func (e *staticEmitter) rounded(n *onnx.Node, w *WeightPlan) (*Rounded, error) {
	if r := e.rounding[w.Node]; r != nil {
		return r, nil
	}
	r, err := nearestWeights(n, w, e.plan.weightLevels(w))
	if err != nil {
		return nil, err
	}
	r.bias = make([]float32, len(r.scales))
	if b := n.Input(2); b != nil {
		old, err := b.Const.Float32s()
		if err != nil {
			return nil, err
		}
		copy(r.bias, old)
	}
	return r, nil
}
