package lint

import (
	"fmt"
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// ORT runs the rules of the ONNX Runtime CPU provider and its WebAssembly build.
var ort = []string{"onnxruntime", "web"}

const measured = "run in ONNX Runtime 1.20 to 1.32"

// fuseRules: what stays float although it has Q/DQ. Both are then work on top of
// the float operator.
var fuseRules = []Rule{
	{
		ID: "conv-float", Level: Warning, Targets: ort, Basis: measured,
		Title:  "a convolution with Q/DQ on some sides only is computed in float",
		Remedy: "put QuantizeLinear and DequantizeLinear on its input, its weights and directly behind it",
		check:  unfused("conv-float"),
	},
	{
		ID: "operator-float", Level: Warning, Targets: ort, Basis: measured,
		Title:  "the operator is computed in float whatever stands around it",
		Remedy: "take the Q/DQ between it and other float operators away, or replace it by one with integer kernels (ConvTranspose: Conv and DepthToSpace; PRelu: LeakyRelu; Resize: nearest)",
		check:  unfused("operator-float"),
	},
	{
		ID: "operator-one-sided", Level: Warning, Targets: ort, Basis: measured,
		Title:  "an operator with Q/DQ on some sides only is computed in float",
		Remedy: "put QuantizeLinear and DequantizeLinear on all its inputs and directly behind it",
		check:  unfused("operator-one-sided"),
	},
	{
		ID: "float-residual", Level: Warning, Targets: ort, Basis: measured + "; EDSR with float residual Adds gains nothing from int8 (RUNTIMES.md)",
		Title:  "a float residual Add keeps the convolutions around it from being fast",
		Remedy: "quantize both branches of the Add and its output",
		check:  unfused("float-residual"),
	},
	{
		ID: "moves-differ", Level: Warning, Targets: ort, Basis: measured,
		Title:  "an operator that moves data is computed in float because scale or zero point differ on its two sides",
		Remedy: "give the QuantizeLinear behind it the parameters of the one in front",
		check:  unfused("moves-differ"),
	},
	{
		ID: "relu-float", Level: Warning, Targets: ort, Basis: measured,
		Title:  "a Relu between an operator and a QuantizeLinear whose zero point is not the least code keeps both float",
		Remedy: "use the least code as zero point behind a Relu (0 for uint8, -128 for int8)",
		check:  unfused("relu-float"),
	},
	{
		ID: "narrow-weights", Level: Warning, Targets: ort, Basis: measured,
		Title:  "4-bit weights of a convolution are never fused: they are dequantized at every inference, and the convolution is float",
		Remedy: "store them as int8 with few levels for speed; keep 4 bits for the size of the file only",
		check:  unfused("narrow-weights"),
	},
	{
		ID: "weights-only", Level: Warning, Targets: ort, Basis: measured,
		Title:  "quantized weights of a convolution whose activations are float are dequantized at every inference",
		Remedy: "quantize its input and output too, or keep the weights float; the target storage is for small files",
		check:  unfused("weights-only"),
	},
	{
		ID: "wide-types", Level: Warning, Targets: ort, Basis: measured,
		Title:  "operators with 16-bit codes are computed in float",
		Remedy: "use 8 bits, or leave the operator float",
		check:  unfused("wide-types"),
	},
	{
		ID: "int8-shared", Level: Warning, Targets: ort, Basis: measured + " on x86; ARM has kernels for int8",
		Title:  "int8 activations that several nodes read are not turned into uint8, which integer kernels of x86 want: the operator is computed in float",
		Remedy: "quantize activations to uint8 (zero point 128 for the same range)",
		check:  unfused("int8-shared"),
	},
	{
		ID: "float-bias-old", Level: Warning, Targets: ort, Until: "1.22", Basis: measured,
		Title:  "a convolution with a float bias is computed in float",
		Remedy: "store the bias as int32 with the scale of input times weights and a DequantizeLinear",
		check:  floatBias,
	},
	{
		ID: "slow-channels", Level: Note, Targets: []string{"onnxruntime"}, Basis: "timed in ONNX Runtime 1.32 on x86 (3x3, 128x128, one thread): 64 to 12 channels 1.5 ms, 64 to 16 0.8; 50 to 50 3.6, 52 to 52 2.3; 256 to 12 13, 256 to 16 2.9",
		Title:  "an integer convolution whose channels are no multiple of 4, or fewer than 16 behind it, has a slow kernel",
		Remedy: "add channels with weights of zero, and cut them off behind the QuantizeLinear and DequantizeLinear if they are in the way",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				_, shape := v.weights(n.Input(1))
				if !n.Is("Conv") || len(shape) != 4 || n.Int("group", 1) != 1 || shape[1] <= 4 { // those that read pictures are cheap
					continue
				}
				if f, _, _ := v.fate(n); f == integer && (shape[0]%4 != 0 || shape[0] < 16 || shape[1]%4 != 0) {
					report(n, "", "it makes %d channels of %d", shape[0], shape[1])
				}
			}
		},
	},
	{
		ID: "unused-pair", Level: Note, Basis: "follows from the graph",
		Title:  "nothing reads what QuantizeLinear or DequantizeLinear gives",
		Remedy: "remove it",
		check: func(v *view, report reporter) {
			for _, n := range v.nodes {
				if (isLinear(n, "QuantizeLinear") || isLinear(n, "DequantizeLinear")) && len(n.Outputs[0].Uses()) == 0 && !n.Outputs[0].IsOutput() {
					report(n, n.Outputs[0].Name, "nothing reads %q", n.Outputs[0].Name)
				}
			}
		},
	},
}

