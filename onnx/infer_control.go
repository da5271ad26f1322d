package onnx

import (
	"fmt"
	"slices"
)

func init() {
	register(inferIf, "If")
	register(inferLoop, "Loop")
}

func (c *nodeInference) subgraph(name string) *Graph { return attrOr[*Graph](c.n, name, nil) }

// inferIf gives what both branches agree on, or what the branch gives that a
// constant condition takes.
func inferIf(c *nodeInference) error {
	then, other := c.subgraph("then_branch"), c.subgraph("else_branch")
	if then == nil || other == nil || len(then.Outputs) != len(c.n.Outputs) || len(other.Outputs) != len(c.n.Outputs) {
		return c.fail("the branches do not give %d outputs each", len(c.n.Outputs))
	}
	take := then
	cond := c.content(0)
	constant := false
	if len(cond) == 1 {
		v, ok := cond[0].isInt()
		if constant = ok; ok && v == 0 {
			take = other
		}
	}
	for _, g := range []*Graph{then, other} {
		if constant && g != take {
			continue // a branch never taken need not fit
		}
		if err := c.graph(g); err != nil {
			return err
		}
	}
	for i := range c.n.Outputs {
		t := take.Outputs[i]
		c.types[i] = t.Type
		c.setContent(i, c.inference.contents[t])
		if constant {
			continue
		}
		c.setContent(i, nil)
		joined, ok := joinTypes(then.Outputs[i].Type, other.Outputs[i].Type)
		if !ok {
			return c.fail("output %d is %s in one branch and %s in the other", i, then.Outputs[i].Type, other.Outputs[i].Type)
		}
		c.types[i] = joined
	}
	return nil
}

// joinTypes returns what holds for both types; false when the elements differ.
func joinTypes(a, b Type) (Type, bool) {
	if !a.IsTensor() || !b.IsTensor() {
		return Type{other: a.other}, true
	}
	if a.Elem != b.Elem {
		return Type{}, false
	}
	if a.Shape == nil || b.Shape == nil || len(a.Shape) != len(b.Shape) {
		return Type{Elem: a.Elem}, true
	}
	shape := slices.Clone(a.Shape)
	for i := range shape {
		if shape[i] != b.Shape[i] {
			shape[i] = Unknown
		}
	}
	return Type{Elem: a.Elem, Shape: shape}, true
}

// inferLoop weakens the types of the carried values until the body gives what
// it takes.
func inferLoop(c *nodeInference) error {
	body := c.subgraph("body")
	carried := len(c.n.Inputs) - 2
	if body == nil || carried < 0 || len(body.Inputs) != carried+2 || len(body.Outputs) < carried+1 || len(c.n.Outputs) != len(body.Outputs)-1 {
		return c.fail("the body does not fit %d inputs and %d outputs", len(c.n.Inputs), len(c.n.Outputs))
	}
	body.Inputs[0].Type = Type{Elem: Int64, Shape: Shape{}}
	body.Inputs[1].Type = Type{Elem: Bool, Shape: Shape{}}
	state := make([]Type, carried)
	for i := range state {
		state[i] = c.in(i + 2)
	}
	for {
		for i, t := range state {
			body.Inputs[i+2].Type = t
		}
		forget(body)
		if err := c.graph(body); err != nil {
			return err
		}
		changed := false
		for i, t := range state {
			joined, ok := joinTypes(t, body.Outputs[i+1].Type)
			if !ok {
				return c.fail("carried value %d enters as %s and leaves as %s", i, t, body.Outputs[i+1].Type)
			}
			changed = changed || joined.String() != t.String()
			state[i] = joined
		}
		if !changed {
			break
		}
	}
	trips := Unknown
	cond := body.Outputs[0]
	if n := c.content(0); len(n) == 1 && cond.Const == nil && cond == body.Inputs[1] && !c.has(1) {
		trips = n[0].dim()
	}
	for i := range c.n.Outputs {
		t := body.Outputs[i+1].Type
		if i < carried {
			t = state[i]
		} else if t.Shape != nil {
			t.Shape = append(Shape{trips}, t.Shape...)
		}
		c.types[i] = t
	}
	return nil
}

// forget drops the shapes in a graph that an earlier round inferred.
func forget(g *Graph) {
	for _, n := range g.Nodes {
		for _, v := range n.Outputs {
			if v != nil {
				v.Type.Shape = nil
			}
		}
		for _, sub := range n.Subgraphs() {
			forget(sub)
		}
	}
}

// maxCalls bounds how deep functions call each other.
const maxCalls = 32

// function infers a call of a function of the model from a copy of its body.
func (c *nodeInference) function(f *Function) error {
	if c.depth >= maxCalls {
		return c.fail("function %s.%s calls itself, or functions are nested more than %d deep", f.Domain, f.Name, maxCalls)
	}
	copied, err := decodeFunction(f.encode())
	if err != nil {
		return fmt.Errorf("node %s: %w", c.n, err)
	}
	body := copied.Body
	if len(c.n.Inputs) > len(body.Inputs) || len(c.n.Outputs) > len(body.Outputs) {
		return c.fail("function %s.%s has %d inputs and %d outputs", f.Domain, f.Name, len(body.Inputs), len(body.Outputs))
	}
	bindAttributes(body, c.n, copied.Defaults)
	in := &inference{model: c.model, opsets: copied.Opsets, contents: map[*Value]content{}, symbols: c.symbols, depth: c.depth + 1, budget: c.budget}
	for i, v := range body.Inputs {
		v.Type = c.in(i)
		in.contents[v] = c.content(i)
	}
	if err := in.graph(body); err != nil {
		return fmt.Errorf("node %s: in its function: %w", c.n, err)
	}
	for i := range c.n.Outputs {
		o := body.Outputs[i]
		c.types[i] = o.Type
		c.setContent(i, in.contents[o])
	}
	return nil
}

// bindAttributes replaces references to attributes of the function by those of
// the call, or their defaults.
func bindAttributes(g *Graph, call *Node, defaults []*Attribute) {
	for _, n := range g.Nodes {
		n.Attrs = slices.DeleteFunc(n.Attrs, func(a *Attribute) bool {
			if a.Ref == "" {
				return false
			}
			given := call.Attr(a.Ref)
			for _, d := range defaults {
				if given == nil && d.Name == a.Ref {
					given = d
				}
			}
			if given == nil {
				return true
			}
			*a = Attribute{Name: a.Name, Value: given.Value, rest: given.rest}
			return false
		})
		for _, sub := range n.Subgraphs() {
			bindAttributes(sub, call, defaults)
		}
	}
}
