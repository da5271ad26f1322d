package passes

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
)

// Quantized is what Quantize did.
type Quantized struct {
	Convolutions int
	Tensors      int      // activations with a quantizer of their own
	WeightBytes  int64    // packed codes, scales and offsets
	FloatBytes   int64    // the same weights before
	Nearest      []string // calibrated convolutions whose weights were not rounded for pictures
}

// Quantize rewrites the model as the plan says, in the dynamic DAQ form: every
// planned tensor passes through daq.Quantize (or daq.QuantizeRelu) and
// daq.Dequantize on its way to the planned convolutions, whose weights become
// packed n-bit codes and a daq.Dequantize. The opset is raised to at least opset,
// or, when that is 0, to the one that has the types the codes need. The model is
// changed in place; its types must be inferred.
func Quantize(m *onnx.Model, p *Plan, rounding Rounding, opset int64) (*Quantized, error) {
	if opset == 0 {
		opset = neededOpset(m, p)
	}
	if opset < minOpset {
		return nil, fmt.Errorf("opset %d: the DAQ functions need opset %d or later", opset, minOpset)
	}
	if have := m.Opset(""); have > opset {
		return nil, fmt.Errorf("opset %d: the model is already at %d, and opsets cannot be lowered", opset, have)
	}
	if err := Upgrade(m, opset); err != nil {
		return nil, err
	}
	functions, err := daqFunctions(opset, p.SigmaBits)
	if err != nil {
		return nil, err
	}
	q := &quantizer{m: m, g: m.Graph, plan: p, rounding: rounding, opset: opset, nodes: map[string]*onnx.Node{}, shared: map[string]*onnx.Value{}}
	for _, n := range q.g.Nodes {
		if quantizable(n) {
			q.nodes[n.Label()] = n
		}
	}
	for _, a := range p.Activations {
		if err := q.activation(a); err != nil {
			return nil, fmt.Errorf("plan: tensor %q: %w", a.Tensor, err)
		}
	}
	for _, w := range p.Weights {
		if err := q.weights(w); err != nil {
			return nil, fmt.Errorf("plan: weights of %q: %w", w.Node, err)
		}
	}
	q.g.DropUnused()
	m.SetOpset(Domain, domainVersion)
	m.IRVersion = max(m.IRVersion, functionsIRVersion, onnx.IRVersionFor(opset))
	q.addFunctions(functions)
	return &q.done, q.g.Sort()
}

const (
	minOpset           = 11 // BitShift
	functionsIRVersion = 8  // model-local functions
)

// neededOpset returns the lowest opset that can store the planned weights at
// their own width.
func neededOpset(m *onnx.Model, p *Plan) int64 {
	opset := max(m.Opset(""), minOpset)
	for _, w := range p.Weights {
		opset = max(opset, containerType(w.Bits).MinOpset())
	}
	return opset
}

// containerType returns the smallest unsigned type that holds n-bit codes.
func containerType(bits int) onnx.DataType {
	switch quant.ContainerBits(bits) {
	case 2:
		return onnx.Uint2
	case 4:
		return onnx.Uint4
	}
	return onnx.Uint8
}

// quantizer rewrites one graph.
type quantizer struct {
	m        *onnx.Model
	g        *onnx.Graph
	plan     *Plan
	rounding Rounding
	opset    int64
	nodes    map[string]*onnx.Node  // convolutions by name
	shared   map[string]*onnx.Value // constants and dequantized weights that several nodes read
	called   []string               // functions in order of first use
	done     Quantized
}

func (q *quantizer) call(function string, inputs []*onnx.Value, outputs []string, name string) *onnx.Node {
	n := q.g.NewNode(function, inputs, outputs)
	n.Domain, n.Name = Domain, name
	if !slices.Contains(q.called, function) {
		q.called = append(q.called, function)
	}
	return n
}

func (q *quantizer) addFunctions(functions map[string]*onnx.Function) {
	for _, name := range q.called {
		f := functions[name]
		q.m.Functions = slices.DeleteFunc(q.m.Functions, func(old *onnx.Function) bool {
			return old.Domain == Domain && old.Name == name
		})
		q.m.Functions = append(q.m.Functions, f)
	}
}

