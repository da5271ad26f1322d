package lint

import (
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// loadRules: sessions that cannot be made, or fail at the first run, because of how
// Q/DQ stand around operators. They load with optimization disabled.
var loadRules = []Rule{
	{
		ID: "malformed-node", Level: Error, Basis: "ONNX operator specification",
		Title:  "a node lacks an input or output that its operator must have",
		Remedy: "export the model again",
		check: func(v *view, report reporter) {
			for _, n := range v.malformed {
				report(n, "", "%s is missing", lacks(n))
			}
		},
	},
	{
		ID: "per-axis-activation", Level: Error, Targets: ort, Basis: measured,
		Title:  "activations with a scale for each channel around this operator: no session, or the first run fails",
		Remedy: "use one scale for the whole tensor, with a Mul for each channel in front of and behind the Q/DQ where channels differ much",
		check: perAxis(func(n *onnx.Node, in, out *linear) bool {
			switch {
			case n.Is("LeakyRelu", "Sigmoid", "AveragePool", "GlobalAveragePool"):
				return true
			case n.Is("Conv"):
				return in == nil || in.codes == onnx.Uint8 // int8 stays float
			}
			return false
		}),
	},
	{
		ID: "per-axis-activation-old", Level: Error, Targets: ort, Until: "1.31", Basis: measured,
		Title:  "activations with a scale for each channel around this operator: no session, or the first run fails",
		Remedy: "use one scale for the whole tensor, or ONNX Runtime 1.32",
		check: perAxis(func(n *onnx.Node, in, out *linear) bool {
			return n.Is("Add", "Mul", "Softmax") || n.Is("MatMul") && in != nil && in.codes == onnx.Uint8
		}),
	},
	{
		ID: "sub8-conv", Level: Error, Targets: ort, Basis: measured,
		Title:  "2- or 4-bit codes on both sides of a convolution: no session",
		Remedy: "store activations of fewer than 8 bits as uint8 with an integer Clip between QuantizeLinear and DequantizeLinear, and weights as int8",
		check:  sub8Conv,
	},
	{
		ID: "sub8-operator", Level: Error, Targets: ort, Basis: measured,
		Title:  "2-bit codes around this operator (4-bit for MaxPool and Clip): no session",
		Remedy: "store activations of fewer than 8 bits as uint8 with an integer Clip between QuantizeLinear and DequantizeLinear",
		check:  sub8Operator,
	},
	{
		ID: "clip-quantize-old", Level: Error, Targets: ort, Until: "1.23", Basis: measured,
		Title:  "a Clip of a graph input, or one in front of a 2- or 4-bit QuantizeLinear: no session",
		Remedy: "remove the Clip where the range of the codes does the same, or clip the codes",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if !n.Is("Clip") || len(n.Outputs[0].Uses()) != 1 {
					continue
				}
				q := linearOf(n.Outputs[0].Uses()[0].Node, "QuantizeLinear")
				if q == nil || q.perAxis() || v.in(n.Input(0)) != nil {
					continue
				}
				if q.codes.Bits() < 8 {
					report(n, n.Outputs[0].Name, "its output is quantized to %s", q.codes)
				} else if n.Input(0).IsInput() && v.vanishes(n, q) {
					report(n, n.Input(0).Name, "it clips the input %q to a range that %q has anyway", n.Input(0).Name, q.node.Label())
				}
			}
		},
	},
	{
		ID: "resize-cubic-old", Level: Error, Targets: ort, Until: "1.26", Basis: measured,
		Title:  "a cubic Resize between Q/DQ with equal parameters is run on codes, which its kernel refuses",
		Remedy: "take the Q/DQ around it away, or use ONNX Runtime 1.27",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if !n.Is("Resize") || n.Str("mode", "nearest") != "cubic" {
					continue
				}
				if in, out := v.sides(n); in != nil && out != nil && in.linear().sameAs(out.q) && out.q.codes.Bits() == 8 && !out.q.perAxis() {
					report(n, "", "it stands between %q and %q", in.linear().node.Label(), out.q.node.Label())
				}
			}
		},
	},
	{
		ID: "qlinear-activation", Level: Error, Targets: ort, Basis: measured,
		Title:  "QLinearConv with a scale or zero point for each channel of an activation: the first run fails",
		Remedy: "use one scale and one zero point for the input, and one for the output",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if !n.Is("QLinearConv") {
					continue
				}
				for _, i := range []int{1, 2, 6, 7} {
					if x := n.Input(i); x != nil && len(x.Type.Shape) > 0 && x.Type.Shape[0] != onnx.Known(1) {
						report(n, x.Name, "%q is %s, want a scalar", x.Name, x.Type)
					}
				}
			}
		},
	},
	{
		ID: "weight-zero-points-old", Level: Error, Targets: ort, Until: "1.26", Basis: measured,
		Title:  "zero points other than 0 that differ between the channels of int8 weights: the first run fails",
		Remedy: "quantize weights symmetrically, zero point 0",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if f, _, _ := v.fate(n); f != integer || !n.Is("Conv") {
					continue
				}
				w := v.in(n.Input(1))
				if w != nil && slices.ContainsFunc(w.dq.zero, func(z float64) bool { return z != w.dq.zero[0] }) {
					report(n, n.Input(1).Name, "zero points of its weights differ between channels")
				}
			}
		},
	},
	{
		ID: "quantize-opset", Level: Error, Basis: "ONNX operator specification; run in ONNX Runtime 1.20 to 1.32",
		Title:  "QuantizeLinear and DequantizeLinear of this form need a newer opset",
		Remedy: "raise the opset of the model (daq quantize --opset), or take the com.microsoft domain for 4 and 16 bits in ONNX Runtime",
		check:  quantizationOpset,
	},
	{
		ID: "opset-too-new", Level: Error, Basis: "the highest opset each release loads: ONNX Runtime 1.20 to 1.32 tried; others by their documentation",
		Title:  "the opset is higher than the runtime knows",
		Remedy: "export or convert the model with a lower opset, or use a newer runtime",
		check:  opsetTooNew,
	},
	{
		ID: "deprecated-operator", Level: Error, Basis: "ONNX operator specification; run in ONNX Runtime 1.20 to 1.32",
		Title:  "an operator in a form that the opset of the model no longer has, as tools leave behind that raise the opset alone",
		Remedy: "convert the nodes with the opset (onnx.version_converter, or daq quantize --opset on the original), or set the old opset",
		check:  deprecated,
	},
	{
		ID: "declared-shape", Level: Error, Targets: []string{"web"}, Basis: "run in ONNX Runtime Web 1.30, which does not load such a file; ONNX Runtime on CPUs warns",
		Title:  "an output is declared with another shape than it has",
		Remedy: "correct the declared shape, or leave it out",
		check:  declaredShapes,
	},
	{
		ID: "foreign-domain", Level: Error, Basis: "each runtime knows its own operators; OpenVINO 2026.4 tried with com.microsoft Q/DQ",
		Title:  "an operator outside the ONNX standard that the target does not have",
		Remedy: "export with standard operators: opset 21 has QuantizeLinear for 4 and 16 bits",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				known := n.Domain == "" || n.Domain == "ai.onnx" || slices.Contains(ort, v.target.Name) && (n.Domain == microsoft || n.Domain == "com.ms.internal.nhwc")
				if !known {
					report(n, "", "%s is of domain %q", n.Op, n.Domain)
				}
			}
		},
	},
}

