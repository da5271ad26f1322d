package runtime

import (
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// shuffle is a DepthToSpace that a convolution does by storing its outputs where
// they belong; zero stands for none. Outputs are ordered as in mode DCR, [block
// row][block column][channel]; CRD permutes the weights.
type shuffle struct {
	block int
	crd   bool
}

func shuffleOf(n *onnx.Node) shuffle {
	return shuffle{int(n.Int("blocksize", 0)), n.Str("mode", "DCR") == "CRD"}
}

// square is the number of channels that become one.
func (s shuffle) square() int { return max(1, s.block*s.block) }

// from returns the output of the model's convolution that is output o of ours.
func (s shuffle) from(o, outputs int) int {
	if !s.crd {
		return o
	}
	inner := outputs / s.square()
	return o%inner*s.square() + o/inner
}

// channel returns the channel of outputs, in the model's order, that becomes
// channel ch of a phase, pixel (phase/block, phase%block) of the block.
func (s shuffle) channel(ch, phase, outputs int) int {
	return s.from(phase*(outputs/s.square())+ch, outputs)
}

// permuted returns rows of v, outputs in number, in our order.
func permuted[T any](s shuffle, v []T, outputs int) []T {
	if !s.crd || v == nil {
		return v
	}
	size := len(v) / outputs
	p := make([]T, 0, len(v))
	for o := range outputs {
		p = append(p, v[s.from(o, outputs)*size:][:size]...)
	}
	return p
}

// shuffles reports whether n is a DepthToSpace that conv, which fuses, can do.
func (b *builder) shuffles(conv, n *onnx.Node) bool {
	if conv == nil || b.composed[conv] != nil || !n.Is("DepthToSpace") || !known(n.Outputs[0].Type.Shape) || n.Outputs[0].Type.Elem != onnx.Float && !b.isCodes(n.Outputs[0]) {
		return false
	}
	if q, ok := b.quantized[conv]; ok && q.codes != nil {
		block := shuffleOf(n).block
		return block > 1 && q.codes.shape.Out%(block*block*kernels.Lanes) == 0
	}
	w, _ := b.constOf(conv.Inputs[1])
	win, err := newWindow(&site{Node: conv}).complete(w.Shape[2:])
	block := shuffleOf(n).block
	if err != nil || len(w.Shape) != 4 || block < 2 {
		return false
	}
	groups := int(conv.Int("group", 1))
	shape := shape2(win, win.pads, w.Shape[1]*groups, w.Shape[0], groups)
	if _, ok := b.quantized[conv]; ok && kernels.IntSuits(shape) {
		return false // kernels.IntConv stores no pixels apart
	}
	return groups == 1 && kernels.Upscales(shape, kernels.Options{Strict: b.options.Strict, Upscale: block})
}
