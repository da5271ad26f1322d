package passes

import (
	"math"
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// A picture consists of codes of 8 bits: quantized by steps of white/255 it loses
// nothing, and a convolution that reads it costs no more than its weights and its
// output do. So the first convolutions are computed in integers.

// PrepareStatic rewrites a simplified graph, in place, to what a static plan for the
// target is made of. The model computes what it did.
func PrepareStatic(m *onnx.Model, t *target.Target, l Layers) error {
	if err := Upgrade(m, max(t.MinOpset, m.Opset(""))); err != nil {
		return err
	}
	if err := onnx.Infer(m); err != nil {
		return err
	}
	if !t.Activations.Symmetric { // the convolution that makes the picture stays float else
		nearestLast(m.Graph)
		shuffleLast(m.Graph)
	}
	if err := poolMoments(m); err != nil {
		return err
	}
	gateBehind(m.Graph)
	readPixels(m.Graph, t, l)
	joinSkip(m, t, l)
	readPatches(m.Graph, t, l)
	splitSides(m, t, l)
	FreeSkip(m, t, l)
	return onnx.Infer(m)
}

// readPixels lets the convolutions that read a picture shifted by a mean, or scaled,
// read its pixels; weights and bias take shift and scale. What a convolution pads with is
// zero of the shifted picture, so its input is padded before it is shifted back. The
// last skip connection, which stays float, gets a float twin of what it reads. Types
// must be inferred.
func readPixels(g *onnx.Graph, t *target.Target, l Layers) {
	p := place(g, t, l)
	for _, n := range slices.Clone(g.Nodes) {
		if !p.fromPicture(n) || l.Exclude != nil && l.Exclude.MatchString(n.Label()) {
			continue
		}
		p.twin(n)
		if a, _ := shifted(n.Inputs[0]); !a.isIdentity() {
			shiftBack(n, a)
		}
	}
}

// fromPicture reports whether a node is a convolution that can read the pixels of a
// picture in integers.
func (p *placement) fromPicture(n *onnx.Node) bool {
	if !isPlainConv(n) || p.target.Activations.Symmetric || p.target.Form(n) != target.Integer || n.Str("auto_pad", "NOTSET") != "NOTSET" {
		return false
	}
	a, ok := shifted(n.Inputs[0])
	return ok && a.inRange() && p.seenByConv[n.Outputs[0]] && !isPicture(n.Outputs[0]) && !p.endsInSkip(n)
}

// twin gives the last skip connection its own copy of a convolution, and of the
// activation behind it, where others read that as well.
func (p *placement) twin(n *onnx.Node) {
	nodes, v := []*onnx.Node{n}, n.Outputs[0]
	if uses := v.Uses(); len(uses) == 1 && uses[0].Node.Is("Relu", "LeakyRelu", "PRelu") {
		nodes = append(nodes, uses[0].Node)
		v = uses[0].Node.Outputs[0]
	}
	for _, u := range v.Uses() {
		if u.Node != p.skip || len(v.Uses()) == 1 {
			continue
		}
		x := n.Inputs[0]
		for _, old := range nodes {
			out := old.Outputs[0]
			x = insertBefore(nodes[0], old.Op, out.Name+"_skip", out.Type, append([]*onnx.Value{x}, old.Inputs[1:]...), slices.Clone(old.Attrs)...)
		}
		u.Node.SetInput(u.Index, x)
	}
}

// shiftBack lets a convolution that reads x = scale*picture + offset read the picture.
func shiftBack(n *onnx.Node, a *affine) {
	g, x := n.Graph(), n.Inputs[0]
	channels := int64(len(a.scale))
	add := func(op, name string, inputs ...*onnx.Value) {
		node := g.NewNode(op, append([]*onnx.Value{x}, inputs...), []string{n.Label() + "_" + name})
		node.Name = node.Outputs[0].Name
		g.InsertBefore(n, node)
		x = node.Outputs[0]
	}
	constant := func(name string, t *onnx.Tensor) *onnx.Value { return g.AddInitializer(n.Label()+"_"+name, t) }
	pads := n.Ints("pads")
	if slices.ContainsFunc(pads, func(p int64) bool { return p != 0 }) {
		at := constant("pads", onnx.NewTensor(onnx.Int64, []int64{8}, []int64{0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]}))
		add("Pad", "padded", at)
	}
	n.RemoveAttr("pads")
	scale, offset := make([]float32, channels), make([]float32, channels)
	for c := range scale {
		scale[c], offset[c] = float32(1/a.scale[c]), float32(-a.offset[c]/a.scale[c])
	}
	if slices.ContainsFunc(scale, func(s float32) bool { return s != 1 }) {
		add("Mul", "scaled", constant("unscale", onnx.Floats([]int64{1, channels, 1, 1}, scale...)))
	}
	if slices.ContainsFunc(offset, func(o float32) bool { return o != 0 }) {
		add("Add", "pixels", constant("unshift", onnx.Floats([]int64{1, channels, 1, 1}, offset...)))
	}
	n.SetInput(0, x)
	weight := n.Inputs[1].Const
	old, _ := weight.Float32s()
	m := matrixOf(n, weight.Shape)
	data, bias := make([]float32, len(old)), make([]float32, m.outputs)
	if n.Input(2) != nil {
		b, _ := n.Inputs[2].Const.Float32s()
		copy(bias, b)
	}
	for o := range m.outputs {
		sum := float64(bias[o])
		for i := range m.inputs {
			w, c := float64(old[m.index(0, o, i)]), i/m.taps
			data[m.index(0, o, i)] = float32(w * a.scale[c])
			sum += w * a.offset[c]
		}
		bias[o] = float32(sum)
	}
	name := n.Label() + "_bias"
	if n.Input(2) != nil {
		name = n.Inputs[2].Name
	}
	setConstant(n, 1, n.Inputs[1].Name, onnx.NewTensor(onnx.Float, weight.Shape, data))
	setConstant(n, 2, name, onnx.Floats([]int64{int64(m.outputs)}, bias...))
}

