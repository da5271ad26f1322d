package runtime

import (
	"cmp"
	"math"
	"slices"
)

// memoryPlan is where the buffers of a run lie in one slab, for further runs like it:
// the n-th buffer that is asked for gets the n-th place. It is made of what one
// run asked for, and when. A run that turns out different gets buffers beside the
// slab where it would overwrite its own.
type memoryPlan struct {
	shapes [][]int // of the inputs; nil after a failure
	leases []lease // in the order of asking
	next   int
	time   int
	state  memoryState
	live   []*buffer // in use, of the slab

	slabBytes int
}

type memoryState int

const (
	noting  memoryState = iota // a run is, or was, noted
	inPlace                    // there is a slab
	tooLong                    // the run asks for more buffers than are noted
)

// lease is the use of a buffer in a run.
type lease struct {
	size       int
	begin, end int     // times
	taken      bool    // by the caller
	at         int     // in the slab
	buffer     *buffer // there
}

// mostLeases bounds the work of placing them.
const mostLeases = 1 << 12

// fits reports whether the plan is of a run with such inputs.
func (m *memoryPlan) fits(inputs []*Tensor) bool {
	return m.shapes != nil && slices.EqualFunc(m.shapes, inputs, func(s []int, t *Tensor) bool { return slices.Equal(s, t.Shape) })
}

// begin forgets the plan, and notes the run with such inputs that begins.
func (m *memoryPlan) begin(inputs []*Tensor) {
	*m = memoryPlan{shapes: make([][]int, len(inputs))}
	for i, t := range inputs {
		m.shapes[i] = slices.Clone(t.Shape)
	}
}

// note enters the use of a buffer from now on.
func (m *memoryPlan) note(b *buffer, size int) {
	if m.state != noting {
		return
	}
	if len(m.leases) == mostLeases {
		m.state = tooLong
		return
	}
	m.time++
	m.leases = append(m.leases, lease{size: size, begin: m.time, end: math.MaxInt})
	b.lease = len(m.leases)
}

// release ends the use of a buffer.
func (m *memoryPlan) release(b *buffer) {
	switch {
	case b.slab:
		i := slices.Index(m.live, b)
		m.live = slices.Delete(m.live, i, i+1)
	case m.state == noting && b.lease > 0:
		m.time++
		m.leases[b.lease-1].end = m.time
		b.lease = 0
	}
}

// take enters that a buffer leaves the run.
func (m *memoryPlan) take(b *buffer) {
	if m.state == noting && b.lease > 0 {
		m.leases[b.lease-1].taken = true
	}
}

// build makes the slab: the largest buffers first, each at the lowest place that is
// free as long as it is used (greedy by size, Pisarchyk and Lee, "Efficient Memory
// Management for Deep Neural Net Inference", 2020).
func (m *memoryPlan) build() {
	order := make([]*lease, 0, len(m.leases))
	for i := range m.leases {
		if !m.leases[i].taken {
			order = append(order, &m.leases[i])
		}
	}
	slices.SortStableFunc(order, func(a, b *lease) int { return cmp.Compare(b.size, a.size) })
	placed := make([]*lease, 0, len(order)) // ascending by place
	total := 0
	for _, e := range order {
		at := 0
		for _, p := range placed {
			if p.begin < e.end && e.begin < p.end && p.at < at+e.size && at < p.at+p.size {
				at = p.at + p.size
			}
		}
		e.at = at
		i, _ := slices.BinarySearchFunc(placed, at, func(p *lease, at int) int { return cmp.Compare(p.at, at) })
		placed = slices.Insert(placed, i, e)
		total = max(total, at+e.size)
	}
	slab := alignedBytes(total)
	preferHugePages(slab)
	for _, e := range order {
		e.buffer = &buffer{bytes: slab[e.at : e.at+e.size : e.at+e.size], slab: true}
	}
	m.state, m.slabBytes = inPlace, total
}

// get returns the place of the next buffer of the run; nil when there is none.
func (m *memoryPlan) get(size int) *buffer {
	if m.state != inPlace {
		return nil
	}
	m.next++
	if m.next > len(m.leases) {
		return nil
	}
	e := &m.leases[m.next-1]
	if e.taken || e.size != size {
		return nil
	}
	for _, b := range m.live {
		if other := &m.leases[b.lease-1]; other.at < e.at+e.size && e.at < other.at+other.size {
			return nil
		}
	}
	e.buffer.lease = m.next
	m.live = append(m.live, e.buffer)
	return e.buffer
}

// end ends a run.
func (m *memoryPlan) end(failed bool) {
	if failed && m.state == noting {
		m.shapes = nil
	}
	m.next, m.live = 0, m.live[:0]
}
