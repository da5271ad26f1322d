package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// prepare looks at a node once, when a program is compiled, and returns what
// executes it. What it needs of the node it copies, so that the graph can go.
type prepare func(s *site) (kernel, error)

// kernel executes a node.
type kernel func(c *call) error

// operator is a definition of an operator from one opset version on.
type operator struct {
	since   int64
	prepare prepare
	halves  bool // takes Float16 and Bfloat16 as they are; others get Float
	layouts bool // takes tensors in either layout; others get planar ones
}

var registry = map[string][]operator{} // ascending by version

// register adds an operator of the default domain. Each since holds up to the
// next one registered.
func register(op string, since int64, p prepare) { add(op, operator{since: since, prepare: p}) }

// registerAny adds an operator that moves elements without calculating.
func registerAny(op string, since int64, p prepare) {
	add(op, operator{since: since, prepare: p, halves: true})
}

func add(op string, o operator) {
	list := append(registry[op], o)
	slices.SortFunc(list, func(a, b operator) int { return int(a.since - b.since) })
	registry[op] = list
}

// lookup finds the definition of a node's operator in an opset version.
func lookup(n *onnx.Node, opset int64) (operator, bool) {
	name := n.Op
	switch n.Domain {
	case "", "ai.onnx":
	case Domain:
		name = Domain + "." + name
	default:
		return operator{}, false
	}
	var found operator
	for _, o := range registry[name] {
		if o.since <= opset {
			found = o
		}
	}
	return found, found.prepare != nil
}

// Domain is that of operators which only this runtime has, for graphs that are
// made to be run at once: package tile's.
const Domain = "daq.runtime"

