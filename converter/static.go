package converter

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// quantizeStatic makes a static graph of the simplified model of q: calibrate,
// plan, fold the scales of channels, round the weights, rewrite.
func (q *Quantized) quantizeStatic(ctx context.Context, images *calib.Dataset, t *target.Target, o QuantizeOptions) (err error) {
	if t.WeightsOnly() {
		return q.quantizeStorage(ctx, images, t, o)
	}
	if err := passes.PrepareStatic(q.Model, t, o.Layers); err != nil {
		return err
	}
	if o.Plan == nil {
		tensors := passes.StaticTensors(q.Model.Graph, t, o.Layers)
		sample := images
		if images != nil && o.Profile == nil && o.ActivationBits == 8 {
			sample = images.Sample(samplePixels)
		}
		if q.Profile, q.Network, err = calibrate(ctx, q.Model, q.Source, tensors, true, sample, o); err != nil {
			return err
		}
		if q.Network.Channels == 3 { // of luma the photographs have all
			if err := calib.Add(ctx, q.Network, q.Profile, calib.ColoursName, calib.Colours(), distributions(q.Model.Graph, tensors)); err != nil {
				return err
			}
		}
		prunes, profile, err := q.prune(ctx, images, t, o)
		if err != nil {
			return err
		}
		if q.Plan, err = passes.MakeStaticPlan(q.Model.Graph, o.Settings, t, profile, q.Network.Range); err != nil {
			return err
		}
		q.Plan.Prunes = prunes
	} else if q.Pruned, err = takeOut(q.Model.Graph, o.Plan.Prunes); err != nil {
		return err
	} else if q.Network, err = Open(ctx, q.Model, o.inputOf(o.Plan), runtime.Options{Threads: o.Threads}); err != nil {
		return err
	}
	q.Plan.Model, q.Plan.InputRange = q.Source, q.Network.Range
	if err := fold(q.Model.Graph, q.Plan, t); err != nil {
		return err
	}
	rounding, err := q.round(ctx, images, o)
	if err != nil {
		return err
	}
	q.Done, err = passes.QuantizeStatic(q.Model, q.Plan, rounding, t, o.Opset)
	return err
}

// fold makes weights those of the codes that a static plan has for what they read.
func fold(g *onnx.Graph, plan *passes.Plan, t *target.Target) error {
	if err := passes.FoldScales(g, plan.Folds); err != nil {
		return err
	}
	passes.AlignPixels(g, plan)
	passes.AlignPatches(g, plan)
	if t.FloatProducts {
		passes.AlignParts(g, plan)
	}
	return nil
}

// quantizeStorage stores the weights of the simplified model of q in integers, rounded for
// the pictures where there are any.
func (q *Quantized) quantizeStorage(ctx context.Context, images *calib.Dataset, t *target.Target, o QuantizeOptions) (err error) {
	in := o.Input
	if o.Plan != nil {
		in = o.inputOf(o.Plan)
	} else if q.Plan, err = passes.MakeStoragePlan(q.Model.Graph, o.Settings, t); err != nil {
		return err
	}
	if q.Network, err = Open(ctx, q.Model, in, runtime.Options{Threads: o.Threads}); err != nil {
		return err
	}
	q.Plan.Model, q.Plan.InputRange = q.Source, q.Network.Range
	rounding, err := q.round(ctx, images, o)
	if err != nil {
		return err
	}
	q.Done, err = passes.QuantizeStorage(q.Model, q.Plan, rounding, t, o.Opset)
	return err
}

// samplePixels are as many as ranges of 8 bits are taken from, in all pictures together:
// more change nothing but the time. Fewer bits cut off what is rare, and look at all.
const samplePixels = 3 << 16

// Form returns the target and the mode that the options or the plan name; it checks that it
// has the mode.
func (o *QuantizeOptions) Form() (*target.Target, target.Mode, error) {
	name, mode := o.Target, o.Mode
	if o.Plan != nil {
		name, mode = o.Plan.Target, o.Plan.Mode
	}
	switch {
	case mode != "" && mode != target.Dynamic && mode != target.Static:
		return nil, "", fmt.Errorf("mode %q: want %s or %s", mode, target.Dynamic, target.Static)
	case mode == "" && name == "":
		mode = target.Dynamic
	case mode == "":
		t, err := target.Named(name)
		if err != nil {
			return nil, "", err
		}
		mode = t.Modes[0]
	}
	if name == "" {
		name = map[target.Mode]string{target.Dynamic: "portable", target.Static: "onnxruntime"}[mode]
	}
	t, err := target.Named(name)
	if err != nil {
		return nil, "", err
	}
	if !t.Supports(mode) {
		return nil, "", fmt.Errorf("target %s is written in mode %s, not %s: leave out --mode, or choose another --target", name, t.Modes[0], mode)
	}
	return t, mode, nil
}
