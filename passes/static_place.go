package passes

import (
	"slices"

	"github.com/daq-sr/daq/internal/quant"
	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// placement says where the quantizers of a static graph stand.
type placement struct {
	target     *target.Target
	convs      map[*onnx.Node]bool // computed in integers
	seenByConv map[*onnx.Value]bool
	large      map[*onnx.Value]bool // see enlarged
	weights    int                  // of all convolutions
	skip       *onnx.Node           // the last skip connection, which stays float; nil without
	joined     bool                 // the last skip connection is in the convolution in front of it (joinSkip)
	values     []*onnx.Value        // that pass a quantizer, in graph order
	grids      map[*onnx.Value]*grid
}

// place finds the values to quantize: what an integer operator of the target reads
// or gives. Types must be inferred. Convolutions that read a picture other than the
// pixels that come in, which has few channels and no error to spare, or numbers (isPoint), and those that l
// excludes stay float; so do the last skip connection and the convolution in front of it, whose
// errors no later layer makes smaller (on EDSR_x2 they cost as much as all others
// together), the one before that where it reads a Concat of many features, thin
// convolutions behind it at the size of the picture that comes in, unless they make pixels of many features or are much of the network, and what comes behind the last convolution.
func place(g *onnx.Graph, t *target.Target, l Layers) *placement {
	p := &placement{target: t, convs: map[*onnx.Node]bool{}, seenByConv: seenByConv(g)}
	last := lastSkip(g)
	if last != nil && last.Is("Add") {
		p.skip = last
	}
	p.joined = isJoined(last)
	var body map[*onnx.Node]bool // of all where there is no skip connection
	if last != nil {
		body = ancestors(last)
	}
	p.large = enlarged(g)
	p.weights = Weights(g)
	for _, n := range g.Nodes {
		if takesFactors(n) && t.Form(n) == target.Integer && (l.Exclude == nil || !l.Exclude.MatchString(n.Label())) && p.worthIntegers(n, body != nil && !body[n]) {
			p.convs[n] = true
		}
	}
	for _, v := range g.Inputs {
		if p.quantizes(v) {
			p.values = append(p.values, v)
		}
	}
	for _, n := range g.Nodes {
		for _, v := range n.Outputs {
			if p.quantizes(v) {
				p.values = append(p.values, v)
			}
		}
	}
	p.joinGrids()
	return p
}

// worthIntegers reports whether a convolution is computed in integers; behind: it stands
// behind the last skip connection.
func (p *placement) worthIntegers(n *onnx.Node, behind bool) bool {
	x, y := n.Inputs[0], n.Outputs[0]
	switch {
	case isBesideFeatures(y), isPoint(x), isPicture(x) && !(p.fromPicture(n) && isPixels(x)), p.endsInSkip(n):
		return false
	case onGrid(y, p.target):
		return !behind || !isThin(x) || !isThin(y)
	case isPicture(y) && !joinsFeatures(y): // what is added to a picture of the size that comes out, unless codes lie two levels apart
		onThin, onMany := behind && isThin(x) && p.large[x], !isThin(x) && !p.large[x]
		next := soleReader(y)
		return !p.target.Activations.Symmetric && (onThin || onMany && next != nil && next.Is("Add"))
	}
	return p.seenByConv[y] && (!behind || !isThin(y) || p.large[x] || !isThin(x) && weightsOf(n)*thinShare >= p.weights)
}

// thinShare: a thin convolution of many features behind the last skip is in integers where it has one in thinShare of a
// network's weights or more. In ESRGAN_slim_x2 (one in 12) it is 4 of 27 ms and 0.006 dB, in RDN_x2 (one in 142) 3 of 220 ms and 0.026 dB.
const thinShare = 40

// Weights returns how many weights the convolutions of a graph have.
func Weights(g *onnx.Graph) (count int) {
	for _, n := range g.Nodes {
		count += weightsOf(n)
	}
	return count
}

// weightsOf returns how many weights a convolution has.
func weightsOf(n *onnx.Node) int {
	if !takesFactors(n) {
		return 0
	}
	return len(n.Inputs[1].Const.Data) / 4
}

// endsInSkip reports whether a convolution is the last one on a side of the last skip
// connection or, where it reads a Concat, whose channels would all get one scale, the last but one.
// Not so where the other side is a sum too: then this is the last of many residuals, each
// of which was rounded, and the skip adds to what was rounded after each.
func (p *placement) endsInSkip(n *onnx.Node) bool {
	convs := 1
	if x := n.Inputs[0]; x.Producer != nil && x.Producer.Is("Concat") && !p.canGiveFloats(n) {
		convs = 2
	}
	for v := n.Outputs[0]; p.skip != nil && len(v.Uses()) == 1 && !v.IsOutput(); {
		next := v.Uses()[0].Node
		switch {
		case next == p.skip:
			return !slices.ContainsFunc(next.Inputs, func(other *onnx.Value) bool {
				return other != v && other.Producer != nil && other.Producer.Is("Add")
			})
		case takesFactors(next) && convs > 1:
			convs--
		case !next.Is("Relu", "LeakyRelu", "PRelu"):
			return false
		}
		v = next.Outputs[0]
	}
	return false
}

// seenByConv returns the values that a convolution depends on. What comes behind the
// last convolution is a picture, whatever its shape.
func seenByConv(g *onnx.Graph) map[*onnx.Value]bool {
	seen := map[*onnx.Value]bool{}
	for _, n := range slices.Backward(g.Nodes) {
		if n.Is("Conv", "ConvTranspose") || slices.ContainsFunc(n.Outputs, func(v *onnx.Value) bool { return v != nil && seen[v] }) {
			for _, v := range n.Inputs {
				if v != nil {
					seen[v] = true
				}
			}
		}
	}
	return seen
}

// enlarged returns the values behind an operator that enlarges the picture: layers cost
// several times as much there.
func enlarged(g *onnx.Graph) map[*onnx.Value]bool {
	large := map[*onnx.Value]bool{}
	for _, n := range g.Nodes {
		if n.Is("Resize", "DepthToSpace", "ConvTranspose") || slices.ContainsFunc(n.Inputs, func(v *onnx.Value) bool { return large[v] }) {
			for _, v := range n.Outputs {
				large[v] = true
			}
		}
	}
	return large
}

// isPicture reports whether a value is a picture, or as small as one.
func isPicture(v *onnx.Value) bool {
	c := channelsOf(v)
	return c >= 0 && c <= pictureChannels
}

// joinsFeatures reports whether a value becomes channels of a Concat of features, however few; a luma joins colours.
func joinsFeatures(v *onnx.Value) bool {
	if next := soleReader(v); next != nil && next.Is("Relu", "LeakyRelu", "PRelu") {
		v = next.Outputs[0]
	}
	return slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return u.Node.Is("Concat") && !isPicture(u.Node.Outputs[0]) })
}