// perAxis finds operators that a runtime takes for integer ones although an
// activation beside them has more than one scale.
func perAxis(refuses func(n *onnx.Node, in, out *linear) bool) func(*view, reporter) {
	return func(v *view, report reporter) {
		for _, n := range v.nodes {
			inputs, channels := dataInputs(n), (*linear)(nil)
			if len(n.Outputs) == 0 || n.Outputs[0] == nil {
				continue
			}
			out, _ := v.out(n.Outputs[0])
			if out == nil {
				continue
			}
			var in *linear
			complete := true
			for i, x := range inputs {
				s := v.in(x)
				if s == nil {
					complete = false
					break
				}
				if n.Is("Conv", "MatMul") && i == 1 {
					continue // weights
				}
				if in == nil {
					in = s.linear()
				}
				if s.linear().perAxis() {
					channels = s.linear()
				}
			}
			if channels == nil && out.q.perAxis() {
				channels = out.q
			}
			if complete && channels != nil && channels.codes.Bits() == 8 && refuses(n, in, out.q) {
				report(n, channels.node.Outputs[0].Name, "%q has %d scales", channels.node.Label(), len(channels.scale))
			}
		}
	}
}

// sub8Conv: a convolution between equal types is taken for an integer one unless its
// weights have 4 or 16 bits, whatever the type.
func sub8Conv(v *view, report reporter) {
	for _, n := range v.nodes {
		if !n.Is("Conv") {
			continue
		}
		x, w := v.in(n.Input(0)), v.in(n.Input(1))
		out, _ := v.out(n.Outputs[0])
		if x == nil || w == nil || out == nil {
			continue
		}
		in, weights, to := x.linear().codes, w.linear().codes, out.q.codes
		equal := in == to || in.Bits() == 8 && to.Bits() == 8
		if equal && in.Bits() <= 8 && weights.Bits() != 4 && weights.Bits() != 16 && (in.Bits() < 8 || weights.Bits() < 8) {
			report(n, n.Input(0).Name, "input %s, weights %s, output %s", in, weights, to)
		}
	}
}

