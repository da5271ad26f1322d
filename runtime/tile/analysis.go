package tile

import (
	"context"
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// What a value has to do with the picture.
type kind int

const (
	number kind = iota // nothing but its size
	whole              // statistics of it: without axes along the picture
	field              // [N,C,H,W], a map over it
)

// value is what is known of a value of the graph for a picture of one size.
type value struct {
	kind  kind
	scale [2]ratio // of a field, for height and width
	size  [2]int
	level int // statistics that it depends on, one after the other
}

// reach is how the output of an operator depends on its input maps along the
// picture.
type reach struct {
	scale [2]ratio                      // of the output
	need  func(axis int, out span) span // what elements out are made of, not clipped
}

// analysis is a network and the picture size it is looked at with.
type analysis struct {
	ctx        context.Context
	opset      int64
	graph      *onnx.Graph // inlined, with the sizes of this picture in all types
	known      map[*onnx.Value]*onnx.Tensor
	values     map[*onnx.Value]*value
	reach      map[*onnx.Node]reach
	statistics []*statistic
	depth      int    // most levels of a statistic
	align      [2]int // what the origin of a tile must be a multiple of
}

// analyse works out the geometry of a network for pictures of h x w. base is
// inlined and has one input and one output [N,C,H,W].
func analyse(ctx context.Context, base *onnx.Model, h, w int) (*analysis, error) {
	m := base.Clone()
	in := m.Graph.Inputs[0]
	shape := in.Type.Shape
	if err := onnx.InferWith(m, map[string][]int64{in.Name: {1, shape[1].Value, int64(h), int64(w)}}); err != nil {
		return nil, err
	}
	known, err := onnx.InferValues(m)
	if err != nil {
		return nil, err
	}
	a := &analysis{
		ctx: ctx, opset: m.Opset(""), graph: m.Graph, known: known,
		values: map[*onnx.Value]*value{}, reach: map[*onnx.Node]reach{}, align: [2]int{1, 1},
	}
	one := ratio{1, 1}
	a.values[in] = &value{kind: field, scale: [2]ratio{one, one}, size: [2]int{h, w}}
	for _, n := range m.Graph.Nodes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := a.node(n); err != nil {
			return nil, fmt.Errorf("node %s: %w", n, err)
		}
	}
	out := m.Graph.Outputs[0]
	if a.of(out).kind != field {
		return nil, fmt.Errorf("output %q is no picture", out.Name)
	}
	return a, nil
}

// of returns what is known of a value; of a constant that it is one.
func (a *analysis) of(v *onnx.Value) *value {
	if x := a.values[v]; x != nil {
		return x
	}
	return &value{}
}

// constant returns the elements of a value that depends on the size alone.
func (a *analysis) constant(v *onnx.Value) *onnx.Tensor {
	if v == nil {
		return nil
	}
	if v.Const != nil {
		return v.Const
	}
	if t := a.known[v]; t != nil || v.Producer == nil {
		return t
	}
	return v.Producer.ConstantTensor()
}

// ints returns the integers of an attribute or else of a constant input.
func (a *analysis) ints(n *onnx.Node, attribute string, input int) []int {
	list := n.Ints(attribute)
	if t := a.constant(n.Input(input)); list == nil && t != nil {
		switch t.Type {
		case onnx.Int64:
			list, _ = t.Int64s()
		case onnx.Int32:
			for _, x := range onnx.ViewOf[int32](t.Data) {
				list = append(list, int64(x))
			}
		}
	}
	if list == nil {
		return nil
	}
	out := make([]int, len(list))
	for i, x := range list {
		out[i] = int(x)
	}
	return out
}

