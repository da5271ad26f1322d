package main

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/onnx"
)

type compareFlags struct {
	data, dump string
	minSQNR    float64
	input      inputFlags
	json       bool
}

func newCompare(t *terminal) *cobra.Command {
	f := &compareFlags{}
	cmd := &cobra.Command{
		Use:   "compare A.onnx B.onnx --data DIR",
		Short: "Compare two networks tensor by tensor, and name the first that is off",
		Long: `Runs two networks over pictures, a float one and a quantized one of here or of any
other quantizer, and compares every tensor that both have: signal to noise ratio
(SQNR, dB) and largest error. Tensors are found by name, by name without what
quantizers add to it, or as the n-th convolution with weights of the same shape.
"scaled" is the SQNR after the best factor and offset for each channel: where it
is high and the SQNR is low, a scale moved into the weights behind. Of tensors that
quantize took channels out of, those are compared that both still have.

With --dump instead of B.onnx: compares with what another runtime computed. DIR
holds NAME.npy (float32) for each tensor and for the input; % escapes stand for
what file names cannot hold. interop/dump_ort.py writes such a folder.`,
		Example: `  daq compare edsr.onnx edsr_int8.onnx --data Set5/LRx2
  daq compare edsr.onnx edsr_int8.onnx --data Set5/LRx2 --min-sqnr 25
  daq compare edsr_int8.onnx --dump ort_tensors --json`,
		Args:                  cobra.ArbitraryArgs, // depends on --dump
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{boundsBroken: "a tensor is below --min-sqnr"},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.data, "data", "", "`folder` of pictures")
	flags.StringVar(&f.dump, "dump", "", "`folder` of tensors that another runtime wrote, instead of B.onnx")
	flags.Float64Var(&f.minSQNR, "min-sqnr", 0, "fail when a tensor is below this many `dB`, and name the first")
	f.input.add(flags)
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		want := []string{"A.onnx", "B.onnx"}
		if f.dump != "" {
			want = want[:1]
		}
		if err := arguments(want...)(cmd, args); err != nil {
			return err
		}
		return f.run(cmd.Context(), t, args, cmd.Flags().Changed("min-sqnr"))
	}
	return cmd
}

func (f *compareFlags) run(ctx context.Context, t *terminal, paths []string, bounded bool) error {
	switch {
	case f.data == "" && f.dump == "":
		return usagef("--data DIR is missing: give a folder of pictures")
	case f.data != "" && f.dump != "":
		return usagef("--data and --dump exclude each other: the dump holds its input")
	case math.IsNaN(f.minSQNR):
		return usagef("--min-sqnr is a number of dB")
	}
	in, err := f.input.input()
	if err != nil {
		return err
	}
	var models []*onnx.Model
	for _, path := range paths {
		m, err := onnx.Load(path)
		if err != nil {
			return err
		}
		models = append(models, m)
	}
	var c *converter.Comparison
	if f.dump != "" {
		c, err = converter.CompareDump(ctx, models[0], f.dump, t.threads)
	} else {
		progress, done := t.progress(f.json)
		defer done()
		c, err = converter.Compare(ctx, models[0], models[1], f.data, converter.CompareOptions{Input: in, Threads: t.threads, Progress: progress})
		done()
	}
	if err != nil {
		return err
	}
	if f.json {
		err = t.json(c)
	} else {
		err = printComparison(t, c)
	}
	if err != nil || !bounded {
		return err
	}
	if bad := c.FirstBad(f.minSQNR); bad != nil {
		return fmt.Errorf("tensor %q (%s) has %.1f dB, below the %g dB of --min-sqnr: it is the first", bad.A, bad.Operator, bad.SQNR, f.minSQNR)
	}
	return nil
}

func printComparison(t *terminal, c *converter.Comparison) error {
	err := t.table(func(w io.Writer) {
		fmt.Fprint(w, "tensor\toperator\tin the other\tSQNR\tscaled\tlargest error\trange\n")
		for _, d := range c.Tensors {
			fmt.Fprintf(w, "%s\t%s\t", oneLine(d.A), d.Operator)
			if d.By == "name" {
				fmt.Fprint(w, "same")
			} else {
				fmt.Fprintf(w, "%s (by %s)", oneLine(d.B), d.By)
			}
			if d.Of > 0 {
				fmt.Fprintf(w, ", %d of %d channels", d.Channels, d.Of)
			}
			fmt.Fprint(w, "\t")
			if d.Problem != "" {
				fmt.Fprintf(w, "%s\t\t\t\n", d.Problem)
				continue
			}
			fmt.Fprintf(w, "%6.1f dB\t%6.1f dB\t%.3g\t%.3g\n", d.SQNR, d.Scaled, d.MaxError, d.Range)
		}
	})
	if err != nil {
		return err
	}
	worst := worstOf(c)
	fmt.Fprintf(t.out, "\n%d tensors compared on %d pictures, %d have no counterpart", len(c.Tensors), c.Pictures, c.Unmatched)
	if worst != nil {
		fmt.Fprintf(t.out, "; worst: %s (%s), %.1f dB, scaled %.1f dB", oneLine(worst.A), worst.Operator, worst.SQNR, worst.Scaled)
	}
	_, err = fmt.Fprintln(t.out)
	return err
}

// worstOf returns the tensor with the lowest SQNR that no scale explains.
func worstOf(c *converter.Comparison) *converter.TensorDifference {
	var worst *converter.TensorDifference
	for i := range c.Tensors {
		d := &c.Tensors[i]
		if d.Problem == "" && (worst == nil || max(d.SQNR, d.Scaled) < max(worst.SQNR, worst.Scaled)) {
			worst = d
		}
	}
	return worst
}
