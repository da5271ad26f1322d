package passes

import "github.com/daq-sr/daq/onnx"

// ties tells which channels of which tensors must be divided by the same factor
// for the graph to stay what it is: those that a ReLU, an Add or a Concat joins.
// Convolutions, and a Mul by a constant for each channel, tie nothing: they take any
// factor, on both sides. A
// channel that a factor cannot pass is fixed to 1.
type ties struct {
	base   map[*onnx.Value]int // number of channel 0 of a feature map [N,C,H,W]
	parent []int
	fixed  []bool // of roots
}

// newTies reads the ties off a graph. Types must be inferred.
func newTies(g *onnx.Graph) *ties {
	t := &ties{base: map[*onnx.Value]int{}}
	for _, v := range g.Inputs {
		t.add(v)
	}
	for _, n := range g.Nodes {
		for _, v := range n.Outputs {
			t.add(v)
		}
	}
	for _, n := range g.Nodes {
		if !t.join(n) {
			for _, v := range append(append([]*onnx.Value{}, n.Inputs...), n.Outputs...) {
				t.fix(v)
			}
		}
		for _, sub := range n.Subgraphs() {
			t.fixInside(sub)
		}
	}
	for _, v := range append(append([]*onnx.Value{}, g.Inputs...), g.Outputs...) {
		t.fix(v)
	}
	return t
}

func (t *ties) add(v *onnx.Value) {
	if v == nil || v.Const != nil || len(v.Type.Shape) != 4 || channelsOf(v) <= 0 {
		return
	}
	t.base[v] = len(t.parent)
	for range channelsOf(v) {
		t.parent = append(t.parent, len(t.parent))
		t.fixed = append(t.fixed, false)
	}
}

// root returns the class of channel c of a value, -1 where the value has none.
func (t *ties) root(v *onnx.Value, c int) int {
	at, ok := t.base[v]
	if !ok {
		return -1
	}
	at += c
	for t.parent[at] != at {
		t.parent[at] = t.parent[t.parent[at]]
		at = t.parent[at]
	}
	return at
}

func (t *ties) fix(v *onnx.Value) {
	if _, ok := t.base[v]; ok {
		for c := range int(channelsOf(v)) {
			t.fixed[t.root(v, c)] = true
		}
	}
}

func (t *ties) fixInside(g *onnx.Graph) {
	for _, n := range g.Nodes {
		for _, v := range n.Inputs {
			t.fix(v)
		}
		for _, sub := range n.Subgraphs() {
			t.fixInside(sub)
		}
	}
}

func (t *ties) tie(a *onnx.Value, ca int, b *onnx.Value, cb int) {
	x, y := t.root(a, ca), t.root(b, cb)
	if x != y {
		t.parent[x] = y
		t.fixed[y] = t.fixed[x] || t.fixed[y]
	}
}

// same ties all channels of two values; false when one has none or others.
func (t *ties) same(a, b *onnx.Value) bool {
	_, okA := t.base[a]
	_, okB := t.base[b]
	if !okA || !okB || channelsOf(a) != channelsOf(b) {
		return false
	}
	for c := range int(channelsOf(a)) {
		t.tie(a, c, b, c)
	}
	return true
}

// join ties what a node joins; false when factors cannot pass it.
func (t *ties) join(n *onnx.Node) bool {
	if len(n.Outputs) == 0 || n.Input(0) == nil {
		return false
	}
	in, out := n.Inputs[0], n.Outputs[0]
	switch {
	case isBesideFeatures(out):
		return false // they lie on the grid of others
	case takesFactors(n) || scalesChannels(n):
		return true
	case n.Is("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize", "Identity", "Neg"):
		return len(n.Outputs) == 1 && t.same(in, out)
	case n.Is("Pad"):
		return n.Input(3) == nil && padsWithZero(n) && t.same(in, out)
	case n.Is("Add", "Sub", "Sum"):
		for _, v := range n.Inputs {
			if !t.same(v, out) {
				return false
			}
		}
		return true
	case n.Is("Mul"):
		return t.joinGate(n)
	case n.Is("Concat"):
		return alongChannels(n) && t.joinParts(out, n.Inputs)
	case n.Is("Split"):
		return alongChannels(n) && t.joinParts(in, n.Outputs)
	case n.Is("DepthToSpace"):
		return t.joinDepthToSpace(n)
	}
	return false
}

