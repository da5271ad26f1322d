package passes

import (
	"context"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas64"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Rounding holds, by convolution, weights that were rounded for the inputs they
// will see.
type Rounding map[string]*Rounded

// Rounded are the weights of one convolution.
type Rounded struct {
	bits   int
	codes  []uint8   // in the element order of the weights
	scales []float32 // one for each output channel
	bias   []float32 // what the convolution adds instead of its own bias
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
// Weights that the plan calls Nearest are left to rounding to nearest.
func Round(ctx context.Context, m *onnx.Model, p *Plan, pictures []*runtime.Tensor, o RoundOptions) (Rounding, error) {
	r := &rounder{
		g: m.Graph, opset: m.Opset(""), plan: p, workers: kernels.NewWorkers(o.Threads),
		activations: map[string]*ActivationPlan{}, static: map[string]*ActivationPlan{}, weights: map[string]*WeightPlan{},
		values: map[*onnx.Value][]twin{}, consts: map[*onnx.Value]*runtime.Tensor{}, left: map[*onnx.Value]int{},
		shared: map[*onnx.Value]*Rounded{}, done: Rounding{},
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
		return nil, nil
	}
	for _, in := range r.g.Inputs {
		if in.Const == nil {
			for _, x := range pictures {
				r.values[in] = append(r.values[in], twin{float: x, quantized: x})
			}
		}
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
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
	return r.done, nil
}

// twin is a tensor of one picture in both networks: the same one where nothing
// before it is quantized.
type twin struct {
	float, quantized *runtime.Tensor
	clean            *runtime.Tensor // the quantized one before a static quantizer for all readers, nil without
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
	left        map[*onnx.Value]int      // readers to come
	shared      map[*onnx.Value]*Rounded // by float weights
	done        Rounding
}

func (r *rounder) node(ctx context.Context, n *onnx.Node) error {
	inputs := make([][]twin, len(n.Inputs))
	pictures := 1
	for i, v := range n.Inputs {
		switch {
		case v == nil:
		case v.Const != nil:
			t, err := r.constant(v)
			if err != nil {
				return err
			}
			inputs[i] = []twin{{float: t, quantized: t}}
		default:
			inputs[i] = r.values[v]
			if a := r.static[v.Name]; a != nil && slices.Contains(a.Except, n.Label()) {
				inputs[i] = unquantized(inputs[i])
			}
			pictures = len(inputs[i])
		}
	}
	outputs := make([][]twin, len(n.Outputs))
	for i := range outputs {
		outputs[i] = make([]twin, pictures)
	}
	evaluate := func(picture int, quantized bool) error {
		args := make([]*runtime.Tensor, len(inputs))
		for i, in := range inputs {
			if in != nil {
				args[i] = in[min(picture, len(in)-1)].of(quantized)
			}
		}
		out, err := runtime.Eval(ctx, n, r.opset, args)
		if err != nil {
			return err
		}
		for i, t := range out {
			if i < len(outputs) {
				outputs[i][picture].set(quantized, t)
			}
		}
		return nil
	}
	err := r.each(ctx, pictures, func(p int) error { return evaluate(p, false) })
	if err != nil {
		return err
	}
	weights := r.weights[n.Label()]
	activation := r.activations[n.Label()]
	if weights == nil && activation == nil {
		err = r.each(ctx, pictures, func(p int) error {
			for _, in := range inputs {
				if in != nil && in[min(p, len(in)-1)].differ() {
					return evaluate(p, true)
				}
			}
			for i := range outputs {
				outputs[i][p].quantized = outputs[i][p].float
			}
			return nil
		})
	} else {
		// From here on the inputs are those of the quantized convolution.
		clean := unquantized(inputs[0])
		inputs[0] = slices.Clone(inputs[0])
		if activation != nil {
			err = r.each(ctx, pictures, func(p int) error {
				t, err := r.quantized(activation, inputs[0][p].quantized)
				inputs[0][p].quantized = t
				return err
			})
			if err != nil {
				return err
			}
		}
		var rounded *Rounded
		if weights != nil {
			if rounded, err = r.round(ctx, n, weights, clean, inputs[0], outputs[0]); err != nil {
				return err
			}
			r.done[n.Label()] = rounded
			float := inputs[1][0].float
			inputs[1] = []twin{{float: float, quantized: r.dequantized(n, weights, rounded)}}
		}
		err = r.each(ctx, pictures, func(p int) error {
			if err := evaluate(p, true); err != nil {
				return err
			}
			if rounded != nil {
				addBias(outputs[0][p].quantized, rounded.bias, r.bias(n))
			}
			return nil
		})
	}
	if err != nil {
		return err
	}
	for i, v := range n.Outputs {
		if v == nil || r.static[v.Name] == nil {
			continue
		}
		err := r.each(ctx, pictures, func(p int) (err error) {
			t := &outputs[i][p]
			t.clean = t.quantized
			t.quantized, err = r.quantized(r.static[v.Name], t.quantized)
			return err
		})
		if err != nil {
			return err
		}
	}
	for i, v := range n.Outputs {
		if v != nil && r.left[v] > 0 {
			r.values[v] = outputs[i]
		}
	}
	for _, v := range n.Inputs {
		if v != nil {
			if r.left[v]--; r.left[v] == 0 {
				delete(r.values, v)
				delete(r.consts, v)
			}
		}
	}
	return nil
}

func (t twin) differ() bool { return t.float != t.quantized }

// unquantized returns tensors as they are before a static quantizer for all readers.
func unquantized(list []twin) []twin {
	list = slices.Clone(list)
	for p, t := range list {
		if t.clean != nil {
			list[p].quantized = t.clean
		}
	}
	return list
}

func (t twin) of(quantized bool) *runtime.Tensor {
	if quantized {
		return t.quantized
	}
	return t.float
}

func (t *twin) set(quantized bool, x *runtime.Tensor) {
	if quantized {
		t.quantized = x
	} else {
		t.float = x
	}
}

func (r *rounder) each(ctx context.Context, n int, f func(i int) error) error {
	errs := make([]error, n)
	if err := r.workers.For(ctx, n, func(i, _ int) { errs[i] = f(i) }); err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *rounder) constant(v *onnx.Value) (*runtime.Tensor, error) {
	if r.consts[v] == nil {
		t, err := runtime.FromONNX(v.Const)
		if err != nil {
			return nil, err
		}
		r.consts[v] = t
	}
	return r.consts[v], nil
}

// quantized returns what a plan makes of a tensor [1,C,H,W].
func (r *rounder) quantized(a *ActivationPlan, x *runtime.Tensor) (*runtime.Tensor, error) {
	data, err := x.Float32s()
	if err != nil || len(x.Shape) != 4 || x.Shape[0] != 1 {
		return nil, fmt.Errorf("tensor %q is %s, feature maps are float [1,C,H,W]: leave its convolution out with --exclude", a.Tensor, x)
	}
	out := make([]float32, len(data))
	a.quantize(out, data, x.Shape[1], r.plan.Rule, r.plan.SigmaBits)
	return runtime.Of(x.Shape, out)
}

// quantize writes what the quantizer gives for x [channels,H,W] into dst.
func (a *ActivationPlan) quantize(dst, x []float32, channels int, rule Rule, sigmaBits int) {
	if a.Scale > 0 {
		a.quantizeStatic(dst, x)
		return
	}
	d := slices.Repeat([]quant.Distribution{quant.Signed}, channels)
	if a.PostReLU {
		d = slices.Repeat([]quant.Distribution{quant.PostReLU}, channels)
	}
	for _, c := range a.ReLUChannels {
		d[c] = quant.PostReLU
	}
	steps := a.Steps
	if len(steps) == 0 {
		steps = []float32{rule.step(a.Bits)}
	}
	hw := len(x) / max(channels, 1)
	stats := make([]quant.Stats, channels)
	stds := make([]float32, channels)
	for c := range channels {
		of := d[c].Stats
		if len(a.Starts) > 0 {
			of = d[c].WindowStats
		}
		stats[c] = of(x[c*hw : (c+1)*hw])
		stds[c] = stats[c].Std
	}
	if sigmaBits > 0 {
		quant.QuantizeStds(stds, quant.PaperStep(sigmaBits), quant.Levels(sigmaBits))
	}
	for c := range channels {
		s, step := quant.Stats{Mean: stats[c].Mean, Std: stds[c]}, steps[min(c, len(steps)-1)]
		w := d[c].Window(s, step, quant.Levels(a.bitsOf(c)))
		if len(a.Starts) > 0 {
			w = d[c].WindowAt(s, step, a.Starts[min(c, len(a.Starts)-1)], quant.Levels(a.bitsOf(c)))
		}
		for i, v := range x[c*hw : (c+1)*hw] {
			dst[c*hw+i] = w.Decode(w.Encode(v))
		}
	}
}

func (r *rounder) bias(n *onnx.Node) []float32 {
	v := n.Input(2)
	if v == nil || v.Const == nil {
		return nil
	}
	b, _ := v.Const.Float32s()
	return b
}

// addBias replaces old by bias in y [1,C,H,W].
func addBias(y *runtime.Tensor, bias, old []float32) {
	data := y.Data.([]float32)
	hw := len(data) / len(bias)
	for c, b := range bias {
		if old != nil {
			b -= old[c]
		}
		for i := range hw {
			data[c*hw+i] += b
		}
	}
}

// Constants of the rounding, measured on EDSR_x2 and RDN_x2.
const (
	// leastSamples is the least number of positions the moments are taken over,
	// in all pictures together, samplesPerInput the least for each input.
	leastSamples, samplesPerInput = 8192, 6
	// damping is the share of the mean variance that is added to the variance of
	// every input: the moments of other pictures differ.
	damping = 0.01
	// fidelity is how much more a change of the wanted output weighs than noise
	// of the same power. At 1 (Wiener) every layer would give up some detail for
	// less noise; noise of layers adds up in power, lost detail in amplitude.
	fidelity = 3
)

// round chooses the weights of one convolution. clean is its input before, x
// after quantization, y the output of the float network. A convolution whose
// weights were rounded for another reader takes them and has its own bias.
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
	out := &Rounded{bits: w.Bits, codes: make([]uint8, len(data)), scales: make([]float32, channels), bias: make([]float32, channels)}
	before := r.shared[n.Inputs[1]]
	if before != nil && before.bits == w.Bits {
		out.codes, out.scales = before.codes, before.scales
	} else {
		before = nil
		r.shared[n.Inputs[1]] = out
	}
	patches := patchesOf(n, x[0].float.Shape, y[0].float.Shape)
	for g := range layout.groups {
		gram, signal, noise, err := r.moments(ctx, patches, layout, g, clean, x, y)
		if err != nil {
			return nil, err
		}
		if before == nil {
			if err := r.roundGroup(ctx, out, w, layout, g, data, gram, signal, noise); err != nil {
				return nil, err
			}
		}
		meanX, meanY := gram.Mean()
		for o := range layout.outputs {
			window := quant.WeightWindow(out.scales[g*layout.outputs+o], r.plan.weightLevels(w))
			for i := range layout.inputs {
				meanY[o] -= float64(float64(window.Decode(out.codes[layout.index(g, o, i)])) * meanX[i])
			}
			out.bias[g*layout.outputs+o] = float32(meanY[o])
		}
	}
	return out, nil
}

// roundGroup chooses codes and scales of group g: float weights that let less of
// the inputs' quantization noise through first, then codes for these.
func (r *rounder) roundGroup(ctx context.Context, out *Rounded, w *WeightPlan, l matrix, g int, data []float32, gram *calib.Gram, signal, noise []float64) error {
	k, levels := l.inputs, r.plan.weightLevels(w)
	covariance, _ := gram.Covariance()
	variance := 0.0
	for i := range k {
		variance += covariance[i*k+i] / float64(k)
	}
	variance = max(variance, 1e-30)
	// Least fidelity*|(v-w) x|^2 + |v e|^2 for signal x and noise e is at
	// v = w - w E (fidelity*X + E)^-1.
	both := signal
	for i, e := range noise {
		both[i] = float64(fidelity*both[i]) + e
	}
	quieter, err := damped(both, k, 1e-4*fidelity*variance)
	if err != nil {
		return err
	}
	rounding, err := damped(covariance, k, damping*variance)
	if err != nil {
		return err
	}
	return r.workers.For(ctx, l.outputs, func(o, _ int) {
		row, target, change := make([]float32, k), make([]float64, k), make([]float64, k)
		l.row(data, g, o, row)
		for i, v := range row {
			target[i] = float64(v)
		}
		blas64.Gemv(blas.NoTrans, 1, blas64.General{Rows: k, Cols: k, Stride: k, Data: noise},
			blas64.Vector{N: k, Inc: 1, Data: target}, 0, blas64.Vector{N: k, Inc: 1, Data: change})
		quieter.Solve(change)
		for i := range target {
			target[i] -= change[i]
			row[i] = float32(target[i])
		}
		var scale float32
		if free := len(w.Scales) == 0; free {
			scale = quant.BestWeightScale(row, levels)
		} else {
			scale = w.Scales[min(g*l.outputs+o, len(w.Scales)-1)]
		}
		codes := make([]uint8, k)
		scale, _ = rounding.Round(codes, target, levels, scale, len(w.Scales) == 0)
		scale = l.boundPairs(codes, levels, w.PairSum, scale, func(scale float32) float32 {
			scale, _ = rounding.Round(codes, target, levels, scale, false)
			return scale
		})
		out.scales[g*l.outputs+o] = scale
		for i, c := range codes {
			out.codes[l.index(g, o, i)] = c
		}
	})
}

// damped adds to the variances, more where that is not enough to make the
// covariance of k inputs, summed in float32, positive definite.
func damped(covariance []float64, k int, damping float64) (c *quant.Compensator, err error) {
	for range 4 {
		for i := range k {
			covariance[i*k+i] += damping
		}
		if c, err = quant.NewCompensator(covariance, k); err == nil {
			return c, nil
		}
		damping *= 10
	}
	return nil, fmt.Errorf("%w: are there NaN or infinite values in its input?", err)
}

// moments returns those of the quantized inputs with the wanted outputs, and the
// covariances of the inputs before quantization and of the quantization noise.
func (r *rounder) moments(ctx context.Context, p calib.Patches, l matrix, g int, clean, x, y []twin) (gram *calib.Gram, signal, noise []float64, err error) {
	gram = calib.NewGram(l.inputs, l.outputs)
	before, change := calib.NewGram(l.inputs, 0), calib.NewGram(l.inputs, 0)
	share := (max(leastSamples, samplesPerInput*l.inputs) + len(x) - 1) / len(x)
	for i := range x {
		shape, out := x[i].quantized.Shape, y[i].float.Shape
		hw := out[2] * out[3]
		at := calib.Positions(hw, share)
		gather := func(t *runtime.Tensor) []float32 {
			rows := make([]float32, len(at)*l.inputs)
			p.Gather(rows, t.Data.([]float32), g, shape[1], shape[2], shape[3], out[3], at)
			return rows
		}
		rows, float := gather(x[i].quantized), gather(clean[i].quantized)
		errors := make([]float32, len(rows))
		for j, v := range rows {
			errors[j] = v - float[j]
		}
		want := make([]float32, len(at)*l.outputs)
		from := y[i].float.Data.([]float32)
		for j, pos := range at {
			for o := range l.outputs {
				want[j*l.outputs+o] = from[(g*l.outputs+o)*hw+pos]
			}
		}
		for _, add := range []func() error{
			func() error { return gram.Add(ctx, r.workers, rows, want, len(at)) },
			func() error { return before.Add(ctx, r.workers, float, nil, len(at)) },
			func() error { return change.Add(ctx, r.workers, errors, nil, len(at)) },
		} {
			if err := add(); err != nil {
				return nil, nil, nil, err
			}
		}
	}
	signal, _ = before.Covariance()
	noise, _ = change.Covariance()
	return gram, signal, noise, nil
}

// dequantized returns the rounded weights as the quantized network computes them.
func (r *rounder) dequantized(n *onnx.Node, w *WeightPlan, q *Rounded) *runtime.Tensor {
	float := n.Inputs[1].Const
	l := matrixOf(n, float.Shape)
	data := make([]float32, len(q.codes))
	for g := range l.groups {
		for o := range l.outputs {
			window := quant.WeightWindow(q.scales[g*l.outputs+o], r.plan.weightLevels(w))
			for i := range l.inputs {
				at := l.index(g, o, i)
				data[at] = window.Decode(q.codes[at])
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
