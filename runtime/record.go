package runtime

import (
	"slices"
	"unsafe"

	"github.com/daq-sr/daq/onnx"
)

// record is a tensor that is made again in the next run.
type record struct {
	Tensor
	bytes []byte // what Data is a view of; nil for memory the arena does not own
}

// records are the tensors of an arena in the order in which they are made.
type records struct {
	made []*record // of this run and, from next on, of those before
	next int
}

// mostRecords bounds what is kept: loops make tensors without end.
const mostRecords = 1 << 14

// record returns the next tensor of the run, as it was in the one before.
func (s *records) record() *record {
	s.next++
	if s.next <= len(s.made) {
		return s.made[s.next-1]
	}
	r := &record{}
	if len(s.made) < mostRecords {
		s.made = append(s.made, r)
	}
	return r
}

// over makes r a tensor over memory of mem, and keeps shape and slice if they are
// what they were.
func (r *record) over(typ onnx.DataType, shape []int, bytes []byte, mem *buffer, blocked bool) *Tensor {
	if r.bytes == nil || r.Type != typ || len(r.bytes) != len(bytes) || unsafe.SliceData(r.bytes) != unsafe.SliceData(bytes) {
		r.Data = viewAs(typ, bytes)
	}
	if r.bytes == nil || !slices.Equal(r.Shape, shape) {
		r.Shape = slices.Clone(shape)
	}
	r.Type, r.mem, r.bytes, r.blocked, r.twin, r.moments = typ, mem, bytes, blocked, nil, nil
	return &r.Tensor
}

// again returns t as one more reader of its memory, which need not be the arena's.
func (s *records) again(t *Tensor) *Tensor {
	r := s.record()
	*r = record{Tensor: *t}
	r.twin = nil
	if t.mem != nil {
		t.mem.refs++
	}
	return &r.Tensor
}

// drop forgets the tensors that were in b, so that its memory can go.
func (s *records) drop(b *buffer) {
	for _, r := range s.made {
		if r.mem == b {
			*r = record{}
		}
	}
}

// end drops what refers to memory outside of the slab, so that it can go.
func (s *records) end() {
	for _, r := range s.made {
		if r.mem == nil || !r.mem.slab {
			*r = record{}
		}
	}
	s.next = 0
}
