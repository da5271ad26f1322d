package main

import (
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/report"
	"github.com/daq-sr/daq/internal/target"
)

// remedy tells what helps a network that lost much all the same.
func (f *quantizeFlags) remedy(path string, q *converter.Quantized) string {
	if len(q.Losses) == 0 { // static, stored, or wider windows for colours cost it
		way := "quantize with more bits, or leave the worst layers float with --exclude (daq sensitivity names them)"
		if q.Plan.Mode == target.Static && len(q.Plan.Activations) > 0 {
			way += ", or choose --mode dynamic"
		}
		return fmt.Sprintf("%.1f dB were lost: %s", q.Drop.DB(), way)
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
	Pruned           *converter.Pruned     `json:"pruned,omitempty"`
	WeightBits       string                `json:"weight_bits"` // "4" or "2-8"
	ActivationBits   string                `json:"activation_bits"`
	Average          *averageResult        `json:"average_bits,omitempty"`
	Trials           []converter.Trial     `json:"trials,omitempty"`
	Drop             *converter.Drop       `json:"calibration,omitempty"`  // PSNR-Y on the calibration pictures
	Shift            float64               `json:"colour_shift,omitempty"` // of the worst mean colour of these, of 255
	Nearest          []string              `json:"nearest,omitempty"`      // convolutions whose weights were not rounded for the pictures
	Protected        []converter.LayerLoss `json:"protected,omitempty"`    // layers with more bits than asked for, and what they lost before
	Losses           []converter.LayerLoss `json:"losses,omitempty"`       // of every layer alone, the worst first; measured when much was lost
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
		if p := r.Pruned; p != nil {
			fmt.Fprintf(w, "pruned\t%d of %d channels of %d tensors, quieter than the rounding\n", p.Channels, p.Of, p.Tensors)
		}
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
		if r.Shift > 0 {
			fmt.Fprintf(w, "colours\tthe mean of a colour of a picture moves by %.2f of 255 at most\n", r.Shift)
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
