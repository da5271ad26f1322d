package passes

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// widenChannels gives the feature maps of a quantized graph channels of zeros until
// their number is one that the target's integer convolutions are fast on. All values stay what
// they are: weights have zeros for the new channels, and who cannot take them reads a Slice.
// Types must be inferred.
func widenChannels(g *onnx.Graph, t *target.Target) {
	if t.Channels.Multiple < 2 || !isOrdered(g) {
		return
	}
	w := &widener{g: g, channels: t.Channels, sets: map[*onnx.Value]*channelSet{}, sliced: map[*onnx.Value]*onnx.Value{}}
	w.join()
	for _, n := range slices.Clone(g.Nodes) {
		w.rewrite(n)
	}
	for v, s := range w.sets {
		if layout := w.layout(s); !isPlain(layout, s.count) {
			v.Type.Shape = slices.Clone(v.Type.Shape)
			v.Type.Shape[1].Value = int64(len(layout))
		}
	}
}

type widener struct {
	g        *onnx.Graph
	channels target.Channels
	sets     map[*onnx.Value]*channelSet
	sliced   map[*onnx.Value]*onnx.Value // values without the channels added
}

// channelSet are values whose channels element-wise nodes tie to each other.
type channelSet struct {
	values      []*onnx.Value
	count       int          // of channels
	fixed       bool         // nothing can be added
	read, made  bool         // by integer convolutions
	joined, odd bool         // a Concat has it as a part, which begins with an odd channel
	foreign     bool         // what reads it can take a Slice only
	wholes      []*onnx.Node // the Concats that make one of its values
	layout      []int        // of each channel the one it was, -1 for zeros; nil: not known yet
}

// join finds the sets.
func (w *widener) join() {
	add := func(v *onnx.Value) {
		if v != nil && v.Const == nil && channelsOf(v) > 0 {
			w.sets[v] = &channelSet{values: []*onnx.Value{v}, count: int(channelsOf(v)), fixed: v.IsInput() || v.IsOutput()}
		}
	}
	for _, v := range w.g.Inputs {
		add(v)
	}
	for _, n := range w.g.Nodes {
		for _, v := range n.Outputs {
			add(v)
		}
	}
	for _, n := range w.g.Nodes {
		switch known := widenable(n) || isChannelConcat(n) || w.ties(n); {
		case n.Is("Shape"):
			if s := w.sets[n.Inputs[0]]; s != nil && !w.channelsUnseen(n) {
				s.fixed = true
			}
		case !known:
			w.leave(n)
		}
	}
	for _, n := range slices.Backward(w.g.Nodes) { // nothing comes between a convolution and its codes
		if s := w.sets[n.Outputs[0]]; s != nil && s.fixed && n.Is("DequantizeLinear", "Clip", "QuantizeLinear") && w.sets[n.Inputs[0]] != nil {
			w.sets[n.Inputs[0]].fixed = true
		}
	}
	for _, n := range w.g.Nodes {
		in, out := w.sets[n.Input(0)], w.sets[n.Outputs[0]]
		switch {
		case widenable(n):
			integer := n.Inputs[1].Const == nil
			if in != nil {
				in.read = in.read || integer
			}
			if out != nil {
				out.made = out.made || integer
			}
		case isChannelConcat(n) && out != nil:
			out.wholes = append(out.wholes, n)
			w.keepPairs(n)
		case w.ties(n):
			values := append([]*onnx.Value{n.Outputs[0]}, n.Inputs...)
			if slices.ContainsFunc(values, func(v *onnx.Value) bool { return w.sets[v] != nil && w.sets[v].fixed }) {
				w.leave(n)
				continue
			}
			for _, v := range n.Inputs {
				w.union(n.Outputs[0], v)
			}
		}
	}
}

// keepPairs lets parts of a Concat that begin with an odd channel begin with a zero: weights of
// channels 2i and 2i+1 are bounded together (target.Weights.PairSum), and others must not meet.
func (w *widener) keepPairs(n *onnx.Node) {
	odd := false
	for _, v := range n.Inputs {
		s := w.sets[v]
		if s == nil {
			return
		}
		if s.joined && s.odd != odd {
			s.fixed = true
		}
		s.odd, s.joined = odd, true
		odd = odd != (s.count%2 == 1)
	}
}

