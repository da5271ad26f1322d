package onnx

import "slices"

func init() {
	register(inferConv(0, 1), "Conv", "ConvInteger", "DeformConv")
	register(inferConv(0, 3), "QLinearConv")
	register(inferConvTranspose, "ConvTranspose")
	register(inferPool, "MaxPool", "AveragePool", "LpPool")
	register(inferGlobalPool, "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
	register(inferMaxRoiPool, "MaxRoiPool")
	register(inferDepthToSpace, "DepthToSpace")
	register(inferSpaceToDepth, "SpaceToDepth")
	register(inferResize, "Resize", "Upsample")
	register(inferGridSample, "GridSample")
	register(inferAffineGrid, "AffineGrid")
	register(inferBatchNormalization, "BatchNormalization")
}

// window is how a kernel slides along the spatial dimensions.
type window struct {
	kernel                   Shape
	strides, dilations, pads []int64 // pads: begin of each axis, then end of each
	auto                     string
	ceil                     bool
}

// window reads the attributes of a convolution or pooling.
func (c *nodeInference) window(kernel Shape) (window, error) {
	w := window{kernel: kernel, auto: c.n.Str("auto_pad", "NOTSET"), ceil: c.n.Int("ceil_mode", 0) != 0}
	for _, a := range []struct {
		to      *[]int64
		name    string
		length  int
		missing int64
		least   int64
	}{{&w.strides, "strides", len(kernel), 1, 1}, {&w.dilations, "dilations", len(kernel), 1, 1}, {&w.pads, "pads", 2 * len(kernel), 0, -1 << 31}} {
		*a.to = c.n.Ints(a.name)
		if len(*a.to) == 0 {
			*a.to = slices.Repeat([]int64{a.missing}, a.length)
		}
		if len(*a.to) != a.length {
			return w, c.fail("attribute %s has %d numbers, a kernel of %d dimensions needs %d", a.name, len(*a.to), len(kernel), a.length)
		}
		for _, v := range *a.to {
			if v < a.least || v > 1<<31 {
				return w, c.fail("attribute %s is %v", a.name, *a.to)
			}
		}
	}
	return w, nil
}

// slide returns the output size along spatial axis i.
func (c *nodeInference) slide(w window, i int, size Dim) (Dim, error) {
	x, k, s := size.poly(), w.kernel[i].poly(), constant(w.strides[i])
	begin, end := w.pads[i], w.pads[i+len(w.kernel)]
	switch w.auto {
	case "SAME_UPPER", "SAME_LOWER":
		return x.quotient(s).ceil().dim(), nil
	case "VALID":
		begin, end = 0, 0
	}
	extent := k.plus(-1).times(w.dilations[i]).plus(1)
	steps := x.plus(begin + end).sub(extent).quotient(s)
	out := steps.floor().plus(1)
	if w.ceil {
		// A window that would start in the padding behind the input is left out.
		out = steps.ceil().plus(1).smaller(x.plus(begin - 1).quotient(s).floor().plus(1))
	}
	if n, ok := out.isInt(); ok && n <= 0 && size.Value != 0 {
		return Unknown, c.fail("a kernel of %s (dilation %d, pads %d and %d) is larger than the input size %s", w.kernel[i], w.dilations[i], begin, end, size)
	}
	return out.dim(), nil
}

func inferConv(x, w int) inferRule {
	return func(c *nodeInference) error {
		elem := c.elem(x)
		switch c.n.Op {
		case "ConvInteger":
			elem = Int32
		case "QLinearConv":
			elem = c.elem(7)
		}
		c.set(0, elem, nil)
		in, err := c.rank(x, 3)
		if err != nil {
			return err
		}
		weight, err := c.rank(w, 3)
		if err != nil {
			return err
		}
		group := c.n.Int("group", 1)
		if len(weight) != len(in) || group < 1 {
			return c.fail("input %s, weight %s, group %d", c.in(x), c.in(w), group)
		}
		if in[1].IsKnown() && weight[1].IsKnown() && in[1].Value != weight[1].Value*group {
			return c.fail("input %s has %s channels, weight %s with group %d reads %d", c.in(x), in[1], weight, group, weight[1].Value*group)
		}
		if weight[0].IsKnown() && weight[0].Value%group != 0 {
			return c.fail("weight %s: %s output channels are not a multiple of group %d", weight, weight[0], group)
		}
		win, err := c.window(weight[2:])
		if err != nil {
			return err
		}
		out := Shape{in[0], weight[0]}
		for i, size := range in[2:] {
			d, err := c.slide(win, i, size)
			if err != nil {
				return err
			}
			out = append(out, d)
		}
		c.set(0, elem, out)
		return nil
	}
}

func inferConvTranspose(c *nodeInference) error {
	in, err := c.rank(0, 3)
	if err != nil {
		return err
	}
	weight, err := c.rank(1, 3)
	if err != nil {
		return err
	}
	group := c.n.Int("group", 1)
	if len(weight) != len(in) || group < 1 {
		return c.fail("input %s, weight %s, group %d", c.in(0), c.in(1), group)
	}
	if in[1].IsKnown() && weight[0].IsKnown() && in[1] != weight[0] {
		return c.fail("input %s has %s channels, weight %s reads %s", c.in(0), in[1], weight, weight[0])
	}
	win, err := c.window(weight[2:])
	if err != nil {
		return err
	}
	extra, sizes := c.n.Ints("output_padding"), c.n.Ints("output_shape")
	out := Shape{in[0], weight[1].poly().times(group).dim()}
	for i, size := range in[2:] {
		x, n := size.poly(), len(win.kernel)
		var y *poly
		switch {
		case len(sizes) >= n:
			y = constant(sizes[len(sizes)-n+i])
		case win.auto == "SAME_UPPER" || win.auto == "SAME_LOWER":
			y = x.times(win.strides[i])
		default:
			y = x.plus(-1).times(win.strides[i]).add(win.kernel[i].poly().plus(-1).times(win.dilations[i])).plus(1)
			if win.auto != "VALID" {
				y = y.plus(-win.pads[i] - win.pads[i+n])
			}
			if i < len(extra) {
				y = y.plus(extra[i])
			}
		}
		out = append(out, y.dim())
	}
	c.set(0, c.elem(0), out)
	return nil
}

func inferPool(c *nodeInference) error {
	c.set(0, c.elem(0), nil)
	c.set(1, Int64, nil) // Indices of MaxPool
	in, err := c.rank(0, 3)
	if err != nil {
		return err
	}
	kernel := ShapeOf(c.n.Ints("kernel_shape")...)
	if len(kernel) != len(in)-2 {
		return c.fail("input %s, kernel_shape %s", c.in(0), kernel)
	}
	win, err := c.window(kernel)
	if err != nil {
		return err
	}
	out := Shape{in[0], in[1]}
	for i, size := range in[2:] {
		d, err := c.slide(win, i, size)
		if err != nil {
			return err
		}
		out = append(out, d)
	}
	c.set(0, c.elem(0), out)
	c.set(1, Int64, out)
	return nil
}

func inferGlobalPool(c *nodeInference) error {
	in, err := c.rank(0, 2)
	if err != nil {
		return err
	}
	out := Shape{in[0], in[1]}
	for range in[2:] {
		out = append(out, Known(1))
	}
	c.set(0, c.elem(0), out)
	return nil
}

func inferMaxRoiPool(c *nodeInference) error {
	in, err := c.rank(0, 4)
	if err != nil {
		return err
	}
	rois, err := c.rank(1, 1)
	if err != nil {
		return err
	}
	c.set(0, c.elem(0), append(Shape{rois[0], in[1]}, ShapeOf(c.n.Ints("pooled_shape")...)...))
	return nil
}

func inferDepthToSpace(c *nodeInference) error {
	in, err := c.rank(0, 4)
	if err != nil {
		return err
	}
	b := c.n.Int("blocksize", 0)
	if b <= 0 || b > 1<<15 || in[1].IsKnown() && in[1].Value%(b*b) != 0 {
		return c.fail("input %s: %s channels are not a multiple of the squared blocksize %d", c.in(0), in[1], b)
	}
	c.set(0, c.elem(0), Shape{in[0], in[1].poly().quotient(constant(b * b)).dim(), in[2].poly().times(b).dim(), in[3].poly().times(b).dim()})
	return nil
}

func inferSpaceToDepth(c *nodeInference) error {
	in, err := c.rank(0, 4)
	if err != nil {
		return err
	}
	b := c.n.Int("blocksize", 0)
	if b <= 0 || b > 1<<15 {
		return c.fail("blocksize %d", b)
	}
	for _, d := range in[2:] {
		if d.IsKnown() && d.Value%b != 0 {
			return c.fail("input %s: size %s is not a multiple of the blocksize %d", c.in(0), d, b)
		}
	}
	// The operator asks for a multiple of the blocksize, so the floor is exact.
	part := func(d Dim) Dim { return d.poly().quotient(constant(b)).floor().dim() }
	c.set(0, c.elem(0), Shape{in[0], in[1].poly().times(b * b).dim(), part(in[2]), part(in[3])})
	return nil
}

// inferResize covers Upsample (scales as attribute or input 1) and Resize of
// opset 10 (scales as input 1) and later (roi, scales, sizes, axes).
func inferResize(c *nodeInference) error {
	in, err := c.rank(0, 0)
	if err != nil {
		c.set(0, c.elem(0), nil)
		return err
	}
	out := make(Shape, len(in))
	for i := range out {
		out[i] = Unknown
	}
	c.set(0, c.elem(0), out)
	axes := make([]int, len(in))
	for i := range axes {
		axes[i] = i
	}
	if list := c.n.Ints("axes"); len(list) > 0 {
		copy(out, in)
		axes = axes[:0]
		for _, a := range list {
			at, err := c.axis(a, len(in))
			if err != nil {
				return err
			}
			axes = append(axes, at)
		}
	}
	scaleInput := 1
	if c.n.Op == "Resize" && len(c.n.Inputs) > 2 {
		scaleInput = 2
	}
	if c.n.Op == "Resize" && c.has(3) {
		return c.resizeTo(out, in, axes, c.content(3))
	}
	scales := c.floats("scales", scaleInput)
	elems := c.content(scaleInput)
	if scales != nil {
		elems = contentFrom(scales)
	}
	if elems != nil && len(elems) != len(axes) {
		return c.fail("%d scales for input %s", len(elems), c.in(0))
	}
	crop := c.n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize"
	for i, a := range axes {
		switch {
		case elems == nil || crop:
			out[a] = Unknown
		case elems[i] != nil:
			out[a] = in[a].poly().mul(elems[i]).floor().dim()
		case scales != nil && in[a].IsKnown():
			out[a] = Known(max(0, int64(scales[i]*float32(in[a].Value)))) // as runtimes round
		default:
			out[a] = Unknown
		}
	}
	return nil
}

func (c *nodeInference) resizeTo(out, in Shape, axes []int, sizes content) error {
	if sizes != nil && len(sizes) != len(axes) {
		return c.fail("%d sizes for input %s", len(sizes), c.in(0))
	}
	stretch := c.n.Str("keep_aspect_ratio_policy", "stretch") == "stretch"
	known, ok := sizes.ints()
	for i, a := range axes {
		out[a] = Unknown
		if sizes != nil && stretch {
			out[a] = sizes[i].dim()
		}
	}
	if stretch || !ok {
		return nil
	}
	scale := float32(-1)
	for i, a := range axes {
		if !in[a].IsKnown() || in[a].Value == 0 {
			return nil
		}
		s := float32(known[i]) / float32(in[a].Value)
		larger := c.n.Str("keep_aspect_ratio_policy", "") == "not_larger"
		if scale < 0 || larger == (s < scale) {
			scale = s
		}
	}
	for _, a := range axes {
		out[a] = Known(int64(scale*float32(in[a].Value) + 0.5))
	}
	return nil
}

// floats returns a float attribute, or else the constant elements of input i.
func (c *nodeInference) floats(name string, i int) []float32 {
	if a := c.n.Attr(name); a != nil {
		v, _ := a.Value.([]float32)
		return v
	}
	if v := c.n.Input(i); v != nil && v.Const != nil && v.Const.Check() == nil {
		f, _ := v.Const.Float32s()
		return f
	}
	return nil
}

func inferGridSample(c *nodeInference) error {
	in, err := c.rank(0, 3)
	if err != nil {
		return err
	}
	grid, err := c.rank(1, 3)
	if err != nil {
		return err
	}
	c.set(0, c.elem(0), append(Shape{in[0], in[1]}, grid[1:len(grid)-1]...))
	return nil
}

func inferAffineGrid(c *nodeInference) error {
	size := c.content(1).dims()
	if len(size) < 3 {
		return errNotInferred
	}
	out := append(Shape{size[0]}, size[2:]...)
	c.set(0, c.elem(0), append(out, Known(int64(len(size)-2))))
	return nil
}

func inferBatchNormalization(c *nodeInference) error {
	c.set(0, c.elem(0), c.shape(0))
	if in, scale := c.shape(0), c.shape(1); len(in) > 1 && len(scale) == 1 && c.n.Int("spatial", 1) != 0 {
		if _, ok := unify(in[1], scale[0]); !ok {
			return c.fail("input %s has %s channels, scale has %s", c.in(0), in[1], scale[0])
		}
	}
	for i := 1; i < len(c.n.Outputs); i++ {
		c.set(i, c.elem(min(i, 3)+1), c.shape(1))
	}
	return nil
}
