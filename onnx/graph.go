package onnx

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// Graph is a mutable graph in which every value knows the node that makes it
// and the nodes that use it. The methods that change it keep these links
// right; Nodes, Inputs and Outputs may be read and reordered freely.
type Graph struct {
	Name    string
	Nodes   []*Node  // in an order in which they can be executed, once checked or sorted
	Inputs  []*Value // may contain initializers (IR version 3 asked for it): those are defaults
	Outputs []*Value

	outer  *Graph // the graph around a subgraph, nil otherwise
	owner  *Node  // the node whose attribute a subgraph is
	values map[string]*Value
	inits  []*Value                 // initializers in file order
	loose  []*onnxpb.ValueInfoProto // value infos of the file that are about no value of the graph, or a second time
	rest   *onnxpb.GraphProto
}

// Value is one tensor of a graph: an input, an initializer or what a node
// gives.
type Value struct {
	Name     string
	Type     Type    // unknown until declared or inferred
	Producer *Node   // nil for inputs and initializers
	Const    *Tensor // the initializer, nil otherwise

	graph *Graph
	uses  []Use
	info  *onnxpb.ValueInfoProto // doc string, denotations, metadata
}

// NewGraph returns an empty graph.
func NewGraph(name string) *Graph {
	return &Graph{Name: name, values: map[string]*Value{}}
}

// Value returns the value of a name in this graph, or nil. Names of an outer
// graph are not looked up.
func (g *Graph) Value(name string) *Value { return g.values[name] }

// Outer returns the graph around a subgraph and the node that holds it, or nil.
func (g *Graph) Outer() (*Graph, *Node) { return g.outer, g.owner }

// lookup finds a name here or in the graphs around.
func (g *Graph) lookup(name string) *Value {
	for s := g; s != nil; s = s.outer {
		if v := s.values[name]; v != nil {
			return v
		}
	}
	return nil
}

// Initializers returns the initializers in file order.
func (g *Graph) Initializers() []*Value { return slices.Clone(g.inits) }

// UniqueName returns base, or base with the lowest free number behind it, such
// that no value of this graph, those around it or those inside has the name.
func (g *Graph) UniqueName(base string) string {
	root := g
	for root.outer != nil {
		root = root.outer
	}
	if !root.uses(base) {
		return base
	}
	for i := 1; ; i++ {
		if name := base + "_" + strconv.Itoa(i); !root.uses(name) {
			return name
		}
	}
}

func (g *Graph) uses(name string) bool {
	if g.values[name] != nil {
		return true
	}
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			if sub.uses(name) {
				return true
			}
		}
	}
	return false
}

// AddInput appends a graph input.
func (g *Graph) AddInput(name string, typ Type) *Value {
	v := g.declare(name)
	v.Type = typ
	g.Inputs = append(g.Inputs, v)
	return v
}

// AddOutput makes a value an output of the graph under its own name.
func (g *Graph) AddOutput(v *Value) { g.Outputs = append(g.Outputs, v) }

// AddInitializer adds a constant under a name made unique from name. The
// tensor's own name is set to it.
func (g *Graph) AddInitializer(name string, t *Tensor) *Value {
	v := g.declare(g.UniqueName(name))
	v.SetConst(t)
	return v
}

// declare makes a value; the caller knows that the name is free.
func (g *Graph) declare(name string) *Value {
	v := &Value{Name: name, graph: g}
	if name != "" {
		g.values[name] = v
	}
	return v
}

// SetConst makes the value an initializer; it must not have a producer.
func (v *Value) SetConst(t *Tensor) {
	if v.Const == nil {
		v.graph.inits = append(v.graph.inits, v)
	}
	t.Name = v.Name
	v.Const = t
	v.Type = Type{Elem: t.Type, Shape: ShapeOf(t.Shape...)}
}

// Graph returns the graph that declares the value.
func (v *Value) Graph() *Graph { return v.graph }

// Uses returns where the value is read, uses inside subgraphs included, graph
// outputs not.
func (v *Value) Uses() []Use { return slices.Clone(v.uses) }

// IsOutput reports whether the value is an output of its graph.
func (v *Value) IsOutput() bool { return slices.Contains(v.graph.Outputs, v) }

// IsInput reports whether the value is an input of its graph.
func (v *Value) IsInput() bool { return slices.Contains(v.graph.Inputs, v) }

// Rename gives the value another name that must be free.
func (v *Value) Rename(name string) {
	delete(v.graph.values, v.Name)
	v.Name = name
	v.graph.values[name] = v
	if v.Const != nil {
		v.Const.Name = name
	}
}

// ReplaceUses makes every reader of v, graph outputs included, read with
// instead. The interface of the graph keeps its names: when v is an output,
// with takes over its name, or, where it cannot (it is an input, an initializer
// or an output itself), an Identity node does.
func (v *Value) ReplaceUses(with *Value) {
	if v == with {
		return
	}
	for _, u := range v.Uses() {
		u.Node.SetInput(u.Index, with)
	}
	if !v.IsOutput() {
		return
	}
	g, name := v.graph, v.Name
	v.Rename(g.UniqueName(name + "_old"))
	if with.Producer == nil || with.graph != g || with.IsOutput() {
		id := g.NewNode("Identity", []*Value{with}, []string{name})
		g.Append(id)
		with = id.Outputs[0]
	} else {
		with.Rename(name)
	}
	if with.info == nil {
		with.info = v.info
	}
	if with.Type.Elem == Undefined {
		with.Type = v.Type
	}
	for i, o := range g.Outputs {
		if o == v {
			g.Outputs[i] = with
		}
	}
}

