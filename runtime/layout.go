package runtime

import (
	"fmt"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Feature maps lie in memory in one of two layouts. Planar is the row-major one
// that the shape describes. Blocked (kernels.Lanes) is that of the convolutions:
// tensors of Float or of codes (codes.go) [N,C,...] of three or more dimensions with the channels in blocks
// of 16, each [...][16]. An operator registered with registerBlocked takes
// tensors in either layout and asks for the one it wants (call.blocked,
// call.floats); all others get planar tensors, and so do graph outputs, watchers
// and subgraphs. A tensor that was converted keeps the copy as its twin as long as
// it lives, so that nothing is converted twice in a run.

// registerBlocked adds an operator that knows both layouts.
func registerBlocked(op string, since int64, p prepare) {
	add(op, operator{since: since, prepare: p, layouts: true})
}

// registerFree adds an operator to which neither type nor layout of elements
// matters.
func registerFree(op string, since int64, p prepare) {
	add(op, operator{since: since, prepare: p, halves: true, layouts: true})
}

// canBlock reports whether a tensor of a type and shape has a blocked layout.
func canBlock(typ onnx.DataType, shape []int) bool {
	return (typ == onnx.Float || typ == onnx.Uint8) && len(shape) >= 3
}

// dataElements is the number of elements of Data for a shape in a layout.
func dataElements(shape []int, blocked bool) (int, error) {
	n, err := elements(shape)
	if err != nil || !blocked {
		return n, err
	}
	return elements([]int{shape[0], kernels.Blocks(shape[1]), product(shape[2:]), kernels.Lanes})
}

// blocked returns input i in the blocked layout, which it must have.
func (c *call) blocked(i int) (*Tensor, []float32, error) {
	t, err := c.need(i)
	if err != nil {
		return nil, nil, err
	}
	if t.Type != onnx.Float || !canBlock(t.Type, t.Shape) {
		return nil, nil, fmt.Errorf("input %d is %s, want a float feature map", i, t)
	}
	if t, err = c.inLayout(t, true); err != nil {
		return nil, nil, err
	}
	return t, t.Data.([]float32), nil
}

// newBlocked makes output i in the blocked layout. It copies shape. The memory is
// not cleared.
func (c *call) newBlocked(i int, shape []int) (*Tensor, error) {
	return c.newIn(i, onnx.Float, shape, true)
}

// newIn makes output i in a layout.
func (c *call) newIn(i int, typ onnx.DataType, shape []int, blocked bool) (*Tensor, error) {
	if t, err := c.placed(i, typ, shape, blocked); t != nil || err != nil {
		return t, err
	}
	t, err := c.arena.inLayout(typ, shape, blocked)
	if err != nil {
		return nil, err
	}
	c.set(i, t)
	return t, nil
}

// inLayout returns t, or its twin, in a layout.
func (c *call) inLayout(t *Tensor, blocked bool) (*Tensor, error) {
	if t.blocked == blocked {
		return t, nil
	}
	if t.twin != nil {
		return t.twin, nil
	}
	twin, err := c.converted(t)
	if err != nil {
		return nil, err
	}
	if t.mem != nil {
		t.twin = twin
	} else {
		c.twins = append(c.twins, twin) // t may be of all runs
	}
	return twin, nil
}

// converted returns a copy of t in the other layout.
func (c *call) converted(t *Tensor) (*Tensor, error) {
	if !t.blocked && !canBlock(t.Type, t.Shape) {
		return nil, fmt.Errorf("%s is no feature map", t)
	}
	twin, err := c.arena.inLayout(t.Type, t.Shape, !t.blocked)
	if err != nil {
		return nil, err
	}
	if src, ok := t.Data.([]uint8); ok {
		convert := kernels.CodesToBlocked
		if t.blocked {
			convert = kernels.CodesToPlanar
		}
		return twin, convert(c.ctx, c.workers, twin.Data.([]uint8), src, t.Shape[0], t.Shape[1], product(t.Shape[2:]))
	}
	convert := kernels.ToBlocked
	if t.blocked {
		convert = kernels.ToPlanar
	}
	return twin, convert(c.ctx, c.workers, twin.Data.([]float32), t.Data.([]float32), t.Shape[0], t.Shape[1], product(t.Shape[2:]))
}

// planar makes all inputs planar.
func (c *call) planar() error {
	for i, t := range c.in {
		if t == nil || !t.blocked {
			continue
		}
		var err error
		if c.in[i], err = c.inLayout(t, false); err != nil {
			return err
		}
	}
	return nil
}

// endTwins gives back the copies that no tensor keeps.
func (c *call) endTwins() {
	for _, t := range c.twins {
		c.release(t)
	}
	c.twins = c.twins[:0]
}
