package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

type sensitivityFlags struct {
	calib     calibFlags
	layers    layerFlags
	input     inputFlags
	bits      int
	out       string
	overwrite bool
	json      bool
}

func newSensitivity(t *terminal) *cobra.Command {
	f := &sensitivityFlags{}
	cmd := &cobra.Command{
		Use:   "sensitivity MODEL.onnx --calib DIR",
		Short: "Show which layers and channels suffer from few bits",
		Long: `Quantizes one tensor, or the weights of one convolution, at a time and measures
what that alone does to the output; the worst come first. Beside it stands the
closed form, which needs no run: the error of a channel's best quantizer on its
histogram, times the energy of the weights that read it. The rank correlation of
the two says how far the closed form can be trusted between layers. Use it to
choose --exclude, or let quantize --average-bits spend bits by it.`,
		Example: `  daq sensitivity edsr.onnx --calib photos
  daq sensitivity edsr.onnx --calib photos --bits 2 -o edsr_sensitivity.json`,
		Args:                  arguments("MODEL.onnx"),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), t, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.calib.add(flags)
	flags.IntVar(&f.bits, "bits", 4, "`number` of bits of the part that is quantized, 1 to 8")
	f.layers.add(flags)
	f.input.add(flags)
	flags.StringVarP(&f.out, "output", "o", "", "write everything, every channel included, as JSON to this `file`")
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace a file that exists")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	return cmd
}

func (f *sensitivityFlags) run(ctx context.Context, t *terminal, path string) error {
	if f.calib.dir == "" {
		return usagef("--calib DIR is missing: give a folder of pictures")
	}
	if err := quant.CheckBits(f.bits); err != nil {
		return usagef("--bits: %v", err)
	}
	o := converter.QuantizeOptions{Threads: t.threads}
	var err error
	if o.Layers, err = f.layers.selection(); err != nil {
		return err
	}
	if o.Input, err = f.input.input(); err != nil {
		return err
	}
	if err := checkOutputs(f.overwrite, []string{f.out}, []string{path}); err != nil {
		return err
	}
	images, err := f.calib.dataset()
	if err != nil {
		return err
	}
	m, err := onnx.Load(path)
	if err != nil {
		return err
	}
	progress, done := t.progress(f.json)
	defer done()
	o.Progress = progress
	s, err := converter.Sensitivity(ctx, m, images, f.bits, o)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	done()
	if f.out != "" {
		data, err := json.MarshalIndent(s, "", " ")
		if err != nil {
			return err
		}
		if err := writeFile(f.out, append(data, '\n')); err != nil {
			return err
		}
	}
	if f.json {
		return t.json(s)
	}
	return printSensitivity(t, s)
}

func printSensitivity(t *terminal, s *passes.Sensitivity) error {
	err := t.table(func(w io.Writer) {
		fmt.Fprint(w, "part\tquantized\toutput\tshare\tclosed form\tworst channels\n")
		for _, kind := range []struct {
			name  string
			parts []passes.PartSensitivity
		}{{"input", s.Activations}, {"weights", s.Weights}} {
			loss, noise := 0.0, 0.0
			for _, p := range kind.parts {
				loss, noise = loss+p.Loss, noise+p.Noise
			}
			parts := slices.Clone(kind.parts)
			slices.SortStableFunc(parts, func(a, b passes.PartSensitivity) int { return cmp.Compare(b.Loss, a.Loss) })
			for _, p := range parts {
				fmt.Fprintf(w, "%s\t%s %d bits\t%.2f dB\t%4.1f%%\t%4.1f%%\t%s\n", p.Name, kind.name, s.Bits,
					p.PSNR(), 100*p.Loss/max(loss, math.SmallestNonzeroFloat64), 100*p.Noise/max(noise, math.SmallestNonzeroFloat64), worst(p))
			}
		}
	})
	if err != nil {
		return err
	}
	if r := s.Agreement(); !math.IsNaN(r) {
		_, err = fmt.Fprintf(t.out, "\nrank correlation of closed form and measurement over the inputs: %.2f\n", r)
	}
	return err
}

// worst names the channels that add most of the noise.
func worst(p passes.PartSensitivity) string {
	if p.Noise <= 0 {
		return ""
	}
	order := make([]int, len(p.Channels))
	for c := range order {
		order[c] = c
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.Channels[b], p.Channels[a]) })
	var list []string
	for _, c := range order[:min(3, len(order))] {
		list = append(list, fmt.Sprintf("%d (%.0f%%)", c, 100*p.Channels[c]/p.Noise))
	}
	return strings.Join(list, ", ")
}
