package lint

import (
	"fmt"
	"math"
	"slices"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// view is a model as the rules look at it.
type view struct {
	model    *onnx.Model // as it is
	target   *target.Target
	release  string
	data     *Data
	external []string // files beside the model

	// Nodes of the main graph with functions inlined, and of the graphs inside; those
	// that lack an input or output that their operator must have stand apart.
	nodes, malformed []*onnx.Node
}

func newView(m *onnx.Model, o Options) (*view, error) {
	inlined := m.Clone()
	if err := onnx.Inline(inlined); err != nil {
		return nil, err
	}
	if err := inlined.Graph.Sort(); err != nil {
		return nil, err
	}
	_ = onnx.Infer(inlined) // types help; a graph that has none can still be looked at
	v := &view{model: m, target: o.Target, release: o.Release, data: o.Data, external: m.External}
	var walk func(g *onnx.Graph)
	walk = func(g *onnx.Graph) {
		for _, n := range g.Nodes {
			if lacks(n) != "" {
				v.malformed = append(v.malformed, n)
				continue
			}
			v.nodes = append(v.nodes, n)
			for _, sub := range n.Subgraphs() {
				walk(sub)
			}
		}
	}
	walk(inlined.Graph)
	return v, nil
}

// required is how many inputs the operators have at least that rules look at.
var required = map[string]int{
	"QuantizeLinear": 2, "DequantizeLinear": 2, "Conv": 2, "ConvTranspose": 2, "MatMul": 2, "Gemm": 2, "PRelu": 2, "Where": 3, "QLinearConv": 8,
	"Add": 2, "Mul": 2, "Sub": 2, "Div": 2, "Pow": 2, "Concat": 1, "Clip": 1, "Relu": 1, "Transpose": 1, "Reshape": 2, "Resize": 1,
}

// lacks says which input or output a node must have and has not.
func lacks(n *onnx.Node) string {
	if len(n.Outputs) == 0 || n.Outputs[0] == nil {
		return "output 0"
	}
	if n.Is(n.Op) || isLinear(n, n.Op) {
		for i := range required[n.Op] {
			if n.Input(i) == nil {
				return fmt.Sprintf("input %d", i)
			}
		}
	}
	return ""
}

// linear is a QuantizeLinear or DequantizeLinear. ONNX Runtime's own domain
// com.microsoft has the same operators for 4 and 16 bits.
type linear struct {
	node        *onnx.Node
	codes       onnx.DataType
	scale, zero []float64 // nil where they are computed; a missing zero point is 0
	shape       []int64   // of the scale, where it is constant
	axis, block int64
}

const microsoft = "com.microsoft"

func isLinear(n *onnx.Node, op string) bool {
	return n != nil && n.Op == op && (n.Is(op) || n.Domain == microsoft)
}

// linearOf reads a node of that operator; nil when it is another.
func linearOf(n *onnx.Node, op string) *linear {
	if !isLinear(n, op) || lacks(n) != "" {
		return nil
	}
	l := &linear{node: n, axis: n.Int("axis", 1), block: n.Int("block_size", 0)}
	if scale := constant(n.Input(1)); scale != nil {
		l.scale, l.shape = numbers(scale), scale.Shape
	}
	zero := n.Input(2)
	switch {
	case zero == nil:
		l.zero = make([]float64, max(1, len(l.scale)))
	case constant(zero) != nil:
		l.zero = numbers(constant(zero))
	}
	typed := []*onnx.Value{zero, n.Input(0)}
	if op == "QuantizeLinear" {
		typed[1] = n.Outputs[0]
		if zero == nil {
			l.codes = onnx.DataType(n.Int("output_dtype", 0))
		}
	}
	for _, t := range typed {
		if l.codes == onnx.Undefined && t != nil {
			l.codes = t.Type.Elem
			if c := constant(t); c != nil {
				l.codes = c.Type
			}
		}
	}
	if l.codes == onnx.Undefined {
		l.codes = onnx.Uint8
	}
	return l
}

// perAxis reports whether there is more than one scale.
func (l *linear) perAxis() bool {
	if l.shape == nil {
		shape := l.node.Input(1).Type.Shape
		return len(shape) > 0 && shape[0] != onnx.Known(1)
	}
	return len(l.scale) > 1
}

// zeroIs reports whether all zero points are known and equal to z.
func (l *linear) zeroIs(z float64) bool {
	return len(l.zero) > 0 && !slices.ContainsFunc(l.zero, func(x float64) bool { return x != z })
}

// sameAs reports whether two have equal, known parameters, counted from the least code
// of their types: int8 and uint8 128 apart are the same.
func (l *linear) sameAs(o *linear) bool {
	shift := least(o.codes) - least(l.codes)
	return l.scale != nil && l.zero != nil && l.codes.Bits() == o.codes.Bits() && slices.Equal(l.scale, o.scale) &&
		slices.EqualFunc(l.zero, o.zero, func(a, b float64) bool { return a+shift == b })
}

// least and most are the ends of the codes' type.
func least(t onnx.DataType) float64 {
	if signed(t) {
		return -math.Exp2(float64(t.Bits() - 1))
	}
	return 0
}

func most(t onnx.DataType) float64 { return least(t) + math.Exp2(float64(t.Bits())) - 1 }

func signed(t onnx.DataType) bool {
	switch t {
	case onnx.Int2, onnx.Int4, onnx.Int8, onnx.Int16, onnx.Int32:
		return true
	}
	return false
}

// side is a tensor on one side of an operator that is quantized.
type side struct {
	q, dq     *linear    // either may be nil: codes can come from elsewhere, or stay codes
	clip      *onnx.Node // integer Clip between them
	codes     *onnx.Tensor
	low, high float64 // codes that can occur
}

// linear is the one of the two that says how codes are read.
func (s *side) linear() *linear {
	if s.dq != nil {
		return s.dq
	}
	return s.q
}

// computes returns the type of codes that ONNX Runtime computes with on x86: it turns
// int8 into uint8 where QuantizeLinear and DequantizeLinear have one reader each.
func (s *side) computes() onnx.DataType {
	codes := s.linear().codes
	if codes != onnx.Int8 || s.q == nil || s.linear().perAxis() {
		return codes
	}
	uses := s.q.node.Outputs[0].Uses()
	if len(uses) != 1 || !isLinear(uses[0].Node, "DequantizeLinear") {
		return codes
	}
	if y := uses[0].Node.Outputs[0]; y.IsOutput() || len(y.Uses()) <= 1 {
		return onnx.Uint8
	}
	return codes
}

// in returns how x is quantized when it comes out of a DequantizeLinear, also
// through operators that the runtime moves it through; nil when it does not.
func (v *view) in(x *onnx.Value) *side {
	for x != nil && x.Producer != nil {
		if dq := linearOf(x.Producer, "DequantizeLinear"); dq != nil {
			return sideOf(dq)
		}
		if !v.passes(x.Producer) {
			return nil
		}
		x = x.Producer.Input(0)
	}
	return nil
}

func sideOf(dq *linear) *side {
	s := &side{dq: dq, low: least(dq.codes), high: most(dq.codes)}
	codes := dq.node.Input(0)
	if s.codes = constant(codes); s.codes != nil || codes == nil {
		return s
	}
	if n := codes.Producer; n != nil && n.Is("Clip") {
		s.clip = n
		if lo := constant(n.Input(1)); lo != nil && len(numbers(lo)) == 1 {
			s.low = max(s.low, numbers(lo)[0])
		}
		if hi := constant(n.Input(2)); hi != nil && len(numbers(hi)) == 1 {
			s.high = min(s.high, numbers(hi)[0])
		}
		codes = n.Input(0)
	}
	if codes != nil {
		s.q = linearOf(codes.Producer, "QuantizeLinear")
	}
	return s
}

// out returns how x is quantized when a QuantizeLinear is all that reads it, also
// behind operators that the runtime moves it through or lets vanish; nil and the
// reader in the way when it is not.
func (v *view) out(x *onnx.Value) (*side, *onnx.Node) {
	var way []*onnx.Node // activation functions in front of the QuantizeLinear
	for {
		uses := x.Uses()
		if len(uses) != 1 || x.IsOutput() {
			return nil, nil
		}
		n := uses[0].Node
		if q := linearOf(n, "QuantizeLinear"); q != nil && uses[0].Index == 0 {
			for _, w := range way {
				if !v.vanishes(w, q) {
					return nil, w
				}
			}
			return &side{q: q, low: least(q.codes), high: most(q.codes)}, nil
		}
		switch {
		case v.passes(n):
		case n.Is("Relu", "Clip"):
			way = append(way, n)
		default:
			return nil, n
		}
		if len(n.Outputs) == 0 || n.Outputs[0] == nil {
			return nil, n
		}
		x = n.Outputs[0]
	}
}

// sides returns how the first input and the output of a node are quantized.
func (v *view) sides(n *onnx.Node) (in, out *side) {
	in = v.in(n.Input(0))
	out, _ = v.out(n.Outputs[0])
	return in, out
}

// before reports whether the runtime is older than a release; it is not when no
// release was asked for.
func (v *view) before(release string) bool {
	r := Rule{Since: release}
	return v.release != "" && !r.holds(v.release)
}

// passes reports whether ONNX Runtime moves Q and DQ through an operator that has
// them on one side only (measured, 1.20 to 1.32).
func (v *view) passes(n *onnx.Node) bool {
	return n.Is("MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze", "Identity")
}

// vanishes reports whether an activation function in front of a quantizer does
// nothing that the quantizer does not: a Relu when codes begin at zero, a Clip when
// its range is that of the codes or larger.
func (v *view) vanishes(n *onnx.Node, q *linear) bool {
	if q.perAxis() || q.scale == nil || q.zero == nil {
		return false
	}
	low, high := (least(q.codes)-q.zero[0])*q.scale[0], (most(q.codes)-q.zero[0])*q.scale[0]
	if n.Is("Relu") {
		return low == 0 && q.codes.Bits() <= 8
	}
	lo, hi := clipRange(n)
	return lo <= low && hi >= high
}

// clipRange returns the bounds of a Clip, infinite where it has none or computes
// them.
func clipRange(n *onnx.Node) (lo, hi float64) {
	lo, hi = float64(n.Float("min", float32(math.Inf(-1)))), float64(n.Float("max", float32(math.Inf(1))))
	if c := constant(n.Input(1)); c != nil && len(numbers(c)) == 1 {
		lo = numbers(c)[0]
	}
	if c := constant(n.Input(2)); c != nil && len(numbers(c)) == 1 {
		hi = numbers(c)[0]
	}
	return lo, hi
}

// constant returns the tensor behind a value that does not depend on the input:
// an initializer that no caller can replace, or a Constant.
func constant(v *onnx.Value) *onnx.Tensor {
	switch {
	case v == nil:
		return nil
	case v.Const != nil:
		return v.Const
	case v.Producer == nil:
		return nil
	case v.Producer.Is("Constant"):
		return v.Producer.Tensor("value")
	case v.Producer.Is("Identity"):
		return constant(v.Producer.Input(0))
	}
	return nil
}

// numbers returns the elements of a tensor; nil for types that are no numbers.
func numbers(t *onnx.Tensor) []float64 {
	r, err := runtime.FromONNX(t)
	if err != nil {
		return nil
	}
	if t.Type == onnx.Float16 || t.Type == onnx.Bfloat16 { // ModelOpt's scales
		r = runtime.Widened(r)
	}
	switch d := r.Data.(type) {
	case []float32:
		return widen(d)
	case []float64:
		return d
	case []int8:
		return widen(d)
	case []uint8:
		return widen(d)
	case []int16:
		return widen(d)
	case []uint16:
		if t.Type == onnx.Uint16 {
			return widen(d)
		}
	case []int32:
		return widen(d)
	case []int64:
		return widen(d)
	}
	return nil
}

func widen[T onnx.Number](s []T) []float64 {
	out := make([]float64, len(s))
	for i, x := range s {
		out[i] = float64(x)
	}
	return out
}

// channelsText names the channels in a list: "3, 7, 12 and 5 more".
func channelsText(list []int) string {
	const shown = 8
	text := ""
	for i, c := range list {
		if i == shown {
			return fmt.Sprintf("%s and %d more", text, len(list)-shown)
		}
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprint(c)
	}
	return text
}
