package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/internal/inspect"
	"github.com/daq-sr/daq/internal/report"
	"github.com/daq-sr/daq/onnx"
)

func newInspect(t *terminal) *cobra.Command {
	var asJSON, asText bool
	cmd := &cobra.Command{
		Use:   "inspect FILE.onnx",
		Short: "Show what an ONNX file holds",
		Long: `Shows versions, metadata, inputs and outputs, operators, parameters and the
convolutions of an ONNX file: which would be quantized, or in how many bits they
are. The names of convolutions are those that --include and --exclude match.`,
		Example: `  daq inspect edsr.onnx
  daq inspect edsr_4bit.onnx --json
  daq inspect edsr_4bit.onnx --text | less`,
		Args:                  arguments("FILE.onnx"),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && asText {
				return usagef("--json and --text are two forms: choose one")
			}
			m, err := onnx.Load(args[0])
			if err != nil {
				return err
			}
			if asText {
				_, err := fmt.Fprint(t.out, m.Text())
				return err
			}
			s := inspect.Model(cmd.Context(), m)
			if asJSON {
				return t.json(struct {
					File      string `json:"file"`
					FileBytes int64  `json:"file_bytes"`
					*inspect.Summary
				}{args[0], fileBytes(args[0]), s})
			}
			return printSummary(t, args[0], s)
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the summary as JSON")
	cmd.Flags().BoolVar(&asText, "text", false, "print the whole graph in the ONNX text form, large tensors abbreviated")
	return cmd
}

func printSummary(t *terminal, path string, s *inspect.Summary) error {
	err := t.table(func(w io.Writer) {
		fmt.Fprintf(w, "file\t%s (%s)\n", path, fileSize(path))
		fmt.Fprintf(w, "versions\tIR %d%s\n", s.IRVersion, joined(s.Opsets, func(o inspect.Opset) string { return fmt.Sprintf(", %s opset %d", o.Domain, o.Version) }, ""))
		if s.Producer != "" {
			fmt.Fprintf(w, "producer\t%s\n", s.Producer)
		}
		for _, v := range s.Inputs {
			fmt.Fprintf(w, "input\t%s %s\n", v.Name, v.Type)
		}
		for _, v := range s.Outputs {
			fmt.Fprintf(w, "output\t%s %s\n", v.Name, v.Type)
		}
		fmt.Fprintf(w, "operators\t%s\n", joined(s.Operators, func(c inspect.Count) string { return fmt.Sprintf("%d %s", c.Count, c.Operator) }, ", "))
		fmt.Fprintf(w, "parameters\t%d (%s)\n", s.Parameters, joined(s.Bytes, func(b inspect.TypeBytes) string { return fmt.Sprintf("%s %s", b.Type, report.Bytes(b.Bytes)) }, ", "))
		for i, p := range s.Metadata {
			fmt.Fprintf(w, "%s\t%s = %s\n", map[bool]string{true: "metadata"}[i == 0], p.Key, abridged(oneLine(p.Value)))
		}
	})
	if err != nil || len(s.Convolutions) == 0 {
		return err
	}
	fmt.Fprintln(t.out)
	return t.table(func(w io.Writer) {
		fmt.Fprint(w, "convolution\tweights\toperator\tquantized\n")
		for _, c := range s.Convolutions {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Name, strings.Trim(strings.ReplaceAll(fmt.Sprint(c.Weights), " ", "x"), "[]"), c.Operator, quantizedText(s, c))
		}
	})
}

// abridged returns the beginning of a text that does not fit in a line; --json has all of it.
func abridged(text string) string {
	const most = 80
	if letters := []rune(text); len(letters) > most {
		return fmt.Sprintf("%s... (%d characters)", string(letters[:most]), len(letters))
	}
	return text
}

// quantizedText tells how a convolution is quantized, or in a float network
// whether it would be.
func quantizedText(s *inspect.Summary, c inspect.Convolution) string {
	bits := func(n int) string {
		if n == 0 {
			return "float"
		}
		return fmt.Sprintf("%d bits", n)
	}
	switch {
	case c.Quantized():
		return fmt.Sprintf("weights %s, input %s", bits(c.WeightBits), bits(c.ActivationBits))
	case s.Quantized():
		return "no"
	case c.Body:
		return "would be (body)"
	}
	return "with --layers all"
}

func joined[T any](list []T, text func(T) string, separator string) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = text(v)
	}
	return strings.Join(parts, separator)
}
