package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Program is a compiled model. Run may be called from several goroutines; each
// has its own memory, they share the worker threads.
type Program struct {
	plan     *plan
	inputs   []declared
	outputs  []declared
	workers  *kernels.Workers
	maxBytes int64

	mu     sync.Mutex
	arenas []*arena // of runs that have ended
	peak   int64
}

type declared struct {
	name string
	typ  onnx.Type
}

// PeakBytes returns the most memory that the tensors of one run have taken at
// a time so far: without constants, and without what kernels need inside.
func (p *Program) PeakBytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peak
}

// Inputs returns the names of the inputs in the order of the model.
func (p *Program) Inputs() []string { return names(p.inputs) }

// Outputs returns the names of the outputs in the order of the model.
func (p *Program) Outputs() []string { return names(p.outputs) }

func names(list []declared) []string {
	out := make([]string, len(list))
	for i, d := range list {
		out[i] = d.name
	}
	return out
}

// Run executes the program. watch, which may be nil, is called for each
// observed tensor (Options.Observe) in execution order; the tensor is valid
// only during the call, and an error of watch ends the run with that error. The
// outputs belong to the caller. Errors name the input or node they come from.
func (p *Program) Run(ctx context.Context, inputs map[string]*Tensor, watch func(name string, t *Tensor) error) (map[string]*Tensor, error) {
	return p.run(ctx, inputs, watch, nil)
}

func (p *Program) run(ctx context.Context, inputs map[string]*Tensor, watch func(name string, t *Tensor) error, clock *clock) (map[string]*Tensor, error) {
	args, err := p.arguments(inputs)
	if err != nil {
		return nil, err
	}
	a := p.takeArena()
	r := &run{ctx: ctx, workers: p.workers, arena: a, watch: watch, clock: clock}
	results, err := r.plan(p.plan, args)
	defer p.giveArena(a)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*Tensor, len(results))
	for i, t := range results {
		if t.mem == nil { // a constant or memory of the caller
			t = t.Clone()
		}
		out[p.outputs[i].name] = t
	}
	for _, t := range results {
		a.detach(t)
	}
	return out, nil
}

func (p *Program) takeArena() *arena {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &arena{}
	if n := len(p.arenas); n > 0 {
		a, p.arenas = p.arenas[n-1], p.arenas[:n-1]
	}
	if a.limit = p.maxBytes; a.limit == 0 {
		a.limit = memoryLimit() + a.held()
	}
	return a
}

func (p *Program) giveArena(a *arena) {
	a.reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peak = max(p.peak, a.peak)
	p.arenas = append(p.arenas, a)
}

// arguments brings the inputs into the order of the model and checks them.
func (p *Program) arguments(inputs map[string]*Tensor) ([]*Tensor, error) {
	args := make([]*Tensor, len(p.inputs))
	for i, d := range p.inputs {
		t := inputs[d.name]
		if t == nil {
			return nil, fmt.Errorf("input %q (%s) is missing", d.name, d.typ)
		}
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("input %q: %w", d.name, err)
		}
		if err := d.accepts(t); err != nil {
			return nil, err
		}
		args[i] = t
	}
	var unknown []string
	for name := range inputs {
		if !slices.ContainsFunc(p.inputs, func(d declared) bool { return d.name == name }) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, fmt.Errorf("the model has no input %q, it has %q", unknown[0], strings.Join(p.Inputs(), ", "))
	}
	return args, nil
}

func (d declared) accepts(t *Tensor) error {
	bad := d.typ.Elem != onnx.Undefined && d.typ.Elem != t.Type
	if s := d.typ.Shape; s != nil {
		bad = bad || len(s) != len(t.Shape)
		for i := range s {
			bad = bad || s[i].IsKnown() && s[i].Value != int64(t.Shape[i])
		}
	}
	if bad {
		return fmt.Errorf("input %q is %s, the model wants %s", d.name, t, d.typ)
	}
	return nil
}

// run is one execution of a program, or of a subgraph inside it.
type run struct {
	ctx     context.Context
	workers *kernels.Workers
	arena   *arena
	watch   func(name string, t *Tensor) error
	clock   *clock // nil unless the run is profiled
}