func sub8Operator(v *view, report reporter) {
	for _, n := range v.nodes {
		if n.Is("Conv") || n.Is("Transpose") {
			continue
		}
		form := v.target.Form(n)
		known := form == target.Integer || form == target.Moves
		if !known && !n.Is("Clip") || len(n.Outputs) == 0 || n.Outputs[0] == nil {
			continue
		}
		codes, complete := onnx.Undefined, true
		for _, x := range dataInputs(n) {
			s := v.in(x)
			if s == nil {
				complete = false
				break
			}
			if codes == onnx.Undefined {
				codes = s.linear().codes
			}
			perTensor := !s.linear().perAxis() || n.Is("LeakyRelu", "Sigmoid", "AveragePool", "GlobalAveragePool", "Where")
			complete = complete && perTensor && s.linear().codes == codes
		}
		if !complete || codes.Bits() >= 8 {
			continue
		}
		var q *linear
		if n.Is("Clip") {
			if uses := n.Outputs[0].Uses(); len(uses) == 1 {
				q = linearOf(uses[0].Node, "QuantizeLinear")
			}
		} else if out, _ := v.out(n.Outputs[0]); out != nil {
			q = out.q
		}
		if q == nil || q.codes != codes || q.codes.Bits() == 4 && !n.Is("MaxPool", "Clip") {
			continue
		}
		if form == target.Moves && !n.Is("Clip") {
			s := v.in(n.Input(0))
			if !s.linear().sameAs(q) {
				continue // stays float
			}
		}
		report(n, n.Outputs[0].Name, "its codes are %s", codes)
	}
}

// quantizationOpset finds forms of Q/DQ that the model's opset lacks.
func quantizationOpset(v *view, report reporter) {
	opset := v.model.Opset("")
	for _, n := range v.nodes {
		l := linearOf(n, "QuantizeLinear")
		if l == nil {
			l = linearOf(n, "DequantizeLinear")
		}
		if l == nil || n.Domain == microsoft {
			continue
		}
		need, what := int64(10), n.Op
		ask := func(version int64, form string) {
			if version > need {
				need, what = version, form
			}
		}
		if l.perAxis() {
			ask(13, "a scale for each channel")
		}
		if l.codes.Bits() == 16 {
			ask(21, "the type "+l.codes.String())
		}
		if l.block != 0 {
			ask(21, "blocks of weights")
		}
		if n.Int("output_dtype", 0) != 0 {
			ask(21, "the attribute output_dtype")
		}
		if opset > 0 && opset < need {
			report(n, "", "%s needs opset %d, the model has %d", what, need, opset)
		}
	}
}

