package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/inspect"
	"github.com/daq-sr/daq/internal/report"
	"github.com/daq-sr/daq/models"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

const demoBits = 4

func newDemo(t *terminal) *cobra.Command {
	var dir string
	var overwrite bool
	cmd := &cobra.Command{
		Use:   "demo -o DIR",
		Short: "Quantize the built-in network and show the result",
		Long: `Quantizes the built-in network (EDSR, scale 2, 196 k parameters) to 4 bits with the
built-in calibration photographs, validates it on others, and writes networks,
plan, pictures and a report into DIR.`,
		Example:               "  daq demo -o demo",
		Args:                  arguments(),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usagef("-o DIR is missing")
			}
			return demo(cmd.Context(), t, dir, overwrite)
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVarP(&dir, "output", "o", "", "`folder` to write")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "write into a folder that has files already")
	return cmd
}

func demo(ctx context.Context, t *terminal, dir string, overwrite bool) error {
	start := time.Now()
	if err := emptyFolder(dir, overwrite); err != nil {
		return err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := unpack(models.BuiltinFiles(), dir); err != nil {
		return err
	}
	floatPath, quantizedPath := at("edsr_tiny_x2.onnx"), at("quantized.onnx")
	float, err := onnx.Load(floatPath)
	if err != nil {
		return err
	}
	images, err := calib.OpenDataset(at("images/calibration/LRx2"), 1)
	if err != nil {
		return err
	}
	progress, done := t.progress(false)
	defer done()
	q, err := converter.Quantize(ctx, float, images, converter.QuantizeOptions{
		Settings: passes.Settings{WeightBits: demoBits, ActivationBits: demoBits, Rule: passes.Calibrated},
		Threads:  t.threads, Progress: progress,
	})
	if err != nil {
		return err
	}
	if err := savePlan(at("plan.json"), q.Plan); err != nil {
		return err
	}
	if err := q.Model.Save(quantizedPath); err != nil {
		return err
	}
	validating := time.Now()
	r, err := converter.Validate(ctx, float, q.Model, at("images/validation"), converter.ValidateOptions{
		Threads: t.threads, Crops: true, Progress: progress,
	})
	if err != nil {
		return err
	}
	if err := saveReport(at("report.html"), report.Page{
		Network: "EDSR (built-in, 8 blocks of 32 channels, x2)", Report: r, Layers: inspect.Model(ctx, q.Model).Convolutions,
		FloatBytes: fileBytes(floatPath), QuantizedBytes: fileBytes(quantizedPath),
		Elapsed: time.Since(validating), Version: converter.Version,
	}); err != nil {
		return err
	}
	network, err := converter.Open(ctx, q.Model, calib.Input{}, runtime.Options{Threads: t.threads})
	if err != nil {
		return err
	}
	f := upscaleFlags{out: at("upscaled"), overwrite: true}
	jobs, err := f.folder(t, at("images/validation/LRx2"))
	if err != nil {
		return err
	}
	done()
	if err := upscale(ctx, t, network, jobs, 0); err != nil {
		return err
	}
	if err := printReport(t, r); err != nil {
		return err
	}
	before, after := fileBytes(floatPath), fileBytes(quantizedPath)
	fmt.Fprintf(t.out, "\n%d of %d convolutions in %d bits; file %s, float %s (%.1fx smaller); %.1f s\n\nin %s:\n",
		q.Done.Convolutions, len(inspect.Model(ctx, float).Convolutions), demoBits,
		report.Bytes(after), report.Bytes(before), float64(before)/float64(max(after, 1)), time.Since(start).Seconds(), dir)
	return t.table(func(w io.Writer) {
		for _, l := range [][2]string{
			{"report.html", "figures and pictures side by side: open this first"},
			{"upscaled/", "photographs enlarged by the quantized network"},
			{"quantized.onnx", "the network in 4 bits"},
			{"plan.json", "every choice made; edit it and give it back with daq quantize --plan"},
			{"edsr_tiny_x2.onnx", "the float network"},
			{"images/", "the photographs (licences in README.md)"},
		} {
			fmt.Fprintf(w, "  %s\t%s\n", l[0], l[1])
		}
	})
}

// emptyFolder makes a folder, or takes one that is empty or may be written into.
func emptyFolder(dir string, overwrite bool) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("cannot make folder %s: %w", dir, err)
	}
	if err := checkFolder(dir); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if names, err := f.Readdirnames(1); !overwrite && len(names) > 0 {
		return fmt.Errorf("folder %s has files already: choose another, or give --overwrite to write into it", dir)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// unpack writes the files of a file system into a folder.
func unpack(files fs.FS, dir string) error {
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(path))
		if d.IsDir() {
			return os.MkdirAll(to, 0o777)
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		return writeFile(to, data)
	})
}