// activation inserts X -> Quantize -> Dequantize in front of the readers of a
// tensor X [N,C,H,W].
func (q *quantizer) activation(a ActivationPlan) error {
	x := q.g.Value(a.Tensor)
	if x == nil {
		return fmt.Errorf("the graph has no such tensor: make the plan from this model")
	}
	if x.Type.Elem != onnx.Float && x.Type.Elem != onnx.Undefined {
		return fmt.Errorf("it is %s; only float tensors can be quantized", x.Type.Elem)
	}
	step := a.Steps
	if len(step) == 0 {
		step = []float32{q.plan.Rule.step(a.Bits)}
	}
	if channels := channelsOf(x); len(step) != 1 && channels >= 0 && int64(len(step)) != channels {
		return fmt.Errorf("%d steps for %d channels: give one, or one for each channel", len(step), channels)
	}
	for _, c := range a.ReLUChannels {
		if c < 0 || c >= len(step) {
			return fmt.Errorf("relu_channels names channel %d, and there are steps for %d", c, len(step))
		}
	}
	levels := q.levels(a)
	function, inputs := "Quantize", []*onnx.Value{x, q.perChannel(a.Tensor, "step", step), levels}
	switch {
	case len(a.Starts) > 0:
		function = "QuantizeWindow"
		inputs = []*onnx.Value{x, inputs[1], q.perChannel(a.Tensor, "start", a.Starts), q.perChannel(a.Tensor, "floor", a.floors()), levels}
	case a.PostReLU:
		function = "QuantizeRelu"
	}
	quantize := q.call(function, inputs, []string{x.Name + "_codes", x.Name + "_scale", x.Name + "_offset"}, x.Name+"/Quantize")
	quantize.Outputs[0].Type = onnx.Type{Elem: onnx.Uint8, Shape: x.Type.Shape}
	dequantize := q.call("Dequantize", quantize.Outputs, []string{x.Name + "_dequantized"}, x.Name+"/Dequantize")
	dequantize.Outputs[0].Type = x.Type
	first := -1
	for _, name := range a.Readers {
		n := q.nodes[name]
		if n == nil {
			return fmt.Errorf("the graph has no convolution %q with constant weights: make the plan from this model", name)
		}
		if n.Inputs[0] != x {
			return fmt.Errorf("convolution %q reads %q instead", name, n.Inputs[0].Name)
		}
		n.SetInput(0, dequantize.Outputs[0])
		if i := slices.Index(q.g.Nodes, n); first < 0 || i < first {
			first = i
		}
	}
	if first < 0 {
		return fmt.Errorf("it has no readers: name the convolutions that read it, or take it out")
	}
	q.g.InsertBefore(q.g.Nodes[first], quantize, dequantize)
	q.done.Tensors++
	return nil
}

func channelsOf(v *onnx.Value) int64 {
	if len(v.Type.Shape) != 4 {
		return -1
	}
	return v.Type.Shape[1].Value
}

// perChannel returns the initializer of steps and the like: a scalar, shared by
// the tensors with the same one, or [1,C,1,1].
func (q *quantizer) perChannel(tensor, what string, x []float32) *onnx.Value {
	if len(x) == 1 {
		return q.scalar(x[0], "daq_"+what)
	}
	return q.g.AddInitializer(tensor+"_"+what, onnx.Floats([]int64{1, int64(len(x)), 1, 1}, x...))
}

// levels returns the initializer of the number of levels: a scalar, or [1,C,1,1].
func (q *quantizer) levels(a ActivationPlan) *onnx.Value {
	if len(a.ChannelBits) == 0 {
		return q.scalar(float32(quant.Levels(a.Bits)), fmt.Sprintf("daq_levels_%d", quant.Levels(a.Bits)))
	}
	var levels []float32
	for _, b := range a.ChannelBits {
		levels = append(levels, float32(quant.Levels(b)))
	}
	return q.perChannel(a.Tensor, "levels", levels)
}

// floors returns what no value of a channel lies below.
func (a *ActivationPlan) floors() []float32 {
	if len(a.ReLUChannels) == 0 {
		if a.PostReLU {
			return []float32{0}
		}
		return []float32{-math.MaxFloat32}
	}
	floors := slices.Repeat([]float32{-math.MaxFloat32}, len(a.Steps))
	for _, c := range a.ReLUChannels {
		floors[c] = 0
	}
	return floors
}

func (q *quantizer) scalar(x float32, name string) *onnx.Value {
	key := fmt.Sprintf("%s=%g", name, x)
	if q.shared[key] == nil {
		q.shared[key] = q.g.AddInitializer(name, onnx.Scalar(x))
	}
	return q.shared[key]
}