// takesFactors reports whether the weights and bias of a convolution can take factors.
func takesFactors(n *onnx.Node) bool {
	return quantizable(n) && len(n.Inputs[1].Const.Shape) == 4 && (n.Input(2) == nil || n.Inputs[2].Const != nil && n.Inputs[2].Const.Type == onnx.Float)
}

// isPlainConv reports whether a node is a Conv of one group that takes factors.
func isPlainConv(n *onnx.Node) bool {
	return n.Is("Conv") && takesFactors(n) && n.Int("group", 1) == 1
}

func padsWithZero(n *onnx.Node) bool {
	if n.Str("mode", "constant") != "constant" {
		return true
	}
	v := n.Input(2)
	if v == nil {
		return n.Float("value", 0) == 0
	}
	return v.Const != nil && zeroTensor(v.Const)
}

func zeroTensor(t *onnx.Tensor) bool {
	f, err := t.Float32s()
	if err != nil {
		return false
	}
	for _, x := range f {
		if x != 0 {
			return false
		}
	}
	return true
}

// joinGate: the factor of a product is that of one side; the other side, a gate
// or a constant, has none.
func (t *ties) joinGate(n *onnx.Node) bool {
	a, b := n.Inputs[0], n.Input(1)
	if b == nil {
		return false
	}
	if a.Const != nil || isGate(a) {
		a, b = b, a
	}
	if b.Const == nil && !isGate(b) || !t.same(a, n.Outputs[0]) {
		return false
	}
	t.fix(b)
	return true
}

// isGate reports whether a value is a factor between 0 and 1.
func isGate(v *onnx.Value) bool {
	return v != nil && v.Producer != nil && v.Producer.Is("Sigmoid", "HardSigmoid", "Softmax")
}

// alongChannels reports whether a Concat or Split of feature maps [N,C,H,W] works on channels.
func alongChannels(n *onnx.Node) bool {
	axis := n.Int("axis", 0)
	return axis == 1 || axis == -3
}

func isChannelConcat(n *onnx.Node) bool { return n.Is("Concat") && alongChannels(n) }

func (t *ties) joinParts(whole *onnx.Value, parts []*onnx.Value) bool {
	if _, ok := t.base[whole]; !ok {
		return false
	}
	at := 0
	for _, p := range parts {
		if _, ok := t.base[p]; !ok {
			return false
		}
		at += int(channelsOf(p))
	}
	if at != int(channelsOf(whole)) {
		return false
	}
	at = 0
	for _, p := range parts {
		for c := range int(channelsOf(p)) {
			t.tie(p, c, whole, at+c)
		}
		at += int(channelsOf(p))
	}
	return true
}

func (t *ties) joinDepthToSpace(n *onnx.Node) bool {
	in, out := n.Inputs[0], n.Outputs[0]
	_, okIn := t.base[in]
	_, okOut := t.base[out]
	if !okIn || !okOut {
		return false
	}
	for c := range int(channelsOf(in)) {
		t.tie(in, c, out, shuffled(n, c))
	}
	return true
}

// shuffled returns the channel that channel c goes to in a DepthToSpace.
func shuffled(n *onnx.Node, c int) int {
	return shuffledOf(n, c, int(channelsOf(n.Inputs[0])), int(channelsOf(n.Outputs[0])))
}

// shuffledOf is shuffled where types are not inferred: n makes out channels of in.
func shuffledOf(n *onnx.Node, c, in, out int) int {
	if n.Str("mode", "DCR") == "CRD" {
		return c / (in / out)
	}
	return c % out
}
