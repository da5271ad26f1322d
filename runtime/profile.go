package runtime

import (
	"context"
	"time"

	"github.com/daq-sr/daq/onnx"
)

// StepTime is what one step of a run took. A step is a node, or a node together
// with those that were fused into it, named after the one that does the work.
// The time of If and Loop includes their bodies.
type StepTime struct {
	Node  string // onnx.Node.Label
	Front string // of the convolution in front that is computed with it as one, if any
	Op    string // operator of the node, with its domain unless that is the default
	Time  time.Duration
}

// Profile is Run with a clock: it returns the steps in execution order and
// leaves the outputs out. Errors are those of Run.
func (p *Program) Profile(ctx context.Context, inputs map[string]*Tensor) ([]StepTime, error) {
	clock := &clock{plan: p.plan, steps: make([]StepTime, 0, len(p.plan.steps))}
	_, err := p.run(ctx, inputs, nil, clock)
	return clock.steps, err
}

// clock times the steps of one plan, not those of the subgraphs inside.
type clock struct {
	plan  *plan
	steps []StepTime
}

// timed is step number i of a plan, measured if the run has a clock for it.
func (r *run) timed(p *plan, i int, f *frame) error {
	if r.clock == nil || r.clock.plan != p {
		return r.step(&p.steps[i], f, &f.calls[i])
	}
	start := time.Now()
	err := r.step(&p.steps[i], f, &f.calls[i])
	r.clock.steps = append(r.clock.steps, StepTime{p.steps[i].node, p.steps[i].front, p.steps[i].op, time.Since(start)})
	return err
}

func operatorName(n *onnx.Node) string {
	if n.Domain == "" || n.Domain == "ai.onnx" {
		return n.Op
	}
	return n.Domain + "." + n.Op
}
