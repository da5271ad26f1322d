package runtime

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Two convolutions with nothing but a DepthToSpace between them, as networks that
// upscale end with, are one linear map. Where the first has many more outputs than
// the second, the product of their weights is much less to compute: EDSR's 64 -> 256
// and 64 -> 3 at twice the size are 64 -> 12 with 5x5 weights.
//
// Only the second's zero padding stands apart: where it lies, the product would see
// what the first makes of the pixels at the border. So the product is kept in parts,
// one for each of the 3x3 pixels of the first's output, and the outermost ring of
// pixels is computed without the parts outside (composed_conv.go).

// composition is a pair of convolutions as one, of pixels before DepthToSpace.
// Output (i*block+j)*outputs+o belongs to channel o of pixel (i, j) of the block.
type composition struct {
	in, outputs int
	block       int             // of DepthToSpace
	front       string          // label of the first
	side        int             // of the square window
	parts       [3][3][]float64 // weights [block*block*outputs, in, side, side] by the row and column above, here, below
	bias        [3][3][]float64 // of the first convolution's bias [block*block*outputs]
	last        []float64       // bias [outputs] of the second
}

// channels is the number of outputs before DepthToSpace.
func (c *composition) channels() int { return c.outputs * c.block * c.block }

// compose finds pairs of convolutions, makes each the second of the two and returns
// the nodes that are left.
func (b *builder) compose(nodes []*onnx.Node) []*onnx.Node {
	if b.outer != nil || b.options.Exact || b.options.Strict {
		return nodes
	}
	pinned := b.pinned()
	gone := map[*onnx.Node]bool{}
	for _, second := range nodes {
		first, shuffle := b.pair(second, pinned)
		if first == nil || gone[first] {
			continue
		}
		b.composed[second] = b.product(first, second, shuffle)
		gone[first], gone[second.Inputs[0].Producer] = true, true
		second.SetInput(0, first.Inputs[0])
	}
	if len(gone) == 0 {
		return nodes
	}
	b.graph.RemoveAll(func(n *onnx.Node) bool { return gone[n] })
	return slices.DeleteFunc(nodes, func(n *onnx.Node) bool { return gone[n] })
}

// pair returns the convolution in front of second that is worth composing with
// it, and the DepthToSpace between them; nil if there is none.
func (b *builder) pair(second *onnx.Node, pinned map[*onnx.Value]bool) (first *onnx.Node, between shuffle) {
	outputs, _, wide := b.plainConv(second)
	if outputs == 0 || b.floors[second.Outputs[0]] != nil {
		return nil, between
	}
	alone := func(v *onnx.Value) *onnx.Node {
		if pinned[v] || len(v.Uses()) != 1 || v.Graph() != b.graph {
			return nil
		}
		return v.Producer
	}
	move := alone(second.Inputs[0])
	if move == nil || !move.Is("DepthToSpace") {
		return nil, between
	}
	if between = shuffleOf(move); between.block < 2 || wide > 2*between.block+1 {
		return nil, between // it would see further than the neighbouring pixels
	}
	if first = alone(move.Inputs[0]); first == nil {
		return nil, between
	}
	channels, in, narrow := b.plainConv(first)
	if channels == 0 {
		return nil, between
	}
	square := between.square()
	apart := channels*in*narrow*narrow + channels*outputs*wide*wide
	if together := outputs * square * in * (narrow + 2) * (narrow + 2); 2*together > apart {
		return nil, between
	}
	return first, between
}

// plainConv returns outputs, inputs and window of a convolution of float feature
// maps whose output is as large as its input; zeros for other nodes.
func (b *builder) plainConv(n *onnx.Node) (outputs, in, side int) {
	if _, quantized := b.quantized[n]; quantized || !b.packedConv(n) || b.isCodes(n.Inputs[0]) || b.composed[n] != nil {
		return 0, 0, 0
	}
	w, _ := b.constOf(n.Inputs[1])
	if len(w.Shape) != 4 || w.Shape[2] != w.Shape[3] || n.Int("group", 1) != 1 {
		return 0, 0, 0
	}
	win, err := newWindow(&site{Node: n}).complete(w.Shape[2:])
	side = w.Shape[2]
	all := func(list []int, want int) bool {
		return !slices.ContainsFunc(list, func(v int) bool { return v != want })
	}
	if err != nil || side%2 == 0 || !all(win.stride, 1) || !all(win.dilation, 1) || !all(win.pads, side/2) {
		return 0, 0, 0
	}
	return w.Shape[0], w.Shape[1], side
}

