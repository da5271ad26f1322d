package runtime

import (
	"fmt"
	"math"

	"github.com/daq-sr/daq/onnx"
)

func init() {
	registerAny("Pad", 1, pad)
}

// pad fills what lies outside with a constant, the edge, the mirror image or
// the other side. Every dimension gets a table of source indices.
func pad(s *site) (kernel, error) {
	mode := s.Str("mode", "constant")
	attribute := s.ints("pads")
	if attribute == nil {
		attribute = s.ints("paddings") // opset 1
	}
	value := s.Float("value", 0)
	switch mode {
	case "constant", "edge", "reflect", "wrap":
	default:
		return nil, fmt.Errorf("mode %q is not known", mode)
	}
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		rank := len(in.Shape)
		given, err := c.axesInput(1, attribute)
		if err != nil {
			return err
		}
		axes, err := c.ints(3)
		if err != nil {
			return err
		}
		if c.input(3) == nil {
			for i := range rank {
				axes = append(axes, i)
			}
		}
		if len(given) != 2*len(axes) {
			return fmt.Errorf("%d pads for %s", len(given), in)
		}
		begin, end := make([]int, rank), make([]int, rank)
		for i, a := range axes {
			if a, err = axisOf(a, rank); err != nil {
				return err
			}
			begin[a], end[a] = given[i], given[len(axes)+i]
		}
		shape := make([]int, rank)
		for i, d := range in.Shape {
			if abs(begin[i]) > math.MaxInt32 || abs(end[i]) > math.MaxInt32 {
				return fmt.Errorf("pads %v are out of range", given)
			}
			if shape[i] = d + begin[i] + end[i]; shape[i] < 0 {
				return fmt.Errorf("pads %v cut off more than %s has", given, in)
			}
		}
		constant := &Tensor{Type: in.Type, Shape: []int{}}
		if t := c.input(2); t != nil {
			if t.Type != in.Type || t.Len() != 1 {
				return fmt.Errorf("the pad value is %s, want one %s", t, in.Type)
			}
			constant.Data = t.Data
		} else if constant, err = New(in.Type); err != nil {
			return err
		} else if value != 0 && in.Type != onnx.String {
			if err := fill(constant, float64(value)); err != nil {
				return err
			}
		}
		out, err := c.new(0, in.Type, shape)
		if err != nil || out.Len() == 0 {
			return err
		}
		table := make([][]int, rank)
		for i, d := range in.Shape {
			if table[i], err = padTable(mode, shape[i], begin[i], d); err != nil {
				return fmt.Errorf("%s: %w", in, err)
			}
		}
		return c.gatherTable(out, in, table, constant)
	}, nil
}

func abs(x int) int {
	if x < 0 {
		return -x
	}
	return x
}

// padTable returns the source index of every index of a padded dimension, -1
// for the constant.
func padTable(mode string, n, begin, d int) ([]int, error) {
	t := make([]int, n)
	for i := range t {
		at := i - begin
		if at < 0 || at >= d {
			if d == 0 && mode != "constant" {
				return nil, fmt.Errorf("an empty dimension cannot be padded by %s", mode)
			}
			switch mode {
			case "constant":
				at = -1
			case "edge":
				at = min(max(at, 0), d-1)
			case "wrap":
				at = ((at % d) + d) % d
			default:
				at = reflectIndex(at, d)
			}
		}
		t[i] = at
	}
	return t, nil
}

// reflectIndex mirrors an index at the centres of the first and last of d
// elements.
func reflectIndex(i, d int) int {
	if d == 1 {
		return 0
	}
	period := 2 * (d - 1)
	i = ((i % period) + period) % period
	if i >= d {
		i = period - i
	}
	return i
}

// gatherTable fills dst from the elements of src at the indices of table, or
// from constant where one is -1.
func (c *call) gatherTable(dst, src *Tensor, table [][]int, constant *Tensor) error {
	rank := len(dst.Shape)
	if rank == 0 {
		copyBlock(dst, 0, src, 0, 1)
		return nil
	}
	width := dst.Shape[rank-1]
	from := strides(src.Shape)
	columns := table[rank-1]
	rows := product(dst.Shape[:rank-1])
	return c.parallel(rows, grain/width, func(lo, hi int) {
		for row := lo; row < hi; row++ {
			at, outside, rest := 0, false, row
			for i := rank - 2; i >= 0; i-- {
				index := table[i][rest%dst.Shape[i]]
				rest /= dst.Shape[i]
				outside = outside || index < 0
				at += index * from[i]
			}
			for x := 0; x < width; {
				if outside || columns[x] < 0 {
					copyBlock(dst, row*width+x, constant, 0, 1)
					x++
					continue
				}
				n := 1
				for x+n < width && columns[x+n] == columns[x]+n {
					n++
				}
				copyBlock(dst, row*width+x, src, at+columns[x], n)
				x += n
			}
		}
	})
}
