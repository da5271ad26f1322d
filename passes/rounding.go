package passes

import (
	"context"
	"fmt"
	"slices"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Rounding holds, by convolution, weights that were rounded for the inputs they
// will see.
type Rounding map[string]*Rounded

// Rounded are the weights of one convolution.
type Rounded struct {
	block  int       // input channels that share a scale, 0 for all
	codes  []uint8   // in the element order of the weights
	scales []float32 // one for each output channel, or for each block [Out, blocks, kH, kW]
	bias   []float32 // what the convolution adds instead of its own bias
}

// withoutBias are the weights for another convolution, which has a bias of its own.
func (r *Rounded) withoutBias() *Rounded {
	return &Rounded{block: r.block, codes: r.codes, scales: r.scales}
}

// RoundOptions bound the work of Round.
type RoundOptions struct {
	Threads  int // 0 means all processors
	Progress func(done, total int)
}

// Round chooses the weights' codes, scales and biases of a plan such that each
// convolution, fed with the quantized inputs that the quantized network will
// give it, comes as close as it can to what the float network computes there.
// It evaluates both networks side by side, node by node, for all pictures
// [1,C,H,W] at once, so that a convolution sees the errors of all before it.
// Weights that the plan calls Nearest are left to rounding to nearest. Those that several
// convolutions read are rounded for all of them: what the later ones read is known from a
// first run.
func Round(ctx context.Context, m *onnx.Model, p *Plan, pictures []*runtime.Tensor, o RoundOptions) (Rounding, error) {
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	r, err := round(ctx, m, p, pictures, nil, o)
	if err == nil && len(r.later) > 0 {
		r, err = round(ctx, m, p, pictures, r.later, o)
	}
	if err != nil || len(r.weights) == 0 {
		return nil, err
	}
	return r.done, nil
}

// round is one run of Round, the second one if later is known.
func round(ctx context.Context, m *onnx.Model, p *Plan, pictures []*runtime.Tensor, later map[readers]*moments, o RoundOptions) (*rounder, error) {
	r := &rounder{
		g: m.Graph, opset: m.Opset(""), plan: p, workers: kernels.NewWorkers(o.Threads),
		activations: map[string]*ActivationPlan{}, static: map[string]*ActivationPlan{}, weights: map[string]*WeightPlan{},
		values: map[*onnx.Value][]twin{}, consts: map[*onnx.Value]*runtime.Tensor{}, left: map[*onnx.Value]int{},
		shared: map[string]*Rounded{}, later: later, again: later != nil, done: Rounding{},
	}
	if !r.again {
		r.later = map[readers]*moments{}
	}
	ordered := isOrdered(r.g)
	for i, a := range p.Activations {
		for _, name := range a.Readers {
			r.activations[name] = &p.Activations[i]
		}
		if a.Scale > 0 && len(a.Readers) == 0 {
			r.static[a.Tensor] = &p.Activations[i]
		}
	}
	for i, w := range p.Weights {
		if !w.Nearest {
			r.weights[w.Node] = &p.Weights[i]
		}
	}
	for _, n := range r.g.Nodes {
		if r.weights[n.Label()] != nil && !(ordered && quantizable(n) && isMatrix(n)) {
			return nil, fmt.Errorf("plan: weights of %q cannot be rounded for pictures: set \"nearest\": true", n.Label())
		}
	}
	if len(r.weights) == 0 {
		return r, nil
	}
	for _, in := range r.g.Inputs {
		if in.Const == nil {
			for _, x := range pictures {
				r.values[in] = append(r.values[in], twin{float: x, quantized: x})
			}
		}
	}
	for _, n := range r.g.Nodes {
		for _, in := range n.Inputs {
			if in != nil {
				r.left[in]++
			}
		}
	}
	for i, n := range r.g.Nodes {
		if len(r.done) == len(r.weights) {
			break
		}
		o.Progress(i, len(r.g.Nodes))
		if err := r.node(ctx, n); err != nil {
			return nil, fmt.Errorf("node %s: %w", n, err)
		}
	}
	o.Progress(len(r.g.Nodes), len(r.g.Nodes))
	return r, nil
}

type rounder struct {
	g           *onnx.Graph
	opset       int64
	plan        *Plan
	workers     *kernels.Workers
	activations map[string]*ActivationPlan // by convolution
	static      map[string]*ActivationPlan // by tensor
	weights     map[string]*WeightPlan
	values      map[*onnx.Value][]twin
	consts      map[*onnx.Value]*runtime.Tensor
	left        map[*onnx.Value]int  // readers to come
	shared      map[string]*Rounded  // by WeightPlan.choices
	later       map[readers]*moments // of what all readers of shared weights but the first read
	again       bool                 // later is known, from the run before
	done        Rounding
}

// readers are convolutions that share weights and choices: one part, of so many inputs, of what they read.
type readers struct {
	choices      string
	inputs, part int
}

// Constants of the rounding, measured on EDSR_x2 and RDN_x2.
const (
	// leastSamples is the least number of positions the moments are taken over,
	// in all pictures together, samplesPerInput the least for each input.
	leastSamples, leastFineSamples, samplesPerInput = 8192, 4096, 6
	// damping is the share of the mean variance that is added to the variance of
	// every input: the moments of other pictures differ.
	damping = 0.01
)

// fineInputs are as many inputs as 8-bit weights compensate each other over, 64 channels of 3x3: the
// work grows with their third power. More are cut into parts of whole channels.
const fineInputs = 640

// without leaves parts of calibration and rounding out; TestAblation measures what
// each gives.
var without struct{ OffCentre, Room, Compensation, Quieting, Mean bool }

// round chooses the weights of one convolution, not the bias. clean is its input
// before, x after quantization, y its output. A convolution whose weights were
// rounded for another reader takes them; the first run keeps what it reads.
func (r *rounder) round(ctx context.Context, n *onnx.Node, w *WeightPlan, clean, x, y []twin) (*Rounded, error) {
	float := n.Inputs[1].Const
	data, err := float.Float32s()
	if err != nil {
		return nil, err
	}
	layout := matrixOf(n, float.Shape)
	channels := layout.outputs * layout.groups
	if len(w.Scales) > 1 && len(w.Scales) != channels {
		return nil, fmt.Errorf("%d scales for %d output channels: give one, or one for each", len(w.Scales), channels)
	}
	choices := w.choices(n)
	before := r.shared[choices]
	shares := before != nil
	if shares && r.again {
		return before.withoutBias(), nil
	}
	fine := r.isFine(n, w, layout.inputs)
	parts := 1
	if fine {
		parts = layout.parts(fineInputs)
	}
	patches, part := patchesOf(n, x[0].float.Shape, y[0].float.Shape), layout
	patches.Group, part.inputs = patches.Group*parts, part.inputs/parts
	share, fidelity := r.quieting(n, w)
	momentsOf := func(i int) (m *moments, err error) {
		switch {
		case fine:
			m, err = r.fineMoments(ctx, patches, part, i, clean, x, y, fidelity)
		case share > 0:
			m, err = r.inherited(ctx, patches, part, i, clean, x, y, share, fidelity)
		default:
			m, err = r.moments(ctx, patches, part, i, clean, x, y, fidelity)
		}
		if later := r.later[readers{choices, part.inputs, i}]; err == nil && (shares || later != nil) {
			m.join(later, part.inputs)
		}
		return m, err
	}
	if shares {
		for i := range patches.Group {
			if r.later[readers{choices, part.inputs, i}], err = momentsOf(i); err != nil {
				return nil, err
			}
		}
		return before.withoutBias(), nil
	}
	out := &Rounded{codes: make([]uint8, len(data)), scales: make([]float32, channels)}
	if w.Block > 0 {
		out = newBlocks(layout, w)
	}
	r.shared[choices] = out
	for g := range layout.groups {
		targets := layout.columns(data, g)
		var rounding []*quant.Compensator
		for i := range parts {
			m, err := momentsOf(g*parts + i)
			if err != nil {
				return nil, err
			}
			size := part.inputs * part.outputs
			c, err := r.compensator(ctx, m, targets[i*size:(i+1)*size], part.inputs, fidelity)
			if err != nil {
				return nil, err
			}
			rounding = append(rounding, c)
		}
		if err := r.roundGroup(ctx, out, w, layout, g, targets, rounding, fine); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// isFine reports whether in a static plan weights have 8 bits and inputs as many or
// float: there is so little noise then that cheaper moments do. Where weights alone are quantized, all must
// have 8 bits, unless there are so many inputs that measuring their noise would take too long.
func (r *rounder) isFine(n *onnx.Node, w *WeightPlan, inputs int) bool {
	if r.plan.Mode != target.Static || w.Bits < 8 {
		return false
	}
	if r.floats() {
		return inputs > fineInputs || !slices.ContainsFunc(r.plan.Weights, func(w WeightPlan) bool { return w.Bits < 8 })
	}
	return r.inputBits(n) == 8
}

// floats reports whether weights alone are quantized.
func (r *rounder) floats() bool { return len(r.plan.Activations) == 0 }

// inputBits returns the bits of the inputs of a convolution, the most of all channels, 8 where they are float.
func (r *rounder) inputBits(n *onnx.Node) int {
	a := r.activations[n.Label()]
	if a == nil {
		a = r.static[n.Inputs[0].Name]
	}
	if a == nil {
		return quant.MaxBits
	}
	return a.Bits
}

// quieting returns how weights of a convolution are pulled: share is how much of what earlier layers lost
// counts as noise (none where isFine), fidelity how much more a change of the wanted output weighs than noise of
// the same power. At 1 (Wiener) every layer would give up some detail for less noise; noise of layers adds up in
// power, lost detail in amplitude. With 8 bits on both sides there is so little noise that it pays all the
// same. At 3 and 2 bits 6 moves colours too far. Where nothing but weights is quantized, all noise is inherited.
// Measured at 4 bits on all networks, at 3 and 2 on EDSR_x2, SRResNet_x4 and RDN_x2 (RATIONALE.md).
func (r *rounder) quieting(n *onnx.Node, w *WeightPlan) (share, fidelity float64) {
	switch bits := r.inputBits(n); {
	case r.floats():
		return 1, 3
	case bits == quant.MaxBits && w.Bits == quant.MaxBits:
		return 0, 1
	case bits > 3:
		return 0.5, 6
	}
	return 0.5, 3
}

// nearestWeights rounds the weights of a convolution to the nearest codes of the scales
// that the plan states or, where it states none, of the best ones.
func nearestWeights(n *onnx.Node, w *WeightPlan, levels int) (*Rounded, error) {
	data, err := n.Inputs[1].Const.Float32s()
	if err != nil {
		return nil, err
	}
	l := matrixOf(n, n.Inputs[1].Const.Shape)
	r := &Rounded{codes: make([]uint8, len(data)), scales: make([]float32, l.groups*l.outputs)}
	row, codes := make([]float32, l.inputs), make([]uint8, l.inputs)
	for c := range r.scales {
		l.row(data, c/l.outputs, c%l.outputs, row)
		scale := quant.BestWeightScale(row, levels)
		if len(w.Scales) > 0 {
			scale = w.Scales[min(c, len(w.Scales)-1)]
		}
		if err := quant.EncodeWeights(codes, row, scale, levels); err != nil {
			return nil, err
		}
		r.scales[c] = l.boundPairs(codes, levels, w.PairSum, scale, func(scale float32) float32 {
			_ = quant.EncodeWeights(codes, row, scale, levels) // the same finite weights
			return scale
		})
		for i, code := range codes {
			r.codes[l.index(c/l.outputs, c%l.outputs, i)] = code
		}
	}
	return r, nil
}

// roundGroup chooses codes and scales of group g for weights near targets [inputs, outputs], with a
// compensator for each part of the inputs: one, or more when fine.
func (r *rounder) roundGroup(ctx context.Context, out *Rounded, w *WeightPlan, l matrix, g int, targets []float64, rounding []*quant.Compensator, fine bool) error {
	k, levels := l.inputs, r.plan.weightLevels(w)
	target := func(o int) []float64 {
		w := make([]float64, k)
		for i := range w {
			w[i] = targets[i*l.outputs+o]
		}
		return w
	}
	if w.Block > 0 {
		return r.workers.For(ctx, l.outputs, func(o, _ int) {
			l.setBlocks(out, target(o), w.Block, g, o, func(codes []uint8, scales []float32, w []float64, block []int) {
				rounding[0].RoundBlocks(codes, scales, w, block, levels)
			})
		})
	}
	return r.workers.For(ctx, l.outputs, func(o, _ int) {
		row, target := make([]float32, k), target(o)
		for i, v := range target {
			row[i] = float32(v)
		}
		var scale float32
		free := len(w.Scales) == 0
		if free {
			scale = quant.BestWeightScale(row, levels)
		} else {
			scale = w.Scales[min(g*l.outputs+o, len(w.Scales)-1)]
		}
		codes := make([]uint8, k)
		if without.Compensation {
			quant.EncodeWeights(codes, row, scale, levels)
		} else {
			round := func(scale float32, free bool) float32 {
				if fine {
					part := k / len(rounding)
					for i, c := range rounding {
						c.Nearest(codes[i*part:(i+1)*part], target[i*part:(i+1)*part], levels, scale)
					}
				} else {
					scale, _ = rounding[0].Round(codes, target, levels, scale, free)
				}
				return scale
			}
			scale = l.boundPairs(codes, levels, w.PairSum, round(scale, free), func(scale float32) float32 { return round(scale, false) })
		}
		out.scales[g*l.outputs+o] = scale
		for i, c := range codes {
			out.codes[l.index(g, o, i)] = c
		}
	})
}

// dequantized returns the rounded weights as the quantized network computes them.
func (r *rounder) dequantized(n *onnx.Node, w *WeightPlan, q *Rounded) *runtime.Tensor {
	float := n.Inputs[1].Const
	l := matrixOf(n, float.Shape)
	data := make([]float32, len(q.codes))
	for g := range l.groups {
		for o := range l.outputs {
			for i := range l.inputs {
				data[l.index(g, o, i)] = l.level(q, r.plan.weightLevels(w), g, o, i)
			}
		}
	}
	shape := make([]int, len(float.Shape))
	for i, d := range float.Shape {
		shape[i] = int(d)
	}
	t, _ := runtime.Of(shape, data)
	return t
}
