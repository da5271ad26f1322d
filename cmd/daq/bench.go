package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/internal/bench"
	"github.com/daq-sr/daq/internal/report"
	"github.com/daq-sr/daq/onnx"
)

type benchFlags struct {
	size, vs string
	runs     int
	json     bool
	exact    bool
}

func newBench(t *terminal) *cobra.Command {
	f := &benchFlags{}
	cmd := &cobra.Command{
		Use:   "bench MODEL.onnx",
		Short: "Measure how long a network takes, layer by layer",
		Long: `Runs a float or quantized network on made-up input and tells the time of the whole
and of each layer, billions of multiply-adds a second (GMAC/s), their share of
what this processor's FMA instructions can do, measured between the runs, and
the memory that feature maps take. Multiply-adds are those of the operators'
definitions: fast algorithms (Winograd) and narrow integers may exceed 100%.
With --vs the runs of two networks take turns, so that their ratio holds on a
busy machine too.`,
		Example: `  daq bench edsr.onnx
  daq bench edsr.onnx --size 480x270 --threads 1
  daq bench edsr_4bit.onnx --vs edsr.onnx
  daq bench edsr_4bit.onnx --json > speed.json`,
		Args:                  arguments("MODEL.onnx"),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), t, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.size, "size", "", fmt.Sprintf("`HxW`, height and width of the input in pixels (default %dx%[1]d, or what the network wants)", bench.DefaultSize))
	flags.IntVar(&f.runs, "runs", 10, "`number` of measured runs")
	flags.StringVar(&f.vs, "vs", "", "another network, a `file` to compare with")
	addExact(flags, &f.exact)
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	return cmd
}

const maxRuns = 100_000

func (f *benchFlags) run(ctx context.Context, t *terminal, path string) error {
	o := bench.Options{Threads: t.threads, Runs: f.runs, Exact: f.exact}
	if f.runs < 1 || f.runs > maxRuns {
		return usagef("--runs %d: want 1 to %d", f.runs, maxRuns)
	}
	if f.size != "" {
		var err error
		if o.Height, o.Width, err = parseSize(f.size); err != nil {
			return err
		}
	}
	if o.Threads == 0 {
		o.Threads = goruntime.GOMAXPROCS(0)
	}
	paths := []string{path}
	if f.vs != "" {
		paths = append(paths, f.vs)
	}
	var models []*onnx.Model
	for _, p := range paths {
		m, err := onnx.Load(p)
		if err != nil {
			return err
		}
		models = append(models, m)
	}
	progress, done := t.progress(f.json)
	defer done()
	if progress != nil {
		o.Progress = func(i, n int) { progress("measure", i, n) }
	}
	results, peak, err := bench.Models(ctx, models, o)
	if err != nil {
		about := path
		if which := (*bench.ModelError)(nil); errors.As(err, &which) {
			about, err = paths[which.Index], which.Err
		}
		return fmt.Errorf("%s: %w", about, err)
	}
	done()
	found := measured{measuredModel{path, results[0]}, o.Threads, f.runs, peak, nil}
	if f.vs != "" {
		found.VS = &comparison{measuredModel{f.vs, results[1]}, bench.RatioOf(results[0].TimesMS, results[1].TimesMS)}
	}
	if f.json {
		return t.json(found)
	}
	return found.print(t)
}

// parseSize reads HxW.
func parseSize(text string) (h, w int, err error) {
	a, b, ok := strings.Cut(strings.ToLower(text), "x")
	h, errH := strconv.Atoi(a)
	w, errW := strconv.Atoi(b)
	if !ok || errH != nil || errW != nil || h < 1 || w < 1 || h > maxSide || w > maxSide {
		return 0, 0, usagef("--size %q: want height and width from 1 to %d, such as 270x480", text, maxSide)
	}
	return h, w, nil
}

const maxSide = 1 << 16

// measured is the result of the command.
type measured struct {
	measuredModel
	Threads int         `json:"threads"`
	Runs    int         `json:"runs"`
	Peak    float64     `json:"peak_gmacs_per_s"` // FMA peak of all threads
	VS      *comparison `json:"vs,omitempty"`
}

type measuredModel struct {
	File string `json:"file"`
	*bench.Result
}

