package onnx

import (
	"errors"
	"fmt"

	"github.com/daq-sr/daq/onnx/onnxpb"
)

// latestIR is the newest IR version of the specification this package is
// written from.
const latestIR = 14

// Check examines what the specification asks of a model (ONNX docs/IR.md) and
// returns all problems found, joined, each naming the node or tensor and a
// remedy; nil when there are none. Whether operators exist and get what they
// want is for the runtime to say.
func (m *Model) Check() error {
	c := &checker{model: m, opsets: m.Opsets}
	c.header()
	if m.Graph == nil {
		c.report("the model has no graph")
		return errors.Join(c.problems...)
	}
	if len(m.Graph.Outputs) == 0 {
		c.report("graph %q has no outputs, so that nothing of it is ever computed: export the model again", m.Graph.Name)
	}
	c.graph(m.Graph)
	c.functions()
	return errors.Join(c.problems...)
}

// maxProblems is enough of a list for a person to read.
const maxProblems = 20

type checker struct {
	model    *Model
	opsets   []Opset // of the model, or of the function at hand
	where    string  // "" or "function f.F: "
	function *Function
	problems []error
	missing  map[string]bool // domains whose lack is reported
}

func (c *checker) report(format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Errorf(c.where+format, args...))
	}
}

func (c *checker) header() {
	if ir := c.model.IRVersion; ir < 1 {
		c.report("the model has no IR version: set ir_version to %d", IRVersionFor(c.model.Opset("")))
	} else if ir > latestIR {
		c.report("IR version %d is newer than the %d known here: export the model with an older onnx", ir, latestIR)
	}
	c.imports("the model", c.model.Opsets)
}

func (c *checker) imports(who string, opsets []Opset) {
	if len(opsets) == 0 {
		c.report("%s imports no operator set: set opset_import", who)
	}
	for i, o := range opsets {
		if o.Version < 1 {
			c.report("%s imports version %d of domain %q: versions start at 1", who, o.Version, o.Domain)
		}
		for _, earlier := range opsets[:i] {
			if sameDomain(earlier.Domain, o.Domain) {
				c.report("%s imports domain %q twice, versions %d and %d: keep one", who, o.Domain, earlier.Version, o.Version)
			}
		}
	}
}

func (c *checker) graph(g *Graph) {
	for _, v := range g.Inputs {
		if v.Name == "" {
			c.report("graph %q has an input without a name: name it", g.Name)
		}
		c.declared(v)
	}
	for _, v := range g.inits {
		c.initializer(v)
	}
	for _, s := range g.rest.GetSparseInitializer() {
		if s.GetValues().GetName() == "" {
			c.report("graph %q has a sparse initializer without a name: name its values", g.Name)
		}
	}
	for _, n := range g.Nodes {
		c.node(g, n)
	}
	for _, v := range g.Outputs {
		c.output(g, v)
	}
	c.order(g)
}

// declared looks at the type of a graph input, which must be given.
func (c *checker) declared(v *Value) {
	if v.Type.Elem == Undefined && v.Type.other == nil && c.function == nil && v.graph.outer == nil {
		c.report("graph input %q has no type: declare its element type and shape", v.Name)
	}
	c.elementType(v)
}

func (c *checker) elementType(v *Value) {
	if v.Type.other == nil && v.Type.Elem != Undefined && !knownType(onnxpb.TensorProto_DataType(v.Type.Elem)) {
		c.report("value %q has the unknown element type %d", v.Name, int32(v.Type.Elem))
	}
}

func (c *checker) initializer(v *Value) {
	c.tensor("initializer", v.Const)
	if v.Producer != nil {
		c.report("the name %q is that of an initializer and of an output of node %s: rename one", v.Name, v.Producer)
	}
	if v.graph.values[v.Name] != v {
		c.report("initializer %q is not the value of its name: rename it", v.Name)
	}
	if c.model.IRVersion < 4 && c.function == nil && v.graph.outer == nil && !v.IsInput() {
		c.report("initializer %q is no graph input, which IR version %d asks for: set ir_version to 4 or more", v.Name, c.model.IRVersion)
	}
	if c.function != nil && v.graph.outer == nil {
		c.report("initializer %q: a function can hold constants only as Constant nodes", v.Name)
	}
}

func (c *checker) tensor(what string, t *Tensor) {
	if t.rest.GetDataLocation() == onnxpb.TensorProto_EXTERNAL {
		c.report("the data of %s %q are in another file that was not read: open the model with Load", what, t.Name)
		return
	}
	if err := t.Check(); err != nil {
		c.report("%s: %v", what, err)
	}
}