// node finds out what a node's outputs are.
func (a *analysis) node(n *onnx.Node) error {
	kind, level := number, 0
	for _, v := range n.Inputs {
		if v != nil {
			x := a.of(v)
			kind, level = max(kind, x.kind), max(level, x.level)
		}
	}
	if len(n.Subgraphs()) > 0 && kind != number {
		return fmt.Errorf("the picture goes through a subgraph")
	}
	if n.Is("Shape", "Size") {
		kind, level = number, 0
	}
	switch kind {
	case number:
		return a.evaluate(n)
	case whole:
		a.set(n, value{kind: whole, level: level})
		return nil
	}
	if s, err := a.statistic(n); err != nil {
		return err
	} else if s != nil {
		a.statistics = append(a.statistics, s)
		a.depth = max(a.depth, s.level)
		a.set(n, value{kind: whole, level: s.level})
		return nil
	}
	rule, ok := rules[n.Op]
	if !ok || n.Domain != "" && n.Domain != "ai.onnx" {
		return fmt.Errorf("the operator looks at the whole picture, or is not known to look at a part")
	}
	r, err := rule(a, n)
	if err != nil {
		return err
	}
	a.reach[n] = r
	for i, v := range n.Outputs {
		if v == nil {
			continue
		}
		shape, ok := v.Type.Shape.Ints()
		if !ok || len(shape) != 4 {
			if len(v.Uses()) == 0 && !v.IsOutput() {
				continue
			}
			return fmt.Errorf("output %d is %s, want a map [N,C,H,W]", i, v.Type)
		}
		a.values[v] = &value{kind: field, scale: r.scale, size: [2]int{int(shape[2]), int(shape[3])}, level: level}
	}
	for axis, s := range r.scale {
		a.align[axis] = lcm(a.align[axis], s.den)
		if s.num <= 0 || s.den <= 0 || a.align[axis] > 1<<10 {
			return fmt.Errorf("the map shrinks too much")
		}
	}
	return nil
}

func (a *analysis) set(n *onnx.Node, x value) {
	for _, v := range n.Outputs {
		if v != nil {
			a.values[v] = &x
		}
	}
}

// evaluate computes a node that depends on the size of the picture alone, unless
// its inputs are constants of the file.
func (a *analysis) evaluate(n *onnx.Node) error {
	done, constant := true, true
	for _, v := range n.Outputs {
		done = done && (v == nil || a.known[v] != nil)
	}
	inputs := make([]*runtime.Tensor, len(n.Inputs))
	for _, v := range n.Inputs {
		constant = constant && (v == nil || v.Const != nil)
	}
	if done || constant || len(n.Subgraphs()) > 0 {
		return nil
	}
	for i, v := range n.Inputs {
		if v == nil {
			continue
		}
		t := a.constant(v)
		if t == nil {
			return nil // of constants: the same in every tile
		}
		var err error
		if inputs[i], err = runtime.FromONNX(t); err != nil {
			return err
		}
	}
	out, err := runtime.Eval(a.ctx, n, a.opset, inputs)
	if err != nil {
		return err
	}
	for i, v := range n.Outputs {
		if v != nil && i < len(out) {
			a.known[v] = out[i].ONNX()
		}
	}
	return nil
}

// fields returns the input maps of a node.
func (a *analysis) fields(n *onnx.Node) []*onnx.Value {
	var list []*onnx.Value
	for _, v := range n.Inputs {
		if v != nil && a.of(v).kind == field && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// demand is which elements of each map are needed.
type demand map[*onnx.Value][2]span

func (d demand) add(v *onnx.Value, axis int, s span) {
	spans := d[v]
	spans[axis] = spans[axis].join(s)
	d[v] = spans
}

// trace adds to d what the maps in it are made of, down to the picture.
func (a *analysis) trace(d demand) {
	for _, n := range slices.Backward(a.graph.Nodes) {
		r, ok := a.reach[n]
		if !ok {
			continue
		}
		for axis := range 2 {
			var out span
			for _, v := range n.Outputs {
				if v != nil {
					out = out.join(d[v][axis])
				}
			}
			if out.empty() {
				continue
			}
			for _, v := range a.fields(n) {
				d.add(v, axis, r.need(axis, out).clip(a.of(v).size[axis]))
			}
		}
	}
}
