// Package lint reads a graph with QuantizeLinear and DequantizeLinear, ours or
// not, and says node by node what a runtime will do with it other than its author
// meant: not load, drop something, compute in float, saturate, clip.
//
// A rule is one row of a table: what it is about, for which target and releases,
// what to do, how it is known, and a function that finds the nodes. One file holds
// the rules of a family. Every row has a graph in the test that shows it, which
// runs in the real runtime where that is to be had here.
package lint

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// Level says how bad a finding is.
type Level string

// The levels, worst first.
const (
	Error   Level = "error"   // it does not load, or gives wrong values
	Warning Level = "warning" // it is slower or less exact than meant
	Note    Level = "note"    // worth knowing
)

// Levels are all levels, worst first.
var Levels = []Level{Error, Warning, Note}

// AtLeast reports whether l is as bad as bound or worse.
func (l Level) AtLeast(bound Level) bool {
	return slices.Index(Levels, l) <= slices.Index(Levels, bound)
}

// Rule is one thing that goes wrong.
type Rule struct {
	ID      string   `json:"id"`
	Level   Level    `json:"level"`
	Title   string   `json:"title"`             // what goes wrong
	Remedy  string   `json:"remedy"`            // what to do about it
	Targets []string `json:"targets,omitempty"` // names; none: all
	Since   string   `json:"since,omitempty"`   // first release of the runtime with it; none: as far back as was looked
	Until   string   `json:"until,omitempty"`   // last release with it; none: the newest known has it
	Basis   string   `json:"basis"`             // how it is known

	check func(v *view, report reporter)
}

// reporter takes a finding about a node: the tensor (may be empty) and what is the
// matter.
type reporter func(n *onnx.Node, tensor string, format string, args ...any)

// Releases says for which releases the rule holds, such as "up to 1.31".
func (r *Rule) Releases() string {
	switch {
	case r.Since != "" && r.Until != "":
		return r.Since + " to " + r.Until
	case r.Since != "":
		return "since " + r.Since
	case r.Until != "":
		return "up to " + r.Until
	}
	return "all"
}

// Finding is a rule that a node breaks.
type Finding struct {
	Rule     string `json:"rule"`
	Level    Level  `json:"level"`
	Node     string `json:"node,omitempty"`
	Operator string `json:"operator,omitempty"`
	Tensor   string `json:"tensor,omitempty"`
	Message  string `json:"message"`
	Remedy   string `json:"remedy"`
	Releases string `json:"releases"` // of the runtime for which it holds
	Basis    string `json:"basis"`    // how the rule is known
}

// Report is what was found in one model.
type Report struct {
	Target   string    `json:"target"`
	Release  string    `json:"release,omitempty"` // of the runtime, empty for the newest known
	Findings []Finding `json:"findings"`          // worst first, then in the order of the graph

	// Of the operators that have Q/DQ around them: how many the target computes in
	// integers or on codes, and how many not. Both are 0 for targets that do not fuse.
	Integer int `json:"integer"`
	Float   int `json:"float"`
}

// Options say what a model is held against.
type Options struct {
	Target  *target.Target
	Release string // of the runtime, such as 1.20; empty: the newest known
	Data    *Data  // what the network does with pictures; nil leaves out rules that need it
}

// Check says whether the options make sense.
func (o *Options) Check() error {
	if o.Release == "" {
		return nil
	}
	_, err := parseRelease(o.Release)
	return err
}

// Count returns how many findings are of a level.
func (r *Report) Count(l Level) int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// Rules returns the rules of a target, or all for nil.
func Rules(t *target.Target) []*Rule {
	var list []*Rule
	for _, family := range [][]Rule{loadRules, typeRules, lostRules, fuseRules, saturateRules, rangeRules, valueRules, qualityRules, openvinoRules, tensorrtRules} {
		for i := range family {
			if r := &family[i]; t == nil || r.Targets == nil || slices.Contains(r.Targets, t.Name) {
				list = append(list, r)
			}
		}
	}
	return list
}

// Run looks at a model, which is not changed. An error means that it could not be
// looked at.
func Run(ctx context.Context, m *onnx.Model, o Options) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	v, err := newView(m, o)
	if err != nil {
		return nil, err
	}
	report := &Report{Target: o.Target.Name, Release: o.Release, Findings: []Finding{}}
	position := map[*onnx.Node]int{}
	for i, n := range slices.Concat(v.malformed, v.nodes) {
		position[n] = i
	}
	at := map[int]int{} // of each finding, the place of its node
	for _, r := range Rules(o.Target) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		level, holds := r.Level, true
		if o.Release != "" {
			holds = r.holds(o.Release)
		} else if r.Until != "" {
			level = Note // the newest release no longer does it
		}
		if !holds {
			continue
		}
		r.check(v, func(n *onnx.Node, tensor string, format string, args ...any) {
			f := Finding{Rule: r.ID, Level: level, Tensor: tensor, Message: fmt.Sprintf(format, args...), Remedy: r.Remedy, Releases: r.Releases(), Basis: r.Basis}
			place := -1
			if n != nil {
				f.Node, f.Operator, place = n.Label(), n.Op, position[n]
			}
			at[len(report.Findings)] = place
			report.Findings = append(report.Findings, f)
		})
	}
	order := make([]int, len(report.Findings))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := report.Findings[a], report.Findings[b]
		return cmp.Or(slices.Index(Levels, x.Level)-slices.Index(Levels, y.Level), at[a]-at[b], cmp.Compare(x.Rule, y.Rule))
	})
	sorted := make([]Finding, len(order))
	for i, k := range order {
		sorted[i] = report.Findings[k]
	}
	report.Findings = sorted
	report.Integer, report.Float = v.count()
	return report, nil
}

// holds reports whether a rule is about a release.
func (r *Rule) holds(release string) bool {
	have, _ := parseRelease(release)
	if r.Since != "" {
		if since, _ := parseRelease(r.Since); slices.Compare(have, since) < 0 {
			return false
		}
	}
	if r.Until != "" {
		if until, _ := parseRelease(r.Until); slices.Compare(have[:min(len(have), len(until))], until) > 0 {
			return false
		}
	}
	return true
}

// parseRelease reads "1.20" or "1.20.1".
func parseRelease(text string) ([]int, error) {
	var numbers []int
	for part := range strings.SplitSeq(text, ".") {
		n := 0
		if _, err := fmt.Sscanf(part, "%d", &n); err != nil || fmt.Sprint(n) != part || n < 0 {
			return nil, fmt.Errorf("release %q: want numbers such as 1.20", text)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
