package onnx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// maxInlined bounds how many nodes inlining may make: functions that call each
// other twice a level double with every level.
const maxInlined = 1 << 20

// maxInlineDepth bounds how many levels deep functions may call each other.
const maxInlineDepth = 1000

// Inline replaces every call of a function of the model by the function's body,
// in subgraphs and in other functions too, and empties m.Functions. The nodes
// and values of a body are named after the call and their name in the body,
// with "/" between them; the outputs of a call keep their names. A body
// whose operators are of another opset version than the model imports is an
// error, and so is a function that calls itself. After an error the model may
// be inlined in part and must not be used.
func Inline(m *Model) error {
	in, err := newInliner(m)
	if err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	in.collectNames(m.Graph)
	if err := in.graph(m.Graph); err != nil {
		return err
	}
	for _, o := range in.imports {
		m.SetOpset(o.Domain, o.Version)
	}
	m.Opsets = slices.DeleteFunc(m.Opsets, func(o Opset) bool {
		defined := slices.ContainsFunc(m.Functions, func(f *Function) bool { return sameDomain(f.Domain, o.Domain) })
		return defined && !in.uses(m.Graph, o.Domain)
	})
	m.Functions = nil
	return nil
}

type functionKey struct{ domain, name, overload string }

func keyOf(domain, name, overload string) functionKey {
	if domain == "ai.onnx" {
		domain = ""
	}
	return functionKey{domain, name, overload}
}

type inliner struct {
	model     *Model
	functions map[functionKey]*Function
	imports   []Opset        // of bodies, that the model lacks
	taken     map[string]int // names of values and nodes in use, with the last number tried behind each
}

func newInliner(m *Model) (*inliner, error) {
	in := &inliner{model: m, functions: map[functionKey]*Function{}, taken: map[string]int{}}
	for _, f := range m.Functions {
		key := keyOf(f.Domain, f.Name, f.Overload)
		if in.functions[key] != nil {
			return nil, fmt.Errorf("function %s is defined twice", f)
		}
		in.functions[key] = f
	}
	return in, nil
}

func (in *inliner) callee(n *Node) *Function {
	return in.functions[keyOf(n.Domain, n.Op, n.Overload)]
}

// String names the function for messages.
func (f *Function) String() string {
	s := f.Domain + "." + f.Name
	if f.Overload != "" {
		s += ":" + f.Overload
	}
	return s
}