// weights replaces the weights of one convolution by packed codes and their
// dequantization. Convolutions that share weights and choices share the result.
func (q *quantizer) weights(w WeightPlan) error {
	n := q.nodes[w.Node]
	if n == nil {
		return fmt.Errorf("the graph has no convolution of this name with constant weights: make the plan from this model")
	}
	float := n.Inputs[1]
	if float.Const == nil {
		return fmt.Errorf("the plan names it twice")
	}
	q.done.Convolutions++
	key := w.choices(n)
	if q.shared[key] == nil {
		v, err := q.dequantizedWeights(n, float, w)
		if err != nil {
			return err
		}
		q.shared[key] = v
	}
	n.SetInput(1, q.shared[key])
	if r := q.rounding[w.Node]; r != nil {
		bias := q.g.AddInitializer(w.Node+"_bias", onnx.Floats([]int64{int64(len(r.bias))}, r.bias...))
		n.SetInput(2, bias)
	} else if q.plan.Rule == Calibrated {
		q.done.Nearest = append(q.done.Nearest, w.Node)
	}
	return nil
}

func (q *quantizer) dequantizedWeights(n *onnx.Node, float *onnx.Value, w WeightPlan) (*onnx.Value, error) {
	coded, err := encodeWeights(n, float.Const, w, q.plan.Rule, q.rounding[w.Node])
	if err != nil {
		return nil, err
	}
	codes, unpack, err := q.codes(float, coded.codes, w.Bits)
	if err != nil {
		return nil, err
	}
	scale := q.g.AddInitializer(float.Name+"_scale", onnx.Floats(coded.shape, coded.scale...))
	offset := q.g.AddInitializer(float.Name+"_offset", onnx.Floats(coded.shape, coded.offset...))
	dequantize := q.call("Dequantize", []*onnx.Value{codes, scale, offset}, []string{float.Name + "_dequantized"}, float.Name+"/Dequantize")
	dequantize.Outputs[0].Type = float.Type
	q.g.InsertBefore(n, append(unpack, dequantize)...)
	q.done.FloatBytes += int64(len(float.Const.Data))
	q.done.WeightBytes += int64(len(coded.scale)+len(coded.offset)) * 4
	return dequantize.Outputs[0], nil
}

// codes stores the codes in the smallest type the opset has, or, where it has
// only bytes, packed into bytes with a daq.Unpack behind them.
func (q *quantizer) codes(float *onnx.Value, codes []uint8, bits int) (*onnx.Value, []*onnx.Node, error) {
	name := float.Name + "_codes"
	typ, width := containerType(bits), quant.ContainerBits(bits)
	perByte := 8 / width
	unpack := q.opset < typ.MinOpset()
	if unpack && len(codes)%perByte != 0 {
		typ, width, unpack = onnx.Uint8, 8, false // a few codes more; not worth a Slice
	}
	packed, err := quant.Pack(codes, width)
	if err != nil {
		return nil, nil, err
	}
	q.done.WeightBytes += int64(len(packed))
	if !unpack {
		return q.g.AddInitializer(name, onnx.NewTensorBytes(typ, float.Const.Shape, packed)), nil, nil
	}
	shifts := make([]uint8, perByte)
	for i := range shifts {
		shifts[i] = uint8(i * width)
	}
	n := q.call("Unpack", []*onnx.Value{
		q.g.AddInitializer(float.Name+"_packed", onnx.NewTensor(onnx.Uint8, []int64{int64(len(packed)), 1}, packed)),
		q.constant(fmt.Sprintf("daq_shifts_%d", width), onnx.NewTensor(onnx.Uint8, []int64{1, int64(perByte)}, shifts)),
		q.constant(fmt.Sprintf("daq_radix_%d", width), onnx.NewTensor(onnx.Uint8, nil, []uint8{1 << width})),
		q.g.AddInitializer(float.Name+"_shape", onnx.Int64s(float.Const.Shape...)),
	}, []string{name}, float.Name+"/Unpack")
	return n.Outputs[0], []*onnx.Node{n}, nil
}

func (q *quantizer) constant(name string, t *onnx.Tensor) *onnx.Value {
	if q.shared[name] == nil {
		q.shared[name] = q.g.AddInitializer(name, t)
	}
	return q.shared[name]
}
