package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime/kernels"
)

// Operators that move elements of any type.

func init() {
	registerAny("Transpose", 1, transpose)
	registerFree("Concat", 1, concat)
	registerFree("Split", 1, split)
	registerFree("Slice", 1, slice)
	registerAny("Tile", 6, tile)
	registerFree("DepthToSpace", 1, depthToSpace)
	registerAny("SpaceToDepth", 1, spaceToDepth)
	registerAny("Trilu", 14, trilu)
	registerAny("ReverseSequence", 10, reverseSequence)
}

// permute fills dst with src, its dimensions in another order.
func (c *call) permute(dst, src *Tensor, shape, perm []int) error {
	s := strides(shape)
	dims, moved := make([]int, len(perm)), make([]int, len(perm))
	for i, p := range perm {
		dims[i], moved[i] = shape[p], s[p]
	}
	return c.copyStrided(&Tensor{Type: dst.Type, Shape: dims, Data: dst.Data}, src, 0, moved)
}

func transpose(s *site) (kernel, error) {
	attribute := s.ints("perm")
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		perm := attribute
		if perm == nil {
			for i := range in.Shape {
				perm = append(perm, len(in.Shape)-1-i)
			}
		}
		if axes, err := axesOf(perm, len(in.Shape)); err != nil || len(axes) != len(in.Shape) {
			return fmt.Errorf("%v is no permutation of the dimensions of %s", perm, in)
		}
		shape := make([]int, len(perm))
		for i, p := range perm {
			shape[i] = in.Shape[p]
		}
		out, err := c.new(0, in.Type, shape)
		if err != nil {
			return err
		}
		return c.permute(out, in, in.Shape, perm)
	}, nil
}

