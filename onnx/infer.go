package onnx

import (
	"errors"
	"fmt"
	"slices"
)

// Infer fills in the types of all values: element types and shapes, whose
// dimensions are numbers or expressions over the symbols of the graph inputs,
// such as "2*h" or "floor(h/2)+1", in one canonical text. Integer tensors that
// hold sizes are followed through the graph, so that a Resize or Reshape to a
// computed size has a shape. Input dimensions without a name are given one.
//
// What cannot be told (unknown operators, sizes that depend on data) keeps its
// declared type. A declared symbol gives way to what is computed, so the output
// symbol "H" becomes "2*h".
//
// An error means that the model cannot run; it names node and shapes.
func Infer(m *Model) error { return InferWith(m, nil) }

// InferWith is Infer for given sizes of some inputs. It leaves the sizes in the
// types, so it is usually given a Clone.
func InferWith(m *Model, sizes map[string][]int64) error {
	return newInference(m).run(sizes)
}

func newInference(m *Model) *inference {
	return &inference{model: m, opsets: m.Opsets, contents: map[*Value]content{}, symbols: map[string]int64{}, budget: new(maxInlined)}
}

func (in *inference) run(sizes map[string][]int64) error {
	g := in.model.Graph
	for name := range sizes {
		if v := g.Value(name); v == nil || !v.IsInput() {
			return fmt.Errorf("graph %q has no input %q to give a size", g.Name, name)
		}
	}
	for _, v := range g.Inputs {
		if v.Const == nil {
			if err := in.bindInput(v, sizes[v.Name]); err != nil {
				return err
			}
		}
	}
	return in.graph(g)
}

// inference is one run over a graph, its subgraphs and the functions it calls.
type inference struct {
	model    *Model
	opsets   []Opset // of the model, or of the function whose body this is
	contents map[*Value]content
	symbols  map[string]int64 // sizes given to symbols
	depth    int              // of nested function calls
	budget   *int             // how many more nodes may be looked at
}

// errNotInferred says that an operator could not be inferred for want of
// information: its outputs keep their declared types.
var errNotInferred = errors.New("not inferred")

func (in *inference) bindInput(v *Value, sizes []int64) error {
	for i, d := range v.Type.Shape {
		if !d.IsKnown() && d.Param == "" {
			v.Type.Shape[i] = Symbol(fmt.Sprintf("%s_%d", v.Name, i))
		}
	}
	if sizes == nil {
		return nil
	}
	declared := v.Type.Shape
	if declared != nil && len(declared) != len(sizes) {
		return fmt.Errorf("input %q is %s: %d sizes are given", v.Name, v.Type, len(sizes))
	}
	for i, n := range sizes {
		if declared == nil {
			break
		}
		switch d := declared[i]; {
		case d.IsKnown() && d.Value != n:
			return fmt.Errorf("input %q is %s: size %d of dimension %d does not fit", v.Name, v.Type, n, i)
		case d.Param != "":
			if old, ok := in.symbols[d.Param]; ok && old != n {
				return fmt.Errorf("input %q is %s: symbol %q is given both %d and %d", v.Name, v.Type, d.Param, old, n)
			}
			in.symbols[d.Param] = n
		}
	}
	v.Type.Shape = ShapeOf(sizes...)
	return nil
}

func (in *inference) graph(g *Graph) error {
	if err := g.Sort(); err != nil {
		return err
	}
	for _, n := range g.Nodes {
		if err := in.node(n); err != nil {
			return err
		}
	}
	return nil
}

