package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/converter"
	"github.com/daq-sr/daq/internal/lint"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

type lintFlags struct {
	target, data, failOn string
	input                inputFlags
	json, sarif          bool
}

func newLint(t *terminal) *cobra.Command {
	f := &lintFlags{}
	cmd := &cobra.Command{
		Use:   "lint MODEL.onnx --target T",
		Short: "Say what a runtime will do wrong with a quantized network",
		Long: `Reads a network with QuantizeLinear and DequantizeLinear, from here or from any
other quantizer, and says node by node what will not load, be dropped, stay
float, saturate or clip in the runtimes it is meant for: the rule, the releases
it holds for, how that is known and what to do. Without a release behind the
target, what newer releases no longer do is a note.`,
		Example: `  daq lint edsr_int8.onnx --target onnxruntime
  daq lint edsr_int8.onnx --target onnxruntime@1.20 --fail-on warning
  daq lint edsr_int8.onnx --target tensorrt --json
  daq lint edsr_int8.onnx --target onnxruntime --sarif > lint.sarif
  daq lint edsr_int8.onnx --target onnxruntime --data Set5/LRx2    also count clipped values`,
		Args:                  arguments("MODEL.onnx"),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{boundsBroken: "something is found at the level of --fail-on or above"},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.target, "target", "", "`runtime`: "+strings.Join(target.Names(), ", ")+"; with @RELEASE for an older one")
	flags.StringVar(&f.failOn, "fail-on", "error", "exit with 1 when something is found at this `level` or above: error, warning or note")
	flags.StringVar(&f.data, "data", "", "`folder` of pictures: run them and count the values that the codes do not hold")
	f.input.add(flags)
	flags.BoolVar(&f.json, "json", false, "print the findings as JSON")
	flags.BoolVar(&f.sarif, "sarif", false, "print the findings as SARIF 2.1.0")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), t, args[0]) }
	return cmd
}

func (f *lintFlags) run(ctx context.Context, t *terminal, path string) error {
	if f.target == "" {
		return usagef("--target T is missing: want %s", strings.Join(target.Names(), ", "))
	}
	name, release, _ := strings.Cut(f.target, "@")
	goal, err := target.Named(name)
	if err != nil {
		return usagef("--%v", err)
	}
	if err := oneOf("fail-on", f.failOn, "error", "warning", "note"); err != nil {
		return err
	}
	if f.json && f.sarif {
		return usagef("--json and --sarif are two forms: choose one")
	}
	in, err := f.input.input()
	if err != nil {
		return err
	}
	o := lint.Options{Target: goal, Release: release}
	if err := o.Check(); err != nil {
		return usagef("--target %s: %v", f.target, err)
	}
	m, err := onnx.Load(path)
	if err != nil {
		return err
	}
	if f.data != "" {
		progress, done := t.progress(f.json || f.sarif)
		defer done()
		if o.Data, err = converter.Clipping(ctx, m, f.data, in, t.threads, progress); err != nil {
			return err
		}
		done()
	}
	report, err := lint.Run(ctx, m, o)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case f.json:
		err = t.json(struct {
			File string `json:"file"`
			*lint.Report
		}{path, report})
	case f.sarif:
		var out []byte
		if out, err = lint.SARIF(path, converter.Version, report, lint.Rules(goal)); err == nil {
			_, err = fmt.Fprintf(t.out, "%s\n", out)
		}
	default:
		err = printFindings(t, report)
	}
	if err != nil {
		return err
	}
	for _, level := range lint.Levels {
		if n := report.Count(level); n > 0 && level.AtLeast(lint.Level(f.failOn)) {
			return fmt.Errorf("%s: %s for %s (--fail-on %s)", path, counted(n, string(level)), f.target, f.failOn)
		}
	}
	return nil
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// printFindings writes one row a finding, and then each rule once with its remedy.
func printFindings(t *terminal, r *lint.Report) error {
	err := t.table(func(w io.Writer) {
		for _, f := range r.Findings {
			where := "the model"
			if f.Node != "" {
				where = f.Operator + " " + f.Node
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Level, f.Rule, oneLine(where), oneLine(f.Message))
		}
	})
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	rules := map[string]*lint.Rule{}
	for _, rule := range lint.Rules(nil) {
		rules[rule.ID] = rule
	}
	for _, f := range r.Findings {
		if seen[f.Rule] {
			continue
		}
		seen[f.Rule] = true
		releases := "all releases"
		if f.Releases != "all" {
			releases = "releases " + f.Releases
		}
		fmt.Fprintf(t.out, "\n%s (%s; %s)\n  %s\n  remedy: %s\n", f.Rule, releases, f.Basis, rules[f.Rule].Title, f.Remedy)
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(t.out)
	}
	fmt.Fprintf(t.out, "%s: %s, %s, %s", r.Target, counted(r.Count(lint.Error), "error"), counted(r.Count(lint.Warning), "warning"), counted(r.Count(lint.Note), "note"))
	if r.Integer+r.Float > 0 {
		fmt.Fprintf(t.out, "; of the operators with Q/DQ %d are computed in integers, %d in float", r.Integer, r.Float)
	}
	_, err = fmt.Fprintln(t.out)
	return err
}
