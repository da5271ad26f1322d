package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/daq-sr/daq/passes"
)

func newPlan(t *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Work with plan files",
		Long: `A plan holds every choice of a quantization: which tensors and weights, their bits,
steps and windows. "daq quantize --save-plan" writes one, "--plan" obeys one that
was edited.`,
		Example: `  daq plan diff uniform.json mixed.json`,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q: %s", args[0], didYouMean(cmd, args[0], "", cmd))
			}
			return cmd.Help()
		},
	}
	asJSON := false
	diff := &cobra.Command{
		Use:   "diff A.json B.json",
		Short: "Show which choices differ between two plans",
		Example: `  daq plan diff uniform.json mixed.json
  daq plan diff --json before.json after.json`,
		Args:                  arguments("A.json", "B.json"),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return planDiff(t, args[0], args[1], asJSON)
		},
	}
	diff.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.AddCommand(diff)
	return cmd
}

func planDiff(t *terminal, from, to string, asJSON bool) error {
	a, err := loadPlan(from)
	if err != nil {
		return err
	}
	b, err := loadPlan(to)
	if err != nil {
		return err
	}
	changes := passes.DiffPlans(a, b)
	if asJSON {
		return t.json(append([]passes.PlanChange{}, changes...))
	}
	if len(changes) == 0 {
		_, err := fmt.Fprintln(t.out, "the plans make the same choices")
		return err
	}
	return t.table(func(w io.Writer) {
		fmt.Fprintf(w, "choice\t%s\t%s\n", from, to)
		for _, c := range changes {
			fmt.Fprintf(w, "%s\t%s\t%s\n", c.What, c.From, c.To)
		}
	})
}

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
