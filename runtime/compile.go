package runtime

import (
	"context"
	"fmt"
	"math"
	goruntime "runtime"
	"slices"
	"strings"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Options say how a model is compiled.
type Options struct {
	Threads  int      // worker threads; 0 means one for each processor
	Observe  []string // values that Run shows to its watch function
	Strict   bool     // no Winograd: convolutions add in the order of their definition
	Exact    bool     // quantized convolutions are executed node by node, not in integers (quantized.go)
	MaxBytes int64    // memory for tensors of a run; 0 means what the machine has free
}

type compiler struct {
	opset   func(domain string) int64
	options Options
	workers *kernels.Workers
	observe map[string]bool
	seen    map[string]bool // observed names that were found
}

// Compile prepares a model for running. Functions are inlined; nodes whose
// inputs are constants are executed now. The model is not changed and not kept,
// apart from the memory of its tensors.
func Compile(m *onnx.Model, o Options) (p *Program, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("compile: %w", asError(r))
		}
	}()
	m = m.Clone()
	if err := onnx.Inline(m); err != nil {
		return nil, err
	}
	if err := m.Graph.Sort(); err != nil {
		return nil, err
	}
	p = &Program{maxBytes: o.MaxBytes}
	for _, v := range m.Graph.Inputs {
		if v.Const == nil {
			p.inputs = append(p.inputs, declared{v.Name, v.Type})
		}
	}
	for _, v := range m.Graph.Outputs {
		p.outputs = append(p.outputs, declared{v.Name, v.Type})
	}
	// What cannot be inferred is not fused, and a mistake shows when running.
	_ = onnx.Infer(m)
	if o.Threads <= 0 {
		o.Threads = goruntime.GOMAXPROCS(0)
	}
	c := &compiler{opset: m.Opset, options: o, workers: kernels.NewWorkers(o.Threads), observe: map[string]bool{}, seen: map[string]bool{}}
	for _, name := range o.Observe {
		c.observe[name] = true
	}
	if !o.Exact && !o.Strict {
		Pointwise(m.Graph, func(v *onnx.Value) bool { return c.observe[v.Name] })
	}
	if err := c.supported(m.Graph); err != nil {
		return nil, err
	}
	p.workers = c.workers
	if p.plan, err = c.graph(m.Graph, nil); err != nil {
		return nil, err
	}
	for _, name := range o.Observe {
		if !c.seen[name] {
			return nil, fmt.Errorf("observe: the model has no tensor %q", name)
		}
	}
	return p, nil
}

// supported names every operator that is missing, each with one of its nodes.
func (c *compiler) supported(g *onnx.Graph) error {
	missing := map[string]string{}
	var visit func(g *onnx.Graph)
	visit = func(g *onnx.Graph) {
		for _, n := range g.Nodes {
			if _, ok := lookup(n, c.version(n)); !ok {
				op := n.Op
				if n.Domain != "" {
					op = n.Domain + "." + op
				}
				if _, known := missing[op]; !known {
					missing[op] = n.Label()
				}
			}
			for _, sub := range n.Subgraphs() {
				visit(sub)
			}
		}
	}
	visit(g)
	if len(missing) == 0 {
		return nil
	}
	var list []string
	for op, node := range missing {
		list = append(list, fmt.Sprintf("%s (node %q)", op, node))
	}
	slices.Sort(list)
	return fmt.Errorf("the runtime does not have these operators: %s", strings.Join(list, ", "))
}

// version returns the opset version that defines a node. A model without a
// default domain, which only lists extensions, is read as the newest.
func (c *compiler) version(n *onnx.Node) int64 {
	if v := c.opset(n.Domain); v > 0 {
		return v
	}
	return math.MaxInt64
}

// builder makes the plan of one graph.
type builder struct {
	*compiler
	graph  *onnx.Graph
	outer  *builder
	plan   *plan
	consts map[*onnx.Value]*Tensor
	slot   map[*onnx.Value]int
	places map[*onnx.Value]*place
	closes map[*onnx.Node][]int // rooms whose last part a node makes

	quantized  map[*onnx.Node]quantizedInput     // convolutions computed in integers
	floors     map[*onnx.Value][]float32         // of values whose moments are read
	quantizers map[*onnx.Value]kernels.Quantizer // of feature maps that are codes
	unscaled   map[*onnx.Node]bool               // Encode and Decode of whole numbers
	exact      map[*onnx.Node]bool               // convolutions of whole numbers in float
	composed   map[*onnx.Node]*composition       // convolutions that are two
}