// isPoint reports whether a value is one number for each channel: statistics of a picture, each of
// which counts, in convolutions that cost nothing.
func isPoint(v *onnx.Value) bool {
	s := v.Type.Shape
	return len(s) == 4 && s[2] == onnx.Known(1) && s[3] == onnx.Known(1)
}

// quantizes reports whether a value passes a quantizer.
func (p *placement) quantizes(v *onnx.Value) bool {
	if v == nil || v.Type.Elem != onnx.Float || channelsOf(v) < 0 || v.Const != nil {
		return false
	}
	if len(v.Uses()) == 1 && !v.IsOutput() && p.target.Form(v.Uses()[0].Node) == target.Absorbed {
		return false // the quantizer stands behind the absorbed node
	}
	if p.sideBySide(v.Producer) || p.sumsIntoConv(v) || p.onlyBare(v) || p.givesFloats(v.Producer) {
		return false
	}
	if p.madeInIntegers(v) {
		return true
	}
	return slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool {
		return p.integer(u.Node) && (u.Index == 0 || !p.convs[u.Node]) || p.sideBySide(u.Node)
	})
}

// madeInIntegers reports whether what gives a value is computed in integers.
func (p *placement) madeInIntegers(v *onnx.Value) bool {
	n := v.Producer
	return n != nil && (p.integer(n) || p.target.Form(n) == target.Absorbed && p.integer(n.Inputs[0].Producer))
}

