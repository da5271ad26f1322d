package runtime

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/onnx"
)

func init() {
	registerBlocked("Resize", 10, resize)
	registerBlocked("Upsample", 7, resize)
	registerBlocked(Domain+".Resize", 1, resize)
}

// ResizeWindow is the operator daq.runtime.Resize on a part of a picture: inputs
// and attributes of Resize (opset 13), for the sizes of the whole, and as input 4
// an int64[2,4] that says for height and width: the size of the whole input, where
// the part begins in it, where the output begins in the whole output, and its
// size.
const ResizeWindow = "Resize"

// resize interpolates every dimension whose size changes, one after the other
// (ONNX operator Resize). Linear and cubic weights are separable, so that is
// the definition up to rounding.
func resize(s *site) (kernel, error) {
	r := resizer{
		mode: s.Str("mode", "nearest"), transform: s.Str("coordinate_transformation_mode", "half_pixel"),
		nearest: s.Str("nearest_mode", "round_prefer_floor"), cubicA: float64(s.Float("cubic_coeff_a", -0.75)),
		exclude: s.Int("exclude_outside", 0) != 0, antialias: s.Int("antialias", 0) != 0,
		extrapolation: s.Float("extrapolation_value", 0), axes: s.ints("axes"), policy: s.Str("keep_aspect_ratio_policy", "stretch"),
	}
	roiAt, scalesAt, sizesAt := 1, 2, 3
	if s.Domain != Domain && (s.opset < 11 || s.Op == "Upsample") {
		// Upsample and the first Resize: asymmetric coordinates, rounded down.
		r.transform, r.nearest, roiAt, scalesAt, sizesAt = "asymmetric", "floor", -1, 1, -1
		if r.mode == "bilinear" {
			r.mode = "linear"
		}
	}
	attribute := s.Floats("scales")
	switch r.mode {
	case "nearest", "linear", "cubic":
	default:
		return nil, fmt.Errorf("mode %q is not known", r.mode)
	}
	return func(c *call) error {
		in, err := c.need(0)
		if err != nil {
			return err
		}
		scales := attribute
		if t := c.input(scalesAt); t != nil && t.Len() > 0 {
			if _, scales, err = c.floats(scalesAt); err != nil {
				return err
			}
		}
		var sizes []int
		if sizesAt >= 0 && c.input(sizesAt) != nil && c.input(sizesAt).Len() > 0 {
			if sizes, err = c.ints(sizesAt); err != nil {
				return err
			}
		}
		var roi []float64
		if r.transform == "tf_crop_and_resize" {
			t, err := c.need(roiAt)
			if err != nil {
				return err
			}
			f := toFloat64(t)
			if f == nil {
				return typeError(roiAt, t)
			}
			roi = f.Data.([]float64)
		}
		var part []int
		if s.Domain == Domain {
			if part, err = c.ints(4); err != nil || len(part) != 8 || len(in.Shape) != 4 {
				return fmt.Errorf("the part of %s is given by %d numbers, want 8: %w", in, len(part), err)
			}
		}
		return r.run(c, in, scales, sizes, roi, part)
	}, nil
}

type resizer struct {
	mode, transform, nearest, policy string
	cubicA                           float64
	exclude, antialias               bool
	extrapolation                    float32
	axes                             []int
}

// dimension is the resizing of one dimension. have elements of the input, from
// first on, become count elements of the output, from start on: all of them,
// except in ResizeWindow.
type dimension struct {
	in, out      int
	scale        float64
	begin, end   float64 // region of interest, in parts of the input
	first, have  int
	start, count int
}

// index returns where element i of the whole input is; beyond its ends the last
// ones count.
func (d dimension) index(i int) int {
	return min(max(min(max(i, 0), d.in-1)-d.first, 0), d.have-1)
}

