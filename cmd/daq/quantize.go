package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/atomicfile"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/report"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
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
	flags.StringVar(&f.mode, "mode", "", "dynamic: every channel by its distribution in the picture at hand; or static: ranges from the pictures of --calib, as plain QuantizeLinear and DequantizeLinear, which runtimes execute in integers; the target's own when not given, else dynamic")
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
	flags.StringVar(&f.plan, "plan", "", "obey the choices of this `file` (see --save-plan) instead of the flags above; with --calib, weights are rounded for the pictures again")
	flags.StringVar(&f.profile, "profile", "", "statistics collected before (daq calibrate): this `file`'s pictures are not run again; weights are rounded for the pictures of --calib, to the nearest code without")
	flags.StringVar(&f.savePlan, "save-plan", "", "write all choices made to this `file`, to be edited and given back")
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace files that exist")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	return cmd
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
	r.Trials, r.Nearest = q.Trials, q.Done.Nearest
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

// remedy tells what helps a network that lost much all the same.
func (f *quantizeFlags) remedy(path string, q *converter.Quantized) string {
	if len(q.Losses) == 0 { // static
		return fmt.Sprintf("%.1f dB were lost: quantize with more bits, leave the worst layers float with --exclude (daq sensitivity names them), or choose --mode dynamic", q.Drop.DB())
	}
	const most = 3
	var worst, layers []string
	total := 0.0
	rest := q.Losses[len(q.Protected):]
	for _, l := range rest {
		total += l.Share
	}
	for _, l := range rest[:min(most, len(rest))] {
		worst = append(worst, fmt.Sprintf("%s (%.0f%%)", l.Tensor, 100*l.Share/max(total, 1e-30)))
		layers = append(layers, l.Layers...)
	}
	var ways []string
	if n := len(q.Unprotected); n > 0 {
		ways = append(ways, fmt.Sprintf("--protect, which gives 8 bits to what stands out (%d of %d layers)", n, len(q.Losses)))
	}
	uniform := f.plan == "" && q.Mixed == nil
	if bits := min(f.weightBits, f.activationBits); uniform && bits < quant.MaxBits {
		ways = append(ways, fmt.Sprintf("--bits %d", min(bits+2, quant.MaxBits)))
	}
	if f.averageBits > 0 {
		ways = append(ways, fmt.Sprintf("--average-bits %g", min(f.averageBits+1, quant.MaxBits)))
	}
	if len(layers) > 0 {
		ways = append(ways, fmt.Sprintf("--exclude '%s', which leaves the convolutions that read these inputs float", pattern(layers)))
	}
	if uniform {
		ways = append(ways, "bits where they matter, with --average-bits or, searched, --max-drop 0.5")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%.1f dB were lost.", q.Drop.DB())
	if len(worst) > 0 {
		fmt.Fprintf(&b, " The inputs that cost most when quantized alone: %s.", strings.Join(worst, ", "))
	}
	if len(ways) > 0 {
		fmt.Fprintf(&b, " What helps: %s.", strings.Join(ways, "; or "))
	}
	fmt.Fprintf(&b, " Every layer: daq sensitivity %s --calib %s", path, f.calib.dir)
	return b.String()
}

// pattern is a regular expression that matches these names alone.
func pattern(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	return "^(" + strings.Join(quoted, "|") + ")$"
}

// quantizeResult is what quantize tells.
type quantizeResult struct {
	Model            string                `json:"model"`
	Output           string                `json:"output"`
	Plan             string                `json:"plan,omitempty"`
	Opset            int64                 `json:"opset"`
	Convolutions     int                   `json:"convolutions"`
	Tensors          int                   `json:"tensors"`
	WeightBits       string                `json:"weight_bits"` // "4" or "2-8"
	ActivationBits   string                `json:"activation_bits"`
	Average          *averageResult        `json:"average_bits,omitempty"`
	Trials           []converter.Trial     `json:"trials,omitempty"`
	Drop             *converter.Drop       `json:"calibration,omitempty"` // PSNR-Y on the calibration pictures
	Nearest          []string              `json:"nearest,omitempty"`     // convolutions whose weights were not rounded for the pictures
	Protected        []converter.LayerLoss `json:"protected,omitempty"`   // layers with more bits than asked for, and what they lost before
	Losses           []converter.LayerLoss `json:"losses,omitempty"`      // of every layer alone, the worst first; measured when much was lost
	Step             string                `json:"step"`
	InputRange       float32               `json:"input_range"`
	FloatBytes       int64                 `json:"float_bytes"` // of the files
	QuantizedBytes   int64                 `json:"quantized_bytes"`
	FloatWeightBytes int64                 `json:"float_weight_bytes"` // of the quantized convolutions
	WeightBytes      int64                 `json:"weight_bytes"`
	Seconds          float64               `json:"seconds"`
}

// averageResult tells what became of --average-bits.
type averageResult struct {
	Activations float64 `json:"activations"`
	Weights     float64 `json:"weights"`
	Loss        float64 `json:"loss,omitempty"`         // mean squared error against the float network, white = 1
	UniformLoss float64 `json:"uniform_loss,omitempty"` // of uniform bits within the same budget
}

func (r *quantizeResult) print(t *terminal, f *quantizeFlags) error {
	rule := map[string]string{
		"body": "the body: convolutions of residual and dense blocks",
		"all":  "all convolutions",
	}[f.layers.layers]
	switch {
	case f.plan != "":
		rule = "as " + f.plan + " says"
	case f.layers.include != "":
		rule = "those that match " + f.layers.include
	}
	if f.layers.exclude != "" {
		rule += ", without those that match " + f.layers.exclude
	}
	return t.table(func(w io.Writer) {
		fmt.Fprintf(w, "wrote\t%s\n", r.Output)
		if r.Plan != "" {
			fmt.Fprintf(w, "plan\t%s\n", r.Plan)
		}
		fmt.Fprintf(w, "quantized\t%d convolutions, %d tensors (%s)\n", r.Convolutions, r.Tensors, rule)
		if n := len(r.Protected); n > 0 {
			var list []string
			for _, l := range r.Protected {
				list = append(list, fmt.Sprintf("%s (%.0f%%)", l.Tensor, 100*l.Share))
			}
			fmt.Fprintf(w, "protected\t%d layers in 8 bits, which alone lost most of the picture (see --protect): %s\n", n, names(list))
		}
		if n := len(r.Nearest); n > 0 {
			fmt.Fprintf(w, "nearest\tweights of %d convolutions, which were not rounded for pictures: %s\n", n, names(r.Nearest))
		}
		fmt.Fprintf(w, "bits\tweights %s, activations %s\n", r.WeightBits, r.ActivationBits)
		if a := r.Average; a != nil {
			fmt.Fprintf(w, "average\tweights %.2f bits, activations %.2f bits\n", a.Weights, a.Activations)
		}
		if a := r.Average; a != nil && a.UniformLoss > 0 {
			verdict := "mixed bits kept"
			if a.Loss > a.UniformLoss {
				verdict = "uniform bits kept"
			}
			fmt.Fprintf(w, "noise\tmixed %.2f dB, uniform bits %.2f dB against the float network: %s\n", decibel(a.Loss), decibel(a.UniformLoss), verdict)
		}
		for _, trial := range r.Trials {
			fmt.Fprintf(w, "tried\t%.2f bits on average: %.2f dB lost\n", trial.AverageBits, trial.DropDB)
		}
		if d := r.Drop; d != nil {
			fmt.Fprintf(w, "calibration\tPSNR-Y %.2f dB, float %.2f dB on the pictures shrunk and enlarged again: %.2f dB lost\n", d.Quantized, d.Float, d.DB())
		}
		fmt.Fprintf(w, "step\t%s\n", r.Step)
		fmt.Fprintf(w, "file\t%s, float %s (%.1fx smaller)\n", report.Bytes(r.QuantizedBytes), report.Bytes(r.FloatBytes), float64(r.FloatBytes)/float64(max(r.QuantizedBytes, 1)))
		fmt.Fprintf(w, "weights\t%s, float %s (%.1fx smaller)\n", report.Bytes(r.WeightBytes), report.Bytes(r.FloatWeightBytes), float64(r.FloatWeightBytes)/float64(max(r.WeightBytes, 1)))
		fmt.Fprintf(w, "opset\t%d\n", r.Opset)
		fmt.Fprintf(w, "time\t%.1f s\n", r.Seconds)
	})
}

// names lists the first of some names.
func names(list []string) string {
	const most = 5
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

// decibel is the PSNR of a mean squared error, white being 1.
func decibel(loss float64) float64 { return -10 * math.Log10(max(loss, 1e-20)) }

func loadPlan(path string) (*passes.Plan, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := passes.ParsePlan(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

func savePlan(path string, p *passes.Plan) error {
	data, err := p.JSON()
	if err != nil {
		return err
	}
	return writeFile(path, data)
}

func writeFile(path string, data []byte) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