// fromConv reports whether a value is what a convolution gives in codes.
func (p *placement) fromConv(v *onnx.Value) bool {
	n := v.Producer
	if n != nil && p.target.Form(n) == target.Absorbed {
		n = n.Inputs[0].Producer
	}
	return n != nil && p.convs[n]
}

// sumsIntoConv reports whether a convolution adds the other side of the sum that
// alone reads its result v: the first such side of an Add.
func (p *placement) sumsIntoConv(v *onnx.Value) bool {
	if !p.target.SumsIntoConv || !p.convs[v.Producer] || len(v.Uses()) != 1 || v.IsOutput() {
		return false
	}
	n := v.Uses()[0].Node
	if !n.Is("Add") || !p.integer(n) {
		return false
	}
	for _, in := range n.Inputs {
		if p.convs[in.Producer] && len(in.Uses()) == 1 {
			return in == v
		}
	}
	return false
}

// onlyBare reports whether all readers of a value want no quantizer in front.
func (p *placement) onlyBare(v *onnx.Value) bool {
	return len(v.Uses()) > 0 && !slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return p.target.Form(u.Node) != target.Bare })
}

// integer reports whether a node is computed in integers, or on codes.
func (p *placement) integer(n *onnx.Node) bool {
	if n == nil || n == p.skip {
		return false
	}
	form := p.target.Form(n)
	switch {
	case n.Is("Conv", "ConvTranspose"):
		return p.convs[n]
	case form != target.Integer && form != target.Moves:
		return false
	}
	if p.sideBySide(n) {
		return false
	}
	if p.sumsForConcat(n) {
		return false // rounded to what suits the other parts of the Concat, errors would add up from sum to sum
	}
	if !p.worthCodes(n) {
		return false
	}
	// Every operand must be a feature map; pictures have no error to spare.
	for _, v := range n.Outputs {
		if v == nil || v.Type.Elem != onnx.Float || channelsOf(v) < 0 || isPicture(v) || isPoint(v) || !p.seenByConv[v] {
			return false
		}
	}
	if n.Is("Concat") || form == target.Moves {
		// Floats that nothing needs in codes are moved as they are.
		if !(form == target.Moves && p.fromConv(n.Inputs[0])) && !slices.ContainsFunc(n.Outputs, p.readInIntegers) {
			return false
		}
	}
	operands := n.Inputs
	if form == target.Moves {
		operands = n.Inputs[:1]
	}
	for _, v := range operands {
		if v == nil || v.Const != nil || v.Type.Elem != onnx.Float || channelsOf(v) < 0 {
			return false
		}
	}
	return true
}

// worthCodes reports whether an element-wise node on codes is worth the rounding: an
// activation function between a float and whatever reads it costs no more in float, and a
// product by a gate that is read in float saves nothing.
func (p *placement) worthCodes(n *onnx.Node) bool {
	switch {
	case activates(n):
		return p.madeInIntegers(n.Inputs[0]) && p.readInIntegers(n.Outputs[0])
	case n.Is("Mul") && slices.ContainsFunc(n.Inputs, isGate):
		return p.readInIntegers(n.Outputs[0])
	}
	return true
}

// activates reports whether a node is an activation function that runtimes have on codes.
func activates(n *onnx.Node) bool { return n.Is("LeakyRelu", "Sigmoid") }

// sumsForConcat reports whether a node makes a sum that is concatenated, which stays float unless the last
// skip connection itself does not: the sums of IMDN_x4 in integers cost 0.002 dB.
func (p *placement) sumsForConcat(n *onnx.Node) bool {
	return n.Is("Add") && !p.joined && !p.target.SumsIntoConv && isConcatenated(n.Outputs[0])
}

