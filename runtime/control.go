package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

func init() {
	registerAny("If", 1, ifOp)
	registerAny("Loop", 1, loopOp)
}

// subgraph compiles a graph attribute. The values it reads from outside become
// further inputs of the node; their first index is returned.
func (s *site) subgraph(name string) (p *plan, first int, err error) {
	a := s.Attr(name)
	if a == nil {
		return nil, 0, fmt.Errorf("attribute %q is missing", name)
	}
	g, ok := a.Value.(*onnx.Graph)
	if !ok || g == nil || s.builder == nil {
		return nil, 0, fmt.Errorf("attribute %q is no graph", name)
	}
	if p, err = s.builder.compiler.graph(g, s.builder); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	first = len(s.Inputs) + len(s.captured)
	s.captured = append(s.captured, p.captures...)
	return p, first, nil
}

// give makes the results of a subgraph the outputs from number first on.
func (c *call) give(first int, results []*Tensor) {
	for i, t := range results {
		c.set(first+i, t)
	}
}

// ifOp compiles only the branch that is taken where the condition is constant.
func ifOp(s *site) (kernel, error) {
	branches := map[bool]string{true: "then_branch", false: "else_branch"}
	if t := s.take(0); t != nil {
		b, ok := t.Data.([]bool)
		if !ok || len(b) != 1 {
			return nil, fmt.Errorf("the condition is %s, want one bool", t)
		}
		p, first, err := s.subgraph(branches[b[0]])
		if err != nil {
			return nil, err
		}
		return func(c *call) error {
			results, err := c.run.plan(p, c.in[first:first+len(p.captures)])
			c.give(0, results)
			return err
		}, nil
	}
	yes, firstYes, err := s.subgraph("then_branch")
	if err != nil {
		return nil, err
	}
	no, firstNo, err := s.subgraph("else_branch")
	if err != nil {
		return nil, err
	}
	return func(c *call) error {
		cond, err := c.need(0)
		if err != nil {
			return err
		}
		b, ok := cond.Data.([]bool)
		if !ok || len(b) != 1 {
			return fmt.Errorf("the condition is %s, want one bool", cond)
		}
		p, first := no, firstNo
		if b[0] {
			p, first = yes, firstYes
		}
		results, err := c.run.plan(p, c.in[first:first+len(p.captures)])
		c.give(0, results)
		return err
	}, nil
}

// loopOp: the body takes iteration number, condition and carried values, and
// gives condition, carried values and one slice of each scan output.
func loopOp(s *site) (kernel, error) {
	body, first, err := s.subgraph("body")
	if err != nil {
		return nil, err
	}
	carried := max(0, len(s.Inputs)-2)
	if len(body.inputs) != carried+2 || len(body.outputs) < carried+1 {
		return nil, fmt.Errorf("the body has %d inputs and %d outputs for %d carried values", len(body.inputs), len(body.outputs), carried)
	}
	return func(c *call) error {
		trips := int64(math.MaxInt64)
		if t := c.input(0); t != nil {
			d, ok := t.Data.([]int64)
			if !ok || len(d) != 1 {
				return typeError(0, t)
			}
			trips = d[0]
		}
		running := true
		if t := c.input(1); t != nil {
			d, ok := t.Data.([]bool)
			if !ok || len(d) != 1 {
				return typeError(1, t)
			}
			running = d[0]
		}
		state := make([]*Tensor, carried)
		for i := range state {
			t, err := c.need(2 + i)
			if err != nil {
				return err
			}
			state[i] = c.arena.again(t)
		}
		scans := make([][]*Tensor, len(body.outputs)-1-carried)
		for i := int64(0); i < trips && running; i++ {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			args := []*Tensor{{Type: onnx.Int64, Shape: []int{}, Data: []int64{i}}, {Type: onnx.Bool, Shape: []int{}, Data: []bool{running}}}
			results, err := c.run.plan(body, slices.Concat(args, state, c.in[first:first+len(body.captures)]))
			if err != nil {
				return err
			}
			d, ok := results[0].Data.([]bool)
			if !ok || len(d) != 1 {
				return fmt.Errorf("the body gives the condition %s, want one bool", results[0])
			}
			running = d[0]
			c.arena.release(results[0])
			for k, t := range state {
				c.arena.release(t)
				state[k] = results[1+k]
			}
			for k := range scans {
				t := results[1+carried+k]
				scans[k] = append(scans[k], t)
				// Views cost nothing until they are stacked: count them now.
				if need := int64(len(scans[k])) * int64(max(t.Len()*entryBytes(t.Type), 64)); need > c.arena.limit {
					return fmt.Errorf("%d iterations make output %d larger than the limit of %s", len(scans[k]), carried+k, byteCount(c.arena.limit))
				}
			}
		}
		c.give(0, state)
		for k, list := range scans {
			if err := c.stack(carried+k, list); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// stack makes output i of tensors of one shape, along a new first dimension.
func (c *call) stack(i int, list []*Tensor) error {
	if len(list) == 0 {
		return fmt.Errorf("the loop makes no iteration: the shape of output %d is not known", i)
	}
	n := list[0].Len()
	out, err := c.new(i, list[0].Type, append([]int{len(list)}, list[0].Shape...))
	if err != nil {
		return err
	}
	for k, t := range list {
		if t.Type != out.Type || !slices.Equal(t.Shape, list[0].Shape) {
			return fmt.Errorf("iteration %d gives %s for output %d, the first %s", k, t, i, list[0])
		}
		copyBlock(out, k*n, t, 0, n)
		c.arena.release(t)
	}
	return nil
}