func (in *inference) node(n *Node) error {
	if *in.budget--; *in.budget < 0 {
		return fmt.Errorf("node %s: functions and loops unfold to more than %d nodes: export the model without them", n, maxInlined)
	}
	c := &nodeInference{inference: in, n: n, types: make([]Type, len(n.Outputs)), contents: make([]content, len(n.Outputs))}
	err := c.infer()
	if err != nil && !errors.Is(err, errNotInferred) {
		return err
	}
	for i, v := range n.Outputs {
		if v == nil {
			continue
		}
		t, err := in.merge(v.Type, c.types[i])
		if err != nil {
			return fmt.Errorf("node %s: output %q: %w", n, v.Name, err)
		}
		v.Type = t
		if elems := c.contents[i]; elems != nil {
			in.contents[v] = elems
		}
	}
	return nil
}

// merge keeps the more specific of what a file declares and what is inferred.
// Where both say something else the inferred counts: value_info left over from
// an export at another size is common and no runtime minds.
func (in *inference) merge(declared, inferred Type) (Type, error) {
	if inferred.Elem == Undefined && inferred.other == nil {
		return in.evaluated(declared), nil
	}
	if declared.Elem == Undefined || inferred.other != nil {
		return inferred, nil
	}
	if declared.Elem != inferred.Elem {
		return Type{}, fmt.Errorf("declared as %s, but computed as %s: remove its value_info or export the model again", declared.Elem, inferred.Elem)
	}
	if inferred.Shape == nil {
		return in.evaluated(declared), nil
	}
	if len(declared.Shape) != len(inferred.Shape) {
		return inferred, nil
	}
	shape := slices.Clone(inferred.Shape)
	for i, d := range in.evaluated(declared).Shape {
		if shape[i] == Unknown {
			shape[i] = d
		}
	}
	return Type{Elem: inferred.Elem, Shape: shape}, nil
}

// evaluated puts given sizes into a declared type.
func (in *inference) evaluated(t Type) Type {
	if len(in.symbols) == 0 || t.Shape == nil {
		return t
	}
	shape := slices.Clone(t.Shape)
	for i, d := range shape {
		if !d.IsKnown() && d.Param != "" {
			shape[i] = d.poly().eval(in.symbols).dim()
		}
	}
	t.Shape = shape
	return t
}

// nodeInference is what the rule of an operator sees of one node.
type nodeInference struct {
	*inference
	n        *Node
	types    []Type    // of the outputs, for the rule to fill in
	contents []content // of the outputs, where known
}

func (c *nodeInference) infer() error {
	if f := c.model.Function(c.n); f != nil {
		return c.function(f)
	}
	domain := c.n.Domain
	if domain == "" || domain == "ai.onnx" {
		domain = ""
	} else {
		domain += "."
	}
	rule := inferRules[domain+c.n.Op]
	if rule == nil {
		return errNotInferred
	}
	return rule(c)
}

func (c *nodeInference) opset() int64 { return opsetOf(c.opsets, "") }

// has reports whether input i is given.
func (c *nodeInference) has(i int) bool { return c.n.Input(i) != nil }

func (c *nodeInference) in(i int) Type {
	if v := c.n.Input(i); v != nil {
		return v.Type
	}
	return Type{}
}

func (c *nodeInference) elem(i int) DataType { return c.in(i).Elem }
func (c *nodeInference) shape(i int) Shape   { return c.in(i).Shape }

// rank returns the shape of input i when its rank is known and at least least.
func (c *nodeInference) rank(i, least int) (Shape, error) {
	s := c.shape(i)
	if s == nil {
		return nil, errNotInferred
	}
	if len(s) < least {
		return nil, c.fail("input %d is %s: the operator needs at least %d dimensions", i, c.in(i), least)
	}
	return s, nil
}

// set gives output i its type; a nil shape is an unknown one.
func (c *nodeInference) set(i int, elem DataType, shape Shape) {
	if i < len(c.types) {
		c.types[i] = Type{Elem: elem, Shape: shape}
	}
}

// setContent gives output i its elements.
func (c *nodeInference) setContent(i int, elems content) {
	if i < len(c.contents) {
		c.contents[i] = elems
	}
}

