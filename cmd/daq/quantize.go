package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

func newQuantize(t *terminal) *cobra.Command {
	f := &quantizeFlags{}
	cmd := &cobra.Command{
		Use:   "quantize MODEL.onnx -o OUT.onnx --calib DIR",
		Short: "Make a network of 2 to 8 bits from a float one",
		Long: `Quantizes the convolutions of a super-resolution network: their weights are
stored in few bits, and their inputs are rounded to few bits by the distribution
that each channel has in the picture at hand (DAQ, arXiv 2012.11230). No training;
a handful of pictures is enough. OUT.onnx is a complete network for any runtime
that knows ONNX functions.`,
		Example: `  daq quantize edsr.onnx -o edsr_4bit.onnx --calib photos
  daq quantize edsr.onnx -o edsr_w2a4.onnx --calib Set5/HR --downscale 2 --weight-bits 2 --activation-bits 4
  daq quantize edsr.onnx -o edsr_mixed.onnx --calib photos --average-bits 3.2
  daq quantize edsr.onnx -o edsr_good.onnx --calib photos --max-drop 0.2
  daq quantize edsr.onnx -o edsr_paper.onnx --step paper --bits 3
  daq quantize edsr.onnx -o edsr_3bit.onnx --calib photos --profile edsr.profile --bits 3
  daq quantize edsr.onnx -o edsr_edited.onnx --plan edited.json
  daq quantize edsr.onnx -o edsr_anywhere.onnx --calib photos --inline --opset 13
  daq quantize edsr.onnx -o edsr_small.onnx --calib photos --target storage --bits 4`,
		Args:                  arguments("MODEL.onnx"),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, t, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.out, "output", "o", "", "`file` to write")
	f.calib.add(flags)
	flags.StringVar(&f.mode, "mode", "", "dynamic: every channel by its distribution in the picture at hand; or static: ranges from the pictures of --calib, as plain QuantizeLinear and DequantizeLinear, which runtimes execute in integers, without channels quieter than the rounding; the target's own when not given, else dynamic")
	flags.StringVar(&f.target, "target", "", "runtime that OUT.onnx is for, which decides its form: "+strings.Join(target.Names(), ", ")+"; portable when not given, onnxruntime with --mode static")
	flags.IntVar(&f.bits, "bits", 4, "`number` of bits of weights and activations, 1 to 8; in static mode 8 when not given; for storage of weights alone")
	flags.IntVar(&f.weightBits, "weight-bits", 4, "`number` of bits of weights alone")
	flags.IntVar(&f.activationBits, "activation-bits", 4, "`number` of bits of activations alone")
	flags.IntVar(&f.sigmaBits, "sigma-bits", 0, "`number` of bits of the deviation of each channel; 0 leaves it in float")
	flags.Float64Var(&f.averageBits, "average-bits", 0, "distribute bits over channels and layers by their sensitivity, this `number` on average over all values of activations and over all weights; with --weight-bits or --activation-bits only over the other")
	flags.Float64Var(&f.maxDrop, "max-drop", 0, "search the lowest average bits that lose at most this many `dB` of PSNR-Y on the pictures of --calib")
	flags.BoolVar(&f.protect, "protect", true, "where much is lost, give the few layers that lose most of it 8 bits, and name them; off when bits are stated, unless given")
	flags.StringVar(&f.step, "step", "calibrated", "`rule` for the distance of two codes: calibrated (from the pictures); or paper, wide or a number of standard deviations, which need no pictures")
	f.layers.add(flags)
	f.input.add(flags)
	flags.Int64Var(&f.opset, "opset", 0, "`version` of the opset of OUT.onnx, 11 or later and not below the model's own; 0 is the lowest that stores the codes at their width")
	flags.BoolVar(&f.inline, "inline", false, "write standard operators only, for runtimes that do not know model-local functions; with --opset, also for those without types of 2 and 4 bits")
	flags.StringVar(&f.plan, "plan", "", "obey the choices of this `file` (see --save-plan) instead of the flags above; with --calib, weights are rounded and means of colours held for the pictures again")
	flags.StringVar(&f.profile, "profile", "", "statistics collected before (daq calibrate): this `file`'s pictures are not run again; weights are rounded and means of colours held for the pictures of --calib; without, weights take the nearest code")
	flags.StringVar(&f.savePlan, "save-plan", "", "write all choices made to this `file`, to be edited and given back")
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace files that exist")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	return cmd
}

func (f *quantizeFlags) run(cmd *cobra.Command, t *terminal, path string) error {
	o, err := f.options(cmd.Flags())
	if err != nil {
		return err
	}
	inputs := []string{path}
	for _, in := range []string{f.plan, f.profile} {
		if in != "" {
			inputs = append(inputs, in)
		}
	}
	if err := checkOutputs(f.overwrite, []string{f.out, f.savePlan}, inputs); err != nil {
		return err
	}
	images, err := f.calib.dataset()
	if err != nil {
		return err
	}
	if f.plan != "" {
		if o.Plan, err = loadPlan(f.plan); err != nil {
			return err
		}
	}
	if f.profile != "" {
		if o.Profile, err = calib.Load(f.profile); err != nil {
			return err
		}
	}
	rule := o.Rule
	if o.Plan != nil {
		rule = o.Plan.Rule // with pictures, weights are still rounded for them
	}
	if images != nil && rule != passes.Calibrated {
		t.note("the pictures of --calib are not needed: %s says every step", map[bool]string{true: "--plan", false: "--step"}[o.Plan != nil])
	}
	m, err := onnx.Load(path)
	if err != nil {
		return err
	}
	before := fileBytes(path)
	progress, done := t.progress(f.json)
	defer done()
	o.Threads, o.Progress = t.threads, progress
	start := time.Now()
	q, err := converter.Quantize(cmd.Context(), m, images, o)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	done()
	if err := q.Model.Save(f.out); err != nil {
		return err
	}
	if f.savePlan != "" {
		if err := savePlan(f.savePlan, q.Plan); err != nil {
			return err
		}
	}
	r := quantizeResult{
		Model: path, Output: f.out, Plan: f.savePlan, Opset: q.Model.Opset(""),
		Convolutions: q.Done.Convolutions, Tensors: q.Done.Tensors,
		WeightBits: q.Model.Meta("daq.weight_bits"), ActivationBits: q.Model.Meta("daq.activation_bits"),
		Step: string(q.Plan.Rule), InputRange: q.Network.Range,
		FloatBytes: before, QuantizedBytes: fileBytes(f.out),
		FloatWeightBytes: q.Done.FloatBytes, WeightBytes: q.Done.WeightBytes,
		Seconds: time.Since(start).Seconds(),
	}
	if q.Mixed != nil {
		r.Average = &averageResult{q.Mixed.Activations, q.Mixed.Weights, q.Mixed.Loss, q.Mixed.UniformLoss}
	}
	r.Protected, r.Losses = q.Protected, q.Losses
	r.Trials, r.Nearest, r.Pruned, r.Shift = q.Trials, q.Done.Nearest, q.Pruned, q.Shift
	if q.Drop.Pictures > 0 {
		r.Drop = &q.Drop
	}
	if f.json {
		err = t.json(r)
	} else {
		err = r.print(t, f)
	}
	if err != nil {
		return err
	}
	if q.Drop.DB() > converter.MuchDrop {
		t.note("%s", f.remedy(path, q))
	}
	return nil
}
