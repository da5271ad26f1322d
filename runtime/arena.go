package runtime

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/daq-sr/daq/onnx"
)

// buffer is a piece of memory that tensors share; views count as readers.
type buffer struct {
	bytes []byte
	refs  int
}

// arena hands out the memory of one run and takes it back for the next tensor,
// and for the next run. Memory is not cleared.
type arena struct {
	free  []*buffer // ascending by size
	inUse int64
	peak  int64
	limit int64
}

// minimum is the size of the smallest buffer: tensors of a few elements then
// all fit each other's.
const minimum = 256

// get returns a buffer of at least n bytes with one reader: the smallest free
// one that wastes at most half of itself.
func (a *arena) get(n int) (*buffer, error) {
	size := max((n+63)&^63, minimum)
	if a.inUse+int64(size) > a.limit {
		return nil, fmt.Errorf("%s more are needed where %s are in use: the limit is %s; use a smaller input",
			byteCount(int64(size)), byteCount(a.inUse), byteCount(a.limit))
	}
	i, _ := slices.BinarySearchFunc(a.free, size, func(b *buffer, n int) int { return len(b.bytes) - n })
	var b *buffer
	if i < len(a.free) && len(a.free[i].bytes) <= 2*size {
		b = a.free[i]
		a.free = slices.Delete(a.free, i, i+1)
	} else {
		a.trim(int64(size))
		b = &buffer{bytes: alignedBytes(size)}
		preferHugePages(b.bytes)
	}
	b.refs = 1
	a.inUse += int64(len(b.bytes))
	a.peak = max(a.peak, a.inUse)
	return b, nil
}

// trim lets go of free buffers, the largest first, as long as what is held and
// size more would exceed the peak: what did not fit is not worth its memory.
func (a *arena) trim(size int64) {
	held := a.held()
	for len(a.free) > 0 && held+size > max(a.peak, a.inUse+size) {
		last := len(a.free) - 1
		held -= int64(len(a.free[last].bytes))
		a.free[last] = nil
		a.free = a.free[:last]
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
	i, _ := slices.BinarySearchFunc(a.free, len(b.bytes), func(b *buffer, n int) int { return len(b.bytes) - n })
	a.free = slices.Insert(a.free, i, b)
}

// detach gives the memory of t away for good.
func (a *arena) detach(t *Tensor) {
	if t.twin != nil {
		a.release(t.twin)
		t.twin = nil
	}
	if t.mem != nil {
		a.inUse -= int64(len(t.mem.bytes))
		t.mem.bytes = nil // counted once, however many views there are
		t.mem = nil
	}
}

// held returns the bytes that are in use or waiting for use.
func (a *arena) held() int64 {
	n := a.inUse
	for _, b := range a.free {
		n += int64(len(b.bytes))
	}
	return n
}

// tensor returns an uninitialised tensor.
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
		return &Tensor{Type: typ, Shape: shape, Data: make([]string, n)}, nil
	}
	size := entryBytes(typ)
	if size == 0 {
		return nil, fmt.Errorf("element type %s is not supported", typ)
	}
	b, err := a.get(n * size)
	if err != nil {
		return nil, fmt.Errorf("output %s%v: %w", typ, shape, err)
	}
	return &Tensor{Type: typ, Shape: shape, Data: viewAs(typ, b.bytes[:n*size]), mem: b, blocked: blocked}, nil
}

// reset takes back everything; tensors of the last run must be gone.
func (a *arena) reset() { a.inUse = 0 }

func byteCount(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}

// memoryLimit returns how many bytes tensors may take: what the machine and
// the control group have free, or 8 GiB where neither can be asked.
func memoryLimit() int64 {
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