// ortOpsets are the highest opsets that releases of ONNX Runtime load.
var ortOpsets = []struct {
	until string
	opset int64
}{{"1.20", 21}, {"1.22", 22}, {"1.23", 23}, {"1.24", 25}, {"1.31", 26}}

func opsetTooNew(v *view, report reporter) {
	highest, release := v.target.MaxOpset, ""
	if slices.Contains(ort, v.target.Name) && v.release != "" {
		for _, o := range ortOpsets {
			r := Rule{Until: o.until}
			if r.holds(v.release) {
				highest, release = o.opset, " "+v.release
				break
			}
		}
	}
	if have := v.model.Opset(""); highest > 0 && have > highest {
		report(nil, "", "the model has opset %d, %s%s reads up to %d", have, v.target.Name, release, highest)
	}
}

// became lists operators that an opset removed, and attributes that it turned into
// inputs (ONNX docs/Changelog.md).
var became = []struct {
	op, attribute string // without an attribute the operator itself is gone
	opset         int64
	now           string
}{
	{"Upsample", "", 10, "Resize"},
	{"Scatter", "", 11, "ScatterElements"},
	{"Clip", "min", 11, "inputs"}, {"Clip", "max", 11, "inputs"},
	{"Pad", "pads", 11, "an input"}, {"Pad", "value", 11, "an input"}, {"Slice", "starts", 10, "inputs"},
	{"TopK", "k", 10, "an input"}, {"Dropout", "ratio", 12, "an input"}, {"Split", "split", 13, "an input"},
	{"Squeeze", "axes", 13, "an input"}, {"Unsqueeze", "axes", 13, "an input"}, {"ReduceSum", "axes", 13, "an input"},
	{"ReduceMean", "axes", 18, "an input"}, {"ReduceMax", "axes", 18, "an input"}, {"ReduceMin", "axes", 18, "an input"},
	{"ReduceProd", "axes", 18, "an input"}, {"ReduceL1", "axes", 18, "an input"}, {"ReduceL2", "axes", 18, "an input"},
	{"ReduceSumSquare", "axes", 18, "an input"}, {"ReduceLogSum", "axes", 18, "an input"}, {"ReduceLogSumExp", "axes", 18, "an input"},
	{"BatchNormalization", "spatial", 9, "gone"}, {"BatchNormalization", "consumed_inputs", 6, "gone"},
}

func deprecated(v *view, report reporter) {
	opset := v.model.Opset("")
	for _, n := range v.nodes {
		for _, b := range became {
			switch {
			case opset < b.opset || !n.Is(b.op):
			case b.attribute == "":
				report(n, "", "%s is not in opset %d: since opset %d it is %s", b.op, opset, b.opset, b.now)
			case n.Attr(b.attribute) != nil:
				now := "it is " + b.now
				if b.now == "inputs" {
					now = "they are inputs"
				}
				report(n, "", "%s has no attribute %q in opset %d: since opset %d %s", b.op, b.attribute, opset, b.opset, now)
			}
		}
	}
}

func declaredShapes(v *view, report reporter) {
	m := v.model.Clone()
	if onnx.Inline(m) != nil {
		return
	}
	declared := map[*onnx.Value]onnx.Shape{}
	for _, out := range m.Graph.Outputs {
		declared[out], out.Type.Shape = out.Type.Shape, nil
	}
	if onnx.Infer(m) != nil {
		return
	}
	for _, out := range m.Graph.Outputs {
		have, said := out.Type.Shape, declared[out]
		if have == nil || said == nil {
			continue
		}
		differ := len(have) != len(said)
		for i := 0; i < len(have) && !differ; i++ {
			differ = have[i].IsKnown() && said[i].IsKnown() && have[i] != said[i]
		}
		if differ {
			report(out.Producer, out.Name, "it is declared as %s and is %s", said, have)
		}
	}
}
