package runtime

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/daq-sr/daq/onnx"
)

// buffer is a piece of memory that tensors share; views count as readers.
type buffer struct {
	bytes []byte
	refs  int
	lease int  // number among those of the run, from 1 on; 0 when it is not noted
	slab  bool // has its place in the memory plan
}

// arena hands out the memory of one run and takes it back for the next tensor,
// and for the next run. Memory is not cleared. Runs with inputs of the same
// shapes get the same tensors in the same places (memory.go, record.go), and
// nothing is allocated.
type arena struct {
	memory memoryPlan
	records

	free  []*buffer // ascending by size
	inUse int64
	peak  int64

	limit  int64
	asks   bool  // the limit is what the machine has free
	proven int64 // bytes in use up to which that was asked

	frames map[*plan]*frame
	run    run
}

// newArena returns an arena of so many bytes; 0 means what the machine has free.
func newArena(limit int64) *arena {
	if limit == 0 {
		return &arena{limit: FreeMemory(), asks: true}
	}
	return &arena{limit: limit}
}

// start begins a run with such inputs.
func (a *arena) start(inputs []*Tensor) {
	switch {
	case !a.memory.fits(inputs):
		dropped := a.memory.slabBytes
		a.memory.begin(inputs)
		a.records = records{} // views of the slab
		returnMemory(int64(dropped))
	case a.memory.state == noting:
		dropped := a.held()
		a.free = nil // before the slab takes its place
		returnMemory(dropped)
		a.memory.build()
	}
}

// minimum is the size of the smallest buffer: tensors of a few elements then
// all fit each other's.
const minimum = 256

// get returns a buffer of at least n bytes with one reader: its place in the
// plan, else the smallest free one that wastes at most half of itself.
func (a *arena) get(n int) (*buffer, error) {
	size := max((n+63)&^63, minimum)
	if a.asks && a.inUse+int64(size) > a.proven { // more than was needed so far
		a.limit, a.proven = FreeMemory()+a.held(), a.inUse+int64(size)
	}
	if a.inUse+int64(size) > a.limit {
		return nil, fmt.Errorf("%s more are needed where %s are in use: the limit is %s; use a smaller input",
			byteCount(int64(size)), byteCount(a.inUse), byteCount(a.limit))
	}
	b := a.memory.get(size)
	if b == nil {
		i := a.position(size)
		if i < len(a.free) && len(a.free[i].bytes) <= 2*size {
			b = a.free[i]
			a.free = slices.Delete(a.free, i, i+1)
		} else {
			a.trim(int64(size))
			b = &buffer{bytes: alignedBytes(size)}
			preferHugePages(b.bytes)
		}
	}
	a.memory.note(b, size)
	b.refs = 1
	a.inUse += int64(len(b.bytes))
	a.peak = max(a.peak, a.inUse)
	return b, nil
}

// position returns where in the free list a buffer of that size has its place.
func (a *arena) position(size int) int {
	i, _ := slices.BinarySearchFunc(a.free, size, func(b *buffer, n int) int { return len(b.bytes) - n })
	return i
}

// trim lets go of free buffers, the largest first, as long as what is held and
// size more would exceed the peak: what did not fit is not worth its memory.
func (a *arena) trim(size int64) {
	held, before := a.held(), a.held()
	for len(a.free) > 0 && held+size > max(a.peak, a.inUse+size) {
		last := len(a.free) - 1
		held -= int64(len(a.free[last].bytes))
		a.records.drop(a.free[last])
		a.free[last] = nil
		a.free = a.free[:last]
	}
	returnMemory(before - held)
}

// returnMemory gives the memory of dropped buffers of so many bytes back to the
// system at once where it is much: the collector would wait until as much again is
// taken.
func returnMemory(dropped int64) {
	if dropped >= 32<<20 {
		debug.FreeOSMemory()
	}
}

// release takes away one reader of the memory of t, and of its twin.
func (a *arena) release(t *Tensor) {
	if t.twin != nil {
		a.release(t.twin)
		t.twin = nil
	}
	b := t.mem
	if b == nil {
		return
	}
	if b.refs--; b.refs > 0 {
		return
	}
	a.inUse -= int64(len(b.bytes))
	if a.memory.release(b); !b.slab {
		a.free = slices.Insert(a.free, a.position(len(b.bytes)), b)
	}
}

// detach gives the memory of t away for good, unless it is to be used again.
func (a *arena) detach(t *Tensor) {
	if t.twin != nil {
		a.release(t.twin)
		t.twin = nil
	}
	b := t.mem
	if b == nil || b.slab {
		return
	}
	a.inUse -= int64(len(b.bytes))
	a.memory.take(b)
	b.bytes = nil // counted once, however many views there are
}

// held returns the bytes that are in use or waiting for use.
func (a *arena) held() int64 {
	n := a.inUse
	for _, b := range a.free {
		n += int64(len(b.bytes))
	}
	return n
}

// tensor returns an uninitialised tensor. It copies shape.
func (a *arena) tensor(typ onnx.DataType, shape []int) (*Tensor, error) {
	return a.inLayout(typ, shape, false)
}

// blocked returns an uninitialised Float tensor in the blocked layout.
func (a *arena) blocked(shape []int) (*Tensor, error) { return a.inLayout(onnx.Float, shape, true) }

func (a *arena) inLayout(typ onnx.DataType, shape []int, blocked bool) (*Tensor, error) {
	n, err := dataElements(shape, blocked)
	if err != nil {
		return nil, err
	}
	if typ == onnx.String {
		if int64(n) > a.limit/16 {
			return nil, fmt.Errorf("%d strings exceed the memory limit of %s", n, byteCount(a.limit))
		}
		return &Tensor{Type: typ, Shape: slices.Clone(shape), Data: make([]string, n)}, nil
	}
	size := entryBytes(typ)
	if size == 0 {
		return nil, fmt.Errorf("element type %s is not supported", typ)
	}
	b, err := a.get(n * size)
	if err != nil {
		return nil, fmt.Errorf("output %s%v: %w", typ, slices.Clone(shape), err)
	}
	return a.record().over(typ, shape, b.bytes[:n*size], b, blocked), nil
}

// reset ends a run, which has failed or is done; its tensors must be gone.
func (a *arena) reset(failed bool) {
	a.memory.end(failed)
	a.records.end()
	a.inUse = 0
}

func byteCount(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}

// FreeMemory returns how many bytes a program may take: what the machine and the
// control group have free, or 8 GiB where neither can be asked.
func FreeMemory() int64 {
	limit := int64(8 << 30)
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) > 1 && f[0] == "MemAvailable:" {
				if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
					limit = kb << 10
				}
			}
		}
	}
	if data, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil {
			limit = min(limit, n)
		}
	}
	return limit
}