type comparison struct {
	measuredModel
	Ratio bench.Ratio `json:"ratio"` // time of the first network over that of this one
}

func (m *measured) print(t *terminal) error {
	models := []measuredModel{m.measuredModel}
	if m.VS != nil {
		models = append(models, m.VS.measuredModel)
	}
	for i, r := range models {
		if i > 0 {
			fmt.Fprintln(t.out)
		}
		if err := t.table(func(w io.Writer) {
			fmt.Fprintf(w, "file\t%s\n", r.File)
			fmt.Fprintf(w, "input\t%s\n", strings.Join(r.Inputs, ", "))
			fmt.Fprintf(w, "time\tmedian %s, fastest %s; %d runs, %s\n", milliseconds(r.MedianMS), milliseconds(r.MinMS), m.Runs, plural(m.Threads, "thread"))
			fmt.Fprintf(w, "arithmetic\t%.3g GMAC, %.3g GMAC/s, %.0f%% of the FMA peak (%.1f GMAC/s)\n", r.GMACs, r.Rate, 100*r.PeakShare, m.Peak)
			if len(r.Uncounted) > 0 {
				fmt.Fprintf(w, "\tnot counted: %s\n", strings.Join(r.Uncounted, ", "))
			}
			fmt.Fprintf(w, "memory\t%s for feature maps\n", report.Bytes(r.PeakBytes))
		}); err != nil {
			return err
		}
		fmt.Fprintln(t.out)
		if err := t.table(func(w io.Writer) { printLayers(w, r.Layers) }); err != nil {
			return err
		}
		fmt.Fprintln(t.out)
		if err := t.table(func(w io.Writer) { printOperators(w, r.Layers) }); err != nil {
			return err
		}
	}
	if m.VS == nil {
		return nil
	}
	_, err := fmt.Fprintf(t.out, "\n%s takes %.3f times as long as %s (half of the pairs of runs: %.3f to %.3f)\n",
		filepath.Base(m.File), m.VS.Ratio.Median, filepath.Base(m.VS.File), m.VS.Ratio.Low, m.VS.Ratio.High)
	return err
}

func printLayers(w io.Writer, layers []bench.Layer) {
	fmt.Fprint(w, "layer\toperator\ttime\tshare\tGMAC\tGMAC/s\tof peak\n")
	total := totalMS(layers)
	for _, l := range layers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f%%", l.Name, l.Op, milliseconds(l.MS), 100*l.MS/total)
		if l.GMACs > 0 {
			fmt.Fprintf(w, "\t%.3g\t%.3g\t%.0f%%", l.GMACs, l.Rate, 100*l.PeakShare)
		}
		fmt.Fprintln(w)
	}
}

// printOperators adds up the layers of each operator, the costliest first: long
// networks are read like that.
func printOperators(w io.Writer, layers []bench.Layer) {
	type sum struct {
		op        string
		count     int
		ms, gmacs float64
	}
	var sums []*sum
	for _, l := range layers {
		i := slices.IndexFunc(sums, func(s *sum) bool { return s.op == l.Op })
		if i < 0 {
			i, sums = len(sums), append(sums, &sum{op: l.Op})
		}
		sums[i].count++
		sums[i].ms += l.MS
		sums[i].gmacs += l.GMACs
	}
	slices.SortStableFunc(sums, func(a, b *sum) int { return cmp.Compare(b.ms, a.ms) })
	fmt.Fprint(w, "operator\tlayers\ttime\tshare\tGMAC\tGMAC/s\n")
	total := totalMS(layers)
	for _, s := range sums {
		fmt.Fprintf(w, "%s\t%d\t%s\t%.1f%%", s.op, s.count, milliseconds(s.ms), 100*s.ms/total)
		if s.gmacs > 0 {
			fmt.Fprintf(w, "\t%.3g\t%.3g", s.gmacs, s.gmacs/s.ms*1000)
		}
		fmt.Fprintln(w)
	}
}

func totalMS(layers []bench.Layer) float64 {
	total := 0.0
	for _, l := range layers {
		total += l.MS
	}
	return total
}

// milliseconds keeps three digits.
func milliseconds(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f ms", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f ms", v)
	case v >= 0.9995:
		return fmt.Sprintf("%.2f ms", v)
	}
	return fmt.Sprintf("%.3f ms", v)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
