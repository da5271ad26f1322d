package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/atomicfile"
	"github.com/daq-sr/daq/internal/inspect"
	"github.com/daq-sr/daq/internal/report"
	"github.com/daq-sr/daq/onnx"
)

type validateFlags struct {
	data, html       string
	minPSNR, maxDrop float64
	input            inputFlags
	overwrite, json  bool
	exact            bool
}

func newValidate(t *terminal) *cobra.Command {
	f := &validateFlags{}
	cmd := &cobra.Command{
		Use:   "validate FLOAT.onnx QUANTIZED.onnx --data DIR",
		Short: "Compare a quantized network with the float one on pictures",
		Long: `Upscales pictures with both networks and bicubically, and compares the results
with the originals: PSNR and SSIM on the 8-bit Y channel with as many border
pixels left out as the scale, as in the super-resolution literature. The shift is by
how much the mean of a colour moved, in steps of 1/255: of the colour, and in the
last row the picture, that moved most. DIR holds HR/ and LRx2/ (or x3, x4, ...)
with equal names, or originals alone, which are then shrunk bicubically.`,
		Example: `  daq validate edsr.onnx edsr_4bit.onnx --data Set5
  daq validate edsr.onnx edsr_4bit.onnx --data Set5 --html report.html
  daq validate edsr.onnx edsr_4bit.onnx --data Set5 --max-drop 0.5 --json > result.json`,
		Args:                  arguments("FLOAT.onnx", "QUANTIZED.onnx"),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{boundsBroken: "a bound (--min-psnr, --max-drop) is broken"},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.data, "data", "", "`folder` of pictures")
	flags.Float64Var(&f.minPSNR, "min-psnr", 0, "fail when the mean PSNR-Y of the quantized network is below this many `dB`")
	flags.Float64Var(&f.maxDrop, "max-drop", 0, "fail when the mean PSNR-Y drops by more than this many `dB`")
	flags.StringVar(&f.html, "html", "", "write a report with pictures to this `file`")
	f.input.add(flags)
	addExact(flags, &f.exact)
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace a report that exists")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var bounds converter.Bounds
		if cmd.Flags().Changed("min-psnr") {
			bounds.MinPSNR = &f.minPSNR
		}
		if cmd.Flags().Changed("max-drop") {
			bounds.MaxDrop = &f.maxDrop
		}
		return f.run(cmd.Context(), t, args[0], args[1], bounds)
	}
	return cmd
}

func (f *validateFlags) run(ctx context.Context, t *terminal, floatPath, quantizedPath string, bounds converter.Bounds) error {
	if f.data == "" {
		return usagef("--data DIR is missing: give a folder of pictures")
	}
	if math.IsNaN(f.minPSNR) || math.IsNaN(f.maxDrop) {
		return usagef("--min-psnr and --max-drop are numbers of dB")
	}
	in, err := f.input.input()
	if err != nil {
		return err
	}
	if err := checkOutputs(f.overwrite, []string{f.html}, []string{floatPath, quantizedPath}); err != nil {
		return err
	}
	float, err := onnx.Load(floatPath)
	if err != nil {
		return err
	}
	quantized, err := onnx.Load(quantizedPath)
	if err != nil {
		return err
	}
	progress, done := t.progress(f.json)
	defer done()
	start := time.Now()
	r, err := converter.Validate(ctx, float, quantized, f.data, converter.ValidateOptions{
		Input: in, Threads: t.threads, Exact: f.exact, Crops: f.html != "", Progress: progress,
	})
	if err != nil {
		return err
	}
	done()
	if f.html != "" {
		p := report.Page{
			Network: networkName(floatPath), Report: r, Layers: inspect.Model(ctx, quantized).Convolutions,
			FloatBytes: fileBytes(floatPath), QuantizedBytes: fileBytes(quantizedPath),
			Elapsed: time.Since(start), Version: converter.Version,
		}
		if err := saveReport(f.html, p); err != nil {
			return err
		}
	}
	if f.json {
		err = t.json(r)
	} else if err = printReport(t, r); err == nil && f.html != "" {
		_, err = fmt.Fprintf(t.out, "\nreport: %s\n", f.html)
	}
	if err != nil {
		return err
	}
	if r.Drop > converter.MuchDrop {
		t.note("%.1f dB were lost: quantize with more bits, or with --average-bits or --max-drop; daq sensitivity %s --calib DIR names the layers that lose most", r.Drop, floatPath)
	}
	return r.Check(bounds)
}

func networkName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
}

func saveReport(path string, p report.Page) error {
	if err := atomicfile.Write(path, func(w io.Writer) error { return report.Write(w, p) }); err != nil {
		return fmt.Errorf("cannot write report %s: %w", path, err)
	}
	return nil
}

// printReport writes one row a picture and the mean.
func printReport(t *terminal, r *converter.Report) error {
	return t.table(func(w io.Writer) {
		fmt.Fprint(w, "\tbicubic\t\tfloat\t\tquantized\t\t\t\n")
		fmt.Fprint(w, "picture\tPSNR-Y\tSSIM-Y\tPSNR-Y\tSSIM-Y\tPSNR-Y\tSSIM-Y\tdrop\tshift\n")
		row := func(name string, bicubic, float, quantized converter.Quality, drop, shift float64) {
			fmt.Fprint(w, name)
			for _, q := range []converter.Quality{bicubic, float, quantized} {
				fmt.Fprintf(w, "\t%6.2f\t%6.4f", q.PSNR, q.SSIM)
			}
			fmt.Fprintf(w, "\t%5.2f dB\t%5.2f\n", drop, shift)
		}
		for _, i := range r.Images {
			row(i.Name, i.Bicubic, i.Float, i.Quantized, i.Drop, i.MeanShift)
		}
		row("mean", r.Mean.Bicubic, r.Mean.Float, r.Mean.Quantized, r.Drop, r.MeanShift)
	})
}