// graph compiles a graph whose nodes are sorted. outer is the builder of the
// graph around it.
func (c *compiler) graph(g *onnx.Graph, outer *builder) (*plan, error) {
	b := &builder{compiler: c, graph: g, outer: outer, plan: &plan{}, consts: map[*onnx.Value]*Tensor{}, slot: map[*onnx.Value]int{},
		places: map[*onnx.Value]*place{}, closes: map[*onnx.Node][]int{}, quantized: map[*onnx.Node]quantizedInput{}, floors: map[*onnx.Value][]float32{}, quantizers: map[*onnx.Value]kernels.Quantizer{}, composed: map[*onnx.Node]*composition{},
		unscaled: map[*onnx.Node]bool{}, exact: map[*onnx.Node]bool{}}
	for _, v := range g.Inputs {
		if v.Const == nil {
			b.plan.inputs = append(b.plan.inputs, b.newSlot(v))
		}
		if err := b.watchEarly(v); err != nil {
			return nil, err
		}
	}
	for _, v := range g.Initializers() {
		if !v.IsInput() {
			if err := b.watchEarly(v); err != nil {
				return nil, err
			}
		}
	}
	if err := b.expand(); err != nil {
		return nil, err
	}
	b.narrow()
	needed := b.needed()
	var nodes []*onnx.Node // that are executed in a run
	for _, n := range g.Nodes {
		if !needed[n] {
			continue
		}
		folded, err := b.fold(n)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n, err)
		}
		if !folded {
			nodes = append(nodes, n)
		}
	}
	nodes, err := b.integers(nodes)
	if err != nil {
		return nil, err
	}
	nodes = b.compose(nodes)
	groups, inside := b.fuse(nodes)
	b.arrange(nodes)
	for _, n := range nodes {
		if inside[n] {
			continue
		}
		if err := b.node(n, groups[n]); err != nil {
			return nil, fmt.Errorf("node %s: %w", n, err)
		}
	}
	for _, v := range g.Outputs {
		s, err := b.source(v)
		if err != nil {
			return nil, err
		}
		b.plan.outputs = append(b.plan.outputs, s)
	}
	b.plan.lifetimes()
	return b.plan, nil
}

func (b *builder) newSlot(v *onnx.Value) int {
	s := b.plan.slots
	b.plan.slots++
	b.slot[v] = s
	return s
}

// watchEarly notes an observed value that is there before the first step.
func (b *builder) watchEarly(v *onnx.Value) error {
	if !b.observe[v.Name] {
		return nil
	}
	s, err := b.source(v)
	if err != nil {
		return err
	}
	b.seen[v.Name] = true
	b.plan.watched = append(b.plan.watched, watched{v.Name, s})
	return nil
}

// needed returns the nodes that an output or an observed value depends on.
func (b *builder) needed() map[*onnx.Node]bool {
	needed := map[*onnx.Node]bool{}
	var reads func(n *onnx.Node, found func(*onnx.Value))
	reads = func(n *onnx.Node, found func(*onnx.Value)) {
		for _, v := range n.Inputs {
			if v != nil {
				found(v)
			}
		}
		for _, sub := range n.Subgraphs() {
			for _, inner := range sub.Nodes {
				reads(inner, found)
			}
			for _, v := range sub.Outputs {
				found(v)
			}
		}
	}
	mark := func(v *onnx.Value) {
		if v.Producer != nil && v.Graph() == b.graph {
			needed[v.Producer] = true
		}
	}
	for _, v := range b.graph.Outputs {
		mark(v)
	}
	for _, n := range slices.Backward(b.graph.Nodes) {
		for _, v := range n.Outputs {
			if v != nil && b.observe[v.Name] {
				needed[n] = true
			}
		}
		if needed[n] {
			reads(n, mark)
		}
	}
	return needed
}

// constOf returns the value of v if it is known now.
func (b *builder) constOf(v *onnx.Value) (*Tensor, error) {
	for s := b; s != nil; s = s.outer {
		if s.graph != v.Graph() {
			continue
		}
		if t := s.consts[v]; t != nil || v.Const == nil {
			return t, nil
		}
		t, err := FromONNX(v.Const)
		if err != nil {
			return nil, err
		}
		s.consts[v] = t
		return t, nil
	}
	return nil, nil
}

