package passes

import (
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// Where the last skip connection brings the features that the first convolution makes of the picture, it is the
// sum of two convolutions: one that reads features and pixels side by side makes it in integers, and it is
// rounded once. Pixels are codes, so they lie on the grid of the features without loss once they are
// scaled to its step and moved to its least code. A convolution pads with the code of zero, which is then a
// colour: a channel that is the same everywhere but in the padding takes back what that adds.

// pixelCopies are how many channels share a colour's weights. Those of pixels are large, and all pixels of a bright
// picture are too: with one copy the rounding of their weights moved IMDN_x4's colours by 0.46 of 255, with three by 0.1.
const pixelCopies = 3

// pixelChannels are three colours and one, for each copy.
const pixelChannels = 4 * pixelCopies

// joinShare is the share that the convolution in front of the last skip connection has of a network's
// multiplications at least where joining pays (RDN_x2, 0.01, would lose 0.06 dB for 2% of its time).
const joinShare = 1. / 40

// joinSignsShare is the share of a network's multiplications that the convolutions on both sides of the sum, which signs double, have at
// most where signs are made: RLFN_x2 (0.05) has 0.04 dB of them, IMDN_x4 (0.09) 0.006.
const joinSignsShare = 1. / 15

// joinSkip lets the convolution in front of the last skip connection read the picture as well, and make the
// other side, where what reads the sum could do so by its sign (readSigns); where that is cheap it does. The sum then is not
// float (place). Types must be inferred.
//
//	y = Add (Conv (features, W), Conv (picture, V))
//	y = Conv (Concat (features, Conv (picture, identity)), [W, V])
//	signs = Relu (Conv (Concat (features, Conv (picture, identity)), [[W, V], [-W, -V]]))
func joinSkip(m *onnx.Model, t *target.Target, l Layers) {
	p := place(m.Graph, t, l)
	if p.skip == nil || t.Activations.Symmetric || t.Operators["Relu"] != target.Absorbed {
		return
	}
	readers := p.skip.Outputs[0].Uses()
	if !p.canReadSigns(readers) {
		return
	}
	for i, v := range p.skip.Inputs {
		n, head := v.Producer, p.skip.Inputs[1-i].Producer
		if p.canJoin(n, head) && share(m, []onnx.Use{{Node: n}}) >= joinShare && (l.Exclude == nil || !l.Exclude.MatchString(n.Label())) {
			p.join(n, head, share(m, append(readers, onnx.Use{Node: n})) <= joinSignsShare)
			return
		}
	}
}

// canJoin reports whether convolutions n, of features, and head, of a picture, can be one.
func (p *placement) canJoin(n, head *onnx.Node) bool {
	for _, c := range []*onnx.Node{n, head} {
		if c == nil || !isPlainConv(c) || c.Str("auto_pad", "NOTSET") != "NOTSET" || soleReader(c.Outputs[0]) != p.skip {
			return false
		}
	}
	if _, ok := shifted(head.Inputs[0]); !ok || pictureOf(head.Inputs[0]) == nil || isPicture(n.Inputs[0]) || p.target.Form(n) != target.Integer {
		return false
	}
	for _, attr := range []string{"pads", "strides", "dilations"} {
		if !slices.Equal(n.Ints(attr), head.Ints(attr)) {
			return false
		}
	}
	return slices.Equal(n.Inputs[1].Const.Shape[2:], head.Inputs[1].Const.Shape[2:]) && !isRough(n.Inputs[0])
}

// isRough reports whether rounding features would cost much: they are a product by a gate that is not enlarged, and
// so may differ from pixel to pixel (what the sum gets of that is 276 times its own rounding in FMEN_x4, and 61 times in
// RLFN_x2, whose gate is enlarged), or a convolution makes them of products of several gates (RFDN_x4 loses 0.03 dB).
func isRough(v *onnx.Value) bool {
	for v.Producer != nil && v.Producer.Is("Relu", "LeakyRelu", "PRelu") {
		v = v.Producer.Inputs[0]
	}
	n := v.Producer
	if n != nil && takesFactors(n) {
		from := n.Inputs[0].Producer
		return from != nil && from.Is("Concat") && slices.ContainsFunc(from.Inputs, isGated)
	}
	if !isGated(v) {
		return false
	}
	side := slices.IndexFunc(n.Inputs, isGate)
	before := map[*onnx.Node]bool{}
	if x := n.Inputs[1-side].Producer; x != nil {
		before = ancestors(x)
	}
	for a := range ancestors(n.Inputs[side].Producer) {
		if a.Is("Resize") && !before[a] {
			return false
		}
	}
	return true
}

// isGated reports whether a value is a product by a gate.
func isGated(v *onnx.Value) bool {
	return v.Producer != nil && v.Producer.Is("Mul") && slices.ContainsFunc(v.Producer.Inputs, isGate)
}

// pictureOf returns the input that a picture is made of, nil where it has been padded.
func pictureOf(v *onnx.Value) *onnx.Value {
	for !v.IsInput() {
		if v.Producer.Is("Pad") {
			return nil
		}
		v = v.Producer.Inputs[operand(v.Producer)]
	}
	return v
}

func (p *placement) join(n, head *onnx.Node, signs bool) {
	g, x, y := n.Graph(), n.Inputs[0], p.skip.Outputs[0]
	pixels := insertBefore(n, "Conv", y.Name+"_pixels", withChannels(x.Type, pixelChannels), []*onnx.Value{pictureOf(head.Inputs[0]), nil, nil})
	scalePixels(pixels.Producer, 1, 0, 1)
	both := insertBefore(n, "Concat", y.Name+"_joined", withChannels(x.Type, channelsOf(x)+pixelChannels), []*onnx.Value{x, pixels}, onnx.Attr("axis", int64(1)))
	n.SetInput(0, both)

	a, _ := shifted(head.Inputs[0])
	w := n.Inputs[1].Const
	features, _ := w.Float32s()
	picture, _ := head.Inputs[1].Const.Float32s()
	outputs, taps := int(w.Shape[0]), int(w.Shape[2]*w.Shape[3])
	row := len(features) / outputs
	var weights, bias []float32
	own, other := floatBias(n), floatBias(head)
	for o := range outputs {
		weights = append(weights, features[o*row:(o+1)*row]...)
		copied := make([]float32, 4*taps)
		for c, scale := range a.scale {
			for k := range taps {
				w := float64(picture[(o*3+c)*taps+k]) / pixelCopies
				copied[c*taps+k] = float32(w * scale)
				copied[3*taps+k] += float32(w * a.offset[c])
			}
		}
		weights = append(weights, slices.Repeat(copied, pixelCopies)...)
		bias = append(bias, own[o]+other[o])
	}
	if signs {
		weights, bias = append(weights, negative(weights)...), append(bias, negative(bias)...)
	}
	shape := []int64{int64(len(bias)), channelsOf(both), w.Shape[2], w.Shape[3]}
	n.SetInput(1, g.AddInitializer(g.UniqueName(n.Inputs[1].Name+"_joined"), onnx.Floats(shape, weights...)))
	n.SetInput(2, g.AddInitializer(g.UniqueName(n.Label()+"_bias"), onnx.Floats(shape[:1], bias...)))

	sum, readers := n.Outputs[0], y.Uses()
	sum.Type = withChannels(y.Type, shape[0])
	if signs {
		sum = insertBefore(p.skip, "Relu", y.Name+"_signs", sum.Type, []*onnx.Value{sum})
	}
	for _, u := range readers {
		u.Node.SetInput(u.Index, sum)
		if signs {
			readSigns(u.Node)
		}
	}
	g.Remove(p.skip)
	g.Remove(head)
}

// floatBias returns the bias of a convolution, zeros where it has none.
func floatBias(n *onnx.Node) []float32 {
	if n.Input(2) == nil {
		return make([]float32, n.Inputs[1].Const.Shape[0])
	}
	b, _ := n.Inputs[2].Const.Float32s()
	return b
}

// scalePixels gives a convolution of a picture the weights that make scale*picture - offset and a channel that
// is the same everywhere of it.
func scalePixels(n *onnx.Node, scale, offset, one float32) {
	var w, b []float32
	for range pixelCopies {
		w = append(w, scale, 0, 0, 0, scale, 0, 0, 0, scale, 0, 0, 0)
		b = append(b, -offset, -offset, -offset, one)
	}
	setConstant(n, 1, n.Label()+"_weight", onnx.Floats([]int64{pixelChannels, 3, 1, 1}, w...))
	setConstant(n, 2, n.Label()+"_bias", onnx.Floats([]int64{pixelChannels}, b...))
}

// isBesideFeatures reports whether a value is the pixels that joinSkip gives a convolution.
func isBesideFeatures(v *onnx.Value) bool {
	n := v.Producer
	return n != nil && n.Is("Conv") && takesFactors(n) && slices.Equal(n.Inputs[1].Const.Shape, []int64{pixelChannels, 3, 1, 1}) && n.Inputs[0].IsInput()
}

// isJoined reports whether a node brings features and pixels together (joinSkip).
func isJoined(n *onnx.Node) bool {
	return n != nil && n.Is("Concat") && len(n.Inputs) == 2 && isBesideFeatures(n.Inputs[1])
}

// AlignPixels moves the pixels beside features (joinSkip) to the grid that a plan gives those. It leaves
// the outputs of the graph what they were.
func AlignPixels(g *onnx.Graph, plan *Plan) {
	for _, a := range plan.Activations {
		v := g.Value(a.Tensor)
		if v == nil || !isJoined(v.Producer) {
			continue
		}
		n, pixels := soleReader(v), v.Producer.Inputs[1].Producer
		least, most := a.codes()
		scale := float64(a.Scale) / float64(plan.InputRange/255)
		offset, one := float64(a.Scale)*float64(a.ZeroPoint-least), float64(a.Scale)*float64(most-a.ZeroPoint)
		if one < offset {
			one = -offset // whichever is further from zero
		}
		w := n.Inputs[1].Const
		old, _ := w.Float32s()
		weights := slices.Clone(old)
		taps := int(w.Shape[2] * w.Shape[3])
		for row := range slices.Chunk(weights, int(w.Shape[1])*taps) {
			for copied := range slices.Chunk(row[len(row)-pixelChannels*taps:], 4*taps) {
				for k := range taps {
					sum := float64(copied[3*taps+k])
					for c := range 3 {
						w := float64(copied[c*taps+k]) / scale
						copied[c*taps+k] = float32(w)
						sum += w * offset
					}
					copied[3*taps+k] = float32(sum / one)
				}
			}
		}
		setConstant(n, 1, n.Inputs[1].Name, onnx.Floats(w.Shape, weights...))
		scalePixels(pixels, float32(scale), float32(offset), float32(one))
	}
}
