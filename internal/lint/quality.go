package lint

import (
	"slices"

	"github.com/daq-sr/daq/onnx"
)

// qualityRules: where rounding to codes costs quality, as far as scales and weights
// tell. A step s adds noise of s*s/12; what a convolution makes of it follows from
// its weights.
var qualityRules = []Rule{
	{
		ID: "product-step", Level: Note, Basis: noiseMeasured + ": products of feature maps (gates, attention) make 2.5 to 12 times the noise of the mean tensor in RLFN, PAN and RFDN, up to 4.6 in FMEN",
		Title:  "the product of two computed feature maps is rounded to codes of one step, and channels of a product are not of one size",
		Remedy: "leave the product and what reads it float (daq quantize --exclude), or take 16 bits for it",
		check: func(v *view, report reporter) {
			for q := range v.linears {
				x := q.node.Input(0)
				if q.node.Op != "QuantizeLinear" || x == nil || x.Producer == nil || !x.Producer.Is("Mul") || v.known(x.Producer.Input(0)) || v.known(x.Producer.Input(1)) {
					continue
				}
				if conv, times := v.noiseInto(q); times > 0 {
					report(q.node, x.Name, "its step lets %.2g times the noise into %s that rounding the result of that makes", times, conv)
				} else {
					report(q.node, x.Name, "it multiplies %q and %q", x.Producer.Inputs[0].Name, x.Producer.Inputs[1].Name)
				}
			}
		},
	},
	{
		ID: "concat-step", Level: Note, Basis: noiseMeasured + ": the codes of Concats and sums are the largest part of RDN_x2's noise, which loses 0.13 dB; CARN_x2 has the finding at 7 of 12, CARN_M_x4 at 4, and they lose 0.04 and 0.01",
		Title:  "all features that a Concat brings together are rounded to one step, that of the widest, and the convolution behind it makes small values of them, or a sum that nothing rounds adds them up",
		Remedy: "quantize the parts with steps of their own and leave the Concat and the convolution behind it float (daq quantize --exclude), or take 16 bits for it",
		check: func(v *view, report reporter) {
			var summed []func() // a float sum hides nothing of what goes into it: all its products count together
			total := 0.0
			for q := range v.linears {
				x := q.node.Input(0)
				if q.node.Op != "QuantizeLinear" || x == nil || x.Producer == nil || !x.Producer.Is("Concat") {
					continue
				}
				reader, times := v.noiseInto(q)
				switch {
				case reader != nil && reader.Is("MatMul"):
					total += times
					summed = append(summed, func() {
						report(q.node, x.Name, "its step lets %.2g times the noise into %s that rounding the sum behind it makes, one of %d such sums", times, reader, len(summed))
					})
				case times >= concatTimes:
					report(q.node, x.Name, "its step lets %.2g times the noise into %s that rounding the result of that makes", times, reader)
				}
			}
			for _, one := range summed {
				if total >= concatTimes {
					one()
				}
			}
		},
	},
	{
		ID: "last-step", Level: Note, Basis: noiseMeasured + ": within 5% of what is said on FMEN, RFDN and IMDN, 1.7 times that on RLFN; EDSR, CARN and WDSR, which lose little, have none",
		Title:  "the step of a tensor near the output alone adds as much noise to the picture as rounding the picture to codes does",
		Remedy: "leave the tensor and the convolution behind it float (daq quantize --exclude), or give it a finer step for the channels that matter",
		check: func(v *view, report reporter) {
			for q := range v.linears {
				if q.node.Op != "QuantizeLinear" || len(q.scale) != 1 {
					continue
				}
				gains, step := v.toOutput(q.node.Outputs[0])
				sum := 0.0
				for _, g := range gains {
					sum += g
				}
				if times := q.scale[0] * q.scale[0] * sum / (step * step); step > 0 && times >= 1 && !v.ends(q) && !v.roundedBefore(q) {
					report(q.node, q.node.Input(0).Name, "its noise at the output is %.2g times that of the output's own codes", times)
				}
			}
		},
	},
	{
		ID: "rounded-twice", Level: Note, Basis: noiseMeasured + ": rounding on both sides of LeakyRelu is 96% of the noise of LapSRN",
		Title:  "what a convolution gives is rounded to codes on both sides of the activation function",
		Remedy: "where quality counts more than speed leave out the Q/DQ in front of it (ONNX Runtime then computes the convolution in float; OpenVINO and TensorRT fuse it without)",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if !n.Is("LeakyRelu", "PRelu", "Elu") {
					continue
				}
				in, out := v.sides(n)
				if in == nil || out == nil || in.q == nil || in.q.node.Input(0).Producer == nil || !in.q.node.Input(0).Producer.Is("Conv", "ConvTranspose") {
					continue
				}
				if len(in.q.scale) == 1 && len(out.q.scale) == 1 && in.q.scale[0] != out.q.scale[0] { // equal codes pass unchanged
					report(n, n.Input(0).Name, "rounding the result of %s in front of it adds %.2g times the noise of rounding behind it",
						in.q.node.Input(0).Producer, roundedTwice(in.q, out.q, float64(n.Float("alpha", 0))))
				}
			}
		},
	},
}