func (c *checker) node(g *Graph, n *Node) {
	if n.Op == "" {
		c.report("node %q has no operator", n.Label())
	}
	if n.graph != g {
		c.report("node %s is listed in graph %q and belongs to another", n, g.Name)
	}
	if opsetOf(c.opsets, n.Domain) == 0 {
		c.domain(n)
	}
	for i, v := range n.Inputs {
		if v != nil {
			c.read(g, v, func() string { return fmt.Sprintf("input %d of node %s", i, n) })
		}
	}
	for _, v := range n.Outputs {
		switch {
		case v == nil:
			continue
		case v.Producer != n:
			c.report("value %q is an output of node %s and belongs to another: give each its own name", v.Name, n)
		case v.Name == "":
			c.report("node %s has an output without a name", n)
		case g.values[v.Name] != v:
			c.report("the name %q is given to an output of node %s and to another value: give each its own", v.Name, n)
		case g.outer != nil && g.outer.lookup(v.Name) != nil:
			c.report("node %s gives the name %q, which a graph around has already: rename it", n, v.Name)
		}
		c.elementType(v)
	}
	c.attributes(n)
	if f := c.model.Function(n); f != nil {
		if err := checkCall(n, f); err != nil {
			c.report("%v", err)
		}
	}
}

func (c *checker) domain(n *Node) {
	if c.missing[n.Domain] {
		return
	}
	if c.missing == nil {
		c.missing = map[string]bool{}
	}
	c.missing[n.Domain] = true
	domain := n.Domain
	if domain == "" {
		domain = "ai.onnx"
	}
	c.report("node %s is of domain %q, which is not imported: add it to opset_import", n, domain)
}

// read says whether a value can be seen from a graph.
func (c *checker) read(g *Graph, v *Value, reader func() string) {
	s := g
	for s != nil && s != v.graph {
		s = s.outer
	}
	switch {
	case s == nil:
		c.report("%s is %q of a graph that cannot be seen from there: make it an output of that graph", reader(), v.Name)
	case s.values[v.Name] != v:
		c.report("%s is %q, which was removed or renamed: connect it again", reader(), v.Name)
	}
}

func (c *checker) attributes(n *Node) {
	for i, a := range n.Attrs {
		if a.Name == "" {
			c.report("node %s has an attribute without a name", n)
		}
		if a != n.Attr(a.Name) {
			c.report("node %s has the attribute %q twice: keep one", n, a.Name)
		}
		if a.Ref != "" {
			c.reference(n, a)
			continue
		}
		switch v := n.Attrs[i].Value.(type) {
		case *Tensor:
			if v == nil {
				c.report("node %s: attribute %q has no value", n, a.Name)
			} else {
				c.tensor(fmt.Sprintf("node %s: attribute %q:", n, a.Name), v)
			}
		case *Graph:
			if v == nil {
				c.report("node %s: attribute %q has no value", n, a.Name)
			} else {
				c.graph(v)
			}
		}
	}
}

// reference looks at an attribute that takes the value of one of the call.
func (c *checker) reference(n *Node, a *Attribute) {
	if c.function == nil {
		c.report("node %s: attribute %q refers to %q of a call, which only the nodes of a function can", n, a.Name, a.Ref)
		return
	}
	for _, name := range c.function.Attrs {
		if name == a.Ref {
			return
		}
	}
	for _, d := range c.function.Defaults {
		if d.Name == a.Ref {
			return
		}
	}
	c.report("node %s: attribute %q refers to %q, which is no attribute of the function: declare it", n, a.Name, a.Ref)
}

func (c *checker) output(g *Graph, v *Value) {
	if v == nil {
		c.report("graph %q has an output that is missing", g.Name)
		return
	}
	c.read(g, v, func() string { return fmt.Sprintf("an output of graph %q", g.Name) })
	if v.Type.Elem == Undefined && v.Type.other == nil && c.function == nil && g.outer == nil {
		c.report("graph output %q has no type: declare its element type", v.Name)
	}
}

// order reports cycles, and nodes in front of those whose values they read.
func (c *checker) order(g *Graph) {
	at := make(map[*Node]int, len(g.Nodes))
	for i, n := range g.Nodes {
		at[n] = i
	}
	for i, n := range g.Nodes {
		for p := range g.dependencies(n) {
			before, ok := at[p]
			if !ok {
				c.report("node %s reads from node %s, which is not in the graph", n, p)
				return
			}
			if before < i {
				continue
			}
			// One message for the graph: the first such node.
			if _, err := g.sorted(); err != nil {
				c.report("%v", err)
			} else {
				c.report("node %s stands in front of node %s, which it reads from: sort the nodes", n, p)
			}
			return
		}
	}
}

func (c *checker) functions() {
	for i, f := range c.model.Functions {
		for _, g := range c.model.Functions[:i] {
			if keyOf(f.Domain, f.Name, f.Overload) == keyOf(g.Domain, g.Name, g.Overload) {
				c.report("function %s is defined twice: keep one", f)
			}
		}
		if c.model.IRVersion < 8 {
			c.report("function %s: IR version %d has no functions: set ir_version to 8 or more", f, c.model.IRVersion)
		}
		c.where, c.function, c.opsets, c.missing = "function "+f.String()+": ", f, f.Opsets, nil
		if f.Name == "" {
			c.report("it has no name")
		}
		if len(f.Body.Nodes) > 0 {
			c.imports("it", f.Opsets)
		}
		c.graph(f.Body)
		c.where, c.function, c.opsets, c.missing = "", nil, c.model.Opsets, nil
	}
	if in, err := newInliner(c.model); err == nil {
		if err := in.recursion(); err != nil {
			c.report("%v", err)
		}
	}
}