// fate is what becomes of an operator.
type fate int

const (
	plain     fate = iota // there are no Q/DQ around it
	integer               // it is computed in integers, on codes, or vanishes
	staysHere             // it is computed in float: why says so
)

// unfused reports the operators for which this rule is the reason that they stay
// float.
func unfused(rule string) func(*view, reporter) {
	return func(v *view, report reporter) {
		for _, n := range v.nodes {
			if f, because, why := v.fate(n); f == staysHere && because == rule {
				report(n, "", "%s", why)
			}
		}
	}
}

// count returns how many of the operators with Q/DQ around them the target computes
// in integers and how many in float.
func (v *view) count() (integers, floats int) {
	if !v.fuses() {
		return 0, 0
	}
	for _, n := range v.nodes {
		switch f, _, _ := v.fate(n); f {
		case integer:
			integers++
		case staysHere:
			floats++
		}
	}
	return integers, floats
}

// fuses reports whether what becomes of operators is known for the target.
func (v *view) fuses() bool { return v.target.Name == "onnxruntime" || v.target.Name == "web" }

// fate says what ONNX Runtime makes of a node, and for one that stays float the rule
// and the reason.
func (v *view) fate(n *onnx.Node) (f fate, rule, why string) {
	if n.Domain != "" && n.Domain != "ai.onnx" || n.Is("QuantizeLinear", "DequantizeLinear", "Constant", "Shape", "Identity", "Cast") || len(n.Outputs) == 0 || n.Outputs[0] == nil {
		return plain, "", ""
	}
	inputs := dataInputs(n)
	ins := make([]*side, len(inputs))
	quantized := 0
	for i, x := range inputs {
		if ins[i] = v.in(x); ins[i] != nil {
			quantized++
		}
	}
	out, reader := v.out(n.Outputs[0])
	if n.Is("Conv") {
		return v.convFate(n, ins, out, reader)
	}
	form := v.target.Form(n)
	switch {
	case n.Is("Resize") && v.before("1.27"):
		form = target.Moves // in any mode
	case n.Is("DepthToSpace") && v.before("1.21"):
		form = target.Float
	}
	between := quantized == len(ins) && quantized > 0 && out != nil
	switch {
	case n.Is("Clip") && integerTyped(n.Input(0)):
		return plain, "", "" // part of a quantizer
	case form == target.Absorbed:
		if out == nil || len(n.Outputs[0].Uses()) != 1 || !isLinear(n.Outputs[0].Uses()[0].Node, "QuantizeLinear") {
			return plain, "", ""
		}
		if v.vanishes(n, out.q) {
			return integer, "", ""
		}
		if quantized > 0 {
			return staysHere, "relu-float", fmt.Sprintf("%q behind it has zero point %s, not the least code", out.q.node.Label(), zeroText(out.q))
		}
		return plain, "", ""
	case n.Is("Clip") && out != nil && v.vanishes(n, out.q):
		return integer, "", ""
	case v.passes(n) && ins[0] != nil && out == nil:
		return integer, "", "" // DequantizeLinear moves behind it
	case quantized == 0:
		return plain, "", ""
	case form == target.Float || form == target.Bare:
		if out == nil && !between {
			return plain, "", "" // only read from codes, as every float operator behind a quantized one
		}
		return staysHere, "operator-float", fmt.Sprintf("%s is computed on values, not on codes: Q/DQ between it and other float operators only cost time", opText(n))
	case !between:
		if n.Is("MatMul") && v.target.FloatProducts && out == nil && quantized == len(ins) && ins[1].codes != nil {
			return integer, "", "" // with floats as result
		}
		if n.Is("Add") && v.target.FloatProducts && slices.ContainsFunc(n.Inputs, isProduct) {
			return plain, "", "" // what is added comes in float anyway
		}
		if n.Is("Add") {
			return staysHere, "float-residual", oneSided(n, inputs, ins, out, reader)
		}
		if out == nil && quantized == len(ins) && reader == nil {
			return plain, "", "" // the end of the quantized part
		}
		return staysHere, "operator-one-sided", oneSided(n, inputs, ins, out, reader)
	}
	codes := out.q.codes
	for _, s := range ins {
		t, moves := s.linear().codes, form == target.Moves && s.linear().codes == codes && !s.linear().perAxis() && !out.q.perAxis()
		switch {
		case moves && codes.Bits() == 16 && !n.Is("MaxPool", "DepthToSpace", "Resize", "Flatten", "Expand"):
		case moves && codes.Bits() == 2 && n.Is("Transpose"):
		case t.Bits() == 16 || codes.Bits() == 16:
			return staysHere, "wide-types", fmt.Sprintf("its codes are %s and %s", t, codes)
		case t.Bits() < 8 || codes.Bits() < 8 || s.linear().perAxis() || out.q.perAxis():
			return staysHere, "", "" // other rules
		}
	}
	for _, s := range ins {
		if constant := s.codes != nil; !constant && s.computes() != out.computes() || out.computes() == onnx.Int8 && n.Is("MatMul", "Split") {
			return staysHere, "int8-shared", fmt.Sprintf("it computes with %s on one side and %s on the other", s.computes(), out.computes())
		}
	}
	if form == target.Moves {
		if n.Is("Split") {
			for _, y := range n.Outputs[1:] {
				if s, reader := v.out(y); s == nil || s.computes() != out.computes() {
					return staysHere, "operator-one-sided", oneSided(n, inputs, ins, s, reader)
				}
			}
		}
		if !ins[0].linear().sameAs(out.q) {
			return staysHere, "moves-differ", fmt.Sprintf("scale and zero point of %q and %q differ", ins[0].linear().node.Label(), out.q.node.Label())
		}
	}
	return integer, "", ""
}

