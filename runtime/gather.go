package runtime

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// Operators that read or write at indices.

func init() {
	registerAny("Gather", 1, gather)
	registerAny("GatherElements", 11, gatherElements)
	registerAny("GatherND", 11, gatherND)
	register("ScatterElements", 11, scatterElements)
	register("Scatter", 9, scatterElements)
	register("ScatterND", 11, scatterND)
	registerAny("NonZero", 9, func(*site) (kernel, error) { return nonZero, nil })
	registerAny("Compress", 9, compress)
	register("OneHot", 9, oneHot)
	register("TopK", 1, topK)
}

// indices returns an input of indices into dimensions of n elements, the
// negative ones counted from the end.
func (c *call) indices(i, n int) (*Tensor, []int, error) {
	t, err := c.need(i)
	if err != nil {
		return nil, nil, err
	}
	v, err := c.ints(i)
	if err != nil {
		return nil, nil, err
	}
	for k, x := range v {
		if x < -n || x >= n {
			return nil, nil, fmt.Errorf("index %d is outside a dimension of %d", x, n)
		}
		if x < 0 {
			v[k] = x + n
		}
	}
	return t, v, nil
}

func gather(s *site) (kernel, error) {
	axis := int(s.Int("axis", 0))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		at, err := axisOf(axis, len(in.Shape))
		if err != nil {
			return err
		}
		t, index, err := c.indices(1, in.Shape[at])
		if err != nil {
			return err
		}
		out, err := c.new(0, in.Type, slices.Concat(in.Shape[:at], t.Shape, in.Shape[at+1:]))
		if err != nil {
			return err
		}
		n, d := product(in.Shape[at+1:]), in.Shape[at]
		return c.parallel(product(in.Shape[:at])*len(index), grain/max(1, n), func(lo, hi int) {
			for i := lo; i < hi; i++ {
				copyBlock(out, i*n, in, (i/len(index)*d+index[i%len(index)])*n, n)
			}
		})
	}, nil
}

// elementTargets returns for every element of indices where it points to in a
// tensor of the given shape: its own place, with the index along the axis.
func elementTargets(shape, indexShape, index []int, at int) ([]int, error) {
	if len(shape) != len(indexShape) {
		return nil, fmt.Errorf("indices of shape %v for a tensor of shape %v", indexShape, shape)
	}
	for i := range shape {
		if i != at && indexShape[i] > shape[i] {
			return nil, fmt.Errorf("indices of shape %v for a tensor of shape %v", indexShape, shape)
		}
	}
	s := strides(shape)
	targets := make([]int, 0, len(index))
	k := 0
	odometer(indexShape, func(pos []int) {
		at2 := 0
		for i, p := range pos {
			if i == at {
				p = index[k]
			}
			at2 += p * s[i]
		}
		targets = append(targets, at2)
		k++
	})
	return targets, nil
}

func gatherElements(s *site) (kernel, error) {
	axis := int(s.Int("axis", 0))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		at, err := axisOf(axis, len(in.Shape))
		if err != nil {
			return err
		}
		t, index, err := c.indices(1, in.Shape[at])
		if err != nil {
			return err
		}
		from, err := elementTargets(in.Shape, t.Shape, index, at)
		if err != nil {
			return err
		}
		out, err := c.new(0, in.Type, t.Shape)
		if err != nil {
			return err
		}
		for i, f := range from {
			copyBlock(out, i, in, f, 1)
		}
		return nil
	}, nil
}

// tuples reads the last dimension of an index tensor as indices into the
// dimensions of shape from first on. It returns the offset of each, and how
// many elements one stands for.
func (c *call) tuples(input int, shape []int, first int) (t *Tensor, offsets []int, n int, err error) {
	if t, err = c.need(input); err != nil {
		return nil, nil, 0, err
	}
	v, err := c.ints(input)
	if err != nil {
		return nil, nil, 0, err
	}
	if len(t.Shape) == 0 || t.Shape[len(t.Shape)-1]+first > len(shape) {
		return nil, nil, 0, fmt.Errorf("indices %s do not fit %v", t, shape)
	}
	k := t.Shape[len(t.Shape)-1]
	s := strides(shape)
	for i := range product(t.Shape[:len(t.Shape)-1]) {
		offset := 0
		for j := range k {
			x, d := v[i*k+j], shape[first+j]
			if x < -d || x >= d {
				return nil, nil, 0, fmt.Errorf("index %d is outside a dimension of %d", x, d)
			}
			if x < 0 {
				x += d
			}
			offset += x * s[first+j]
		}
		offsets = append(offsets, offset)
	}
	return t, offsets, product(shape[first+k:]), nil
}

