package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Operators about shapes: most give another view of the same memory.

func init() {
	registerFree("Identity", 1, func(*site) (kernel, error) {
		return func(c *call) error {
			in, err := c.need(0)
			if err == nil {
				c.view(0, 0, in.Shape)
			}
			return err
		}, nil
	})
	registerAny("Constant", 1, constant)
	registerAny("ConstantOfShape", 9, constantOfShape)
	registerFree("Shape", 1, shapeOf)
	registerFree("Size", 1, func(*site) (kernel, error) {
		return func(c *call) error {
			in, err := c.need(0)
			if err != nil {
				return err
			}
			return c.integers([]int{}, in.Len())
		}, nil
	})
	registerAny("Reshape", 5, reshape)
	registerAny("Flatten", 1, flatten)
	registerAny("Squeeze", 1, squeeze)
	registerAny("Unsqueeze", 1, unsqueeze)
	registerAny("Expand", 8, expand)
	registerAny("Dropout", 1, dropout)
	register("Range", 11, rangeOp)
	register("EyeLike", 9, eyeLike)
}

// integers makes output 0 an Int64 tensor.
func (c *call) integers(shape []int, values ...int) error {
	out, err := c.new(0, onnx.Int64, shape)
	if err != nil {
		return err
	}
	for i, v := range values {
		out.Data.([]int64)[i] = int64(v)
	}
	return nil
}

func constant(s *site) (kernel, error) {
	var t *Tensor
	var err error
	for _, a := range s.Attrs {
		switch v := a.Value.(type) {
		case *onnx.Tensor:
			if v == nil {
				return nil, fmt.Errorf("attribute %q is empty", a.Name)
			}
			t, err = FromONNX(v)
		case float32:
			t, err = Of([]int{}, []float32{v})
		case int64:
			t, err = Of([]int{}, []int64{v})
		case []byte:
			t, err = Of([]int{}, []string{string(v)})
		case []float32:
			t, err = Of([]int{len(v)}, v)
		case []int64:
			t, err = Of([]int{len(v)}, v)
		case [][]byte:
			list := make([]string, len(v))
			for i, b := range v {
				list[i] = string(b)
			}
			t, err = Of([]int{len(v)}, list)
		}
		if err != nil {
			return nil, err
		}
	}
	if t == nil {
		return nil, fmt.Errorf("the constant has no value of a supported kind")
	}
	return func(c *call) error {
		c.set(0, t)
		return nil
	}, nil
}

func constantOfShape(s *site) (kernel, error) {
	value := &Tensor{Type: onnx.Float, Shape: []int{1}, Data: []float32{0}}
	if v := s.Tensor("value"); v != nil {
		var err error
		if value, err = FromONNX(v); err != nil {
			return nil, err
		}
		if value.Len() != 1 {
			return nil, fmt.Errorf("the value has %d elements, want 1", value.Len())
		}
	}
	return func(c *call) error {
		shape, err := c.ints(0)
		if err != nil {
			return err
		}
		out, err := c.new(0, value.Type, slices.Clone(shape))
		if err != nil {
			return err
		}
		return c.copyStrided(out, value, 0, make([]int, len(shape)))
	}, nil
}

func shapeOf(s *site) (kernel, error) {
	start, end := int(s.Int("start", 0)), int(s.Int("end", math.MaxInt32))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		rank := len(in.Shape)
		lo, hi := clampIndex(start, rank), clampIndex(end, rank)
		dims := in.Shape[lo:max(lo, hi)]
		return c.integers([]int{len(dims)}, dims...)
	}, nil
}

// clampIndex reads an index of a slice of n elements as Python does.
func clampIndex(i, n int) int {
	if i < 0 {
		i += n
	}
	return min(max(i, 0), n)
}

func reshape(s *site) (kernel, error) {
	allowZero := s.Int("allowzero", 0) != 0
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		want, err := c.ints(1)
		if err != nil {
			return err
		}
		shape := slices.Clone(want)
		open, known := -1, 1
		for i, d := range shape {
			switch {
			case d == -1 && open < 0:
				open = i
				continue
			case d < 0:
				return fmt.Errorf("%v is no shape", want)
			case d == 0 && !allowZero:
				if i >= len(in.Shape) {
					return fmt.Errorf("shape %v copies a dimension that %s does not have", want, in)
				}
				shape[i] = in.Shape[i]
			}
			known *= shape[i]
		}
		if open >= 0 && known > 0 {
			shape[open] = in.Len() / known
		} else if open >= 0 {
			shape[open] = 0
		}
		if n, err := elements(shape); err != nil || n != in.Len() {
			return fmt.Errorf("%s does not fit shape %v", in, want)
		}
		c.view(0, 0, shape)
		return nil
	}, nil
}