// isProduct reports whether a value is what a MatMul gives, with a bias and turned.
func isProduct(v *onnx.Value) bool {
	for v.Producer != nil && (v.Producer.Is("Transpose") || v.Producer.Is("Add") && v.Producer.Inputs[1].Const != nil) {
		v = v.Producer.Inputs[0]
	}
	return v.Producer != nil && v.Producer.Is("MatMul")
}

// convFate is fate of a Conv.
func (v *view) convFate(n *onnx.Node, ins []*side, out *side, reader *onnx.Node) (fate, string, string) {
	x, w := ins[0], ins[1]
	const rule = "conv-float"
	switch {
	case x == nil && w == nil:
		return plain, "", ""
	case x == nil && out == nil:
		if w.linear().codes.Bits() < 8 {
			return staysHere, "narrow-weights", fmt.Sprintf("its weights are %s", w.linear().codes)
		}
		return staysHere, "weights-only", fmt.Sprintf("its weights are %s, its input and output float", w.linear().codes)
	case w == nil && out == nil:
		return plain, "", "" // only reads from codes
	case w != nil && w.linear().codes.Bits() == 4:
		return staysHere, "narrow-weights", fmt.Sprintf("its weights are %s", w.linear().codes)
	case w != nil && w.linear().codes.Bits() == 16:
		return staysHere, "wide-types", fmt.Sprintf("its weights are %s", w.linear().codes)
	case x == nil:
		return staysHere, rule, fmt.Sprintf("its input %q comes from no DequantizeLinear", n.Input(0).Name)
	case w == nil && constant(n.Input(1)) == nil:
		return staysHere, rule, "its weights are computed"
	case out == nil && reader != nil && reader.Is("Relu") && quantizedBehind(reader):
		return staysHere, "relu-float", fmt.Sprintf("behind it stands %s, whose QuantizeLinear has a zero point that is not the least code", reader)
	case out == nil && reader != nil && reader.Is("Add"):
		return staysHere, "float-residual", fmt.Sprintf("its output goes to the float %s without Q/DQ between", reader)
	case out == nil && reader != nil:
		return staysHere, rule, fmt.Sprintf("its output goes to %s without Q/DQ between", reader)
	case out == nil && n.Outputs[0].IsOutput():
		return staysHere, rule, "its output is an output of the graph without Q/DQ"
	case out == nil:
		return staysHere, rule, fmt.Sprintf("its output is read by %d nodes, not by one QuantizeLinear alone", len(n.Outputs[0].Uses()))
	case x.linear().codes.Bits() == 16 || out.q.codes.Bits() == 16:
		return staysHere, "wide-types", fmt.Sprintf("its input is %s, its output %s", x.linear().codes, out.q.codes)
	case x.linear().codes.Bits() < 8 || out.q.codes.Bits() < 8 || w != nil && w.linear().codes.Bits() < 8 || x.linear().perAxis() || out.q.perAxis():
		if x.linear().codes != out.q.codes && !x.linear().perAxis() && !out.q.perAxis() && (x.linear().codes.Bits() < 8 || out.q.codes.Bits() < 8) {
			return staysHere, rule, fmt.Sprintf("its input is %s, its output %s", x.linear().codes, out.q.codes)
		}
		return staysHere, "", "" // other rules
	}
	if x.computes() != onnx.Uint8 || out.computes() != onnx.Uint8 {
		return staysHere, "int8-shared", fmt.Sprintf("its input is %s, its output %s, and several nodes read them", x.linear().codes, out.q.codes)
	}
	if constant(n.Input(2)) != nil && v.before("1.23") {
		return staysHere, "float-bias-old", fmt.Sprintf("its bias %q is float", n.Input(2).Name)
	}
	if w == nil && v.before("1.21") {
		return staysHere, rule, fmt.Sprintf("its weights %q are float", n.Input(1).Name)
	}
	if bias := n.Input(2); bias != nil && !v.before("1.27") && constant(bias) == nil && (v.in(bias) == nil || !biasScaleFits(v, n)) {
		return staysHere, "", "" // rule bias-scale
	}
	return integer, "", ""
}