// product multiplies the weights of two convolutions.
func (b *builder) product(first, second *onnx.Node, s shuffle) *composition {
	w1, b1 := b.weights(first)
	w2, b2 := b.weights(second)
	outputs, inner, wide := w2.Shape[0], w2.Shape[1], w2.Shape[2]
	channels, in, narrow := w1.Shape[0], w1.Shape[1], w1.Shape[2]
	c := &composition{in: in, outputs: outputs, block: s.block, front: first.Label(), side: narrow + 2, last: make([]float64, outputs)}
	for o, v := range b2 {
		c.last[o] = float64(v)
	}
	for y := range 3 {
		for x := range 3 {
			c.parts[y][x] = make([]float64, c.channels()*in*c.side*c.side)
			c.bias[y][x] = make([]float64, c.channels())
		}
	}
	src, by := w1.Data.([]float32), w2.Data.([]float32)
	for k, v := range by {
		o, ch, u := k/(inner*wide*wide), k/(wide*wide)%inner, k%(wide*wide)
		for phase := range s.square() {
			// The pixel of the enlarged map that weight u reads, from that of the output's block on.
			y, x := phase/s.block+u/wide-wide/2+s.block, phase%s.block+u%wide-wide/2+s.block
			from := s.channel(ch, y%s.block*s.block+x%s.block, channels)
			y, x = y/s.block, x/s.block // 0 above, 1 here, 2 below
			to := phase*outputs + o
			if b1 != nil {
				c.bias[y][x][to] += float64(v) * float64(b1[from])
			}
			part := c.parts[y][x][to*in*c.side*c.side:]
			for i := range in {
				for t := range narrow * narrow {
					at := (i*c.side+y+t/narrow)*c.side + x + t%narrow
					part[at] += float64(v) * float64(src[(from*in+i)*narrow*narrow+t])
				}
			}
		}
	}
	return c
}

// weights returns weights and bias, or nil, of a convolution that fuses.
func (b *builder) weights(n *onnx.Node) (w *Tensor, bias []float32) {
	w, _ = b.constOf(n.Inputs[1])
	if v := n.Input(2); v != nil {
		t, _ := b.constOf(v)
		bias = t.Data.([]float32)
	}
	return w, bias
}

// edge says which neighbours of a row or column of pixels are outside of the image.
type edge int

const (
	firstEdge edge = 1 << iota
	lastEdge
	edges
)

// conv packs the sum of the parts that are inside, turned for strips with x and y
// exchanged.
func (c *composition) conv(row, column edge, turned bool, options kernels.Options, pads [4]int) (*kernels.Conv, error) {
	weights, bias := make([]float64, c.channels()*c.in*c.side*c.side), make([]float64, c.channels())
	for o := range bias {
		bias[o] = c.last[o%c.outputs]
	}
	for y := range 3 {
		for x := range 3 {
			if y == 0 && row&firstEdge != 0 || y == 2 && row&lastEdge != 0 || x == 0 && column&firstEdge != 0 || x == 2 && column&lastEdge != 0 {
				continue
			}
			for i, v := range c.parts[y][x] {
				weights[i] += v
			}
			for o, v := range c.bias[y][x] {
				bias[o] += v
			}
		}
	}
	w, b := make([]float32, len(weights)), make([]float32, len(bias))
	for i, v := range weights {
		if turned {
			plane, y, x := i/(c.side*c.side), i/c.side%c.side, i%c.side
			i = (plane*c.side+x)*c.side + y
		}
		w[i] = float32(v)
	}
	for o, v := range bias {
		b[o] = float32(v)
	}
	shape := kernels.ConvShape{In: c.in, Out: c.channels(), Groups: 1, Kernel: [2]int{c.side, c.side}, Pads: pads}
	return kernels.NewConv(shape, w, b, options)
}