// source returns where v comes from; a value of an outer graph gets a slot of
// its own, filled when this graph is run.
func (b *builder) source(v *onnx.Value) (source, error) {
	t, err := b.constOf(v)
	if err != nil || t != nil {
		return source{constant: t, slot: -1}, err
	}
	if s, ok := b.slot[v]; ok {
		return source{slot: s}, nil
	}
	if v.Graph() == b.graph || b.outer == nil {
		return source{}, fmt.Errorf("value %q is read before it is made", v.Name)
	}
	slot := b.newSlot(v)
	b.plan.captures = append(b.plan.captures, v)
	b.plan.borrowed = append(b.plan.borrowed, slot)
	return source{slot: slot}, nil
}

// site returns what an operator needs to know of a node, and whether all its
// inputs are constants.
func (b *builder) site(n *onnx.Node) (s *site, constant bool, err error) {
	s = &site{Node: n, opset: b.version(n), strict: b.options.Strict, builder: b}
	constant = true
	for _, v := range n.Inputs {
		var t *Tensor
		if v != nil {
			if t, err = b.constOf(v); err != nil {
				return nil, false, err
			}
			constant = constant && t != nil
		}
		s.constants = append(s.constants, t)
	}
	return s, constant, nil
}

// fold executes a node now if all its inputs are constants.
func (b *builder) fold(n *onnx.Node) (done bool, err error) {
	op, ok := lookup(n, b.version(n))
	if !ok {
		return false, fmt.Errorf("operator not supported")
	}
	s, constant, err := b.site(n)
	if err != nil || !constant || len(n.Subgraphs()) > 0 ||
		n.Is("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial") {
		return false, err
	}
	k, err := prepared(s, op)
	if err != nil {
		return false, err
	}
	outputs, err := evaluate(context.Background(), s, op, k, s.constants, b.workers, b.options.MaxBytes)
	if err != nil {
		return false, err
	}
	for i, v := range n.Outputs {
		if v == nil {
			continue
		}
		b.consts[v] = outputs[i]
		if err := b.watchEarly(v); err != nil {
			return false, err
		}
	}
	return true, nil
}

// node adds the step of a node, or of the group that ends with it.
func (b *builder) node(n *onnx.Node, g *group) error {
	main := n
	if g != nil && g.conv != nil {
		main = g.conv
	}
	st := step{name: main.String(), node: main.Label(), op: operatorName(main), closes: b.closes[n]}
	if c := b.composed[main]; c != nil {
		st.front = c.front
	}
	var inputs []operand
	if g == nil || g.conv != nil {
		op, _ := lookup(main, b.version(main))
		s, _, err := b.site(main)
		if err != nil {
			return err
		}
		if g != nil {
			s.tail = g.tail
		}
		s.floor = b.floors[n.Outputs[0]]
		if st.kernel, err = prepared(s, op); err != nil {
			return err
		}
		st.halves, st.layouts = op.halves, op.layouts
		for i, v := range slices.Concat(main.Inputs, s.captured) {
			if i < len(s.taken) && s.taken[i] {
				v = nil
			}
			inputs = append(inputs, operand{value: v})
		}
	} else {
		st.kernel, st.layouts = g.tail.elementwise, true
	}
	if g != nil {
		inputs = append(inputs, g.tail.operands...)
	}
	for _, o := range inputs {
		src := source{constant: o.constant, slot: -1}
		if o.value != nil {
			var err error
			if src, err = b.source(o.value); err != nil {
				return err
			}
		}
		st.in = append(st.in, src)
	}
	for _, v := range n.Outputs {
		st.places = append(st.places, b.places[v])
		st.wanted = append(st.wanted, v != nil)
		if v == nil {
			st.out = append(st.out, -1)
			continue
		}
		slot := b.newSlot(v)
		st.out = append(st.out, slot)
		if b.observe[v.Name] {
			b.seen[v.Name] = true
			st.watch = append(st.watch, watched{v.Name, source{slot: slot}})
		}
	}
	b.plan.steps = append(b.plan.steps, st)
	return nil
}
