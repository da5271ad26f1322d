package main

import (
	"github.com/spf13/pflag"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/passes"
)

type quantizeFlags struct {
	calib          calibFlags
	layers         layerFlags
	input          inputFlags
	out            string
	mode, target   string
	bits           int
	weightBits     int
	activationBits int
	sigmaBits      int
	averageBits    float64
	maxDrop        float64
	protect        bool
	step           string
	opset          int64
	inline         bool
	plan, savePlan string
	profile        string
	overwrite      bool
	json           bool

	weightsOnly bool // the target leaves activations in float: pictures are not needed
}

// planned are the flags that a plan stands for.
var planned = []string{"mode", "target", "protect", "bits", "weight-bits", "activation-bits", "average-bits", "max-drop", "sigma-bits", "step", "layers", "include", "exclude"}

// options checks the flags and returns what they mean.
func (f *quantizeFlags) options(flags *pflag.FlagSet) (o converter.QuantizeOptions, err error) {
	if f.out == "" {
		return o, usagef("-o OUT.onnx is missing")
	}
	if f.plan != "" {
		for _, name := range planned {
			if flags.Changed(name) {
				return o, usagef("--plan holds the choice of --%s: change it there, or leave --plan out", name)
			}
		}
	}
	o.Mode, o.Target = target.Mode(f.mode), f.target
	if err := f.form(&o, flags); err != nil {
		return o, err
	}
	if flags.Changed("bits") {
		for _, name := range []string{"weight-bits", "activation-bits"} {
			if flags.Changed(name) {
				return o, usagef("--bits sets weights and activations: leave out --bits or --%s", name)
			}
		}
		f.weightBits, f.activationBits = f.bits, f.bits
	}
	for _, b := range []struct {
		flag string
		bits int
	}{{"bits", f.bits}, {"weight-bits", f.weightBits}, {"activation-bits", f.activationBits}, {"sigma-bits", f.sigmaBits}} {
		if b.flag == "sigma-bits" && b.bits == 0 {
			continue
		}
		if err := quant.CheckBits(b.bits); err != nil {
			return o, usagef("--%s: %v", b.flag, err)
		}
	}
	if f.opset < 0 {
		return o, usagef("--opset %d: want 11 or later", f.opset)
	}
	o.WeightBits, o.ActivationBits, o.SigmaBits, o.Opset, o.Inline = f.weightBits, f.activationBits, f.sigmaBits, f.opset, f.inline
	if o.Rule, err = passes.ParseRule(f.step); err != nil {
		return o, usagef("--%v", err)
	}
	if flags.Changed("max-drop") {
		if !(f.maxDrop > 0) {
			return o, usagef("--max-drop %g: want more than 0 dB", f.maxDrop)
		}
		for _, name := range []string{"bits", "weight-bits", "activation-bits", "average-bits"} {
			if flags.Changed(name) {
				return o, usagef("--max-drop finds the bits itself: leave out --max-drop or --%s", name)
			}
		}
		if o.Rule != passes.Calibrated {
			return o, usagef("--max-drop needs --step calibrated and pictures: the drop is measured")
		}
		o.MaxDrop = f.maxDrop
	}
	if flags.Changed("average-bits") {
		if err := f.budget(&o, flags); err != nil {
			return o, err
		}
	}
	stated := flags.Changed("bits") || flags.Changed("weight-bits") || flags.Changed("activation-bits")
	o.Protect = f.protect && (!stated || flags.Changed("protect"))
	if flags.Changed("protect") && (o.MaxDrop > 0 || o.Budget != converter.Budget{}) {
		return o, usagef("--protect is about --bits: leave it out with --average-bits and --max-drop, which distribute bits")
	}
	if o.Layers, err = f.layers.selection(); err != nil {
		return o, err
	}
	if o.Input, err = f.input.input(); err != nil {
		return o, err
	}
	if f.profile != "" && (f.plan != "" || o.Rule != passes.Calibrated) {
		return o, usagef("--profile is for --step calibrated and no --plan: nothing else reads statistics")
	}
	if f.plan == "" && !f.weightsOnly && o.Rule == passes.Calibrated && f.calib.dir == "" && f.profile == "" {
		return o, usagef("--calib DIR is missing: give a folder of pictures, or choose --step paper, which needs none")
	}
	return o, nil
}

// form checks --mode and --target.
func (f *quantizeFlags) form(o *converter.QuantizeOptions, flags *pflag.FlagSet) error {
	if f.plan != "" {
		return nil
	}
	to, mode, err := o.Form()
	if err != nil {
		return usagef("--%v", err)
	}
	if mode != target.Static {
		return nil
	}
	f.weightsOnly = to.WeightsOnly()
	if f.weightsOnly {
		for _, name := range []string{"activation-bits", "profile"} {
			if flags.Changed(name) {
				return usagef("--%s is about activations, which the target %s leaves in float: leave it out", name, to.Name)
			}
		}
	} else if !flags.Changed("bits") {
		f.bits = 8
		if !flags.Changed("weight-bits") {
			f.weightBits = 8
		}
		if !flags.Changed("activation-bits") {
			f.activationBits = 8
		}
	}
	for _, name := range []string{"sigma-bits", "average-bits", "max-drop", "inline"} {
		if flags.Changed(name) {
			return usagef("--%s is for dynamic quantization: leave it out, or choose --mode dynamic", name)
		}
	}
	if f.step != string(passes.Calibrated) {
		return usagef("--step %s is for dynamic quantization: leave it out, static scales come from the pictures of --calib", f.step)
	}
	return nil
}

// budget turns --average-bits into a budget for what no other flag decides, and
// uniform bits within it.
func (f *quantizeFlags) budget(o *converter.QuantizeOptions, flags *pflag.FlagSet) error {
	if err := passes.CheckAverage(f.averageBits); err != nil {
		return usagef("--average-bits: %v", err)
	}
	if flags.Changed("bits") || flags.Changed("weight-bits") && flags.Changed("activation-bits") {
		return usagef("--average-bits decides the bits that --bits, or --weight-bits and --activation-bits, state: leave one out")
	}
	if o.Rule != passes.Calibrated {
		return usagef("--average-bits needs --step calibrated and pictures: sensitivity is measured")
	}
	if !flags.Changed("weight-bits") {
		o.Budget.Weights, o.WeightBits = f.averageBits, int(f.averageBits)
	}
	if !flags.Changed("activation-bits") {
		o.Budget.Activations, o.ActivationBits = f.averageBits, int(f.averageBits)
	}
	return nil
}