// dimensions works out the sizes and scales.
func (r resizer) dimensions(in *Tensor, scales []float32, sizes []int, roi []float64) ([]dimension, error) {
	rank := len(in.Shape)
	axes := r.axes
	if axes == nil {
		for i := range rank {
			axes = append(axes, i)
		}
	}
	dims := make([]dimension, rank)
	for i, d := range in.Shape {
		dims[i] = dimension{in: d, out: d, scale: 1, end: 1}
	}
	n := len(axes)
	if sizes == nil && len(scales) != n || sizes != nil && len(sizes) != n || roi != nil && len(roi) != 2*n {
		return nil, fmt.Errorf("%d scales, %d sizes and %d bounds of the region for %d dimensions", len(scales), len(sizes), len(roi), n)
	}
	common := math.NaN() // scale of all dimensions when the aspect ratio is kept
	for i, a := range axes {
		at, err := axisOf(a, rank)
		if err != nil {
			return nil, err
		}
		d := &dims[at]
		if roi != nil {
			d.begin, d.end = roi[i], roi[n+i]
		}
		if sizes == nil {
			d.scale = float64(scales[i])
			length := float64(d.in)
			if roi != nil {
				length *= d.end - d.begin
			}
			size := math.Floor(length*d.scale + 1e-9)
			if !(size >= 0 && size <= math.MaxInt32) || !(d.scale > 0) {
				return nil, fmt.Errorf("scale %v is out of range", scales[i])
			}
			d.out = int(size)
			continue
		}
		if sizes[i] < 0 || sizes[i] > math.MaxInt32 {
			return nil, fmt.Errorf("size %d is out of range", sizes[i])
		}
		d.out = sizes[i]
		d.scale = float64(d.out) / float64(d.in)
		if common != common || r.policy == "not_larger" && d.scale < common || r.policy == "not_smaller" && d.scale > common {
			common = d.scale
		}
	}
	if sizes != nil && r.policy != "stretch" {
		for _, a := range axes {
			at, _ := axisOf(a, rank)
			dims[at].scale = common
			dims[at].out = int(math.Floor(float64(dims[at].in)*common + 0.5))
		}
	}
	for i := range dims {
		d := &dims[i]
		if d.in == 0 && d.out > 0 {
			return nil, fmt.Errorf("%s has an empty dimension", in)
		}
		d.have, d.count = d.in, d.out
	}
	return dims, nil
}

// partial works out the dimensions of a part of the input (ResizeWindow).
func (r resizer) partial(in *Tensor, scales []float32, sizes []int, part []int) ([]dimension, error) {
	whole := &Tensor{Type: in.Type, Shape: []int{in.Shape[0], in.Shape[1], part[0], part[4]}}
	dims, err := r.dimensions(whole, scales, sizes, nil)
	if err != nil {
		return nil, err
	}
	for axis := range 2 {
		d, p := &dims[2+axis], part[4*axis:]
		d.first, d.start, d.count, d.have = p[1], p[2], p[3], in.Shape[2+axis]
		if d.first < 0 || d.start < 0 || d.count < 0 || d.have < 1 || d.start+d.count > d.out {
			return nil, fmt.Errorf("part %v does not fit %s", part, in)
		}
	}
	return dims, nil
}