// shifted returns how the value of a pixel anywhere in v comes of that of the picture
// of three colours which the graph reads, 8 bits a colour; false when it does not. A luma is not
// made of codes.
func shifted(v *onnx.Value) (*affine, bool) {
	if v.IsInput() {
		return newAffine(channelsOf(v)), v.Const == nil && v.Type.Elem == onnx.Float && channelsOf(v) == 3
	}
	n := v.Producer
	if n == nil || len(n.Inputs) == 0 || channelsOf(v) != 3 {
		return nil, false
	}
	if n.Is("Pad") { // with pixels, or with zeros
		if n.Input(0) == nil || !padsWithZero(n) || n.Input(3) != nil {
			return nil, false
		}
		return shifted(n.Inputs[0])
	}
	step := diagonal(n)
	if step == nil {
		step = constantAffine(n, 3, 4)
	}
	if step == nil || n.Input(operand(n)) == nil {
		return nil, false
	}
	a, ok := shifted(n.Inputs[operand(n)])
	if !ok {
		return nil, false
	}
	for c := range a.scale {
		a.scale[c] *= step.scale[c]
		a.offset[c] = a.offset[c]*step.scale[c] + step.offset[c]
	}
	return a, true
}

// diagonal returns what a convolution 1x1 that mixes no colours does.
func diagonal(n *onnx.Node) *affine {
	if !takesFactors(n) || n.Int("group", 1) != 1 || !slices.Equal(n.Inputs[1].Const.Shape, []int64{3, 3, 1, 1}) || slices.ContainsFunc(append(n.Ints("pads"), n.Ints("strides")...), func(x int64) bool { return x > 1 }) {
		return nil
	}
	w, _ := n.Inputs[1].Const.Float32s()
	a := newAffine(3)
	for i, x := range w {
		if i%4 == 0 {
			a.scale[i/4] = float64(x)
		} else if x != 0 {
			return nil
		}
	}
	if n.Input(2) != nil {
		b, _ := n.Inputs[2].Const.Float32s()
		for c := range a.offset {
			a.offset[c] = float64(b[c])
		}
	}
	return a
}

// isIdentity reports whether values stay on the grid of the pixels.
func (a *affine) isIdentity() bool {
	for c := range a.scale {
		if math.Abs(a.scale[c]-1) > 1e-5 || math.Abs(a.offset[c]) > 1e-4 {
			return false
		}
	}
	return true
}

// inRange reports whether zero, which convolutions pad with, is a colour that a picture can have.
func (a *affine) inRange() bool {
	for c := range a.scale {
		if zero := -a.offset[c] / a.scale[c]; !(a.scale[c] > 0 && zero >= 0 && zero <= 255) {
			return false
		}
	}
	return true
}

// isPixels reports whether a value is the picture that the graph reads.
func isPixels(v *onnx.Value) bool {
	a, ok := shifted(v)
	return ok && a.isIdentity()
}
