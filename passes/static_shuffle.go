package passes

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// shuffleLast moves each DepthToSpace behind the convolution that makes a picture of what it
// gives, which then computes the pixels of a block as channels, with the weights it
// had and zeros: values stay what they are, borders included. Integer kernels compute
// sixteen outputs at a time, so the zeros cost nothing, and three channels are shuffled
// instead of many. Types must be inferred.
//
//	x [N,C*b*b,H,W] -> DepthToSpace -> PRelu -> Conv    [N,O,H*b,W*b]
//	x [N,C*b*b,H,W] -> PRelu -> Conv -> DepthToSpace    [N,O,H*b,W*b]
func shuffleLast(g *onnx.Graph) {
	for _, n := range slices.Clone(g.Nodes) {
		if n.Is("DepthToSpace") {
			shuffleBehind(g, n)
		}
	}
}

func shuffleBehind(g *onnx.Graph, shuffle *onnx.Node) {
	x, y := shuffle.Inputs[0], shuffle.Outputs[0]
	block := int(shuffle.Int("blocksize", 0))
	if block < 2 || channelsOf(y) <= 0 || channelsOf(x) != channelsOf(y)*int64(block*block) {
		return
	}
	conv := onlyReader(y)
	var activation *onnx.Node
	if conv != nil && conv.Is("Relu", "LeakyRelu", "PRelu") {
		activation, conv = conv, onlyReader(conv.Outputs[0])
	}
	if conv == nil || !shufflable(conv) {
		return
	}
	first := conv
	if activation != nil {
		if first = activation; activation.Is("PRelu") && !widenSlopes(activation, shuffle) {
			return
		}
		activation.Outputs[0].Type.Shape = x.Type.Shape
	}
	first.SetInput(0, x)
	shuffleWeights(conv, shuffle, int(channelsOf(x)))
	g.Remove(shuffle)
	insertShuffle(conv, shuffle)
}

// insertShuffle puts a DepthToSpace as the one given behind a convolution that gives its blocks.
func insertShuffle(conv, shuffle *onnx.Node) {
	g, x, block, out := conv.Graph(), conv.Inputs[0], shuffle.Int("blocksize", 0), conv.Outputs[0]
	name, readers, listed := out.Name, out.Uses(), slices.Index(g.Outputs, out)
	behind := g.NewNode("DepthToSpace", []*onnx.Value{out}, []string{name + "_shuffled"}, slices.Clone(shuffle.Attrs)...)
	for _, u := range readers {
		u.Node.SetInput(u.Index, behind.Outputs[0])
	}
	out.Rename(g.UniqueName(name + "_blocks"))
	behind.Outputs[0].Rename(name)
	behind.Name, behind.Outputs[0].Type = shuffle.Name, out.Type
	if listed >= 0 {
		g.Outputs[listed] = behind.Outputs[0]
	}
	out.Type.Shape = onnx.Shape{x.Type.Shape[0], onnx.ShapeOf(channelsOf(behind.Outputs[0]) * block * block)[0], x.Type.Shape[2], x.Type.Shape[3]}
	g.Nodes = slices.Insert(g.Nodes, slices.Index(g.Nodes, conv)+1, behind)
}

// onlyReader returns the node that alone reads a value, as its first input; nil where there is none.
func onlyReader(v *onnx.Value) *onnx.Node {
	if n := soleReader(v); n != nil && v.Uses()[0].Index == 0 {
		return n
	}
	return nil
}

// soleReader is onlyReader for whichever input.
func soleReader(v *onnx.Value) *onnx.Node {
	uses := v.Uses()
	if len(uses) != 1 || v.IsOutput() || uses[0].Node.Graph() != v.Graph() {
		return nil
	}
	return uses[0].Node
}

