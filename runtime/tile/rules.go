package tile

import (
	"fmt"
	"math"

	"github.com/daq-sr/daq/onnx"
)

// rule says how an operator with a map among its inputs depends on it, or why it
// cannot be computed part by part.
type rule func(a *analysis, n *onnx.Node) (reach, error)

// rules are the operators that look at a part of the picture.
var rules = map[string]rule{
	"Conv": convolution(1), "ConvInteger": convolution(1), "QLinearConv": convolution(3), "ConvTranspose": transposed,
	"MaxPool": pool, "AveragePool": pool, "LpPool": pool,
	"DepthToSpace": depthToSpace, "SpaceToDepth": spaceToDepth,
	"Pad": pad, "Slice": crop, "Resize": resize, "Upsample": resize,
	"Concat": alongChannels(1, false), "Split": alongChannels(0, false), "Softmax": alongChannels(-1, true), "LogSoftmax": alongChannels(-1, true),
	"Gather": alongChannels(0, false), "QuantizeLinear": alongChannels(1, false), "DequantizeLinear": alongChannels(1, false),
	"Transpose":          transpose,
	"BatchNormalization": first, "LRN": first, "Identity": first, "Dropout": first, "Cast": first, "CastLike": first,
}

func init() {
	for _, op := range []string{
		"Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu",
		"HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink",
		"Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu", "BitwiseNot",
		"Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less",
		"LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "PRelu", "Sub", "Sum", "Where", "Xor",
	} {
		rules[op] = elementwise
	}
	for _, op := range []string{"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp"} {
		rules[op] = overChannels
	}
}

func same(_ int, out span) span { return out }

// first is for operators that treat each element of input 0 by itself; others are
// parameters.
func first(a *analysis, n *onnx.Node) (reach, error) {
	if f := a.fields(n); len(f) != 1 || f[0] != n.Inputs[0] {
		return reach{}, fmt.Errorf("a parameter depends on the place in the picture")
	}
	return reach{a.of(n.Inputs[0]).scale, same}, nil
}

// elementwise: maps must lie over each other, other operands be the same all over
// the picture.
func elementwise(a *analysis, n *onnx.Node) (reach, error) {
	maps := a.fields(n)
	at := a.of(maps[0])
	for _, v := range n.Inputs {
		if v == nil {
			continue
		}
		x := a.of(v)
		if x.kind == field {
			if x.scale != at.scale || x.size != at.size {
				return reach{}, fmt.Errorf("maps of different sizes meet")
			}
			continue
		}
		shape := v.Type.Shape
		if t := a.constant(v); t != nil {
			shape = onnx.ShapeOf(t.Shape...)
		}
		if shape == nil && v.Producer != nil {
			return reach{}, fmt.Errorf("the shape of operand %q is not known", v.Name)
		}
		for i := max(0, len(shape)-2); i < len(shape); i++ {
			if shape[i].Value != 1 {
				return reach{}, fmt.Errorf("operand %q is %s, made for one size of the picture", v.Name, v.Type)
			}
		}
	}
	return reach{at.scale, same}, nil
}

// alongChannels is for operators along one axis, which must not be one of the
// picture.
func alongChannels(missing int64, sinceNormal bool) rule {
	return func(a *analysis, n *onnx.Node) (reach, error) {
		if sinceNormal && a.opset < 13 {
			return reach{}, fmt.Errorf("before opset 13 the operator is over all further axes")
		}
		axis := n.Int("axis", missing)
		if axis < 0 {
			axis += 4
		}
		maps := a.fields(n)
		scale := a.of(maps[0]).scale
		for _, v := range maps {
			if a.of(v).scale != scale || a.of(v).size != a.of(maps[0]).size {
				return reach{}, fmt.Errorf("maps of different sizes meet")
			}
		}
		if n.Is("QuantizeLinear", "DequantizeLinear") {
			if s := n.Input(1).Type.Shape; len(maps) != 1 || n.Int("block_size", 0) != 0 || s == nil {
				return reach{}, fmt.Errorf("scales that depend on the place in the picture")
			} else if len(s) == 0 || len(s) == 1 && s[0].Value == 1 {
				axis = 1
			}
		}
		if n.Is("Gather") && (maps[0] != n.Inputs[0] || len(maps) != 1) || axis > 1 {
			return reach{}, fmt.Errorf("it works along the picture")
		}
		if n.Is("Concat") && len(maps) != len(n.Inputs) {
			for _, v := range n.Inputs {
				if a.of(v).kind != field {
					return reach{}, fmt.Errorf("input %q is made for one size of the picture", v.Name)
				}
			}
		}
		return reach{scale, same}, nil
	}
}

// overChannels is for reductions that leave the picture alone; those over all of
// it are statistics.
func overChannels(a *analysis, n *onnx.Node) (reach, error) {
	if n.Int("keepdims", 1) == 0 {
		return reach{}, fmt.Errorf("the result is no map [N,C,H,W]")
	}
	return first(a, n)
}