// walk visits the nodes of a graph and of the subgraphs inside.
func (g *Graph) walk(visit func(*Node) error) error {
	for _, n := range g.Nodes {
		if err := visit(n); err != nil {
			return err
		}
		for _, sub := range n.Subgraphs() {
			if err := sub.walk(visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// check looks for what can go wrong before anything is changed.
func (in *inliner) check() error {
	if err := in.recursion(); err != nil {
		return err
	}
	checked := map[*Function]bool{}
	var visit func(n *Node) error
	visit = func(n *Node) error {
		f := in.callee(n)
		if f == nil {
			return nil
		}
		if err := checkCall(n, f); err != nil || checked[f] {
			return err
		}
		checked[f] = true
		if err := in.checkOpsets(f); err != nil {
			return err
		}
		return f.Body.walk(visit)
	}
	return in.model.Graph.walk(visit)
}

// recursion returns an error when a function calls itself, or when inlining
// would make too much of a model.
func (in *inliner) recursion() error {
	size := map[*Function]int{} // nodes that a call becomes; -1 while it is being counted
	var path []string
	var count func(g *Graph) (int, error)
	count = func(g *Graph) (int, error) {
		total := 0
		err := g.walk(func(n *Node) error {
			f := in.callee(n)
			if f == nil {
				total++
				return nil
			}
			path = append(path, f.String())
			defer func() { path = path[:len(path)-1] }()
			if len(path) > maxInlineDepth {
				return fmt.Errorf("functions call each other more than %d levels deep, at node %s", maxInlineDepth, n)
			}
			if size[f] < 0 {
				return fmt.Errorf("function %s calls itself (%s), which ONNX does not allow", f, strings.Join(path, " calls "))
			}
			if size[f] == 0 {
				size[f] = -1
				n, err := count(f.Body)
				if err != nil {
					return err
				}
				size[f] = n + len(f.Body.Outputs) + 1
			}
			if total += size[f]; total > maxInlined {
				return fmt.Errorf("inlining the functions makes more than %d nodes, the last call being %s", maxInlined, n)
			}
			return nil
		})
		return total, err
	}
	_, err := count(in.model.Graph)
	return err
}

// checkCall compares a call with the function's signature.
func checkCall(n *Node, f *Function) error {
	if len(n.Inputs) > len(f.Body.Inputs) {
		return fmt.Errorf("node %s gives %d inputs to function %s, which has %d", n, len(n.Inputs), f, len(f.Body.Inputs))
	}
	if len(n.Outputs) > len(f.Body.Outputs) {
		return fmt.Errorf("node %s wants %d outputs of function %s, which has %d", n, len(n.Outputs), f, len(f.Body.Outputs))
	}
	if len(f.Body.inits) > 0 {
		return fmt.Errorf("function %s has the initializer %q: a function can hold constants only as Constant nodes", f, f.Body.inits[0].Name)
	}
	return nil
}

// checkOpsets compares the opset versions by which the body's operators go with
// those of the model.
func (in *inliner) checkOpsets(f *Function) error {
	return f.Body.walk(func(n *Node) error {
		if in.callee(n) != nil {
			return nil
		}
		want := opsetOf(f.Opsets, n.Domain)
		have := in.model.Opset(n.Domain)
		if have == 0 {
			have = opsetOf(in.imports, n.Domain)
		}
		domain := n.Domain
		if domain == "" {
			domain = "ai.onnx"
		}
		switch {
		case want == 0:
			return fmt.Errorf("function %s: node %s is of domain %q, which the function does not import", f, n, domain)
		case have == 0:
			in.imports = append(in.imports, Opset{n.Domain, want})
		case have != want:
			return fmt.Errorf("function %s is written for opset %d of domain %q, the model imports %d: export the model with one opset for both", f, want, domain, have)
		}
		return nil
	})
}

func (in *inliner) uses(g *Graph, domain string) bool {
	found := false
	_ = g.walk(func(n *Node) error {
		found = found || sameDomain(n.Domain, domain)
		return nil
	})
	return found
}

func (in *inliner) collectNames(g *Graph) {
	for name := range g.values {
		in.taken[name] = 0
	}
	for _, n := range g.Nodes {
		in.taken[n.Name] = 0
		for _, sub := range n.Subgraphs() {
			in.collectNames(sub)
		}
	}
}

// name returns base, or base with a number behind it that makes it new.
func (in *inliner) name(base string) string {
	name := base
	for {
		if _, used := in.taken[name]; !used {
			in.taken[name] = 0
			return name
		}
		in.taken[base]++
		name = base + "_" + strconv.Itoa(in.taken[base])
	}
}

// graph inlines the calls of a graph and its subgraphs.
func (in *inliner) graph(g *Graph) error {
	nodes := make([]*Node, 0, len(g.Nodes))
	for _, n := range g.Nodes {
		var err error
		if nodes, err = in.node(nodes, n); err != nil {
			return err
		}
	}
	g.Nodes = nodes
	return nil
}

// node appends the node, or what the call that it is becomes.
func (in *inliner) node(nodes []*Node, n *Node) ([]*Node, error) {
	f := in.callee(n)
	if f == nil {
		for _, sub := range n.Subgraphs() {
			if err := in.graph(sub); err != nil {
				return nil, err
			}
		}
		return append(nodes, n), nil
	}
	body, err := in.expand(n, f)
	if err != nil {
		return nil, fmt.Errorf("node %s: function %s: %w", n, f, err)
	}
	for _, inner := range body {
		if nodes, err = in.node(nodes, inner); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// expand returns the nodes of the function's body, bound to the inputs and
// outputs of the call, and takes the call out of the graph.
func (in *inliner) expand(call *Node, f *Function) ([]*Node, error) {
	c := &copier{in: in, prefix: call.Label() + "/", call: call, f: f, values: map[*Value]*Value{}}
	for i, v := range f.Body.Inputs {
		c.values[v] = call.Input(i)
	}
	g := call.graph
	var identities []*Node
	for i, out := range call.Outputs {
		if out == nil {
			continue
		}
		inner := f.Body.Outputs[i]
		same, bound := c.values[inner]
		if !bound {
			c.values[inner] = out
			continue
		}
		// An input or another output of the call has this value already.
		if same == nil {
			return nil, fmt.Errorf("output %q is the input %q, which the call leaves out", out.Name, inner.Name)
		}
		id := &Node{Op: "Identity", Name: in.name(c.prefix + "Identity"), graph: g, Outputs: []*Value{out}}
		id.SetInput(0, same)
		out.Producer = id
		identities = append(identities, id)
	}
	nodes, err := c.nodes(f.Body, g)
	if err != nil {
		return nil, err
	}
	call.Outputs = nil // now made by the nodes of the body
	g.unlink(call)
	return append(nodes, identities...), nil
}

// copier copies nodes of a function's body into the graph of a call.
type copier struct {
	in     *inliner
	prefix string
	call   *Node
	f      *Function
	values map[*Value]*Value // of the body, to those of the graph; nil for an input that the call leaves out
}

// value returns the copy of a value. A value of no body is one that a subgraph
// given as an attribute of the call reads from around the call: it stays.
func (c *copier) value(v *Value) *Value {
	if copied, ok := c.values[v]; ok {
		return copied
	}
	return v
}

// declare makes the copy of a value unless it is bound to an output of the call.
func (c *copier) declare(v *Value, to *Graph) *Value {
	if v == nil {
		return nil
	}
	if bound, ok := c.values[v]; ok {
		return bound
	}
	copied := to.declare(c.in.name(c.prefix + v.Name))
	if v.info != nil {
		info := *v.info // each value its own
		copied.info = &info
	}
	if v.graph.outer != nil { // types in a function's own graph are about no single call
		copied.Type = v.Type
	}
	c.values[v] = copied
	return copied
}

// nodes copies the nodes of a graph. Outputs are declared first, since nodes
// need not be in order.
func (c *copier) nodes(from, to *Graph) ([]*Node, error) {
	copies := make([]*Node, len(from.Nodes))
	for i, n := range from.Nodes {
		name := n.Name
		if name == "" {
			name = n.Op
		}
		copies[i] = &Node{Op: n.Op, Domain: n.Domain, Overload: n.Overload, Name: c.in.name(c.prefix + name), graph: to, rest: n.rest}
		for _, v := range n.Outputs {
			out := c.declare(v, to)
			if out != nil {
				out.Producer = copies[i]
			}
			copies[i].Outputs = append(copies[i].Outputs, out)
		}
	}
	for i, n := range from.Nodes {
		copies[i].Inputs = make([]*Value, len(n.Inputs))
		for j, v := range n.Inputs {
			if v != nil {
				copies[i].SetInput(j, c.value(v))
			}
		}
		for _, a := range n.Attrs {
			copied, err := c.attribute(a, to)
			if err != nil {
				return nil, err
			}
			if copied != nil {
				copies[i].Attrs = append(copies[i].Attrs, copied)
			}
		}
		copies[i].adoptSubgraphs()
	}
	return copies, nil
}

// attribute resolves a reference by the call, then by the function's default;
// an attribute that neither gives is left out (ONNX docs/IR.md, Functions).
func (c *copier) attribute(a *Attribute, to *Graph) (*Attribute, error) {
	copied := *a
	if a.Ref != "" {
		given := c.call.Attr(a.Ref)
		if given == nil {
			i := slices.IndexFunc(c.f.Defaults, func(d *Attribute) bool { return d.Name == a.Ref })
			if i < 0 {
				return nil, nil
			}
			given = c.f.Defaults[i]
		}
		copied = *given
		copied.Name = a.Name
	}
	switch v := copied.Value.(type) {
	case *Graph:
		if v != nil {
			sub, err := c.subgraph(v, to)
			if err != nil {
				return nil, err
			}
			copied.Value = sub
		}
	case *Tensor:
		if v != nil {
			copied.Value = v.Clone()
		}
	}
	return &copied, nil
}

func (c *copier) subgraph(from, outer *Graph) (*Graph, error) {
	g := NewGraph(from.Name)
	g.outer = outer
	for _, v := range from.Inputs {
		g.Inputs = append(g.Inputs, c.declare(v, g))
	}
	for _, v := range from.inits {
		c.declare(v, g).SetConst(v.Const.Clone())
	}
	for _, s := range from.rest.GetSparseInitializer() {
		c.declare(from.values[s.GetValues().GetName()], g)
	}
	var err error
	if g.Nodes, err = c.nodes(from, g); err != nil {
		return nil, err
	}
	for _, v := range from.Outputs {
		out := c.value(v)
		if out == nil {
			return nil, fmt.Errorf("output %q of its graph %q is an input that the call leaves out", v.Name, from.Name)
		}
		g.Outputs = append(g.Outputs, out)
	}
	g.rest = c.named(from)
	return g, nil
}

// named copies what a graph keeps unread and renames in it what it names.
func (c *copier) named(from *Graph) *onnxpb.GraphProto {
	if from.rest == nil {
		return nil
	}
	rest := *from.rest
	name := func(old *string) *string {
		if v := from.values[*old]; v != nil {
			return &c.value(v).Name
		}
		return old
	}
	rest.SparseInitializer = nil
	for _, s := range from.rest.SparseInitializer {
		copied := *s
		if s.Values != nil && s.Values.Name != nil {
			values := *s.Values
			values.Name = name(s.Values.Name)
			copied.Values = &values
		}
		rest.SparseInitializer = append(rest.SparseInitializer, &copied)
	}
	rest.QuantizationAnnotation = nil
	for _, q := range from.rest.QuantizationAnnotation {
		copied := *q
		if q.TensorName != nil {
			copied.TensorName = name(q.TensorName)
		}
		copied.QuantParameterTensorNames = nil
		for _, e := range q.QuantParameterTensorNames {
			renamed := *e
			if e.Value != nil {
				renamed.Value = name(e.Value)
			}
			copied.QuantParameterTensorNames = append(copied.QuantParameterTensorNames, &renamed)
		}
		rest.QuantizationAnnotation = append(rest.QuantizationAnnotation, &copied)
	}
	return &rest
}