// roundedTwice returns how much noise rounding in front of an activation function adds,
// in units of that behind it: values below zero, taken to be half of all, keep alpha of it.
func roundedTwice(in, out *linear, alpha float64) float64 {
	ratio := in.scale[0] / out.scale[0]
	return ratio * ratio * (1 + alpha*alpha) / 2
}

const noiseMeasured = "noise of each tensor alone on pictures of Set5, static 8 bits"

// known reports whether a value does not depend on the input of the network.
func (v *view) known(x *onnx.Value) bool {
	if x == nil || constant(x) != nil {
		return true
	}
	dq := linearOf(x.Producer, "DequantizeLinear")
	return dq != nil && constant(dq.node.Input(0)) != nil
}

// roundedBefore reports whether a quantizer finds the values rounded to its codes
// already: they come from codes of the same parameters.
func (v *view) roundedBefore(q *linear) bool {
	dq := linearOf(v.moved(q.node.Input(0)).Producer, "DequantizeLinear")
	return dq != nil && dq.sameAs(q)
}

// moved returns the value that operators in front of x only move or clip.
func (v *view) moved(x *onnx.Value) *onnx.Value {
	for x.Producer != nil && (v.passes(x.Producer) || x.Producer.Is("DepthToSpace", "Clip")) && x.Producer.Input(0) != nil {
		x = x.Producer.Input(0)
	}
	return x
}

// ends reports whether codes reach an output without a computation on the way.
func (v *view) ends(q *linear) bool {
	for _, x := range throughLinears(q.node.Outputs[0]) {
		for {
			if x.IsOutput() {
				return true
			}
			uses := x.Uses()
			if len(uses) != 1 {
				break
			}
			if again := linearOf(uses[0].Node, "QuantizeLinear"); again != nil && again.sameAs(q) && v.ends(again) {
				return true
			}
			if !v.passes(uses[0].Node) && !uses[0].Node.Is("DepthToSpace", "Clip") {
				break
			}
			x = uses[0].Node.Outputs[0]
		}
	}
	return false
}

// concatTimes is the noise of a Concat's codes, in units of that of what is made of them, from
// which on networks lose by it: 1.5 is the median of RFDN_x4 and PAN_x4, 9 that of RDN_x2 where its products
// are rounded; as floats they have 8 together.
const concatTimes = 5

// noiseInto returns the convolution, or product of matrices for a float sum, that reads the codes of a quantizer into which
// their rounding lets the most noise, in units of the noise of rounding its result, for the median
// output: some never come above zero. 0 when none is known.
func (v *view) noiseInto(q *linear) (worst *onnx.Node, times float64) {
	for _, x := range throughLinears(q.node.Outputs[0]) {
		for _, use := range x.Uses() {
			n := use.Node
			if next := onlyReader(n); n.Is("Transpose") && next != nil && next.Is("MatMul") {
				n = next
			}
			if !n.Is("Conv", "MatMul") || use.Index != 0 || len(q.scale) != 1 {
				continue
			}
			w, shape := v.weights(n.Input(1))
			var codes *linear
			if n.Is("MatMul") && len(shape) == 2 {
				codes, w, shape = summed(n), turned(w, shape), []int64{shape[1], shape[0]}
			} else if out, _ := v.out(n.Outputs[0]); out != nil {
				codes = out.q
			}
			if codes == nil || len(codes.scale) != 1 || w == nil {
				continue
			}
			ratio := q.scale[0] / codes.scale[0]
			if r := ratio * ratio * medianEnergy(w, int(shape[0])); r > times {
				worst, times = n, r
			}
		}
	}
	return worst, times
}

// summed returns what rounds the float sum that a product goes into; nil if that is no sum.
func summed(n *onnx.Node) *linear {
	for n = onlyReader(n); n != nil && n.Is("Add", "Transpose"); n = onlyReader(n) {
		for _, use := range n.Outputs[0].Uses() {
			if q := linearOf(use.Node, "QuantizeLinear"); q != nil {
				return q
			}
		}
	}
	return nil
}

func onlyReader(n *onnx.Node) *onnx.Node {
	if len(n.Outputs) != 1 || len(n.Outputs[0].Uses()) != 1 {
		return nil
	}
	return n.Outputs[0].Uses()[0].Node
}

func turned(w []float64, shape []int64) []float64 {
	rows, columns := int(shape[0]), int(shape[1])
	t := make([]float64, len(w))
	for i, x := range w {
		t[i%columns*rows+i/columns] = x
	}
	return t
}