func gatherND(s *site) (kernel, error) {
	batch := int(s.Int("batch_dims", 0))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if batch < 0 || batch >= len(in.Shape) {
			return fmt.Errorf("batch_dims %d is outside %s", batch, in)
		}
		t, offsets, n, err := c.tuples(1, in.Shape, batch)
		if err != nil {
			return err
		}
		rank := len(t.Shape)
		if rank <= batch || !slices.Equal(t.Shape[:batch], in.Shape[:batch]) {
			return fmt.Errorf("indices %s do not fit %s", t, in)
		}
		out, err := c.new(0, in.Type, slices.Concat(t.Shape[:rank-1], in.Shape[batch+t.Shape[rank-1]:]))
		if err != nil {
			return err
		}
		groups, size := product(t.Shape[:batch]), product(in.Shape[batch:])
		for i, o := range offsets {
			copyBlock(out, i*n, in, i/(len(offsets)/groups)*size+o, n)
		}
		return nil
	}, nil
}

// scatter makes output 0 a copy of in with updates written into it: update i at
// at(i), merged with what is there as reduction says.
func (c *call) scatter(reduction string, in, updates *Tensor, at func(i int) int) error {
	if updates.Type != in.Type {
		return fmt.Errorf("%s is updated with %s", in, updates)
	}
	out, err := c.new(0, in.Type, in.Shape)
	if err != nil {
		return err
	}
	copyBlock(out, 0, in, 0, in.Len())
	if reduction == "none" || reduction == "" {
		for i := range updates.Len() {
			copyBlock(out, at(i), updates, i, 1)
		}
		return nil
	}
	switch d := out.Data.(type) {
	case []float32:
		return scatterMerge(reduction, d, updates.Data.([]float32), at)
	case []float64:
		return scatterMerge(reduction, d, updates.Data.([]float64), at)
	case []int32:
		return scatterMerge(reduction, d, updates.Data.([]int32), at)
	case []int64:
		return scatterMerge(reduction, d, updates.Data.([]int64), at)
	}
	return typeError(0, in)
}

func scatterMerge[T number](reduction string, dst, updates []T, at func(i int) int) error {
	for i, u := range updates {
		p := &dst[at(i)]
		switch reduction {
		case "add":
			*p += u
		case "mul":
			*p *= u
		case "max":
			*p = max(*p, u)
		case "min":
			*p = min(*p, u)
		default:
			return fmt.Errorf("reduction %q is not known", reduction)
		}
	}
	return nil
}

func scatterElements(s *site) (kernel, error) {
	axis, reduction := int(s.Int("axis", 0)), s.Str("reduction", "none")
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		updates, err := c.need(2)
		if err != nil {
			return err
		}
		at, err := axisOf(axis, len(in.Shape))
		if err != nil {
			return err
		}
		t, index, err := c.indices(1, in.Shape[at])
		if err != nil {
			return err
		}
		if !slices.Equal(t.Shape, updates.Shape) {
			return fmt.Errorf("indices %s and updates %s differ in shape", t, updates)
		}
		to, err := elementTargets(in.Shape, t.Shape, index, at)
		if err != nil {
			return err
		}
		return c.scatter(reduction, in, updates, func(i int) int { return to[i] })
	}, nil
}

func scatterND(s *site) (kernel, error) {
	reduction := s.Str("reduction", "none")
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		updates, err := c.need(2)
		if err != nil {
			return err
		}
		_, offsets, n, err := c.tuples(1, in.Shape, 0)
		if err != nil {
			return err
		}
		if updates.Len() != len(offsets)*n {
			return fmt.Errorf("updates %s do not fit indices %s", updates, c.in[1])
		}
		return c.scatter(reduction, in, updates, func(i int) int { return offsets[i/n] + i%n })
	}, nil
}

func nonZero(c *call) error {
	in, err := c.need(0)
	if err != nil {
		return err
	}
	values := toFloat64(in)
	if values == nil {
		return typeError(0, in)
	}
	rank := len(in.Shape)
	lists := make([][]int64, rank)
	i, count := 0, 0
	odometer(in.Shape, func(pos []int) {
		if values.Data.([]float64)[i] != 0 {
			for k, p := range pos {
				lists[k] = append(lists[k], int64(p))
			}
			count++
		}
		i++
	})
	out, err := c.new(0, onnx.Int64, []int{rank, count})
	if err != nil {
		return err
	}
	copy(out.Data.([]int64), slices.Concat(lists...))
	return nil
}