func isConcatenated(v *onnx.Value) bool {
	return slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return u.Node.Is("Concat") })
}

// readInIntegers reports whether an integer operator reads a value, activation
// functions aside: they are computed as what is around them.
func (p *placement) readInIntegers(v *onnx.Value) bool {
	return slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool {
		if activates(u.Node) {
			return p.readInIntegers(u.Node.Outputs[0])
		}
		return p.integer(u.Node)
	})
}

// onGrid reports whether a value is the picture that comes out, or becomes it by
// DepthToSpace alone: its codes are then the pixels of a picture of 8 bits, and
// rounding to them costs nothing.
func onGrid(v *onnx.Value, t *target.Target) bool {
	if t.Activations.Symmetric {
		return false
	}
	if v.IsOutput() {
		return isPicture(v) && len(v.Uses()) == 0
	}
	return len(v.Uses()) == 1 && v.Uses()[0].Node.Is("DepthToSpace") && onGrid(v.Uses()[0].Node.Outputs[0], t)
}

// onGrid reports whether the codes of a quantized value are the pixels of a picture: the one
// that comes in, or the one that comes out.
func (p *placement) onGrid(v *onnx.Value) bool {
	return isPixels(v) || isPatches(v) || p.convs[v.Producer] && onGrid(v, p.target)
}

// thinChannels are as many as a block of a float convolution in ONNX Runtime has:
// fewer cost no less there, and in integers no less either (64 to 3 channels at
// 256x256: 25 ms in float, 40 in integers).
const thinChannels = 32

// isThin reports whether a value has few channels and so has all that comes of it.
func isThin(v *onnx.Value) bool {
	if channelsOf(v) > thinChannels {
		return false
	}
	for _, u := range v.Uses() {
		if slices.ContainsFunc(u.Node.Outputs, func(w *onnx.Value) bool { return w != nil && !isThin(w) }) {
			return false
		}
	}
	return true
}

// floatReaders returns the names of the nodes that can read a value unquantized,
// because float is what its producer gives and what they take.
func (p *placement) floatReaders(v *onnx.Value) (names []string) {
	if p.madeInIntegers(v) {
		return nil
	}
	for _, u := range v.Uses() {
		if !p.integer(u.Node) && !p.sideBySide(u.Node) && !slices.Contains(names, u.Node.Label()) {
			names = append(names, u.Node.Label())
		}
	}
	return names
}

// slopes are by how much the only reader of a value, a LeakyRelu or PRelu, makes
// errors below zero smaller: one for all channels, or one for each; none is 1.
type slopes []float32

func (p *placement) slopes(v *onnx.Value) slopes {
	if len(v.Uses()) != 1 || v.IsOutput() {
		return nil
	}
	switch n := v.Uses()[0].Node; {
	case n.Is("DepthToSpace"):
		after := p.slopes(n.Outputs[0])
		if len(after) < 2 {
			return after
		}
		before := make(slopes, channelsOf(v))
		for c := range before {
			before[c] = after[shuffled(n, c)]
		}
		return before
	case n.Is("LeakyRelu"):
		return slopes{n.Float("alpha", 0.01)}
	case n.Is("PRelu") && n.Inputs[1].Const != nil:
		s, err := n.Inputs[1].Const.Float32s()
		if err == nil && (len(s) == 1 || int64(len(s)) == channelsOf(v)) {
			return s
		}
	}
	return nil
}

// at is the slope of channel c.
func (s slopes) at(c int) float64 {
	if len(s) == 0 {
		return 1
	}
	return float64(s[min(c, len(s)-1)])
}

// belowZero returns how much errors of the values in a bin count, which those below
// zero do by the slope behind them.
func belowZero(b quant.Bin, slope float64) float64 {
	if b.Hi > 0 {
		return 1
	}
	return max(slope*slope, 1e-4)
}