// medianEnergy returns the median over the outputs of the sum of squares of their weights.
func medianEnergy(w []float64, outputs int) float64 {
	energies := make([]float64, outputs)
	for i, x := range w {
		energies[i*outputs/len(w)] += x * x
	}
	slices.Sort(energies)
	return (energies[(outputs-1)/2] + energies[outputs/2]) / 2
}

// weights returns constant weights as the convolution sees them, and their shape.
func (v *view) weights(x *onnx.Value) ([]float64, []int64) {
	if x == nil {
		return nil, nil
	}
	if t := constant(x); t != nil {
		return numbers(t), t.Shape
	}
	dq := linearOf(x.Producer, "DequantizeLinear")
	if dq == nil || dq.scale == nil || dq.zero == nil || dq.block != 0 {
		return nil, nil
	}
	t := constant(dq.node.Input(0))
	if t == nil || len(t.Shape) == 0 {
		return nil, nil
	}
	codes := numbers(t)
	axis, each := int(dq.axis), 1 // codes in a row that share a scale
	if axis < 0 {
		axis += len(t.Shape)
	}
	if len(dq.scale) > 1 && (axis >= len(t.Shape) || t.Shape[max(axis, 0)] != int64(len(dq.scale))) || len(dq.zero) != len(dq.scale) {
		return nil, nil
	}
	for _, d := range t.Shape[min(axis+1, len(t.Shape)):] {
		each *= int(d)
	}
	values := make([]float64, len(codes))
	for i, c := range codes {
		k := 0
		if len(dq.scale) > 1 {
			k = i / each % len(dq.scale)
		}
		values[i] = (c - dq.zero[k]) * dq.scale[k]
	}
	return values, t.Shape
}

// toOutput returns what one unit of noise in each channel of a tensor adds to the
// mean square of the output, and the step of the output's codes. The noise of
// neighbours is taken to be independent. It is nil where something on the way is not
// linear, and the step 0 where the output is not quantized.
func (v *view) toOutput(x *onnx.Value) (gains []float64, step float64) {
	if x.IsOutput() {
		if len(x.Uses()) > 0 || x.Producer == nil {
			return nil, 0
		}
		dq := linearOf(v.moved(x).Producer, "DequantizeLinear")
		shape := x.Type.Shape
		if dq == nil || len(dq.scale) != 1 || len(shape) != 4 || !shape[1].IsKnown() || shape[1].Value < 1 {
			return nil, 0
		}
		gains = make([]float64, shape[1].Value)
		for c := range gains {
			gains[c] = 1 / float64(len(gains))
		}
		return gains, dq.scale[0]
	}
	for _, use := range x.Uses() {
		g, s := v.behind(use.Node, use.Index)
		if g == nil || gains != nil && len(g) != len(gains) {
			return nil, 0
		}
		if gains == nil {
			gains = slices.Clone(g)
		} else {
			for c := range g {
				gains[c] += g[c]
			}
		}
		step = s
	}
	return gains, step
}

// behind returns the gains of an input of a linear node.
func (v *view) behind(n *onnx.Node, index int) ([]float64, float64) {
	if len(n.Outputs) == 0 || n.Outputs[0] == nil || lacks(n) != "" {
		return nil, 0
	}
	switch {
	case isLinear(n, "QuantizeLinear") && index == 0, isLinear(n, "DequantizeLinear") && index == 0, n.Is("Identity", "Add", "Clip"):
		return v.toOutput(n.Outputs[0])
	case n.Is("Conv") && index == 0:
		return v.throughConv(n)
	case n.Is("DepthToSpace"):
		out, step := v.toOutput(n.Outputs[0])
		r := int(n.Int("blocksize", 1))
		gains := make([]float64, len(out)*r*r)
		for i := range gains {
			c := i % max(1, len(out)) // DCR: blocks first
			if n.Str("mode", "DCR") == "CRD" {
				c = i / (r * r)
			}
			gains[i] = out[c] / float64(r*r)
		}
		if out == nil {
			return nil, 0
		}
		return gains, step
	}
	return nil, 0
}

func (v *view) throughConv(n *onnx.Node) ([]float64, float64) {
	out, step := v.toOutput(n.Outputs[0])
	w, shape := v.weights(n.Input(1))
	group := int(n.Int("group", 1))
	if out == nil || len(shape) != 4 || int(shape[0]) != len(out) || group < 1 || len(out)%group != 0 || len(w) == 0 {
		return nil, 0
	}
	for _, s := range n.Ints("strides") {
		if s != 1 {
			return nil, 0
		}
	}
	in, taps, outs := int(shape[1]), int(shape[2]*shape[3]), len(out)/group
	gains := make([]float64, in*group)
	for o, g := range out {
		for i := range in {
			energy := 0.0
			for _, x := range w[(o*in+i)*taps : (o*in+i+1)*taps] {
				energy += x * x
			}
			gains[o/outs*in+i] += g * energy
		}
	}
	return gains, step
}
