package converter

import (
	"context"
	"fmt"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// Calibrate runs a float network over pictures and returns the per-channel
// statistics of the tensors that quantizing in the mode and for the target of the
// options reads. Of the options it reads Mode, Target, Layers, Input, Profile, Threads
// and Progress. When it is cancelled, it
// returns what it has so far beside the error: given back as Profile, it saves
// the work done.
func Calibrate(ctx context.Context, m *onnx.Model, images *calib.Dataset, o QuantizeOptions) (*calib.Profile, error) {
	t, mode, err := o.Form()
	if err != nil {
		return nil, err
	}
	simple, err := Simplify(ctx, m)
	if err != nil {
		return nil, err
	}
	if mode == target.Static {
		if t.WeightsOnly() {
			return nil, fmt.Errorf("target %s leaves activations float: there is nothing to calibrate", t.Name)
		}
		if err := passes.PrepareStatic(simple, t, o.Layers); err != nil {
			return nil, err
		}
		profile, _, err := calibrate(ctx, simple, digest(m), passes.StaticTensors(simple.Graph, t, o.Layers), true, images, o)
		return profile, err
	}
	convs, err := passes.Select(simple.Graph, o.Layers)
	if err != nil {
		return nil, err
	}
	profile, _, err := calibrate(ctx, simple, digest(m), passes.Tensors(convs), false, images, o)
	return profile, err
}

func calibrate(ctx context.Context, simple *onnx.Model, model string, tensors []string, static bool, images *calib.Dataset, o QuantizeOptions) (*calib.Profile, *calib.Network, error) {
	if images == nil && o.Profile == nil {
		return nil, nil, fmt.Errorf("calibration needs pictures: give a folder with --calib, or choose --step paper")
	}
	if o.Profile != nil && o.Input.Range == 0 {
		o.Input.Range = o.Profile.InputRange
	}
	network, err := Open(ctx, simple, o.Input, runtime.Options{Threads: o.Threads, Observe: tensors})
	if err != nil {
		return nil, nil, err
	}
	profile := calib.NewProfile(model, network.Range)
	profile.Static = static
	if o.Profile != nil {
		if err := profile.Merge(o.Profile); err != nil {
			return nil, nil, fmt.Errorf("the profile does not fit: %w", err)
		}
	}
	if images == nil {
		return profile, network, profile.Covers(tensors)
	}
	err = calib.Collect(ctx, network, profile, images, distributions(simple.Graph, tensors), func(done, total int) {
		o.Progress.report("calibrate", done, total)
	})
	return profile, network, err
}

func distributions(g *onnx.Graph, tensors []string) map[string][]quant.Distribution {
	d := make(map[string][]quant.Distribution, len(tensors))
	for _, name := range tensors {
		d[name] = passes.Distributions(g.Value(name))
	}
	return d
}