// plan executes a plan. args are the inputs and captures; they stay the
// caller's. The results hold a reference to their memory each.
func (r *run) plan(p *plan, args []*Tensor) ([]*Tensor, error) {
	values, rooms := make([]*Tensor, p.slots), make([]*Tensor, p.rooms)
	for i, slot := range slices.Concat(p.inputs, p.borrowed) {
		values[slot] = args[i].borrowed()
	}
	if err := r.show(p.watched, values); err != nil {
		return nil, err
	}
	for _, slot := range p.unread {
		r.arena.release(values[slot])
	}
	for i := range p.steps {
		if err := r.timed(p, i, values, rooms); err != nil {
			return nil, err
		}
	}
	results := make([]*Tensor, len(p.outputs))
	for i, src := range p.outputs {
		results[i] = src.in(values)
		if results[i].blocked {
			t, err := r.call().converted(results[i])
			if err != nil {
				return nil, err
			}
			if slices.Index(p.outputs[i+1:], src) < 0 {
				r.arena.release(results[i])
			}
			results[i] = t
			continue
		}
		if results[i].mem != nil && i > 0 && slices.ContainsFunc(results[:i], func(t *Tensor) bool { return t == results[i] }) {
			c := *results[i]
			c.twin = nil
			c.mem.refs++
			results[i] = &c
		}
	}
	return results, nil
}

// call returns what works inside the run on no particular node.
func (r *run) call() *call { return &call{ctx: r.ctx, workers: r.workers, arena: r.arena, run: r} }

// borrowed returns the tensor as one whose memory is not the arena's to reuse.
func (t *Tensor) borrowed() *Tensor {
	c := *t
	c.twin = nil
	if c.mem != nil {
		c.mem.refs++
	}
	return &c
}

func (s source) in(values []*Tensor) *Tensor {
	if s.slot >= 0 {
		return values[s.slot]
	}
	return s.constant
}

func (r *run) show(list []watched, values []*Tensor) error {
	if r.watch == nil {
		return nil
	}
	for _, w := range list {
		c := r.call()
		t, err := c.inLayout(w.from.in(values), false)
		if err == nil {
			err = r.watch(w.name, t)
		}
		c.endTwins()
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *run) step(st *step, values, rooms []*Tensor) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("node %s: %w", st.name, asError(p))
		}
	}()
	if err := r.ctx.Err(); err != nil {
		return err
	}
	c := r.call()
	c.dies, c.places, c.rooms = st.dies, st.places, rooms
	c.in = make([]*Tensor, len(st.in))
	for i, src := range st.in {
		c.in[i] = src.in(values)
	}
	c.wanted = make([]bool, len(st.out))
	for i, slot := range st.out {
		c.wanted[i] = slot >= 0
	}
	defer c.endTwins()
	if err := c.execute(st.kernel, st.halves, st.layouts); err != nil {
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		return fmt.Errorf("node %s: %w", st.name, err)
	}
	for i, t := range c.out {
		if t != nil && (i >= len(st.out) || st.out[i] < 0) {
			r.arena.release(t)
		}
	}
	for i, slot := range st.out {
		switch {
		case slot < 0:
		case i >= len(c.out) || c.out[i] == nil:
			return fmt.Errorf("node %s: output %d is not one the operator has", st.name, i)
		default:
			values[slot] = c.out[i]
		}
	}
	for _, i := range st.closes {
		if rooms[i] != nil {
			r.arena.release(rooms[i])
			rooms[i] = nil
		}
	}
	if err := r.show(st.watch, values); err != nil {
		return err
	}
	for _, slot := range st.free {
		r.arena.release(values[slot])
		values[slot] = nil
	}
	return nil
}

// execute calls a kernel; one that does not know layouts gets planar inputs, one
// that does not know 16-bit floats gets and gives float32, rounded once at its
// end.
func (c *call) execute(k kernel, halves, layouts bool) error {
	if !layouts {
		if err := c.planar(); err != nil {
			return err
		}
	}
	if halves {
		return k(c)
	}
	half := onnx.Undefined
	for _, t := range c.in {
		if t != nil && isHalf(t.Type) {
			half = t.Type
			break
		}
	}
	if half == onnx.Undefined {
		return k(c)
	}
	in := c.in
	c.in, c.dies = slices.Clone(in), slices.Clone(c.dies)
	for i, t := range in {
		if t == nil || !isHalf(t.Type) {
			continue
		}
		c.in[i], c.dies[i] = widened(t), false
	}
	err := k(c)
	c.in = in
	if err != nil {
		return err
	}
	for i, t := range c.out {
		if t == nil || t.Type != onnx.Float {
			continue
		}
		n, err := c.arena.tensor(half, t.Shape)
		if err != nil {
			return err
		}
		planar, err := c.inLayout(t, false)
		if err != nil {
			return err
		}
		narrow(n, planar)
		c.arena.release(t)
		c.out[i] = n
	}
	return nil
}
