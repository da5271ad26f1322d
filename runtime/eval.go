package runtime

import (
	"context"
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Eval executes one node, given its opset version and the value of each input
// (nil where left out). Nodes with subgraphs and calls of functions are not
// supported.
func Eval(ctx context.Context, n *onnx.Node, opset int64, inputs []*Tensor) ([]*Tensor, error) {
	evaluate, err := Prepare(n, opset, inputs)
	if err != nil {
		return nil, err
	}
	return evaluate(ctx, inputs)
}

// Prepare returns a function that executes a node as Eval does, for other inputs each
// time but for the given constants (nil for what changes): weights are packed once. It may
// be called concurrently.
func Prepare(n *onnx.Node, opset int64, constants []*Tensor) (func(ctx context.Context, inputs []*Tensor) ([]*Tensor, error), error) {
	op, ok := lookup(n, opset)
	if !ok || len(n.Subgraphs()) > 0 {
		return nil, fmt.Errorf("node %s: the operator cannot be evaluated", n)
	}
	s := &site{Node: n, opset: opset, constants: constants}
	k, err := prepared(s, op)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n, err)
	}
	return func(ctx context.Context, inputs []*Tensor) ([]*Tensor, error) {
		out, err := evaluate(ctx, s, op, k, inputs, kernels.NewWorkers(1), 0)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n, err)
		}
		return out, nil
	}, nil
}

func prepared(s *site, op operator) (k kernel, err error) {
	defer func() {
		if p := recover(); p != nil {
			k, err = nil, asError(p)
		}
	}()
	s.taken = make([]bool, len(s.constants))
	return op.prepare(s)
}

// evaluate executes a node that was prepared.
func evaluate(ctx context.Context, s *site, op operator, k kernel, inputs []*Tensor, w *kernels.Workers, maxBytes int64) (out []*Tensor, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, asError(p)
		}
	}()
	c := &call{ctx: ctx, workers: w, arena: newArena(maxBytes), in: slices.Clone(inputs), dies: make([]bool, len(inputs))}
	for i, taken := range s.taken {
		if taken {
			c.in[i] = nil
		}
	}
	for _, v := range s.Outputs {
		c.wanted = append(c.wanted, v != nil)
	}
	defer c.endTwins()
	if err := c.execute(k, op.halves, op.layouts); err != nil {
		return nil, err
	}
	for i, t := range c.out {
		if t != nil && t.blocked {
			if c.out[i], err = c.converted(t); err != nil {
				return nil, err
			}
		}
	}
	for i, want := range c.wanted {
		if want && (i >= len(c.out) || c.out[i] == nil) {
			return nil, fmt.Errorf("output %d is not one the operator has", i)
		}
	}
	for _, t := range c.out {
		if t != nil {
			t.mem = nil
		}
	}
	return c.out, nil
}
