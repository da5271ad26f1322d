package runtime

import (
	"fmt"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// codesInput is what a convolution of codes knows when compiling.
type codesInput struct {
	quantizer kernels.Quantizer
	shape     kernels.ConvShape
	weights   []int16   // whole: codes less their zero point
	scale     []float32 // of each output: that of the weights times that of the codes
	bias      []float32 // of each output, nil for that of the node
}

// wholeConv returns how a Conv that reads what a Decode makes is computed in integers:
// its weights are a constant DequantizeLinear, with one scale or one for each output.
// It is nil where no kernel suits, because of the shape or because sums could be too
// large; what is convolved then is the values.
func (c *coder) wholeConv(n *onnx.Node) *codesInput {
	in := c.wholeWeights(n)
	if in == nil {
		return nil
	}
	in.shape, in.weights = dense(in.shape, in.weights)
	if !kernels.CodesSuits(in.shape, in.weights, in.quantizer) {
		return nil
	}
	return in
}

// wholeWeights is wholeConv whether a kernel suits or not.
func (c *coder) wholeWeights(n *onnx.Node) *codesInput {
	if n == nil || !c.fusableConv(n) || !isOurs(n.Inputs[0].Producer, "Decode") {
		return nil
	}
	p := n.Inputs[1].Producer
	if p == nil || !p.Is("DequantizeLinear") || p.Int("block_size", 0) != 0 || p.Graph() != c.graph {
		return nil
	}
	t, _ := c.constOf(p.Inputs[0])
	scale, _ := c.constOf(p.Inputs[1])
	if t == nil || scale == nil || scale.Type != onnx.Float || len(t.Shape) != 4 || t.Type.Bits() > 8 {
		return nil
	}
	weights, err := toInts(t)
	outs := t.Shape[0]
	if err != nil || scale.Len() != 1 && (scale.Len() != outs || p.Int("axis", 1) != 0 && p.Int("axis", 1) != -4) {
		return nil
	}
	zeros := make([]int, scale.Len())
	if v := p.Input(2); v != nil {
		z, _ := c.constOf(v)
		if z == nil || z.Len() != len(zeros) {
			return nil
		}
		if zeros, err = toInts(z); err != nil {
			return nil
		}
	}
	full, err := newWindow(&site{Node: n}).complete(t.Shape[2:])
	if err != nil || full.same() {
		return nil
	}
	groups := int(n.Int("group", 1))
	in := &codesInput{quantizer: c.quantizers[n.Inputs[0].Producer.Inputs[0]], shape: shape2(full, full.pads, t.Shape[1]*groups, outs, groups)}
	scales, each := scale.Data.([]float32), len(weights)/outs
	for o := range outs {
		i := o % len(scales)
		for _, w := range weights[o*each:][:each] {
			in.weights = append(in.weights, int16(w-zeros[i]))
		}
		in.scale = append(in.scale, float32(float64(scales[i])*float64(in.quantizer.Scale)))
	}
	return in
}

// whole makes the results whole numbers.
func (in *codesInput) whole(bias []float32) {
	in.bias = bias
	for o := range in.scale {
		in.scale[o] = 1
	}
}

// codesConv prepares a convolution of codes [N,C,H,W], whose result is floats or, with
// an Encode at the end of its tail, codes again.
func codesConv(s *site, in *codesInput) (kernel, error) {
	bias, err := constantBias(s)
	if err != nil {
		return nil, err
	}
	if in.bias != nil {
		bias = in.bias
	}
	s.take(1)
	tail, base := s.tail, len(s.Inputs)
	var moved shuffle
	if tail != nil {
		moved = tail.shuffle
	}
	outs, up := in.shape.Out, max(1, moved.block)
	packed, err := kernels.NewCodesConv(in.shape, permuted(moved, in.weights, outs), permuted(moved, in.scale, outs), permuted(moved, bias, outs), in.quantizer,
		kernels.Options{Relu: tail.startsWithRelu(), Upscale: up})
	if err != nil {
		return nil, err
	}
	typ := onnx.Float
	if tail.encodes() {
		typ = onnx.Uint8
	}
	return func(c *call) error {
		x, err := c.need(0)
		if err != nil {
			return err
		}
		if x.Type != onnx.Uint8 || len(x.Shape) != 4 || x.Shape[1] != in.shape.In {
			return fmt.Errorf("input %s does not fit weights for %d channels", x, in.shape.In)
		}
		if x, err = c.inLayout(x, true); err != nil {
			return err
		}
		n, h, w := x.Shape[0], x.Shape[2], x.Shape[3]
		out, err := c.newIn(0, typ, []int{n, outs / (up * up), h * up, w * up}, true)
		if err != nil || out.Len() == 0 {
			return err
		}
		t, err := tail.bind(c, base, out)
		if err != nil {
			return err
		}
		dst, _ := out.Data.([]float32)
		return packed.Run(c.ctx, c.workers, dst, x.Data.([]uint8), n, h, w, t)
	}, nil
}
