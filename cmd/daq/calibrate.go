package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

type calibrateFlags struct {
	calib     calibFlags
	layers    layerFlags
	input     inputFlags
	out       string
	mode      string
	target    string
	overwrite bool
	resume    bool
}

func newCalibrate(t *terminal) *cobra.Command {
	f := &calibrateFlags{}
	cmd := &cobra.Command{
		Use:   "calibrate MODEL.onnx --calib DIR -o PROFILE",
		Short: "Collect the statistics of a network's feature maps",
		Long: `Runs a float network over pictures and writes, for each channel of the tensors
that would be quantized, count, mean, deviation, extremes, share of zeros and a
histogram. One picture is in memory at a time. The same pictures give the same
bytes, whatever their order and the number of threads; profiles of parts of a
collection merge into the profile of the whole (package calib). An interrupted run
writes the pictures done so far, and --resume does the rest; it adds pictures to a
finished profile too. quantize --profile makes use of the file; in static mode, which
otherwise looks at a sample, it is how every pixel counts.`,
		Example: `  daq calibrate edsr.onnx --calib photos -o edsr.profile
  daq calibrate edsr.onnx --calib photos -o edsr.profile --resume
  daq calibrate edsr.onnx --calib photos -o edsr.static --mode static --target onnxruntime
  daq calibrate edsr.onnx --calib Set5/HR --downscale 2 -o edsr.profile --layers all`,
		Args:                  arguments("MODEL.onnx"),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), t, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.out, "output", "o", "", "`file` to write")
	f.calib.add(flags)
	flags.StringVar(&f.mode, "mode", "", "dynamic or static: how the network will be quantized (see daq quantize)")
	flags.StringVar(&f.target, "target", "", "runtime that it will be quantized for; onnxruntime when not given with --mode static")
	f.layers.add(flags)
	f.input.add(flags)
	flags.BoolVar(&f.resume, "resume", false, "add to the file, if it exists, the pictures that it lacks")
	flags.BoolVar(&f.overwrite, "overwrite", false, "replace a file that exists")
	return cmd
}

func (f *calibrateFlags) run(ctx context.Context, t *terminal, path string) error {
	if f.out == "" {
		return usagef("-o PROFILE is missing")
	}
	if f.calib.dir == "" {
		return usagef("--calib DIR is missing: give a folder of pictures")
	}
	if f.resume && f.overwrite {
		return usagef("--resume adds to a file that exists, --overwrite replaces it: choose one")
	}
	o := converter.QuantizeOptions{Threads: t.threads, Mode: target.Mode(f.mode), Target: f.target}
	if _, _, err := o.Form(); err != nil {
		return usagef("--%v", err)
	}
	var err error
	if o.Layers, err = f.layers.selection(); err != nil {
		return err
	}
	if o.Input, err = f.input.input(); err != nil {
		return err
	}
	if err := checkOutput(f.out, f.overwrite || f.resume, path); err != nil {
		return err
	}
	if f.resume && exists(f.out) {
		if o.Profile, err = calib.Load(f.out); err != nil {
			return err
		}
	}
	images, err := f.calib.dataset()
	if err != nil {
		return err
	}
	m, err := onnx.Load(path)
	if err != nil {
		return err
	}
	progress, done := t.progress(false)
	defer done()
	o.Progress = progress
	start := time.Now()
	profile, err := converter.Calibrate(ctx, m, images, o)
	if ctx.Err() != nil && profile != nil && len(profile.Images) > 0 {
		if err := profile.Save(f.out); err != nil {
			return err
		}
		done()
		return interrupted(fmt.Sprintf("%s holds %d of %d pictures, --resume does the rest", f.out, len(profile.Images), len(images.Names())))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	done()
	if err := profile.Save(f.out); err != nil {
		return err
	}
	channels := 0
	for _, name := range profile.Names() {
		channels += len(profile.Tensors[name].Channels)
	}
	return t.table(func(w io.Writer) {
		fmt.Fprintf(w, "wrote\t%s (%s)\n", f.out, fileSize(f.out))
		fmt.Fprintf(w, "pictures\t%d\n", len(profile.Images))
		fmt.Fprintf(w, "tensors\t%d, %d channels\n", len(profile.Tensors), channels)
		fmt.Fprintf(w, "input range\t0 to %g\n", profile.InputRange)
		fmt.Fprintf(w, "time\t%.1f s\n", time.Since(start).Seconds())
	})
}