// dataInputs returns the inputs of a node that are quantized like activations or
// weights: not biases, shapes and other parameters.
func dataInputs(n *onnx.Node) []*onnx.Value {
	count := 1
	switch {
	case n.Is("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Mul", "Sub", "Div", "PRelu", "Pow"):
		count = 2
	case n.Is("Concat", "Max", "Min", "Sum", "Mean"):
		count = len(n.Inputs)
	case n.Is("Where"):
		return []*onnx.Value{n.Input(1), n.Input(2)}
	}
	list := make([]*onnx.Value, count)
	for i := range list {
		list[i] = n.Input(i)
	}
	return list
}

func integerTyped(x *onnx.Value) bool {
	return x != nil && (x.Type.Elem == onnx.Uint8 || x.Type.Elem == onnx.Int8)
}

func quantizedBehind(n *onnx.Node) bool {
	for _, u := range n.Outputs[0].Uses() {
		if isLinear(u.Node, "QuantizeLinear") {
			return true
		}
	}
	return false
}

func zeroText(l *linear) string {
	if len(l.zero) == 0 {
		return "computed"
	}
	return fmt.Sprint(l.zero[0])
}

func opText(n *onnx.Node) string {
	if n.Is("Resize") {
		return "Resize in mode " + n.Str("mode", "nearest")
	}
	return n.Op
}

// oneSided says which side of a node has no Q/DQ.
func oneSided(n *onnx.Node, inputs []*onnx.Value, ins []*side, out *side, reader *onnx.Node) string {
	for i, s := range ins {
		if s == nil {
			name := ""
			if inputs[i] != nil {
				name = inputs[i].Name
			}
			return fmt.Sprintf("its input %q comes from no DequantizeLinear", name)
		}
	}
	switch {
	case reader != nil:
		return fmt.Sprintf("its output goes to %s without Q/DQ between", reader)
	case n.Outputs[0].IsOutput():
		return "its output is an output of the graph without Q/DQ"
	}
	return fmt.Sprintf("its output is read by %d nodes, not by one QuantizeLinear alone", len(n.Outputs[0].Uses()))
}

// floatBias reports them also when no old release was asked for.
func floatBias(v *view, report reporter) {
	for _, n := range v.nodes {
		f, because, _ := v.fate(n)
		if because == "float-bias-old" || f == integer && n.Is("Conv") && constant(n.Input(2)) != nil {
			report(n, n.Input(2).Name, "its bias %q is float", n.Input(2).Name)
		}
	}
}
