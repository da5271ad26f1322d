package passes

import (
	"context"
	"fmt"
	"strings"

	"github.com/daq-sr/daq/onnx"
)

// Pass is a rewrite that keeps what a model computes. Run changes the model in
// place and returns how many changes it made.
type Pass struct {
	Name string
	Run  func(ctx context.Context, m *onnx.Model) (changes int, err error)
}

// Report says how many changes each pass made, in the order of the passes.
type Report []Change

// Change is how often one pass changed something.
type Change struct {
	Pass  string `json:"pass"`
	Count int    `json:"count"`
}

// String lists the passes that changed something: "2 identity, 16 batchnorm".
func (r Report) String() string {
	var parts []string
	for _, c := range r {
		if c.Count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.Count, c.Pass))
		}
	}
	if parts == nil {
		return "nothing to simplify"
	}
	return strings.Join(parts, ", ")
}

// maxRounds ends a repetition of passes that undo each other.
const maxRounds = 100

// Repeat runs the passes in order, again and again, until none changes
// anything. Errors name the pass.
func Repeat(ctx context.Context, m *onnx.Model, list ...Pass) (Report, error) {
	report := make(Report, len(list))
	for i, p := range list {
		report[i].Pass = p.Name
	}
	for range maxRounds {
		changes := 0
		for i, p := range list {
			if err := ctx.Err(); err != nil {
				return report, err
			}
			n, err := p.Run(ctx, m)
			if err != nil {
				return report, fmt.Errorf("pass %s: %w", p.Name, err)
			}
			report[i].Count += n
			changes += n
		}
		if changes == 0 {
			return report, nil
		}
	}
	return report, fmt.Errorf("passes still change the model after %d rounds (%s): please report this model", maxRounds, report)
}

// eachGraph calls f for the main graph and all subgraphs, inner ones last.
func eachGraph(g *onnx.Graph, f func(*onnx.Graph) error) error {
	if err := f(g); err != nil {
		return err
	}
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			if err := eachGraph(sub, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// canShortCut reports whether readers of out can read in instead without a
// node that gives a graph output its name.
func canShortCut(out, in *onnx.Value) bool {
	return !out.IsOutput() || in.Producer != nil && in.Graph() == out.Graph() && !in.IsOutput()
}
