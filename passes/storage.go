package passes

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// leastBlock is the least number of input channels that get scales by block; fewer share
// one for each output channel.
const leastBlock = 8

// MakeStoragePlan decides the bits and blocks of all weights for a target that stores
// weights alone: those of the selected convolutions have the bits of the settings, the
// others 8, unless they are excluded. Types must be inferred.
func MakeStoragePlan(g *onnx.Graph, s Settings, t *target.Target) (*Plan, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.WeightBits < 2 {
		return nil, fmt.Errorf("%d bit: plain integers need at least 2", s.WeightBits)
	}
	chosen, err := Select(g, s.Layers)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Format: PlanFormat, Mode: target.Static, Target: t.Name, Rule: Calibrated}
	ordered := isOrdered(g)
	for _, n := range g.Nodes {
		if !quantizable(n) || len(n.Inputs[1].Const.Shape) != 4 || s.Layers.Exclude != nil && s.Layers.Exclude.MatchString(n.Label()) {
			continue
		}
		w := WeightPlan{Node: n.Label(), Bits: edgeBits, Nearest: !(ordered && isMatrix(n))}
		if slices.Contains(chosen, n) {
			w.Bits = s.WeightBits
		}
		l := matrixOf(n, n.Inputs[1].Const.Shape)
		if l.transposed && l.groups > 1 {
			continue // the groups would share scales
		}
		if c := l.inputs / l.taps; t.Weights.TypeOf(w.Bits) != t.Weights.Type && c >= leastBlock {
			w.Block = min(t.Weights.Block, c)
		}
		plan.Weights = append(plan.Weights, w)
	}
	return plan, nil
}

// QuantizeStorage replaces the planned weights by integers of the smallest type that
// holds them and a DequantizeLinear, which gives the float weights back when the
// network is loaded or run. Everything else stays float. The model is changed in place;
// its types must be inferred.
func QuantizeStorage(m *onnx.Model, p *Plan, rounding Rounding, t *target.Target, opset int64) (*Quantized, error) {
	opset = max(opset, m.Opset(""), minPerAxis)
	for _, w := range p.Weights {
		opset = max(opset, t.Weights.TypeOf(w.Bits).MinOpset())
		if w.Block > 0 {
			opset = max(opset, minBlocked)
		}
	}
	if opset > t.MaxOpset {
		return nil, fmt.Errorf("opset %d: %s are written for opsets up to %d", opset, t.For, t.MaxOpset)
	}
	if err := Upgrade(m, opset); err != nil {
		return nil, err
	}
	done, nodes := &Quantized{}, map[string]*onnx.Node{}
	for _, n := range m.Graph.Nodes {
		if quantizable(n) {
			nodes[n.Label()] = n
		}
	}
	shared := map[string]*onnx.Value{} // by float weights and choices
	for i := range p.Weights {
		w := &p.Weights[i]
		n := nodes[w.Node]
		if n == nil {
			return nil, fmt.Errorf("plan: the graph has no convolution %q with constant weights: make the plan from this model", w.Node)
		}
		done.Convolutions++
		r := rounding[w.Node]
		if r == nil {
			done.Nearest = append(done.Nearest, w.Node)
		} else {
			n.SetInput(2, m.Graph.AddInitializer(w.Node+"_bias", onnx.Floats([]int64{int64(len(r.bias))}, r.bias...)))
		}
		key := w.choices(n)
		if shared[key] == nil {
			v, err := storeWeights(m.Graph, n, w, p, r, t, done)
			if err != nil {
				return nil, fmt.Errorf("plan: weights of %q: %w", w.Node, err)
			}
			shared[key] = v
		}
		n.SetInput(1, shared[key])
	}
	m.Graph.DropUnused()
	m.IRVersion = max(m.IRVersion, onnx.IRVersionFor(opset))
	return done, m.Graph.Sort()
}

// Opsets of DequantizeLinear with a scale for each channel, and for each block.
const minPerAxis, minBlocked = 13, 21