// NewNode makes a node of the default domain that is not yet in the node list;
// Append or InsertBefore puts it there. Each output is a new value; its name is
// made unique, an empty name leaves the optional output out.
func (g *Graph) NewNode(op string, inputs []*Value, outputs []string, attrs ...*Attribute) *Node {
	n := &Node{Op: op, graph: g, Attrs: attrs}
	n.Inputs = make([]*Value, len(inputs))
	for i, v := range inputs {
		n.SetInput(i, v)
	}
	for _, name := range outputs {
		if name == "" {
			n.Outputs = append(n.Outputs, nil)
			continue
		}
		v := g.declare(g.UniqueName(name))
		v.Producer = n
		n.Outputs = append(n.Outputs, v)
	}
	n.adoptSubgraphs()
	return n
}

// Append puts nodes at the end.
func (g *Graph) Append(nodes ...*Node) { g.Nodes = append(g.Nodes, nodes...) }

// InsertBefore puts nodes in front of another node of the graph.
func (g *Graph) InsertBefore(at *Node, nodes ...*Node) {
	i := slices.Index(g.Nodes, at)
	if i < 0 {
		panic(fmt.Sprintf("onnx: node %s is not in graph %q", at, g.Name))
	}
	g.Nodes = slices.Insert(g.Nodes, i, nodes...)
}

// Remove takes a node out. Nothing may read its outputs any more.
func (g *Graph) Remove(n *Node) {
	i := slices.Index(g.Nodes, n)
	if i < 0 {
		panic(fmt.Sprintf("onnx: node %s is not in graph %q", n, g.Name))
	}
	g.Nodes = slices.Delete(g.Nodes, i, i+1)
	g.unlink(n)
}

// RemoveAll takes out every node for which drop says so, in one sweep. As with
// Remove, what is left may not read their outputs.
func (g *Graph) RemoveAll(drop func(*Node) bool) {
	var dropped []*Node
	g.Nodes = slices.DeleteFunc(g.Nodes, func(n *Node) bool {
		if !drop(n) {
			return false
		}
		dropped = append(dropped, n)
		return true
	})
	for _, n := range slices.Backward(dropped) {
		g.unlink(n)
	}
}

func (g *Graph) unlink(n *Node) {
	n.release()
	for _, v := range n.Outputs {
		if v == nil {
			continue
		}
		if len(v.uses) > 0 || v.IsOutput() {
			panic(fmt.Sprintf("onnx: node %s is removed while %q is still read", n, v.Name))
		}
		delete(g.values, v.Name)
	}
}

// DropTypes forgets the types of all values that nodes make, but for the outputs of the graph. Who
// reads the file infers them (Infer).
func (g *Graph) DropTypes() {
	for _, n := range g.Nodes {
		for _, v := range n.Outputs {
			if v != nil && !v.IsOutput() {
				v.Type, v.info = Type{}, nil
			}
		}
	}
}

// DropUnused removes initializers that nothing reads.
func (g *Graph) DropUnused() {
	g.inits = slices.DeleteFunc(g.inits, func(v *Value) bool {
		if len(v.uses) > 0 || v.IsOutput() || v.IsInput() || g.keepsByName(v.Name) {
			return false
		}
		delete(g.values, v.Name)
		return true
	})
}

// keepsByName reports whether quantization annotations name the value.
func (g *Graph) keepsByName(name string) bool {
	for _, a := range g.rest.GetQuantizationAnnotation() {
		for _, p := range a.QuantParameterTensorNames {
			if p.GetValue() == name {
				return true
			}
		}
	}
	return false
}

// Sort brings the nodes into an order in which each comes after the nodes
// whose values it reads, the old order deciding where there is a choice. It
// returns an error that names a node of a cycle if there is one.
func (g *Graph) Sort() error {
	sorted, err := g.sorted()
	if err != nil {
		return err
	}
	g.Nodes = sorted
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			if err := sub.Sort(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Graph) sorted() ([]*Node, error) {
	missing := make(map[*Node]int, len(g.Nodes))
	readers := make(map[*Node][]*Node)
	for _, n := range g.Nodes {
		for p := range g.dependencies(n) {
			missing[n]++
			readers[p] = append(readers[p], n)
		}
	}
	order := make(map[*Node]int, len(g.Nodes))
	ready := newHeap(order)
	for i, n := range g.Nodes {
		order[n] = i
		if missing[n] == 0 {
			ready.push(n)
		}
	}
	sorted := make([]*Node, 0, len(g.Nodes))
	for ready.len() > 0 {
		n := ready.pop()
		sorted = append(sorted, n)
		for _, r := range readers[n] {
			if missing[r]--; missing[r] == 0 {
				ready.push(r)
			}
		}
	}
	if len(sorted) < len(g.Nodes) {
		for _, n := range g.Nodes {
			if missing[n] > 0 {
				return nil, fmt.Errorf("graph %q has a cycle through node %s: export the model again", g.Name, n)
			}
		}
	}
	return sorted, nil
}

// dependencies returns the nodes of g that n needs, also through its
// subgraphs.
func (g *Graph) dependencies(n *Node) map[*Node]bool {
	deps := map[*Node]bool{}
	var visit func(*Node)
	visit = func(m *Node) {
		for _, v := range m.Inputs {
			if v != nil && v.graph == g && v.Producer != nil {
				deps[v.Producer] = true
			}
		}
		for _, sub := range m.Subgraphs() {
			for _, inner := range sub.Nodes {
				visit(inner)
			}
			for _, o := range sub.Outputs {
				if o.graph == g && o.Producer != nil {
					deps[o.Producer] = true
				}
			}
		}
	}
	visit(n)
	return deps
}