// Operators returns the names of the ONNX operators the runtime has.
func Operators() []string {
	var names []string
	for name := range registry {
		if !strings.HasPrefix(name, Domain) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// site is a node at compile time.
type site struct {
	*onnx.Node
	opset     int64
	strict    bool
	constants []*Tensor // by input, nil where the value is not known yet
	taken     []bool    // inputs that execution needs no more
	captured  []*onnx.Value
	tail      *tail     // of a convolution: what its step does to the result; operands come after the inputs
	floor     []float32 // of a convolution: moments of the result, above this floor, will be asked for (moments.go)
	builder   *builder  // of the graph the node is in; nil in Eval
}

// constant returns the value of an input if it is known when compiling.
func (s *site) constant(i int) *Tensor {
	if i < len(s.constants) {
		return s.constants[i]
	}
	return nil
}

// take returns the constant of an input and keeps it out of the program: the
// kernel has its own form of it.
func (s *site) take(i int) *Tensor {
	t := s.constant(i)
	if t != nil {
		s.taken[i] = true
	}
	return t
}

// takeFloats takes a constant as float32 elements; nil when it is no constant
// or no float.
func (s *site) takeFloats(i int) *Tensor {
	t := s.constant(i)
	if t == nil {
		return nil
	}
	if isHalf(t.Type) {
		t = Widened(t)
	}
	if t.Type != onnx.Float {
		return nil
	}
	s.taken[i] = true
	return t
}

// has reports whether an optional input is there.
func (s *site) has(i int) bool { return s.Input(i) != nil }

// ints returns an attribute of integers as ints, nil when there is none.
func (s *site) ints(name string) []int {
	v := s.Ints(name)
	if v == nil {
		return nil
	}
	out := make([]int, len(v))
	for i, x := range v {
		out[i] = int(x)
	}
	return out
}

// call is one execution of a node.
type call struct {
	ctx     context.Context
	workers *kernels.Workers
	arena   *arena
	run     *run      // nil when a node is executed by itself
	in      []*Tensor // nil where an optional input is left out or was taken
	dies    []bool    // inputs that nobody reads after this node
	out     []*Tensor
	wanted  []bool   // outputs that are not left out
	places  []*place // of the outputs, nil where they have none
	rooms   []*Tensor
	twins   []*Tensor // inputs in another layout, for this call only

	moments tensorMoments // of its result

	bound kernels.ChainRun // what tail.bind fills in
}

// input returns input i, or nil.
func (c *call) input(i int) *Tensor {
	if i < len(c.in) {
		return c.in[i]
	}
	return nil
}

// new makes output i. It copies shape. The memory is not cleared.
func (c *call) new(i int, typ onnx.DataType, shape []int) (*Tensor, error) {
	return c.newIn(i, typ, shape, false)
}

// set makes t output i.
func (c *call) set(i int, t *Tensor) {
	for len(c.out) <= i {
		c.out = append(c.out, nil)
	}
	c.out[i] = t
}

// scratch returns memory for the time of the call; release it.
func (c *call) scratch(typ onnx.DataType, shape ...int) (*Tensor, error) {
	return c.arena.tensor(typ, shape)
}

// release gives scratch memory back.
func (c *call) release(t *Tensor) { c.arena.release(t) }

// newOver makes output i in the memory and layout of input j if nobody else
// reads that, this node as another of its inputs included, and as new or
// newBlocked does otherwise. The kernel must read each element before it writes
// it.
func (c *call) newOver(i, j int, typ onnx.DataType, shape []int) (*Tensor, error) {
	t := c.in[j]
	if t, err := c.placed(i, typ, shape, t.blocked); t != nil || err != nil {
		return t, err
	}
	readers := 0
	for _, other := range c.in {
		if other == t {
			readers++
		}
	}
	switch {
	case readers == 1 && c.dies[j] && t.mem != nil && t.mem.refs == 1 && entryBytes(typ) == entryBytes(t.Type) && slices.Equal(shape, t.Shape):
	case t.blocked:
		return c.newBlocked(i, shape)
	default:
		return c.new(i, typ, shape)
	}
	t.mem.refs++
	out := c.arena.record().over(typ, shape, bytesOf(t), t.mem, t.blocked)
	c.set(i, out)
	return out, nil
}

// view makes output i another shape of input j, without a copy: the same shape
// if the input is blocked. It takes over shape.
func (c *call) view(i, j int, shape []int) {
	t := c.in[j]
	if t.mem != nil {
		t.mem.refs++
	}
	r := c.arena.record()
	*r = record{Tensor: Tensor{Type: t.Type, Shape: shape, Data: t.Data, mem: t.mem, blocked: t.blocked}}
	c.set(i, &r.Tensor)
}

// need returns input i, or an error when it is left out.
func (c *call) need(i int) (*Tensor, error) {
	if t := c.input(i); t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("input %d is missing", i)
}

// floats returns input i and its elements, planar; it must be Float.
func (c *call) floats(i int) (*Tensor, []float32, error) {
	t, err := c.need(i)
	if err != nil {
		return nil, nil, err
	}
	if t, err = c.inLayout(t, false); err != nil {
		return nil, nil, err
	}
	d, ok := t.Data.([]float32)
	if !ok {
		return nil, nil, fmt.Errorf("input %d is %s, want float", i, t)
	}
	return t, d, nil
}

// ints returns the elements of an integer input as ints, nil when it is left
// out.
func (c *call) ints(i int) ([]int, error) {
	t := c.input(i)
	if t == nil {
		return nil, nil
	}
	v, err := toInts(t)
	if err != nil {
		return nil, fmt.Errorf("input %d: %w", i, err)
	}
	return v, nil
}

func toInts(t *Tensor) ([]int, error) {
	switch d := t.Data.(type) {
	case []int64:
		return convertInts(d), nil
	case []int32:
		return convertInts(d), nil
	case []uint8:
		return convertInts(d), nil
	case []int8:
		return convertInts(d), nil
	case []int16:
		return convertInts(d), nil
	case []uint16:
		return convertInts(d), nil
	case []uint32:
		return convertInts(d), nil
	case []uint64:
		return convertInts(d), nil
	}
	return nil, fmt.Errorf("%s where integers are needed", t)
}

func convertInts[T number](d []T) []int {
	out := make([]int, len(d))
	for i, v := range d {
		out[i] = int(v)
	}
	return out
}

// parallel calls f for the parts of [0, n), each of about grain elements. The
// parts do not depend on the number of threads. A panic in f becomes an error.
func (c *call) parallel(n, grain int, f func(lo, hi int)) error {
	grain = max(grain, 1)
	if n <= grain {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		f(0, n)
		return nil
	}
	return c.each((n+grain-1)/grain, func(i int) { f(i*grain, min(n, (i+1)*grain)) })
}

// each calls f for 0 to n-1 on the worker threads.
func (c *call) each(n int, f func(i int)) error {
	var failed atomic.Pointer[error]
	err := c.workers.For(c.ctx, n, func(i, _ int) {
		defer func() {
			if p := recover(); p != nil {
				err := asError(p)
				failed.CompareAndSwap(nil, &err)
			}
		}()
		f(i)
	})
	if e := failed.Load(); e != nil {
		return *e
	}
	return err
}

// asError makes an error of what a kernel panicked with.
func asError(p any) error {
	if err, ok := p.(error); ok {
		return fmt.Errorf("internal error: %w", err)
	}
	return fmt.Errorf("internal error: %v", p)
}

// axisOf brings an axis into [0, rank).
func axisOf(axis, rank int) (int, error) {
	a := axis
	if a < 0 {
		a += rank
	}
	if a < 0 || a >= rank {
		return 0, fmt.Errorf("axis %d is outside rank %d", axis, rank)
	}
	return a, nil
}

// axesOf brings axes into [0, rank), sorted; an axis given twice is an error.
func axesOf(axes []int, rank int) ([]int, error) {
	out := make([]int, len(axes))
	for i, a := range axes {
		v, err := axisOf(a, rank)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out[:i], v) {
			return nil, fmt.Errorf("axis %d is given twice", a)
		}
		out[i] = v
	}
	slices.Sort(out)
	return out, nil
}