func (r resizer) run(c *call, in *Tensor, scales []float32, sizes []int, roi []float64, part []int) error {
	dims, err := r.dimensions(in, scales, sizes, roi)
	if part != nil {
		dims, err = r.partial(in, scales, sizes, part)
	}
	if err != nil {
		return err
	}
	shape := make([]int, len(dims))
	for i, d := range dims {
		shape[i] = d.count
	}
	if in.blocked && len(dims) == 4 && shape[0] == in.Shape[0] && shape[1] == in.Shape[1] && r.transform != "tf_crop_and_resize" {
		return r.runBlocked(c, in, dims)
	}
	if in, err = c.inLayout(in, false); err != nil {
		return err
	}
	// Reserved before anything is computed, so that an absurd size ends here.
	out, err := c.new(0, in.Type, shape)
	if err != nil || out.Len() == 0 {
		return err
	}
	if r.mode == "nearest" {
		table := make([][]int, len(dims))
		for i, d := range dims {
			table[i] = make([]int, d.count)
			for x := range table[i] {
				at, outside := r.source(d, d.start+x)
				table[i][x] = d.index(r.nearestIndex(at, d.in))
				if outside {
					table[i][x] = -1
				}
			}
		}
		value, err := New(in.Type)
		if err != nil {
			return err
		}
		if in.Type != onnx.String {
			if err := fill(value, float64(r.extrapolation)); err != nil {
				return err
			}
		}
		return c.gatherTable(out, in, table, value)
	}
	// Interpolate in float32, from the last dimension to the first.
	src := in
	if in.Type != onnx.Float {
		if src, err = c.scratch(onnx.Float, in.Shape...); err != nil {
			return err
		}
		defer c.release(src)
		if err := convertInto(src, in, true); err != nil {
			return err
		}
	}
	dst := out
	if in.Type != onnx.Float {
		if dst, err = c.scratch(onnx.Float, shape...); err != nil {
			return err
		}
		defer c.release(dst)
	}
	if err := r.interpolate(c, dst, src, dims); err != nil {
		return err
	}
	if dst == out {
		return nil
	}
	if in.Type != onnx.Double && in.Type != onnx.Float {
		f := dst.Data.([]float32)
		for i, x := range f {
			f[i] = float32(math.RoundToEven(float64(x)))
		}
	}
	return convertInto(out, dst, true)
}

// source returns the coordinate in the input of index x of the output, and
// whether it is outside the input (tf_crop_and_resize only).
func (r resizer) source(d dimension, x int) (at float64, outside bool) {
	i, n := float64(x), float64(d.out)
	if d.in == d.out && d.scale == 1 && r.transform != "tf_crop_and_resize" {
		return i, false
	}
	switch r.transform {
	case "asymmetric":
		return i / d.scale, false
	case "align_corners": // with the size of the output in whole numbers, as PyTorch and ONNX Runtime
		if d.out == 1 {
			return 0, false
		}
		return i * float64(d.in-1) / (n - 1), false
	case "pytorch_half_pixel":
		if d.out == 1 {
			return 0, false
		}
	case "tf_half_pixel_for_nn":
		return (i + 0.5) / d.scale, false
	case "half_pixel_symmetric":
		// The output is as if cut from the middle of an exact one.
		exact := d.scale * float64(d.in)
		return float64(d.in)/2*(1-n/exact) + (i+0.5)/d.scale - 0.5, false
	case "tf_crop_and_resize":
		last := float64(d.in - 1)
		if d.out > 1 {
			at = d.begin*last + i*(d.end-d.begin)*last/(n-1)
		} else {
			at = 0.5 * (d.begin + d.end) * last
		}
		return at, at < 0 || at > last
	}
	return (i+0.5)/d.scale - 0.5, false
}

func (r resizer) nearestIndex(at float64, n int) int {
	var i float64
	switch r.nearest {
	case "floor":
		i = math.Floor(at)
	case "ceil":
		i = math.Ceil(at)
	case "round_prefer_ceil":
		i = math.Floor(at + 0.5)
	default:
		i = math.Ceil(at - 0.5)
	}
	return min(max(int(i), 0), n-1)
}

// taps are the weights of the input elements that make one output element; the
// table of a dimension has as many for each.
type taps struct {
	n       int // for each output element
	index   []int
	weight  []float32
	outside []bool
}