// leave keeps a node as it is.
func (w *widener) leave(n *onnx.Node) {
	for _, v := range n.Inputs {
		if s := w.sets[v]; s != nil {
			s.foreign = true
		}
	}
	for _, v := range n.Outputs {
		if s := w.sets[v]; s != nil {
			s.fixed = true
		}
	}
}

func (w *widener) union(a, b *onnx.Value) {
	to, from := w.sets[a], w.sets[b]
	if to == nil || from == nil || to == from {
		return
	}
	to.values = append(to.values, from.values...)
	to.wholes = append(to.wholes, from.wholes...)
	if from.joined {
		to.fixed = to.fixed || to.joined && to.odd != from.odd
		to.joined, to.odd = true, from.odd
	}
	to.fixed, to.foreign = to.fixed || from.fixed, to.foreign || from.foreign
	to.read, to.made = to.read || from.read, to.made || from.made
	for _, v := range from.values {
		w.sets[v] = to
	}
}

// ties reports whether a node computes each channel of its output from those with the
// same number: then zeros stay out of the others.
func (w *widener) ties(n *onnx.Node) bool {
	out := w.sets[n.Outputs[0]]
	if out == nil || len(n.Outputs) != 1 || w.sets[n.Input(0)] == nil && !n.Is("Add", "Mul", "Sub") {
		return false
	}
	switch {
	case n.Is("QuantizeLinear", "DequantizeLinear"):
		scale := n.Inputs[1].Const
		return scale != nil && len(scale.Shape) == 0
	case n.Is("Relu", "LeakyRelu", "Sigmoid", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity"):
	case n.Is("PRelu"):
		return channelConstant(n.Inputs[1], out.count)
	case n.Is("Resize"):
		return n.Input(2) != nil && n.Inputs[2].Const != nil || w.resizesAlike(n)
	case n.Is("Add", "Mul", "Sub"):
		for _, v := range n.Inputs {
			if s := w.sets[v]; v.Const == nil && (s == nil || s.count != out.count) || v.Const != nil && !channelConstant(v, out.count) {
				return false
			}
		}
	default:
		return false
	}
	return true
}

// channelConstant reports whether a constant is a number, or one for each channel.
func channelConstant(v *onnx.Value, channels int) bool {
	if v.Const == nil || v.Const.Type != onnx.Float {
		return false
	}
	elements, err := v.Const.Elements()
	shape := v.Const.Shape
	return err == nil && (elements == 1 || elements == int64(channels) && len(shape) >= 3 && shape[len(shape)-3] == elements)
}

// resizesAlike reports whether a Resize to sizes that are put together takes the number of
// channels from the shape of what it resizes.
func (w *widener) resizesAlike(n *onnx.Node) bool {
	sizes := n.Input(3)
	if sizes == nil || sizes.Producer == nil || !sizes.Producer.Is("Concat") {
		return false
	}
	first := sizes.Producer.Inputs[0].Producer
	if first == nil || !first.Is("Slice") || first.Inputs[0].Producer == nil || !first.Inputs[0].Producer.Is("Shape") {
		return false
	}
	from, to := int64(-1), int64(-1)
	for i, at := range []*int64{&from, &to} {
		if v := first.Input(1 + i); v != nil && v.Const != nil {
			if x, err := v.Const.Int64s(); err == nil && len(x) == 1 {
				*at = x[0]
			}
		}
	}
	return from == 0 && to == 2 && first.Inputs[0].Producer.Inputs[0] == n.Inputs[0]
}

// channelsUnseen reports whether the number of channels in a shape goes to Resizes of the
// same value alone.
func (w *widener) channelsUnseen(shape *onnx.Node) bool {
	return !slices.ContainsFunc(shape.Outputs[0].Uses(), func(u onnx.Use) bool {
		start := u.Node.Input(1)
		if !u.Node.Is("Slice", "Gather") || start == nil || start.Const == nil {
			return true
		}
		at, err := start.Const.Int64s()
		if err != nil || len(at) != 1 {
			return true
		}
		if at[0] >= 2 {
			return false
		}
		return slices.ContainsFunc(u.Node.Outputs[0].Uses(), func(u onnx.Use) bool {
			return !u.Node.Is("Concat") || slices.ContainsFunc(u.Node.Outputs[0].Uses(), func(u onnx.Use) bool {
				return !u.Node.Is("Resize") || u.Index != 3 || u.Node.Inputs[0] != shape.Inputs[0] || !w.resizesAlike(u.Node)
			})
		})
	})
}

// layout returns where the channels of a set come from.
func (w *widener) layout(s *channelSet) []int {
	if s.layout != nil {
		return s.layout
	}
	for c := range s.count {
		s.layout = append(s.layout, c)
	}
	if s.fixed {
		return s.layout
	}
	if len(s.wholes) > 0 {
		var layout []int
		for i, n := range s.wholes {
			of := w.concatenated(n)
			if of == nil || !keepsPairs(of) || i > 0 && !slices.Equal(layout, of) {
				return s.layout
			}
			layout = of
		}
		if !s.foreign {
			s.layout = layout
		}
		return s.layout
	}
	count := s.count
	if s.odd {
		if s.read || s.foreign {
			return s.layout
		}
		s.layout = slices.Insert(s.layout, 0, -1)
		count++
	}
	if s.made {
		count = max(count, w.channels.Outputs)
	}
	if s.made || s.read {
		count = (count + w.channels.Multiple - 1) / w.channels.Multiple * w.channels.Multiple
	}
	for len(s.layout) < count {
		s.layout = append(s.layout, -1)
	}
	return s.layout
}

// concatenated returns the layout that those of its parts give a Concat, nil where one has none.
func (w *widener) concatenated(n *onnx.Node) (layout []int) {
	at := 0
	for _, v := range n.Inputs {
		s := w.sets[v]
		if s == nil {
			return nil
		}
		for _, c := range w.layout(s) {
			if c >= 0 {
				c += at
			}
			layout = append(layout, c)
		}
		at += s.count
	}
	return layout
}

// keepsPairs reports whether channels that stand together at 2i and 2i+1 did so before.
func keepsPairs(layout []int) bool {
	for i := 0; i+1 < len(layout); i += 2 {
		if a, b := layout[i], layout[i+1]; a >= 0 && b >= 0 && (a%2 != 0 || b != a+1) {
			return false
		}
	}
	return true
}

// isPlain reports whether a layout is that of the channels there were.
func isPlain(layout []int, channels int) bool {
	for i, c := range layout {
		if i != c {
			return false
		}
	}
	return len(layout) == channels
}

// layoutOf is layout for any value; nil where nothing changes.
func (w *widener) layoutOf(v *onnx.Value) []int {
	s := w.sets[v]
	if s == nil {
		return nil
	}
	if layout := w.layout(s); !isPlain(layout, s.count) {
		return layout
	}
	return nil
}

// rewrite lets a node read and give the channels of the layouts.
func (w *widener) rewrite(n *onnx.Node) {
	if len(n.Outputs) == 0 || n.Is("Shape") {
		return
	}
	in, out := w.layoutOf(n.Input(0)), w.layoutOf(n.Outputs[0])
	if widenable(n) {
		widenConv(n, in, out)
		return
	}
	if out == nil { // whatever it is, it knows the channels there were
		for i, v := range n.Inputs {
			if v != nil && w.layoutOf(v) != nil {
				n.SetInput(i, w.without(n, v))
			}
		}
		return
	}
	for i, v := range n.Inputs {
		if v != nil && v.Const != nil && v.Const.Type == onnx.Float && len(v.Const.Shape) >= 3 {
			if axis := len(v.Const.Shape) - 3; v.Const.Shape[axis] > 1 {
				n.SetInput(i, w.g.AddInitializer(w.g.UniqueName(v.Name+"_wide"), spreadChannels(v.Const, axis, out, false)))
			}
		}
	}
}

// without returns v as it was, for a node that cannot take more.
func (w *widener) without(n *onnx.Node, v *onnx.Value) *onnx.Value {
	if y := w.sliced[v]; y != nil {
		return y
	}
	from := int64(slices.Index(w.layoutOf(v), 0))
	bound := func(name string, x int64) *onnx.Value {
		name = fmt.Sprintf("daq_%s_%d", name, x)
		if c := w.g.Value(name); c != nil {
			return c
		}
		return w.g.AddInitializer(name, onnx.Int64s(x))
	}
	slice := insertBefore(n, "Slice", v.Name+"_channels", v.Type, []*onnx.Value{v, bound("channel", from), bound("channel", from+channelsOf(v)), bound("axis", 1)})
	w.sliced[v] = slice
	return slice
}

// widenable reports whether a node is a convolution that channels can be added to: of one
// group, with constants that are float or have a DequantizeLinear behind them.
func widenable(n *onnx.Node) bool {
	if !n.Is("Conv") || n.Int("group", 1) != 1 || n.Input(2) != nil && constantOf(n.Inputs[2]) == nil {
		return false
	}
	w := constantOf(n.Inputs[1])
	return w != nil && len(w.Shape) == 4 && w.Type.Bits() >= 8
}

// constantOf returns a constant, or the codes of one that DequantizeLinear makes of
// constants, with a scale for each output channel.
func constantOf(v *onnx.Value) *onnx.Tensor {
	if v.Const != nil {
		return v.Const
	}
	dq := v.Producer
	if dq == nil || !dq.Is("DequantizeLinear") || dq.Int("axis", 1) != 0 || dq.Int("block_size", 0) != 0 || len(v.Uses()) != 1 || v.IsOutput() {
		return nil
	}
	for _, c := range dq.Inputs {
		if c == nil || c.Const == nil {
			return nil
		}
	}
	return dq.Inputs[0].Const
}

// widenConv gives a convolution zeros for the channels that a layout adds.
func widenConv(n *onnx.Node, in, out []int) {
	if in == nil && out == nil {
		return
	}
	for i, v := range n.Inputs[1:] {
		if v == nil {
			continue
		}
		at, input := n, 1+i // where the constant is read
		if v.Const == nil {
			at, input = v.Producer, 0
			for k := 1; out != nil && k < len(at.Inputs); k++ {
				if p := at.Inputs[k].Const; len(p.Shape) == 1 {
					at.SetInput(k, n.Graph().AddInitializer(n.Graph().UniqueName(at.Inputs[k].Name+"_wide"), spreadChannels(p, 0, out, true)))
				}
			}
		}
		t := at.Inputs[input].Const
		if out != nil {
			t = spreadChannels(t, 0, out, false)
		}
		if in != nil && i == 0 {
			t = spreadChannels(t, 1, in, false)
		}
		setConstant(at, input, at.Inputs[input].Name, t)
		if at != n {
			at.Outputs[0].Type.Shape = onnx.ShapeOf(t.Shape...)
		}
	}
}

// spreadChannels moves the slices of a tensor along an axis to the places of a layout; what is
// added is zero, or a copy of the first.
func spreadChannels(t *onnx.Tensor, axis int, layout []int, copies bool) *onnx.Tensor {
	shape := slices.Clone(t.Shape)
	shape[axis] = int64(len(layout))
	size := t.Type.Bits() / 8
	for _, d := range shape[axis+1:] {
		size *= int(d)
	}
	rows := 1
	for _, d := range shape[:axis] {
		rows *= int(d)
	}
	data := make([]byte, rows*len(layout)*size)
	old := int(t.Shape[axis])
	for r := range rows {
		for to, from := range layout {
			if from < 0 && copies {
				from = 0
			}
			if from >= 0 {
				copy(data[(r*len(layout)+to)*size:][:size], t.Data[(r*old+from)*size:])
			}
		}
	}
	return onnx.NewTensorBytes(t.Type, shape, data)
}