// fail is a contradiction that makes the model invalid.
func (c *nodeInference) fail(format string, args ...any) error {
	return fmt.Errorf("node %s: %s: the file is inconsistent, export the model again", c.n, fmt.Sprintf(format, args...))
}

// axis brings an axis of a tensor of this rank into 0..rank-1.
func (c *nodeInference) axis(a int64, rank int) (int, error) {
	if a < -int64(rank) || a >= int64(rank) {
		return 0, c.fail("axis %d of a tensor of rank %d", a, rank)
	}
	if a < 0 {
		a += int64(rank)
	}
	return int(a), nil
}

// ints returns an attribute, or else the constant elements of input i; false
// when the list is computed or left out.
func (c *nodeInference) ints(name string, i int) ([]int64, bool) {
	if a := c.n.Attr(name); a != nil {
		v, ok := a.Value.([]int64)
		return v, ok
	}
	return c.content(i).ints()
}

// broadcast returns the shape two shapes give together (ONNX Broadcasting.md).
func (c *nodeInference) broadcast(a, b Shape) (Shape, error) {
	if a == nil || b == nil {
		return nil, nil
	}
	out := make(Shape, max(len(a), len(b)))
	for i := range out {
		x, y := Known(1), Known(1)
		if j := i - len(out) + len(a); j >= 0 {
			x = a[j]
		}
		if j := i - len(out) + len(b); j >= 0 {
			y = b[j]
		}
		switch {
		case x == y, y == Known(1):
			out[i] = x
		case x == Known(1), y.IsKnown() && !x.IsKnown():
			out[i] = y
		case x.IsKnown() && y.IsKnown():
			return nil, c.fail("shapes %s and %s do not broadcast", a, b)
		case x.IsKnown():
			out[i] = x
		default:
			// Two sizes that broadcast are equal or one of them is 1.
			out[i] = x.poly().larger(y.poly()).dim()
		}
	}
	return out, nil
}

// unify returns the better known of two dimensions that must be equal.
func unify(a, b Dim) (Dim, bool) {
	switch {
	case a.IsKnown() && b.IsKnown():
		return a, a == b
	case a.IsKnown() || b == Unknown:
		return a, true
	}
	if b.IsKnown() || a == Unknown {
		return b, true
	}
	return a, true
}

// polys returns the dimensions as expressions.
func (s Shape) polys() content {
	out := make(content, len(s))
	for i, d := range s {
		out[i] = d.poly()
	}
	return out
}

// product returns the number of elements.
func (s Shape) product() *poly {
	if s == nil {
		return nil
	}
	n := constant(1)
	for _, d := range s {
		n = n.mul(d.poly())
	}
	return n
}

// InferValues infers types as Infer does, and returns the integer and boolean
// tensors that are the same whatever the sizes: a channel count read from a
// shape, axes, pads.
func InferValues(m *Model) (map[*Value]*Tensor, error) {
	in := newInference(m)
	if err := in.run(nil); err != nil {
		return nil, err
	}
	known := map[*Value]*Tensor{}
	for v, elems := range in.contents {
		sizes, ok1 := v.Type.Shape.Ints()
		ints, ok2 := elems.ints()
		if v.Producer == nil || !ok1 || !ok2 {
			continue
		}
		if n, err := Elements(sizes); err != nil || n != int64(len(ints)) {
			continue
		}
		switch v.Type.Elem {
		case Int64:
			known[v] = NewTensor(Int64, sizes, ints)
		case Int32:
			known[v] = &Tensor{Type: Int32, Shape: sizes, Data: narrow[int32](ints)}
		case Bool:
			known[v] = &Tensor{Type: Bool, Shape: sizes, Data: narrow[uint8](ints)}
		}
	}
	return known, nil
}

// Over returns how many times other the dimension is, when that is a whole
// number whatever the sizes: 2 for 2*h over h.
func (d Dim) Over(other Dim) (int64, bool) { return d.poly().quotient(other.poly()).isInt() }
