package passes

import (
	"context"
	"fmt"
	"slices"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// twin is a tensor of one picture in both networks: the same one where nothing
// before it is quantized.
type twin struct {
	float, quantized *runtime.Tensor
	clean            *runtime.Tensor // the quantized one before a static quantizer for all readers, nil without
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
	// evaluate gives what the node computes of all pictures that want it.
	evaluate := func(quantized bool, want func(picture int) bool) error {
		constants := make([]*runtime.Tensor, len(inputs))
		for i, v := range n.Inputs {
			if v != nil && v.Const != nil {
				constants[i] = inputs[i][0].of(quantized)
			}
		}
		compute, err := runtime.Prepare(n, r.opset, constants)
		if err != nil {
			return err
		}
		return r.each(ctx, pictures, func(p int) error {
			if !want(p) {
				return nil
			}
			args := make([]*runtime.Tensor, len(inputs))
			for i, in := range inputs {
				if in != nil {
					args[i] = in[min(p, len(in)-1)].of(quantized)
				}
			}
			out, err := compute(ctx, args)
			for i, t := range out {
				if i < len(outputs) {
					outputs[i][p].set(quantized, t)
				}
			}
			return err
		})
	}
	all := func(int) bool { return true }
	err := evaluate(false, all)
	if err != nil {
		return err
	}
	weights := r.weights[n.Label()]
	activation := r.activations[n.Label()]
	if weights == nil && activation == nil {
		err = evaluate(true, func(p int) bool {
			for _, in := range inputs {
				if in != nil && in[min(p, len(in)-1)].differ() {
					return true
				}
			}
			for i := range outputs {
				outputs[i][p].quantized = outputs[i][p].float
			}
			return false
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
		err = evaluate(true, all)
		if err == nil && rounded != nil {
			rounded.bias, err = r.correctMean(ctx, outputs[0], r.bias(n))
		}
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

// correctMean moves every channel of the quantized outputs [1,C,H,W] to the mean
// that it has in the float network over all pictures, and returns the bias, in
// place of old, that does so.
func (r *rounder) correctMean(ctx context.Context, y []twin, old []float32) ([]float32, error) {
	bias := make([]float32, y[0].float.Shape[1])
	copy(bias, old)
	if without.Mean {
		return bias, nil
	}
	return bias, r.workers.For(ctx, len(bias), func(c, _ int) {
		sum, count := 0.0, 0
		for _, t := range y {
			float, quantized := channel(t.float, c), channel(t.quantized, c)
			for i, v := range float {
				sum += float64(v) - float64(quantized[i])
			}
			count += len(float)
		}
		shift := float32(sum / float64(count))
		bias[c] += shift
		for _, t := range y {
			quantized := channel(t.quantized, c)
			for i := range quantized {
				quantized[i] += shift
			}
		}
	})
}

func channel(t *runtime.Tensor, c int) []float32 {
	hw := t.Shape[2] * t.Shape[3]
	return t.Data.([]float32)[c*hw : (c+1)*hw]
}