// storeWeights adds the codes of a convolution's weights and their DequantizeLinear.
func storeWeights(g *onnx.Graph, n *onnx.Node, w *WeightPlan, p *Plan, r *Rounded, t *target.Target, done *Quantized) (*onnx.Value, error) {
	float := n.Inputs[1]
	l, levels := matrixOf(n, float.Const.Shape), p.weightLevels(w)
	var err error
	if r == nil {
		if w.Block > 0 {
			r, err = nearestBlocks(n, w, levels)
		} else {
			r, err = nearestWeights(n, w, levels)
		}
		if err != nil {
			return nil, err
		}
	}
	typ := t.Weights.TypeOf(w.Bits)
	scales, zeros := slices.Clone(r.scales), make([]uint8, len(r.scales))
	codes := make([]uint8, len(r.codes))
	for group := range l.groups {
		for o := range l.outputs {
			for i := range l.inputs {
				at, b := l.index(group, o, i), l.scaleOf(r, group, o, i)
				codes[at] = r.codes[at] - uint8(levels/2) // two's complement
				if r.scales[b] < 0 {
					// (code - L/2) * scale = (-1-(code - L/2) - -1) * -scale: the scale is positive
					// and the zero point -1.
					codes[at], scales[b], zeros[b] = ^codes[at], -r.scales[b], 1<<typ.Bits()-1
				}
				codes[at] &= 1<<typ.Bits() - 1
			}
		}
	}
	packed, err := quant.Pack(codes, typ.Bits())
	if err != nil {
		return nil, err
	}
	axis, shape := int64(0), []int64{int64(len(r.scales))}
	if l.transposed {
		axis = 1
	}
	var attrs []*onnx.Attribute
	if w.Block > 0 {
		axis = 1 - axis
		shape = slices.Clone(float.Const.Shape)
		shape[axis] = int64(l.blocks(w.Block))
		attrs = append(attrs, onnx.Attr("block_size", int64(w.Block)))
	}
	inputs := []*onnx.Value{
		g.AddInitializer(float.Name+"_codes", onnx.NewTensorBytes(typ, float.Const.Shape, packed)),
		g.AddInitializer(float.Name+"_scale", onnx.Floats(shape, scales...)),
	}
	if slices.Max(zeros) > 0 {
		packed, err := quant.Pack(zeros, typ.Bits())
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, g.AddInitializer(float.Name+"_zero_point", onnx.NewTensorBytes(typ, shape, packed)))
		done.WeightBytes += int64(len(packed))
	}
	dq := g.NewNode("DequantizeLinear", inputs, []string{float.Name + "_dequantized"}, append(attrs, onnx.Attr("axis", axis))...)
	dq.Name = dq.Outputs[0].Name
	dq.Outputs[0].Type = float.Type
	g.InsertBefore(n, dq)
	done.FloatBytes += int64(len(float.Const.Data))
	done.WeightBytes += int64(len(packed)) + 4*int64(len(r.scales))
	return dq.Outputs[0], nil
}

// blocks returns how many blocks of input channels a group has.
func (m matrix) blocks(size int) int { return (m.inputs/m.taps + size - 1) / size }

// blockOf returns the block of each weight of an output channel: one for each tap and
// size input channels.
func (m matrix) blockOf(size int) []int {
	of := make([]int, m.inputs)
	for i := range of {
		of[i] = i/m.taps/size*m.taps + i%m.taps
	}
	return of
}

// scaleIndex returns where the scale of a block lies.
func (m matrix) scaleIndex(size, g, o, block int) int {
	if m.transposed { // [blocks, Out, kH, kW]
		return (block/m.taps*m.outputs+o)*m.taps + block%m.taps
	}
	return (g*m.outputs+o)*m.blocks(size)*m.taps + block // [Out, blocks, kH, kW]
}

// scaleOf returns where the scale of a weight lies.
func (m matrix) scaleOf(r *Rounded, g, o, i int) int {
	if r.block == 0 {
		return g*m.outputs + o
	}
	return m.scaleIndex(r.block, g, o, i/m.taps/r.block*m.taps+i%m.taps)
}

// setBlocks rounds the weights w [inputs] of one output channel in blocks.
func (m matrix) setBlocks(r *Rounded, w []float64, size, g, o int, round func(codes []uint8, scales []float32, w []float64, block []int)) {
	codes, scales := make([]uint8, m.inputs), make([]float32, m.blocks(size)*m.taps)
	round(codes, scales, w, m.blockOf(size))
	for i, c := range codes {
		r.codes[m.index(g, o, i)] = c
	}
	for b, s := range scales {
		r.scales[m.scaleIndex(size, g, o, b)] = s
	}
}

func newBlocks(l matrix, w *WeightPlan) *Rounded {
	return &Rounded{
		block: w.Block, codes: make([]uint8, l.groups*l.outputs*l.inputs), scales: make([]float32, l.groups*l.outputs*l.blocks(w.Block)*l.taps),
	}
}

// nearestBlocks rounds the weights of a convolution to the nearest codes.
func nearestBlocks(n *onnx.Node, w *WeightPlan, levels int) (*Rounded, error) {
	data, err := n.Inputs[1].Const.Float32s()
	if err != nil {
		return nil, err
	}
	if err := checkFinite(data); err != nil {
		return nil, err
	}
	l := matrixOf(n, n.Inputs[1].Const.Shape)
	r := newBlocks(l, w)
	row, weights := make([]float32, l.inputs), make([]float64, l.inputs)
	for g := range l.groups {
		for o := range l.outputs {
			l.row(data, g, o, row)
			for i, v := range row {
				weights[i] = float64(v)
			}
			l.setBlocks(r, weights, w.Block, g, o, func(codes []uint8, scales []float32, w []float64, block []int) {
				quant.NearestBlocks(codes, scales, w, block, levels)
			})
		}
	}
	return r, nil
}

// level returns what weight i of an output channel became.
func (m matrix) level(r *Rounded, levels, g, o, i int) float32 {
	code, scale := r.codes[m.index(g, o, i)], r.scales[m.scaleOf(r, g, o, i)]
	if r.block == 0 {
		return quant.WeightWindow(scale, levels).Decode(code)
	}
	return float32(int(code)-levels/2) * scale
}