func transpose(a *analysis, n *onnx.Node) (reach, error) {
	if p := n.Ints("perm"); len(p) != 4 || p[2] != 2 || p[3] != 3 {
		return reach{}, fmt.Errorf("it turns the axes of the picture")
	}
	return first(a, n)
}

// geometry is a window that moves over a map.
type geometry struct{ kernel, stride, dilation, before int }

// window returns the window of a convolution or pool for one axis; pads are those
// of this picture where they follow from its size.
func window(a *analysis, n *onnx.Node, axis int, kernel []int64) geometry {
	get := func(name string, i, missing int) int {
		if list := n.Ints(name); i < len(list) {
			return int(list[i])
		}
		return missing
	}
	g := geometry{int(kernel[axis]), get("strides", axis, 1), get("dilations", axis, 1), get("pads", axis, 0)}
	total := max(0, (ceilDiv(a.of(n.Inputs[0]).size[axis], g.stride)-1)*g.stride+g.extent()-a.of(n.Inputs[0]).size[axis])
	switch n.Str("auto_pad", "NOTSET") {
	case "VALID":
		g.before = 0
	case "SAME_UPPER":
		g.before = total / 2
	case "SAME_LOWER":
		g.before = total - total/2
	}
	return g
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

func (g geometry) extent() int { return (g.kernel-1)*g.dilation + 1 }

func (g geometry) need(out span) span {
	return span{out.lo*g.stride - g.before, (out.hi-1)*g.stride - g.before + g.extent()}
}

func convolution(weights int) rule {
	return func(a *analysis, n *onnx.Node) (reach, error) {
		shape, ok := n.Input(weights).Type.Shape.Ints()
		if !ok || len(shape) != 4 {
			return reach{}, fmt.Errorf("the size of the weights is not known")
		}
		return sliding(a, n, shape[2:])
	}
}

func pool(a *analysis, n *onnx.Node) (reach, error) {
	kernel := n.Ints("kernel_shape")
	if len(kernel) != 2 || len(n.Outputs) > 1 && n.Outputs[1] != nil {
		return reach{}, fmt.Errorf("want a window of two dimensions, and no indices")
	}
	return sliding(a, n, kernel)
}

func sliding(a *analysis, n *onnx.Node, kernel []int64) (reach, error) {
	r, err := first(a, n)
	if err != nil {
		return r, err
	}
	var windows [2]geometry
	for axis := range windows {
		windows[axis] = window(a, n, axis, kernel)
		r.scale[axis] = r.scale[axis].times(1, windows[axis].stride)
	}
	if s := n.Str("auto_pad", "NOTSET"); s != "NOTSET" && s != "VALID" && (windows[0].stride != 1 || windows[1].stride != 1) {
		return r, fmt.Errorf("auto_pad %s with strides: the padding depends on the size of the picture", s)
	}
	r.need = func(axis int, out span) span { return windows[axis].need(out) }
	return r, nil
}

func transposed(a *analysis, n *onnx.Node) (reach, error) {
	r, err := first(a, n)
	if err != nil {
		return r, err
	}
	shape, ok := n.Input(1).Type.Shape.Ints()
	if pads := n.Str("auto_pad", "NOTSET"); !ok || len(shape) != 4 || n.Attr("output_shape") != nil || pads != "NOTSET" && pads != "VALID" {
		return r, fmt.Errorf("the padding depends on the size of the picture")
	}
	var windows [2]geometry
	for axis := range windows {
		windows[axis] = window(a, n, axis, shape[2:])
		r.scale[axis] = r.scale[axis].times(windows[axis].stride, 1)
	}
	r.need = func(axis int, out span) span {
		g := windows[axis]
		return span{floorDiv(out.lo+g.before-g.extent()+g.stride, g.stride), floorDiv(out.hi-1+g.before, g.stride) + 1}
	}
	return r, nil
}

func depthToSpace(a *analysis, n *onnx.Node) (reach, error) {
	r, err := first(a, n)
	b := int(n.Int("blocksize", 0))
	if err != nil || b < 1 {
		return r, err
	}
	for axis := range r.scale {
		r.scale[axis] = r.scale[axis].times(b, 1)
	}
	r.need = func(_ int, out span) span { return span{out.lo / b, ceilDiv(out.hi, b)} }
	return r, nil
}

func spaceToDepth(a *analysis, n *onnx.Node) (reach, error) {
	r, err := first(a, n)
	b := int(n.Int("blocksize", 0))
	if err != nil || b < 1 {
		return r, err
	}
	for axis := range r.scale {
		r.scale[axis] = r.scale[axis].times(1, b)
	}
	r.need = func(_ int, out span) span { return span{out.lo * b, out.hi * b} }
	return r, nil
}

func pad(a *analysis, n *onnx.Node) (reach, error) {
	r, err := first(a, n)
	if err != nil {
		return r, err
	}
	pads, axes := a.ints(n, "pads", 1), a.ints(n, "", 3)
	if axes == nil {
		axes = []int{0, 1, 2, 3}
	}
	if len(pads) != 2*len(axes) {
		return r, fmt.Errorf("the pads are not known")
	}
	var before, after [2]int
	for i, at := range axes {
		if at < 0 {
			at += 4
		}
		if at >= 2 && at < 4 {
			before[at-2], after[at-2] = pads[i], pads[len(axes)+i]
		}
	}
	mode := n.Str("mode", "constant")
	if mode == "wrap" && (before != [2]int{} || after != [2]int{}) {
		return r, fmt.Errorf("it brings the other end of the picture")
	}
	size := a.of(n.Inputs[0]).size
	r.need = func(axis int, out span) span {
		in := span{out.lo - before[axis], out.hi - before[axis]}
		last := size[axis] - 1
		switch mode {
		case "reflect": // what is outside mirrors what is inside
			in = span{min(in.lo, max(2*last-in.hi+1, 0)), max(in.hi, min(1-in.lo, last+1))}
		case "edge":
			in = span{min(in.lo, last), max(in.hi, 1)}
		}
		return in
	}
	return r, nil
}

// crop is a Slice. Its bounds along the picture are counted from the ends, which
// rewrite puts into the graph.
func crop(a *analysis, n *onnx.Node) (reach, error) {
	r, err := first(a, n)
	if err != nil {
		return r, err
	}
	starts, _, err := bounds(a, n)
	if err != nil {
		return r, err
	}
	r.need = func(axis int, out span) span { return span{out.lo + starts[axis], out.hi + starts[axis]} }
	return r, nil
}

// bounds returns what a Slice takes off at the begin and the end of height and
// width.
func bounds(a *analysis, n *onnx.Node) (begin, end [2]int, err error) {
	starts, ends, axes, steps := a.ints(n, "starts", 1), a.ints(n, "ends", 2), a.ints(n, "axes", 3), a.ints(n, "", 4)
	if axes == nil {
		for i := range starts {
			axes = append(axes, i)
		}
	}
	if starts == nil || len(starts) != len(ends) || len(starts) != len(axes) || steps != nil && len(steps) != len(axes) {
		return begin, end, fmt.Errorf("the bounds are not known")
	}
	size := a.of(n.Inputs[0]).size
	for i, at := range axes {
		if at < 0 {
			at += 4
		}
		if at < 2 {
			continue
		}
		d := size[at-2]
		from, to := starts[i], ends[i]
		if from < 0 {
			if from += d; from > 0 {
				return begin, end, fmt.Errorf("it begins at a distance from the end of the picture")
			}
		}
		if to < 0 {
			to += d
		}
		from, to = min(max(from, 0), d), min(max(to, 0), d)
		if steps != nil && steps[i] != 1 || to <= from {
			return begin, end, fmt.Errorf("it takes elements of the picture with steps, or none")
		}
		begin[at-2], end[at-2] = from, d-to
	}
	return begin, end, nil
}

// resize takes what the filter covers, with room for every coordinate mode.
func resize(a *analysis, n *onnx.Node) (reach, error) {
	r, err := first(a, n)
	if err != nil {
		return r, err
	}
	if n.Str("coordinate_transformation_mode", "") == "tf_crop_and_resize" {
		return r, fmt.Errorf("it takes a region of the picture")
	}
	shape, ok := n.Outputs[0].Type.Shape.Ints()
	if !ok || len(shape) != 4 {
		return r, fmt.Errorf("the size of the result is not known")
	}
	in := a.of(n.Inputs[0])
	picture := a.of(a.graph.Inputs[0]).size
	sized := n.Input(3) != nil
	var factor [2]float64
	for axis := range factor {
		out := int(shape[2+axis])
		factor[axis] = float64(out) / float64(in.size[axis])
		// A size that was computed is more likely meant as that of the picture: the
		// input may be a map whose size was rounded down.
		switch size := in.size[axis]; {
		case sized && out%picture[axis] == 0:
			r.scale[axis] = ratio{out / picture[axis], 1}
		case out%size == 0:
			r.scale[axis] = r.scale[axis].times(out/size, 1)
		case size%out == 0:
			r.scale[axis] = r.scale[axis].times(1, size/out)
		default:
			return r, fmt.Errorf("the size of the result is no multiple of that of the input or of the picture")
		}
	}
	support := 1.0
	if n.Str("mode", "nearest") == "cubic" {
		support = 2
	}
	r.need = func(axis int, out span) span {
		f := factor[axis]
		margin := support*max(1, 1/f) + 2 + math.Ceil(1/f)
		return span{int(math.Floor(float64(out.lo)/f - margin)), int(math.Ceil(float64(out.hi)/f+margin)) + 1}
	}
	return r, nil
}
