package runtime

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// place is where a tensor [1,C,...] is made: inside the output of a Concat along
// the channels, which then copies nothing. A room is the memory of such an
// output, opened by whoever writes into it first.
type place struct {
	room                   int
	offset, channels, size int // channels before, of the tensor, and of the room
}

// arrange finds the places of the inputs and outputs of Concat nodes, outer ones
// first, so that a Concat of Concats is one room. A tensor that two of them read
// has a place in the last and is copied into the others.
func (b *builder) arrange(nodes []*onnx.Node) {
	if b.outer != nil {
		return
	}
	made := map[*onnx.Node]bool{}
	for _, n := range nodes {
		made[n] = true
	}
	for _, n := range slices.Backward(nodes) {
		channels, ok := concatChannels(n)
		if !ok {
			continue
		}
		out := n.Outputs[0]
		home := b.places[out]
		if home == nil {
			total := 0
			for _, c := range channels {
				total += c
			}
			home = &place{b.plan.rooms, 0, total, total}
			b.places[out] = home
			b.closes[n] = append(b.closes[n], home.room)
			b.plan.rooms++
		}
		offset := home.offset
		for i, v := range n.Inputs {
			if made[v.Producer] && b.places[v] == nil && !v.IsOutput() {
				b.places[v] = &place{home.room, offset, channels[i], home.size}
			}
			offset += channels[i]
		}
	}
}

// concatChannels returns the channels of each input of a Concat along axis 1,
// if that is what n is and they are known.
func concatChannels(n *onnx.Node) ([]int, bool) {
	if !n.Is("Concat") || len(n.Outputs) != 1 || n.Outputs[0] == nil || n.Outputs[0].Type.Elem != onnx.Float && n.Outputs[0].Type.Elem != onnx.Uint8 {
		return nil, false
	}
	rank := int64(len(n.Outputs[0].Type.Shape))
	if axis := n.Int("axis", 1); rank < 3 || axis != 1 && axis != 1-rank {
		return nil, false
	}
	var channels []int
	for _, v := range n.Inputs {
		if v == nil || len(v.Type.Shape) != int(rank) || v.Type.Shape[1].Value <= 0 {
			return nil, false
		}
		channels = append(channels, int(v.Type.Shape[1].Value))
	}
	return channels, true
}

// placed makes output i in its place, nil when it has none or does not fit. A
// blocked one is whole blocks of the room; only its end may be padded.
func (c *call) placed(i int, typ onnx.DataType, shape []int, blocked bool) (*Tensor, error) {
	if i >= len(c.places) || c.places[i] == nil {
		return nil, nil
	}
	p := c.places[i]
	if !canBlock(typ, shape) || shape[0] != 1 || shape[1] != p.channels || product(shape) == 0 {
		return nil, nil
	}
	if blocked && (p.offset%kernels.Lanes != 0 || p.channels%kernels.Lanes != 0 && p.offset+p.channels != p.size) {
		return nil, nil
	}
	room := c.rooms[p.room]
	if room == nil {
		whole := slices.Clone(shape)
		whole[1] = p.size
		var err error
		if room, err = c.arena.inLayout(typ, whole, blocked); err != nil {
			return nil, err
		}
		c.rooms[p.room] = room
	}
	if room.Type != typ || room.blocked != blocked || !slices.Equal(room.Shape[2:], shape[2:]) {
		return nil, nil
	}
	t := c.arena.part(room, p.offset*product(shape[2:]), shape)
	c.set(i, t)
	return t, nil
}

// part returns neighbouring elements of t from index at on as a tensor of the
// same layout in the same memory.
func (a *arena) part(t *Tensor, at int, shape []int) *Tensor {
	size := entryBytes(t.Type)
	n, _ := dataElements(shape, t.blocked)
	bytes := bytesOf(t)[at*size:][:n*size]
	if t.mem == nil {
		return &Tensor{Type: t.Type, Shape: slices.Clone(shape), Data: viewAs(t.Type, bytes), blocked: t.blocked}
	}
	t.mem.refs++
	return a.record().over(t.Type, shape, bytes, t.mem, t.blocked)
}

// isPart reports whether t is the elements of whole from index at on.
func (t *Tensor) isPart(whole *Tensor, at int) bool {
	if t.mem == nil || t.mem != whole.mem || t.Len() == 0 {
		return false
	}
	return &bytesOf(t)[0] == &bytesOf(whole)[at*entryBytes(whole.Type)]
}