func concat(s *site) (kernel, error) {
	axis := int(s.Int("axis", 1))
	return func(c *call) error {
		first, err := c.need(0)
		if err != nil {
			return err
		}
		at, err := axisOf(axis, len(first.Shape))
		if err != nil {
			return err
		}
		shape := slices.Clone(first.Shape)
		shape[at] = 0
		for i := range c.in {
			t, err := c.need(i)
			if err != nil {
				return err
			}
			fits := t.Type == first.Type && len(t.Shape) == len(shape)
			for k := range shape {
				fits = fits && (k == at || t.Shape[k] == shape[k])
			}
			if !fits {
				return fmt.Errorf("input %d is %s, which does not fit %s along axis %d", i, t, first, at)
			}
			shape[at] += t.Shape[at]
		}
		if at == 1 && slices.ContainsFunc(c.in, func(t *Tensor) bool { return t.blocked }) {
			if first.Type == onnx.Uint8 {
				return concatBlocked[uint8](c, first.Type, shape)
			}
			return concatBlocked[float32](c, onnx.Float, shape)
		}
		if err := c.planar(); err != nil {
			return err
		}
		out, err := c.new(0, first.Type, shape)
		if err != nil {
			return err
		}
		outer, width := product(shape[:at]), product(shape[at:])
		to := 0
		for _, t := range c.in {
			n := product(t.Shape[at:])
			start := to
			to += n
			if outer == 1 && t.isPart(out, start) { // made in its place
				continue
			}
			// Few long blocks are cut so that threads share them.
			err := c.parallel(outer*n, grain, func(lo, hi int) {
				for lo < hi {
					row, col := lo/n, lo%n
					m := min(hi-lo, n-col)
					copyBlock(out, row*width+start+col, t, lo, m)
					lo += m
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func split(s *site) (kernel, error) {
	axis, attribute, count := int(s.Int("axis", 0)), s.ints("split"), int(s.Int("num_outputs", 0))
	if count == 0 {
		count = len(s.Outputs)
	}
	if count != len(s.Outputs) {
		return nil, fmt.Errorf("num_outputs is %d for %d outputs", count, len(s.Outputs))
	}
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		at, err := axisOf(axis, len(in.Shape))
		if err != nil {
			return err
		}
		sizes, err := c.axesInput(1, attribute)
		if err != nil {
			return err
		}
		d := in.Shape[at]
		if sizes == nil {
			part := (d + count - 1) / count
			for i := range count {
				sizes = append(sizes, max(0, min(part, d-i*part)))
			}
		}
		sum := 0
		for _, n := range sizes {
			if n < 0 {
				return fmt.Errorf("a part has size %d", n)
			}
			sum += n
		}
		if sum != d || len(sizes) < len(c.wanted) {
			return fmt.Errorf("%s cannot be split along axis %d into %d parts of %v", in, at, len(c.wanted), sizes)
		}
		if in.blocked && at == 1 && in.Shape[0] == 1 && wholeBlocks(sizes) {
			return c.splitBlocked(in, sizes)
		}
		if in, err = c.inLayout(in, false); err != nil {
			return err
		}
		s := strides(in.Shape)
		from := 0
		for i, n := range sizes {
			if i < len(c.wanted) && c.wanted[i] {
				shape := slices.Clone(in.Shape)
				shape[at] = n
				if in.Type != onnx.String && product(shape[:at]) == 1 {
					c.set(i, c.arena.part(in, from*s[at], shape))
					from += n
					continue
				}
				out, err := c.new(i, in.Type, shape)
				if err != nil {
					return err
				}
				if err := c.copyStrided(out, in, from*s[at], s); err != nil {
					return err
				}
			}
			from += n
		}
		return nil
	}, nil
}

func slice(s *site) (kernel, error) {
	startsAttr, endsAttr, axesAttr := s.ints("starts"), s.ints("ends"), s.ints("axes")
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		starts, err := c.axesInput(1, startsAttr)
		if err != nil {
			return err
		}
		ends, err := c.axesInput(2, endsAttr)
		if err != nil {
			return err
		}
		axes, err := c.axesInput(3, axesAttr)
		if err != nil {
			return err
		}
		steps, err := c.ints(4)
		if err != nil {
			return err
		}
		if len(ends) != len(starts) || axes != nil && len(axes) != len(starts) || steps != nil && len(steps) != len(starts) {
			return fmt.Errorf("starts %v, ends %v, axes %v and steps %v differ in length", starts, ends, axes, steps)
		}
		shape, first, every := slices.Clone(in.Shape), make([]int, len(in.Shape)), slices.Repeat([]int{1}, len(in.Shape))
		seen := map[int]bool{}
		for i := range starts {
			axis, step := i, 1
			if axes != nil {
				axis = axes[i]
			}
			if axis, err = axisOf(axis, len(in.Shape)); err != nil {
				return err
			}
			if steps != nil {
				step = steps[i]
			}
			if step == 0 || seen[axis] {
				return fmt.Errorf("steps %v and axes %v are not allowed", steps, axes)
			}
			seen[axis] = true
			first[axis], shape[axis] = sliceRange(starts[i], ends[i], step, in.Shape[axis])
			every[axis] = step
		}
		if in.blocked && (!slices.Equal(shape[:2], in.Shape[:2]) || every[0] != 1 || every[1] != 1) {
			if in, err = c.inLayout(in, false); err != nil {
				return err
			}
		}
		out, err := c.newIn(0, in.Type, shape, in.blocked)
		if err != nil || out.Len() == 0 {
			return err
		}
		to := out
		if in.blocked {
			to, in = out.asPlanes(), in.asPlanes()
			first, every = append(first[1:], 0), append(every[1:], 1)
			first[0] = 0
		}
		offset, from := 0, strides(in.Shape)
		for i := range from {
			offset += first[i] * from[i]
			from[i] *= every[i]
		}
		return c.copyStrided(to, in, offset, from)
	}, nil
}

// sliceRange returns the first index and the number of indices of a slice of d
// elements.
func sliceRange(start, end, step, d int) (first, n int) {
	if step == math.MinInt { // cannot be negated
		step++
	}
	if step > 0 {
		first, end = clampIndex(start, d), clampIndex(end, d)
		return first, max(0, (end-first+step-1)/step)
	}
	index := func(i int) int {
		if i < 0 {
			i += d
		}
		return min(max(i, -1), d-1)
	}
	first = index(start)
	end = index(end)
	return max(first, 0), max(0, (first-end-step-1)/-step)
}

func tile(*site) (kernel, error) {
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		repeats, err := c.ints(1)
		if err != nil {
			return err
		}
		if len(repeats) != len(in.Shape) {
			return fmt.Errorf("%d repeats for %s", len(repeats), in)
		}
		// Each dimension becomes two: the repetition, read with stride 0, and the
		// original.
		s := strides(in.Shape)
		shape := make([]int, len(repeats))
		var dims, from []int
		for i, r := range repeats {
			if r < 0 || in.Shape[i] > 0 && r > math.MaxInt/in.Shape[i] {
				return fmt.Errorf("repeats %v are out of range", repeats)
			}
			shape[i] = r * in.Shape[i]
			dims = append(dims, r, in.Shape[i])
			from = append(from, 0, s[i])
		}
		out, err := c.new(0, in.Type, shape)
		if err != nil {
			return err
		}
		return c.copyStrided(&Tensor{Type: out.Type, Shape: dims, Data: out.Data}, in, 0, from)
	}, nil
}

func depthToSpace(s *site) (kernel, error) {
	b, mode := int(s.Int("blocksize", 0)), s.Str("mode", "DCR")
	if b < 1 || b > math.MaxInt16 || mode != "DCR" && mode != "CRD" {
		return nil, fmt.Errorf("block size %d and mode %q are not allowed", b, mode)
	}
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if len(in.Shape) != 4 || in.Shape[1]%(b*b) != 0 {
			return fmt.Errorf("the channels of %s are no multiple of %d", in, b*b)
		}
		n, d, h, w := in.Shape[0], in.Shape[1]/(b*b), in.Shape[2], in.Shape[3]
		if in.blocked && mode == "DCR" && d%kernels.Lanes == 0 {
			if codes, ok := in.Data.([]uint8); ok {
				return depthToSpaceBlocked(c, in, codes, b)
			}
			return depthToSpaceBlocked(c, in, in.Data.([]float32), b)
		}
		if in, err = c.inLayout(in, false); err != nil {
			return err
		}
		out, err := c.new(0, in.Type, []int{n, d, h * b, w * b})
		if err != nil {
			return err
		}
		if src, ok := in.Data.([]float32); ok {
			// One output row at a time.
			dst, size := out.Data.([]float32), h*w
			step, first := 1, func(ch, dy int) int { return ch*b*b + dy*b }
			if mode == "DCR" {
				step, first = d, func(ch, dy int) int { return dy*b*d + ch }
			}
			return c.parallel(n*d*h*b, grain/max(w*b, 1), func(lo, hi int) {
				rows := make([][]float32, b)
				for i := lo; i < hi; i++ {
					dy, y, ch, image := i%b, i/b%h, i/b/h%d, i/b/h/d
					for dx := range rows {
						rows[dx] = src[(image*d*b*b+first(ch, dy)+dx*step)*size+y*w:][:w]
					}
					kernels.Interleave(dst[i*w*b:], rows)
				}
			})
		}
		if mode == "DCR" {
			return c.permute(out, in, []int{n, b, b, d, h, w}, []int{0, 3, 4, 1, 5, 2})
		}
		return c.permute(out, in, []int{n, d, b, b, h, w}, []int{0, 1, 4, 2, 5, 3})
	}, nil
}

func spaceToDepth(s *site) (kernel, error) {
	b := int(s.Int("blocksize", 0))
	if b < 1 || b > math.MaxInt16 {
		return nil, fmt.Errorf("block size %d is not allowed", b)
	}
	crd := s.Str("mode", "DCR") == "CRD"
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		if len(in.Shape) != 4 || in.Shape[2]%b != 0 || in.Shape[3]%b != 0 {
			return fmt.Errorf("height or width of %s is no multiple of %d", in, b)
		}
		n, d, h, w := in.Shape[0], in.Shape[1], in.Shape[2]/b, in.Shape[3]/b
		out, err := c.new(0, in.Type, []int{n, d * b * b, h, w})
		if err != nil {
			return err
		}
		if crd {
			return c.permute(out, in, []int{n, d, h, b, w, b}, []int{0, 1, 3, 5, 2, 4})
		}
		return c.permute(out, in, []int{n, d, h, b, w, b}, []int{0, 3, 5, 1, 2, 4})
	}, nil
}

func trilu(s *site) (kernel, error) {
	upper := s.Int("upper", 1) != 0
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		k, err := c.ints(1)
		if err != nil {
			return err
		}
		if len(in.Shape) < 2 || len(k) > 1 {
			return fmt.Errorf("%s is no matrix", in)
		}
		diagonal := 0
		if len(k) == 1 {
			diagonal = k[0]
		}
		out, err := c.new(0, in.Type, in.Shape)
		if err != nil {
			return err
		}
		zero, err := New(in.Type)
		if err != nil {
			return err
		}
		rows, cols := in.Shape[len(in.Shape)-2], in.Shape[len(in.Shape)-1]
		for r := range in.Len() / max(cols, 1) {
			edge := min(max(r%rows+diagonal, -1), cols) // column of the diagonal
			for x := range cols {
				if upper && x >= edge || !upper && x <= edge {
					copyBlock(out, r*cols+x, in, r*cols+x, 1)
				} else {
					copyBlock(out, r*cols+x, zero, 0, 1)
				}
			}
		}
		return nil
	}, nil
}

func reverseSequence(s *site) (kernel, error) {
	batch, time := int(s.Int("batch_axis", 1)), int(s.Int("time_axis", 0))
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		lengths, err := c.ints(1)
		if err != nil {
			return err
		}
		if len(in.Shape) < 2 || batch+time != 1 || batch*time != 0 || len(lengths) != in.Shape[batch] {
			return fmt.Errorf("%d lengths for %s", len(lengths), in)
		}
		out, err := c.new(0, in.Type, in.Shape)
		if err != nil {
			return err
		}
		s := strides(in.Shape)
		n := product(in.Shape[2:])
		for b, length := range lengths {
			if length < 0 || length > in.Shape[time] {
				return fmt.Errorf("length %d is outside %s", length, in)
			}
			for t := range in.Shape[time] {
				from := t
				if t < length {
					from = length - 1 - t
				}
				copyBlock(out, b*s[batch]+t*s[time], in, b*s[batch]+from*s[time], n)
			}
		}
		return nil
	}, nil
}