func flatten(s *site) (kernel, error) {
	axis := int(s.Int("axis", 1))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		at := axis
		if at < 0 {
			at += len(in.Shape)
		}
		if at < 0 || at > len(in.Shape) {
			return fmt.Errorf("axis %d is outside %s", axis, in)
		}
		c.view(0, 0, []int{product(in.Shape[:at]), product(in.Shape[at:])})
		return nil
	}, nil
}

// axesInput returns the axes of a node: an input in newer opsets, an attribute
// in older ones.
func (c *call) axesInput(i int, attribute []int) ([]int, error) {
	if c.input(i) == nil {
		return attribute, nil
	}
	return c.ints(i)
}

func squeeze(s *site) (kernel, error) {
	attribute := s.ints("axes")
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		axes, err := c.axesInput(1, attribute)
		if err != nil {
			return err
		}
		if axes == nil {
			for i, d := range in.Shape {
				if d == 1 {
					axes = append(axes, i)
				}
			}
		}
		if axes, err = axesOf(axes, len(in.Shape)); err != nil {
			return err
		}
		shape := []int{}
		for i, d := range in.Shape {
			if !slices.Contains(axes, i) {
				shape = append(shape, d)
			} else if d != 1 {
				return fmt.Errorf("dimension %d of %s is not 1", i, in)
			}
		}
		c.view(0, 0, shape)
		return nil
	}, nil
}

func unsqueeze(s *site) (kernel, error) {
	attribute := s.ints("axes")
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		axes, err := c.axesInput(1, attribute)
		if err != nil {
			return err
		}
		if axes, err = axesOf(axes, len(in.Shape)+len(axes)); err != nil {
			return err
		}
		shape := slices.Clone(in.Shape)
		for _, a := range axes {
			shape = slices.Insert(shape, a, 1)
		}
		c.view(0, 0, shape)
		return nil
	}, nil
}

func expand(*site) (kernel, error) {
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		want, err := c.ints(1)
		if err != nil {
			return err
		}
		shape, err := broadcastShape(in.Shape, want)
		if err != nil {
			return err
		}
		if slices.Equal(shape, in.Shape) {
			c.view(0, 0, shape)
			return nil
		}
		out, err := c.new(0, in.Type, shape)
		if err != nil {
			return err
		}
		return c.copyStrided(out, in, 0, broadcastStrides(in.Shape, shape))
	}, nil
}

// dropout at inference gives its input.
func dropout(s *site) (kernel, error) {
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if t := c.input(2); t != nil {
			ratio := c.input(1)
			if b, ok := t.Data.([]bool); ok && len(b) == 1 && b[0] && (ratio == nil || toFloat64(ratio).Data.([]float64)[0] != 0) {
				return fmt.Errorf("training mode is not supported")
			}
		}
		c.view(0, 0, in.Shape)
		if len(c.wanted) > 1 && c.wanted[1] {
			mask, err := c.new(1, onnx.Bool, in.Shape)
			if err != nil {
				return err
			}
			return fill(mask, 1)
		}
		return nil
	}, nil
}

func rangeOp(*site) (kernel, error) {
	return func(c *call) error {
		var v [3]float64
		for i := range v {
			t, err := c.need(i)
			if err != nil {
				return err
			}
			if t.Len() != 1 || t.Type != c.in[0].Type {
				return fmt.Errorf("input %d is %s, want one %s", i, t, c.in[0].Type)
			}
			f := toFloat64(t)
			if f == nil {
				return typeError(i, t)
			}
			v[i] = f.Data.([]float64)[0]
		}
		count := math.Ceil((v[1] - v[0]) / v[2])
		if count != count || count > math.MaxInt32*64 {
			return fmt.Errorf("a range from %v to %v in steps of %v has no end", v[0], v[1], v[2])
		}
		out, err := c.new(0, c.in[0].Type, []int{max(0, int(count))})
		if err != nil {
			return err
		}
		switch d := out.Data.(type) {
		case []float32:
			for i := range d {
				d[i] = float32(v[0]) + float32(float32(i)*float32(v[2]))
			}
			return nil
		case []float64:
			for i := range d {
				d[i] = v[0] + float64(float64(i)*v[2])
			}
			return nil
		}
		first, _ := toInts(c.in[0])
		step, _ := toInts(c.in[2])
		return convertFrom(out, out.Len(), func(i int) (float64, int64) { return 0, int64(first[0] + i*step[0]) }, true)
	}, nil
}

func eyeLike(s *site) (kernel, error) {
	typ, k := onnx.DataType(s.Int("dtype", 0)), int(s.Int("k", 0))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if len(in.Shape) != 2 {
			return fmt.Errorf("%s is no matrix", in)
		}
		to := typ
		if to == onnx.Undefined {
			to = in.Type
		}
		out, err := c.new(0, to, in.Shape)
		if err != nil {
			return err
		}
		cols := in.Shape[1]
		return convertFrom(out, out.Len(), func(i int) (float64, int64) {
			if i%cols-i/cols == k {
				return 1, 1
			}
			return 0, 0
		}, true)
	}, nil
}
