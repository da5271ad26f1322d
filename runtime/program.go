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
	a := p.takeArena()
	failed := true
	defer func() { p.giveArena(a, failed) }()
	f := a.frame(p.plan)
	if err := p.arguments(inputs, f.args); err != nil {
		return nil, err
	}
	a.start(f.args)
	a.run = run{ctx: ctx, workers: p.workers, arena: a, watch: watch, clock: clock}
	results, err := a.run.plan(p.plan, f.args)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*Tensor, len(results))
	for i, t := range results {
		own := &Tensor{Type: t.Type, Shape: slices.Clone(t.Shape), Data: t.Data}
		if t.mem == nil || t.mem.slab { // a constant, memory of the caller, or to be used again
			own = t.Clone()
		}
		out[p.outputs[i].name] = own
	}
	for _, t := range results {
		a.detach(t)
	}
	failed = false
	return out, nil
}

func (p *Program) takeArena() *arena {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.arenas); n > 0 {
		a := p.arenas[n-1]
		p.arenas = p.arenas[:n-1]
		return a
	}
	return newArena(p.maxBytes)
}

func (p *Program) giveArena(a *arena, failed bool) {
	clear(a.frame(p.plan).args)
	a.run = run{}
	a.reset(failed)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peak = max(p.peak, a.peak)
	p.arenas = append(p.arenas, a)
}

// arguments brings the inputs into args, in the order of the model, and checks
// them.
func (p *Program) arguments(inputs map[string]*Tensor, args []*Tensor) error {
	for i, d := range p.inputs {
		t := inputs[d.name]
		if t == nil {
			return fmt.Errorf("input %q (%s) is missing", d.name, d.typ)
		}
		if err := t.check(); err != nil {
			return fmt.Errorf("input %q: %w", d.name, err)
		}
		if err := d.accepts(t); err != nil {
			return err
		}
		args[i] = t
	}
	if len(inputs) == len(p.inputs) { // all of them were found
		return nil
	}
	var unknown []string
	for name := range inputs {
		if !slices.ContainsFunc(p.inputs, func(d declared) bool { return d.name == name }) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("the model has no input %q, it has %q", unknown[0], strings.Join(p.Inputs(), ", "))
	}
	return nil
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

// frame is what the execution of a plan fills in anew each time.
type frame struct {
	args          []*Tensor
	values, rooms []*Tensor
	calls         []call
}

// frame returns the frame of a plan, which is executed once at a time in an arena.
func (a *arena) frame(p *plan) *frame {
	f := a.frames[p]
	if f == nil {
		f = &frame{args: make([]*Tensor, len(p.inputs)), values: make([]*Tensor, p.slots), rooms: make([]*Tensor, p.rooms), calls: make([]call, len(p.steps))}
		for i := range p.steps {
			f.calls[i].in = make([]*Tensor, len(p.steps[i].in))
		}
		if a.frames == nil {
			a.frames = map[*plan]*frame{}
		}
		a.frames[p] = f
	}
	return f
}

// plan executes a plan. args are the inputs and captures; they stay the
// caller's. The results hold a reference to their memory each.
func (r *run) plan(p *plan, args []*Tensor) ([]*Tensor, error) {
	f := r.arena.frame(p)
	clear(f.rooms)
	defer clear(f.values)
	for i, t := range args {
		slot := 0
		if n := len(p.inputs); i < n {
			slot = p.inputs[i]
		} else {
			slot = p.borrowed[i-n]
		}
		f.values[slot] = r.arena.again(t)
	}
	if err := r.show(p.watched, f.values); err != nil {
		return nil, err
	}
	for _, slot := range p.unread {
		r.arena.release(f.values[slot])
	}
	for i := range p.steps {
		if err := r.timed(p, i, f); err != nil {
			return nil, err
		}
	}
	results := make([]*Tensor, len(p.outputs))
	for i, src := range p.outputs {
		results[i] = src.in(f.values)
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

func (r *run) step(st *step, f *frame, c *call) (err error) {
	values, rooms := f.values, f.rooms
	defer func() {
		c.letGo()
		if p := recover(); p != nil {
			err = fmt.Errorf("node %s: %w", st.name, asError(p))
		}
	}()
	if err := r.ctx.Err(); err != nil {
		return err
	}
	*c = call{ctx: r.ctx, workers: r.workers, arena: r.arena, run: r, dies: st.dies, wanted: st.wanted, places: st.places, rooms: rooms,
		in: c.in, out: c.out[:0], twins: c.twins[:0], bound: c.bound, moments: c.moments}
	for i, src := range st.in {
		c.in[i] = src.in(values)
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

// letGo forgets the memory of a call: the caller of Run may want that back, and the
// arena, whose calls are used again.
func (c *call) letGo() {
	clear(c.in)
	clear(c.bound.Tensors)
	clear(c.bound.Codes)
	clear(c.bound.Values)
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
	in, dies := c.in, c.dies
	c.in, c.dies = slices.Clone(in), slices.Clone(dies)
	for i, t := range in {
		if t == nil || !isHalf(t.Type) {
			continue
		}
		c.in[i], c.dies[i] = Widened(t), false
	}
	err := k(c)
	c.in, c.dies = in, dies
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