func (r resizer) taps(d dimension) taps {
	support := 1.0 // radius of the kernel
	if r.mode == "cubic" {
		support = 2
	}
	stretch := 1.0
	if r.antialias && d.scale < 1 {
		stretch = 1 / d.scale
	}
	n := 2 * int(math.Ceil(support*stretch))
	if r.antialias && stretch > 1 {
		n += 2
	}
	t := taps{n: n, index: make([]int, n*d.count), weight: make([]float32, n*d.count), outside: make([]bool, d.count)}
	weights := make([]float64, n)
	for x := range d.count {
		at, outside := r.source(d, d.start+x)
		t.outside[x] = outside
		base := int(math.Floor(at)) - n/2 + 1
		var sum float64
		for k := range n {
			i := base + k
			weights[k] = r.kernel((at - float64(i)) / stretch)
			if r.exclude && (i < 0 || i >= d.in) {
				weights[k] = 0
			}
			sum += weights[k]
			t.index[x*n+k] = d.index(i)
		}
		for k, w := range weights {
			if sum != 0 {
				w /= sum
			}
			t.weight[x*n+k] = float32(w)
		}
	}
	return t
}

// kernel is the weight of an element at distance x: a triangle, or Keys' cubic
// convolution.
func (r resizer) kernel(x float64) float64 {
	x = math.Abs(x)
	if r.mode == "linear" {
		return max(0, 1-x)
	}
	a := r.cubicA
	switch {
	case x <= 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return ((a*x-5*a)*x+8*a)*x - 4*a
	}
	return 0
}

func (r resizer) interpolate(c *call, dst, src *Tensor, dims []dimension) error {
	tables := make([]taps, len(dims))
	var active []int
	for i, d := range slices.Backward(dims) {
		if d.in != d.out || d.scale != 1 || d.have != d.count || r.transform == "tf_crop_and_resize" {
			tables[i] = r.taps(d)
			active = append(active, i)
		}
	}
	cur := src
	for k, axis := range active {
		next := dst
		if k < len(active)-1 {
			shape := slices.Clone(cur.Shape)
			shape[axis] = dims[axis].count
			t, err := c.scratch(onnx.Float, shape...)
			if err != nil {
				return err
			}
			next = t
		}
		if err := c.applyTaps(next.Data.([]float32), cur.Data.([]float32), tables[axis], dims[axis], product(cur.Shape[axis+1:])); err != nil {
			return err
		}
		if cur != src {
			c.release(cur)
		}
		cur = next
	}
	if len(active) == 0 {
		copyBlock(dst, 0, src, 0, src.Len())
	}
	if r.transform != "tf_crop_and_resize" {
		return nil
	}
	d, s := dst.Data.([]float32), strides(dst.Shape)
	for i := range d {
		for _, axis := range active {
			if tables[axis].outside[i/s[axis]%dst.Shape[axis]] {
				d[i] = r.extrapolation
			}
		}
	}
	return nil
}

// applyTaps resizes one dimension; inner is the product of those behind it.
func (c *call) applyTaps(dst, src []float32, t taps, d dimension, inner int) error {
	lines := len(dst) / (d.count * inner)
	if inner == 1 {
		return c.parallel(lines, grain/(d.count*t.n), func(lo, hi int) {
			for l := lo; l < hi; l++ {
				in, out := src[l*d.have:(l+1)*d.have], dst[l*d.count:(l+1)*d.count]
				for x := range out {
					var sum float32
					index, weight := t.index[x*t.n:(x+1)*t.n], t.weight[x*t.n:(x+1)*t.n]
					for k, i := range index {
						sum += float32(weight[k] * in[i])
					}
					out[x] = sum
				}
			}
		})
	}
	return c.parallel(lines*d.count, grain/(inner*t.n), func(lo, hi int) {
		for row := lo; row < hi; row++ {
			l, x := row/d.count, row%d.count
			out := dst[row*inner : (row+1)*inner]
			clear(out)
			for k := range t.n {
				w := t.weight[x*t.n+k]
				if w == 0 {
					continue
				}
				in := src[(l*d.have+t.index[x*t.n+k])*inner:][:inner]
				for i, v := range in {
					out[i] += float32(w * v)
				}
			}
		}
	})
}
