package runtime

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// How a step executes the chain of its group (fuse.go).

// startsWithRelu takes a Relu off the start of the chain: a convolution has one
// of its own.
func (t *tail) startsWithRelu() bool {
	if t == nil || len(t.chain.Steps) == 0 {
		return false
	}
	s, result := t.chain.Steps[0], kernels.Operand{Kind: kernels.InTensor}
	if s.Op != kernels.Max || s.A != result || s.Dst != result {
		return false
	}
	bound := t.operands[t.tensors+t.codes+s.B.Index].constant
	if bound == nil || bound.Len() != 1 || bound.Data.([]float32)[0] != 0 {
		return false
	}
	t.chain.Steps = t.chain.Steps[1:]
	return true
}

// encodes reports whether the result is codes.
func (t *tail) encodes() bool {
	return t != nil && len(t.chain.Steps) > 0 && t.chain.Steps[len(t.chain.Steps)-1].Op == kernels.Encode
}

// bind joins the chain with the operands of a call, whose inputs start at base,
// and the result, whose layout it takes.
func (t *tail) bind(c *call, base int, out *Tensor) (*kernels.ChainRun, error) {
	if t == nil || len(t.chain.Steps) == 0 {
		return nil, nil
	}
	result, _ := out.Data.([]float32)
	codes, _ := out.Data.([]uint8)
	r := &c.bound
	r.Chain, r.Tensors, r.Codes, r.Values = t.chain, append(r.Tensors[:0], result), append(r.Codes[:0], codes), r.Values[:0]
	for i := range t.operands {
		if i < t.tensors+t.codes {
			o, err := c.need(base + i)
			if err != nil {
				return nil, err
			}
			if !slices.Equal(o.Shape, out.Shape) {
				return nil, fmt.Errorf("an operand is %s where the sizes of the inputs promise %v", o, out.Shape)
			}
			if o, err = c.inLayout(o, out.blocked); err != nil {
				return nil, err
			}
			switch data := o.Data.(type) {
			case []float32:
				r.Tensors = append(r.Tensors, data)
			case []uint8:
				r.Codes = append(r.Codes, data)
			default:
				return nil, typeError(base+i, o)
			}
			continue
		}
		o, data, err := c.floats(base + i)
		if err != nil {
			return nil, err
		}
		if data, err = c.lanes(data, out, t.shuffle); err != nil {
			return nil, fmt.Errorf("an operand is %s: %w", o, err)
		}
		r.Values = append(r.Values, data)
	}
	return r, nil
}

// lanes returns values, one or one for each channel, as a chain on out wants
// them: 16 for each of its planes or blocks.
func (c *call) lanes(values []float32, out *Tensor, s shuffle) ([]float32, error) {
	n, images, channels := len(values), 1, 1
	if len(out.Shape) == 4 {
		images, channels = out.Shape[0], out.Shape[1]
	}
	before := channels * s.square() // channels of the convolution
	switch n {
	case 1, channels, before:
		images = 1
	case images * channels, images * before:
	default:
		return nil, fmt.Errorf("the sizes of the inputs promise one value for each channel of %v", out.Shape)
	}
	size := n * kernels.Lanes
	if out.blocked && n > 1 {
		size = kernels.BlockedLen(images, before, 1)
	}
	t, err := c.arena.tensor(onnx.Float, []int{size})
	if err != nil {
		return nil, err
	}
	c.twins = append(c.twins, t)
	lanes := t.Data.([]float32)
	each := n / images
	for i := range lanes {
		switch {
		case !out.blocked || n == 1:
			lanes[i] = values[i/kernels.Lanes]
		case i%(size/images) >= before:
			lanes[i] = 0
		default:
			image, channel := i/(size/images), i%(size/images)
			if each == before {
				channel = s.from(channel, before)
			}
			lanes[i] = values[image*each+channel%each]
		}
	}
	return lanes, nil
}

// planesOf is the number of planes of a tensor [N,C,H,W]; others are one plane.
func planesOf(shape []int) int {
	if len(shape) == 4 {
		return shape[0] * shape[1]
	}
	return 1
}

// elementwise executes a group without a convolution, in the blocked layout if
// one of its tensors has that.
func (t *tail) elementwise(c *call) error {
	first, err := c.need(0)
	if err != nil {
		return err
	}
	over, blocked := -1, false
	for i := range t.tensors + t.codes {
		blocked = blocked || c.in[i] != nil && c.in[i].blocked
	}
	for i := range t.tensors + t.codes {
		if c.in[i], err = c.need(i); err != nil {
			return err
		}
		if c.in[i], err = c.inLayout(c.in[i], blocked); err != nil {
			return err
		}
		if i < t.tensors && c.dies[i] && over < 0 {
			over = i
		}
	}
	var out *Tensor
	switch {
	case t.encodes():
		out, err = c.newIn(0, onnx.Uint8, first.Shape, blocked)
	case over < 0:
		out, err = c.newIn(0, onnx.Float, first.Shape, blocked)
	default:
		out, err = c.newOver(0, over, onnx.Float, first.Shape)
	}
	if err != nil || out.Len() == 0 {
		return err
	}
	r, err := t.bind(c, 0, out)
	if err != nil {
		return err
	}
	planes, size := planesOf(out.Shape), out.Len()/planesOf(out.Shape)
	if blocked {
		planes, size = out.Shape[0]*kernels.Blocks(out.Shape[1]), product(out.Shape[2:])*kernels.Lanes
	}
	return r.Run(c.ctx, c.workers, planes, size)
}
