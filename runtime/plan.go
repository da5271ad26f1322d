package runtime

import (
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// plan is a graph in execution order. Values that change from run to run have
// a slot.
type plan struct {
	steps    []step
	slots    int
	rooms    int
	inputs   []int         // slot of each graph input that is no constant
	outputs  []source      // graph outputs
	captures []*onnx.Value // values of outer graphs, which come after the inputs as arguments
	borrowed []int         // slot of each captured value
	unread   []int         // slots of inputs that nothing reads
	watched  []watched     // observed values known before the first step
}

// source is where a value comes from: a constant or else a slot, or -1 when it
// is left out.
type source struct {
	constant *Tensor
	slot     int
}

type watched struct {
	name string
	from source
}

type step struct {
	name    string // of the node, for messages
	node    string // its label
	front   string // label of the convolution composed with it
	op      string // its operator, for profiles
	kernel  kernel
	halves  bool
	layouts bool
	in      []source
	dies    []bool // by input: nobody reads the value after this step
	out     []int  // slots, -1 where left out
	wanted  []bool // by output: not left out
	places  []*place
	closes  []int // rooms
	free    []int // slots whose last reader this is
	watch   []watched
}

// lifetimes finds the last reader of every slot.
func (p *plan) lifetimes() {
	const forever = math.MaxInt
	last := make([]int, p.slots)
	for i := range last {
		last[i] = -1
	}
	for i, st := range p.steps {
		for _, slot := range st.out {
			if slot >= 0 {
				last[slot] = i
			}
		}
		for _, src := range st.in {
			if src.slot >= 0 {
				last[src.slot] = i
			}
		}
	}
	for _, o := range p.outputs {
		if o.slot >= 0 {
			last[o.slot] = forever
		}
	}
	for slot, reader := range last {
		if reader < 0 {
			p.unread = append(p.unread, slot)
		}
	}
	for i := range p.steps {
		st := &p.steps[i]
		st.dies = make([]bool, len(st.in))
		for j, src := range st.in {
			if src.slot >= 0 && last[src.slot] == i {
				st.dies[j] = true
				if !slices.Contains(st.free, src.slot) {
					st.free = append(st.free, src.slot)
				}
			}
		}
		for _, slot := range st.out {
			if slot >= 0 && last[slot] == i {
				st.free = append(st.free, slot)
			}
		}
	}
}