// shufflable reports whether a convolution gives a picture of the size that it reads, in a
// way that blocks of pixels can be computed as channels.
func shufflable(n *onnx.Node) bool {
	if !isPlainConv(n) || n.Str("auto_pad", "NOTSET") != "NOTSET" || !isPicture(n.Outputs[0]) {
		return false
	}
	for _, x := range append(n.Ints("strides"), n.Ints("dilations")...) {
		if x != 1 {
			return false
		}
	}
	pads, kernel := n.Ints("pads", 0, 0, 0, 0), n.Inputs[1].Const.Shape[2:]
	for i, k := range kernel {
		if pads[i] < 0 || pads[i]+pads[i+2] != k-1 {
			return false
		}
	}
	return true
}

// widenSlopes gives the PRelu behind a shuffle the slopes of the channels in front of it.
func widenSlopes(n, shuffle *onnx.Node) bool {
	t := floatConst(n, 1)
	channels := channelsOf(shuffle.Outputs[0])
	if t == nil {
		return false
	}
	slopes := perChannel(t, channels, 4)
	if slopes == nil {
		return false
	}
	wide := make([]float32, channelsOf(shuffle.Inputs[0]))
	for c := range wide {
		wide[c] = float32(slopes[shuffled(shuffle, c)])
	}
	setConstant(n, 1, n.Inputs[1].Name, onnx.Floats([]int64{int64(len(wide)), 1, 1}, wide...))
	return true
}

// shuffleWeights makes a convolution that reads what a shuffle gives read its channels, or, where those are copies of
// fewer, one copy with the sum of the weights.
func shuffleWeights(n, shuffle *onnx.Node, channels int) {
	block := int(shuffle.Int("blocksize", 0))
	old := n.Inputs[1].Const
	weights, _ := old.Float32s()
	outs, ins, size := int(old.Shape[0]), int(old.Shape[1]), [2]int{int(old.Shape[2]), int(old.Shape[3])}
	pads := n.Ints("pads", 0, 0, 0, 0)
	// Row r of the kernel reads, for row u of a block, row u+r-pad: which block, and which row in it.
	var low, wide [2]int
	for i := range wide {
		low[i] = floorDiv(-int(pads[i]), block)
		wide[i] = floorDiv(block-1+size[i]-1-int(pads[i]), block) - low[i] + 1
	}
	crd := shuffle.Str("mode", "DCR") == "CRD"
	channel := func(c, of, row, column int) int { // in front of the shuffle
		if crd {
			return (c*block+row)*block + column
		}
		return (row*block+column)*of + c
	}
	blocks := make([]float32, outs*block*block*channels*wide[0]*wide[1])
	for o := range outs {
		for c := range ins {
			for u := range block {
				for v := range block {
					for r := range size[0] {
						for s := range size[1] {
							y, x := u+r-int(pads[0]), v+s-int(pads[1])
							by, bx := floorDiv(y, block), floorDiv(x, block)
							at := channel(o, outs, u, v)*channels + channel(c, ins, y-by*block, x-bx*block)%channels
							blocks[(at*wide[0]+by-low[0])*wide[1]+bx-low[1]] += weights[((o*ins+c)*size[0]+r)*size[1]+s]
						}
					}
				}
			}
		}
	}
	if n.Input(2) != nil {
		b, _ := n.Inputs[2].Const.Float32s()
		bias := make([]float32, outs*block*block)
		for o := range outs {
			for u := range block {
				for v := range block {
					bias[channel(o, outs, u, v)] = b[o]
				}
			}
		}
		setConstant(n, 2, n.Inputs[2].Name, onnx.Floats([]int64{int64(len(bias))}, bias...))
	}
	setConstant(n, 1, n.Inputs[1].Name, onnx.NewTensor(onnx.Float, []int64{int64(outs * block * block), int64(channels), int64(wide[0]), int64(wide[1])}, blocks))
	n.RemoveAttr("kernel_shape")
	n.SetAttr("pads", []int64{int64(-low[0]), int64(-low[1]), int64(wide[0] - 1 + low[0]), int64(wide[1] - 1 + low[1])})
}

func floorDiv(a, b int) int {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}