func compress(s *site) (kernel, error) {
	axis, flat := int(s.Int("axis", 0)), s.Attr("axis") == nil
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		cond, err := c.need(1)
		if err != nil {
			return err
		}
		keep, ok := cond.Data.([]bool)
		if !ok {
			return typeError(1, cond)
		}
		shape, at := in.Shape, 0
		if flat {
			shape = []int{in.Len()}
		} else if at, err = axisOf(axis, len(shape)); err != nil {
			return err
		}
		var index []int
		for i, k := range keep {
			if k && i < shape[at] {
				index = append(index, i)
			}
		}
		d, n := shape[at], product(shape[at+1:])
		outShape := slices.Clone(shape)
		outShape[at] = len(index)
		out, err := c.new(0, in.Type, outShape)
		if err != nil {
			return err
		}
		for i := range product(shape[:at]) * len(index) {
			copyBlock(out, i*n, in, (i/len(index)*d+index[i%len(index)])*n, n)
		}
		return nil
	}, nil
}

func oneHot(s *site) (kernel, error) {
	axis := int(s.Int("axis", -1))
	return func(c *call) error {
		t, err := c.need(0)
		if err != nil {
			return err
		}
		var numbers [2][]float64 // indices and depth
		for i := range numbers {
			in, err := c.need(i)
			if err != nil {
				return err
			}
			f := toFloat64(in)
			if f == nil {
				return typeError(i, in)
			}
			numbers[i] = f.Data.([]float64)
		}
		values, err := c.need(2)
		if err != nil {
			return err
		}
		if len(numbers[1]) != 1 || numbers[1][0] < 0 || numbers[1][0] > 1<<31 || values.Len() != 2 {
			return fmt.Errorf("depth %v and %d values", numbers[1], values.Len())
		}
		depth := int(numbers[1][0])
		at, err := axisOf(axis, len(t.Shape)+1)
		if err != nil {
			return err
		}
		out, err := c.new(0, values.Type, slices.Insert(slices.Clone(t.Shape), at, depth))
		if err != nil {
			return err
		}
		inner := product(t.Shape[at:])
		for i := range out.Len() {
			outer, k, in := i/(depth*inner), i/inner%depth, i%inner
			index := int(numbers[0][outer*inner+in])
			hot := 0
			if index == k || index+depth == k {
				hot = 1
			}
			copyBlock(out, i, values, hot, 1)
		}
		return nil
	}, nil
}

// topK sorts by value, equal values by index.
func topK(s *site) (kernel, error) {
	axis, largest, attribute := int(s.Int("axis", -1)), s.Int("largest", 1) != 0, int(s.Int("k", 0))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		k := attribute
		if c.input(1) != nil {
			v, err := c.ints(1)
			if err != nil {
				return err
			}
			if len(v) != 1 {
				return fmt.Errorf("k has %d elements", len(v))
			}
			k = v[0]
		}
		at, err := axisOf(axis, len(in.Shape))
		if err != nil {
			return err
		}
		d, inner := in.Shape[at], product(in.Shape[at+1:])
		if k < 0 || k > d {
			return fmt.Errorf("k is %d for a dimension of %d", k, d)
		}
		numbers := toFloat64(in)
		if numbers == nil {
			return typeError(0, in)
		}
		v := numbers.Data.([]float64)
		shape := slices.Clone(in.Shape)
		shape[at] = k
		values, err := c.new(0, in.Type, shape)
		if err != nil {
			return err
		}
		indices, err := c.new(1, onnx.Int64, slices.Clone(shape))
		if err != nil {
			return err
		}
		return c.parallel(product(in.Shape[:at])*inner, grain/max(1, d), func(lo, hi int) {
			order := make([]int, d)
			for line := lo; line < hi; line++ {
				outer, i := line/inner, line%inner
				for j := range order {
					order[j] = j
				}
				slices.SortStableFunc(order, func(a, b int) int {
					x, y := v[(outer*d+a)*inner+i], v[(outer*d+b)*inner+i]
					if largest {
						return cmp.Compare(y, x)
					}
					return cmp.Compare(x, y)
				})
				for j := range k {
					to := (outer*k+j)*inner + i
					copyBlock(values, to, in, (outer*d+order[j])*inner+i, 1)
					indices.Data.([]int64)[to] = int64(order[j])
				}
			}
		})
	}, nil
}
