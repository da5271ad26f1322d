//go:build unix

package lint

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/daq-sr/daq/internal/peer"
	"github.com/daq-sr/daq/onnx"
)

// text builds a small graph with input x: float[1,4,8,8] and output y.
type text struct {
	opset            int // default 21
	ir               int // default: that of the opset
	nodes, constants string
	imports          string
	input            string // default float[1,4,8,8] x
}

func (g text) add(nodes, constants string) text {
	g.nodes += nodes + "\n "
	if constants = strings.TrimSuffix(constants, ", "); constants != "" {
		g.constants += constants + ", "
	}
	return g
}

// q puts Q/DQ of a type between two tensors.
func (g text) q(x, y, typ string) text { return g.add(pair(x, y, typ, 1)) }

// window puts uint8 Q/DQ with scale and zero point between two tensors.
func (g text) window(x, y string, scale float64, zero int) text {
	return g.typed(x, y, "uint8", scale, zero)
}

func (g text) typed(x, y, typ string, scale float64, zero int) text {
	nodes, _ := pair(x, y, typ, 1)
	return g.add(nodes, fmt.Sprintf("float s_%s = {%g}, %s z_%s = {%d}", y, scale, typ, y, zero))
}

// conv is a 3x3 convolution of x to y with weights of a type.
func (g text) conv(x, y, weights string) text {
	return g.add(weightText("w_"+y, weights, 4, 4, 3)).add(fmt.Sprintf("[%s] %s = Conv <pads = [1,1,1,1]> (%s, w_%s)", y, y, x, y), "")
}

func (g text) String() string {
	opset, ir := g.opset, int64(g.ir)
	if opset == 0 {
		opset = 21
	}
	if ir == 0 {
		ir = onnx.IRVersionFor(int64(opset))
	}
	if g.input == "" {
		g.input = "float[1,4,8,8] x"
	}
	constants := ""
	if g.constants != "" {
		constants = "<" + strings.TrimSuffix(g.constants, ", ") + ">"
	}
	return fmt.Sprintf("<ir_version: %d, opset_import: [\"\" : %d%s]>\ng (%s) => (float y)\n %s {\n %s}", ir, opset, g.imports, g.input, constants, g.nodes)
}

// What a runtime does with a graph that breaks a rule.
type outcome func(e *effect) bool

func fails(e *effect) bool   { return e.fails() }
func wrong(e *effect) bool   { return e.wrong() }
func differs(e *effect) bool { return e.Difference > 0 }

// float: such an operator is left and computes on dequantized values.
func float(ops ...string) outcome {
	return func(e *effect) bool { return e.Error == "" && e.has(ops...) > 0 && e.has("DequantizeLinear") > 0 }
}

// cases has a graph for every rule of ONNX Runtime and of all targets. In a release
// for which the rule holds the outcome is that of the graph, and in others it is not.
// repaired is the graph after the remedy, about which the rule says nothing.
var cases = []struct {
	rule     string
	node     string // that is named
	graph    text
	outcome  outcome // nil: nothing to see in a runtime
	repaired text
}{
	{"malformed-node", "y", text{}.add("y = Conv (x)", ""), fails, text{}.q("x", "y", "int8")},
	{"per-axis-activation", "r", text{}.add(pair("x", "a", "uint8", 4)).add("[r] r = LeakyRelu (a)", "").add(pair("r", "y", "uint8", 4)), fails,
		text{}.q("x", "a", "uint8").add("[r] r = LeakyRelu (a)", "").q("r", "y", "uint8")},
	{"per-axis-activation", "r", text{}.add(pair("x", "a", "uint8", 4)).conv("a", "r", "int8").q("r", "y", "uint8"), fails,
		text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "y", "uint8")},
	{"per-axis-activation-old", "r", text{}.add(pair("x", "a", "uint8", 4)).add("[r] r = Add (a, a)", "").q("r", "y", "uint8"), fails,
		text{}.q("x", "a", "uint8").add("[r] r = Add (a, a)", "").q("r", "y", "uint8")},
	{"concat-per-axis-old", "r", text{}.add(pair("x", "a", "uint8", 4)).add("n = Neg (x)", "").add(pair("n", "b", "uint8", 4)).
		add("[r] r = Concat <axis = 1> (a, b)", "").add(pair("r", "y", "uint8", 8)), wrong,
		text{}.q("x", "a", "uint8").add("[r] r = Concat <axis = 1> (a, a)", "").q("r", "y", "uint8")},
	{"sub8-conv", "r", text{}.q("x", "a", "uint4").conv("a", "r", "int8").q("r", "y", "uint4"), fails,
		text{}.q("x", "a", "uint4").conv("a", "r", "int4").q("r", "y", "uint4")},
	{"sub8-operator", "r", text{}.q("x", "a", "uint4").add("[r] r = MaxPool <kernel_shape = [2,2]> (a)", "").q("r", "y", "uint4"), fails,
		text{}.q("x", "a", "uint8").add("[r] r = MaxPool <kernel_shape = [2,2]> (a)", "").q("r", "y", "uint8")},
	{"clip-quantize-old", "r", text{}.add("[r] r = Clip (x, lo, hi)", "float lo = {-0.5}, float hi = {0.5}").q("r", "y", "uint4"), fails,
		text{}.q("x", "y", "uint4")},
	{"resize-cubic-old", "r", text{}.window("x", "a", 0.01, 128).add(`[r] r = Resize <mode = "cubic"> (a, , scales)`, "float[4] scales = {1,1,2,2}").window("r", "y", 0.01, 128), fails,
		text{}.window("x", "a", 0.01, 128).add(`[r] y = Resize <mode = "cubic"> (a, , scales)`, "float[4] scales = {1,1,2,2}")},
	{"qlinear-activation", "c", text{opset: 13}.add("q = QuantizeLinear <axis = 1> (x, s, z)\n [c] c = QLinearConv (q, s, z, w, t, v, t, z0)\n y = DequantizeLinear (c, t, z0)",
		"float[4] s = {0.01,0.01,0.01,0.01}, uint8[4] z = {0,0,0,0}, uint8 z0 = {0}, int8[4,4,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}, float t = {0.1}, int8 v = {0}"), fails,
		text{opset: 13}.add("q = QuantizeLinear (x, t, z0)\n [c] c = QLinearConv (q, t, z0, w, t, v, t, z0)\n y = DequantizeLinear (c, t, z0)",
			"uint8 z0 = {0}, int8[4,4,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}, float t = {0.1}, int8 v = {0}")},
	{"weight-zero-points-old", "r", text{}.q("x", "a", "uint8").add("[dq] w = DequantizeLinear <axis = 0> (k, t, v)\n [r] r = Conv (a, w)",
		"int8[4,4,1,1] k = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}, float[4] t = {0.1,0.1,0.1,0.1}, int8[4] v = {3,0,0,0}").q("r", "y", "uint8"), fails,
		text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "y", "uint8")},
	{"quantize-opset", "Q_y", text{opset: 19}.q("x", "y", "uint16"), fails, text{opset: 21}.q("x", "y", "uint16")},
	{"opset-too-new", "", text{opset: 28, ir: 10}.q("x", "y", "uint8"), fails, text{opset: 21}.q("x", "y", "uint8")},
	{"deprecated-operator", "r", text{opset: 13}.add(`[r] y = Upsample <mode = "nearest"> (x, s)`, "float[4] s = {1,1,2,2}"), fails,
		text{opset: 13}.add(`[r] y = Resize <mode = "nearest"> (x, , s)`, "float[4] s = {1,1,2,2}")},
	{"deprecated-operator", "r", text{opset: 18}.add("[r] y = ReduceMean <axes = [2,3]> (x)", ""), fails, text{opset: 17}.add("[r] y = ReduceMean <axes = [2,3]> (x)", "")},
	{"foreign-domain", "r", text{imports: `, "strange" : 1`}.add("[r] y = strange.Op (x)", ""), fails, text{}.add("y = Neg (x)", "")},
	{"type-opset", "DQ_w_y", text{opset: 19, ir: 10}.conv("x", "y", "int4"), fails, text{}.conv("x", "y", "int4")},
	{"type-ir", "DQ_w_y", text{ir: 9}.conv("x", "y", "int4"), nil, text{}.conv("x", "y", "int4")},
	{"type-int2-old", "DQ_w_y", text{opset: 25}.conv("x", "y", "int2"), fails, text{}.conv("x", "y", "int4")},
	{"relu-dropped", "r", text{}.add("[r] r = Relu (x)", "").q("r", "y", "uint4"), wrong,
		text{}.add("[r] r = Relu (x)", "").add("[Q_y] q_y = QuantizeLinear (r, s, z)\n [DQ_y] y = DequantizeLinear (q_y, s, z)", "float s = {0.1}, uint4 z = {0}")},
	{"bias-scale-old", "r", biased(0.007), wrong, biased(0.01 * 0.1)},
	{"bias-scale", "r", biased(0.007), float("Conv"), biased(0.01 * 0.1)},
	{"float-weights", "r", text{}.q("x", "a", "uint8").add("[r] r = Conv (a, w)", "float[4,4,1,1] w = {0.11,0.2,0.35,0.4,0.5,0.6,0.7,0.8,0.9,-0.1,-0.2,-0.3,-0.4,-0.5,-0.6,-0.7}").window("r", "y", 0.02, 128),
		func(e *effect) bool { return e.has("QLinearConv") == 1 }, text{}.q("x", "a", "uint8").add("[r] r = Conv (a, w)", "float[4,4,1,1] w = {0.11,0.2,0.35,0.4,0.5,0.6,0.7,0.8,0.9,-0.1,-0.2,-0.3,-0.4,-0.5,-0.6,-0.7}").add("y = Neg (r)", "")},
	{"float-weights", "r", floatWeights("Conv", "b"), wrong, floatWeights("Conv", "d")},
	{"float-weights", "r", floatWeights("ConvTranspose", "b"), wrong, floatWeights("ConvTranspose", "d")},
	{"requantized", "DQ_a", text{}.window("x", "a", 0.01, 128).window("a", "y", 0.05, 128), differs, text{}.window("x", "y", 0.01, 128)},
	{"conv-float", "r", text{}.q("x", "a", "uint8").conv("a", "r", "int8").add("l = LeakyRelu (r)", "").q("l", "y", "uint8"), float("Conv", "FusedConv"),
		text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "b", "uint8").add("l = LeakyRelu (b)", "").q("l", "y", "uint8")},
	{"conv-float", "r", text{}.q("x", "a", "uint8").conv("a", "r", "int8").window("r", "b", 0.01, 128).window("r", "c", 0.01, 128).add("s = Add (b, c)", "").q("s", "y", "uint8"), float("Conv", "FusedConv"),
		text{}.q("x", "a", "uint8").conv("a", "r", "int8").window("r", "b", 0.01, 128).add("s = Add (b, b)", "").q("s", "y", "uint8")},
	{"conv-float", "r", text{}.conv("x", "r", "int8").q("r", "y", "uint8"), float("Conv"), text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "y", "uint8")},
	{"operator-float", "r", text{}.q("x", "a", "uint8").add("[r] r = PRelu (a, k)", "float[4,1,1] k = {0.1,0.2,0.3,0.4}").q("r", "y", "uint8"), float("PRelu"),
		text{}.q("x", "a", "uint8").add("[r] r = LeakyRelu (a)", "").q("r", "y", "uint8")},
	{"operator-one-sided", "r", text{}.q("x", "a", "uint8").add("[r] r = Concat <axis = 1> (a, x)", "").q("r", "y", "uint8"), float("Concat"),
		text{}.q("x", "a", "uint8").add("[r] r = Concat <axis = 1> (a, a)", "").q("r", "y", "uint8")},
	{"operator-one-sided", "r", text{}.q("x", "a", "uint8").add("w = DequantizeLinear <axis = 1> (k, t)\n [r] r = MatMul (x, w)\n l = LeakyRelu (r)", "int8[8,8] k = {1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8}, float[8] t = {0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1}").q("l", "y", "uint8"), float("MatMul", "MatMulNBits"),
		text{}.q("x", "a", "uint8").add("w = DequantizeLinear <axis = 1> (k, t)\n [r] r = MatMul (a, w)\n l = LeakyRelu (r)", "int8[8,8] k = {1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8}, float[8] t = {0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.1}").q("l", "y", "uint8")},
	{"float-residual", "r", text{}.q("x", "a", "uint8").conv("a", "r", "int8").add("[s] s = Add (r, x)", "").q("s", "y", "uint8"), float("Conv", "FusedConv"),
		text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "b", "uint8").add("[s] s = Add (a, b)", "").q("s", "y", "uint8")},
	{"float-residual", "r", text{}.q("x", "a", "uint8").conv("a", "r", "int8").add("[s] s = Add (r, a)", "").q("s", "y", "uint8"), float("Conv", "FusedConv"),
		text{}.q("x", "a", "uint8").add("w = DequantizeLinear <axis = 1> (k, t)\n t1 = Transpose <perm = [0,2,3,1]> (a)\n p = MatMul (t1, w)\n r = Transpose <perm = [0,3,1,2]> (p)\n [s] s = Add (r, a)", "int8[4,4] k = {1,2,3,4,5,6,7,8,1,2,3,4,5,6,7,8}, float[4] t = {0.1,0.1,0.1,0.1}").q("s", "y", "uint8")},
	{"moves-differ", "r", text{}.window("x", "a", 0.01, 128).add("[r] r = MaxPool <kernel_shape = [2,2]> (a)", "").window("r", "y", 0.02, 128), func(e *effect) bool { return e.has("DequantizeLinear") == 2 },
		text{}.window("x", "a", 0.01, 128).add("[r] r = MaxPool <kernel_shape = [2,2]> (a)", "").window("r", "y", 0.01, 128)},
	{"relu-float", "r", text{}.q("x", "a", "uint8").conv("a", "r", "int8").add("l = Relu (r)", "").window("l", "y", 0.01, 128), float("Conv", "FusedConv"),
		text{}.q("x", "a", "uint8").conv("a", "r", "int8").add("l = Relu (r)", "").window("l", "y", 0.01, 0)},
	{"narrow-weights", "r", text{}.q("x", "a", "uint8").conv("a", "r", "int4").q("r", "y", "uint8"), float("Conv"), text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "y", "uint8")},
	{"weights-only", "y", text{}.conv("x", "y", "int8"), float("Conv"), text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "y", "uint8")},
	{"wide-types", "r", text{}.q("x", "a", "uint16").add("[r] r = Add (a, a)", "").q("r", "y", "uint16"), float("Add"), text{}.q("x", "a", "uint8").add("[r] r = Add (a, a)", "").q("r", "y", "uint8")},
	{"float-bias-old", "r", text{}.q("x", "a", "uint8").add(weightText("w", "int8", 4, 4, 3)).add("[r] r = Conv (a, w, bias)", "float[4] bias = {0.1,0.2,0.3,0.4}").q("r", "y", "uint8"), float("Conv"), biased(0.01 * 0.1)},
	{"int8-shared", "r", text{}.q("x", "a", "int8").conv("a", "r", "int8").q("r", "b", "int8").add("s = Add (a, b)", "").q("s", "y", "int8"), float("Conv", "FusedConv"),
		text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "b", "uint8").add("s = Add (a, b)", "").q("s", "y", "uint8")},
	{"product-step", "Q_b", noisyProduct, nil, text{}.q("x", "a", "uint8").add("g = Sigmoid (a)\n p = Mul (a, g)", "").conv("p", "r", "int8").q("r", "y", "uint8")},
	{"concat-step", "Q_d", noisyConcat, nil, text{}.q("x", "a", "uint8").add("c = Concat <axis = 1> (a, a)", "").add("y = Neg (c)", "")},
	{"concat-step", "Q_d", noisySum, nil, summedProduct(text{}, 0.2)},
	{"last-step", "Q_a", noisyLast, nil, text{}.window("x", "a", 0.008, 128).conv("a", "r", "int8").window("r", "y", 0.1, 128)},
	{"rounded-twice", "l", noisyTwice, nil, text{}.window("x", "a", 0.01, 128).conv("a", "r", "int8").add("[l] l = LeakyRelu (r)", "").window("l", "y", 0.02, 128)},
	{"slow-channels", "r", slowConv(8, 12), nil, slowConv(8, 16)},
	{"unused-pair", "DQ_a", text{}.q("x", "a", "uint8").add("y = Relu (x)", ""), nil, text{}.q("x", "y", "uint8")},
	{"clip-window", "r", text{}.add("[r] r = Clip (x, lo, hi)", "float lo = {-2}, float hi = {2}").window("r", "y", 0.01, 128), nil,
		text{}.add("[r] r = Clip (x, lo, hi)", "float lo = {-1}, float hi = {1}").window("r", "y", 0.01, 128)},
	{"clip-wasted", "r", text{}.add("[r] r = Clip (x, lo, hi)", "float lo = {-0.1}, float hi = {0.1}").window("r", "y", 0.01, 128), nil,
		text{}.add("[r] r = Clip (x, lo, hi)", "float lo = {-1}, float hi = {1}").window("r", "y", 0.01, 128)},
	{"clip-empty", "y", text{}.add("[y] y = Clip (x, lo, hi)", "float lo = {1}, float hi = {-1}"), nil, text{}.add("[y] y = Clip (x, lo, hi)", "float lo = {-1}, float hi = {1}")},
	{"zero-point-range", "DQ", text{}.add("q = QuantizeLinear (x, s, z)\n c = Clip (q, lo, hi)\n [DQ] y = DequantizeLinear (c, s, z)", "float s = {0.1}, uint8 z = {0}, uint8 lo = {10}, uint8 hi = {25}"), nil,
		text{}.add("q = QuantizeLinear (x, s, z)\n c = Clip (q, lo, hi)\n [DQ] y = DequantizeLinear (c, s, z)", "float s = {0.1}, uint8 z = {12}, uint8 lo = {10}, uint8 hi = {25}")},
	{"scale-value", "Q_y", text{}.window("x", "y", 0, 128), func(e *effect) bool { return e.Range == 0 }, text{}.window("x", "y", 0.01, 128)},
	{"scale-value", "DQ", text{}.add("[DQ] w = DequantizeLinear <axis = 0> (k, t)\n y = Conv (x, w)", "int8[2,4,1,1] k = {1,2,3,4,5,6,7,8}, float[2] t = {0.1,nan}"), nil,
		text{}.add("[DQ] w = DequantizeLinear <axis = 0> (k, t)\n y = Conv (x, w)", "int8[2,4,1,1] k = {1,2,3,4,5,6,7,8}, float[2] t = {0.1,0.2}")},
	{"zero-point-shape", "q", text{}.add("q = QuantizeLinear <axis = 1> (x, s, z)\n y = DequantizeLinear <axis = 1> (q, s, z)", "float[4] s = {0.1,0.1,0.1,0.1}, uint8 z = {0}"), fails,
		text{}.q("x", "y", "uint8")},
	{"int32-zero-point-old", "b", text{}.add("b = DequantizeLinear (k, s, z)\n y = Add (x, b)", "int32[4,1,1] k = {1,2,3,4}, float s = {0.1}, int32 z = {5}"), fails,
		text{}.add("b = DequantizeLinear (k, s)\n y = Add (x, b)", "int32[4,1,1] k = {1,2,3,4}, float s = {0.1}")},
	{"scale-pair", "y", text{}.add("q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, t, z)", "float s = {0.1}, float t = {0.2}, uint8 z = {0}"), nil, text{}.q("x", "y", "uint8")},
}

// floatWeights is a convolution between codes whose weights are float, those of the first
// output small, with the float bias b or the dequantized one d.
func floatWeights(op, bias string) text {
	return text{}.q("x", "a", "uint8").add(fmt.Sprintf("d = DequantizeLinear <axis = 0> (k, t)\n [r] r = %s (a, w, %s)\n c = Relu (r)", op, bias),
		"float[4,4,1,1] w = {0.002,0.7,0.5,0.3, 0.003,0.2,-0.6,0.4, -0.001,0.7,0.5,0.3, 0.002,0.2,-0.6,0.4}, float[4] b = {0.01,0,0,0}, int32[4] k = {10000,0,0,0}, float t = {0.000001}").window("c", "y", 0.0002, 64)
}

// slowConv is an integer convolution of so many channels to others.
func slowConv(in, out int) text {
	return text{input: fmt.Sprintf("float[1,%d,96,96] x", in)}.q("x", "a", "uint8").add(weightText("w", "int8", out, in, 3)).add("[r] r = Conv <pads = [1,1,1,1]> (a, w)", "").q("r", "y", "uint8")
}

// TestInteropSlowChannels: ONNX Runtime takes longer for fewer channels.
func TestInteropSlowChannels(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("kernels of x86")
	}
	p := startPeer(t, ortRuntimes(t)[0])
	for _, c := range [][2][2]int{{{64, 12}, {64, 16}}, {{50, 50}, {52, 52}}} {
		var sessions [2]*peer.Session
		for i, channels := range c {
			path := saveAll(t, []string{slowConv(channels[0], channels[1]).String()})[0]
			s, err := p.Open(path, randomInput(t, path), peer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			sessions[i] = s
		}
		fastest := [2]time.Duration{time.Hour, time.Hour}
		for range 15 {
			for i, s := range sessions {
				_, cpu, err := s.Run()
				if err != nil {
					t.Fatal(err)
				}
				fastest[i] = min(fastest[i], cpu)
			}
		}
		t.Logf("%d to %d channels %v, %d to %d %v", c[0][0], c[0][1], fastest[0], c[1][0], c[1][1], fastest[1])
		if fastest[0] < fastest[1] {
			t.Errorf("%d to %d channels take no longer than %d to %d", c[0][0], c[0][1], c[1][0], c[1][1])
		}
		for _, s := range sessions {
			closeSession(t, s)
		}
	}
}

// biased is an integer convolution with an int32 bias of a scale; that of input times
// weights is 0.01 * 0.1.
func biased(scale float64) text {
	return text{}.window("x", "a", 0.01, 128).add("w = DequantizeLinear (k, t)\n b = DequantizeLinear (bq, bs)\n [r] r = Conv (a, w, b)",
		fmt.Sprintf("int8[4,4,1,1] k = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}, float t = {0.1}, int32[4] bq = {1000,2000,-3000,500}, float bs = {%g}", scale)).window("r", "y", 0.1, 128)
}

func parse(t *testing.T, text string) *onnx.Model {
	t.Helper()
	m, err := onnx.Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return m
}

// found returns the nodes that a rule names.
func found(t *testing.T, m *onnx.Model, o Options, rule string) (nodes []string) {
	t.Helper()
	r, err := Run(context.Background(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Rule == rule {
			nodes = append(nodes, f.Node)
		}
	}
	return nodes
}

func TestRules(t *testing.T) {
	o := Options{Target: namedTarget(t, "onnxruntime")}
	covered := map[string]bool{}
	for _, c := range cases {
		covered[c.rule] = true
		if got := found(t, parse(t, c.graph.String()), o, c.rule); !slices.Contains(got, c.node) {
			t.Errorf("%s: found at %q, want %q\n%s", c.rule, got, c.node, c.graph)
		}
		if got := found(t, parse(t, c.repaired.String()), o, c.rule); len(got) > 0 {
			t.Errorf("%s: found at %q after the remedy\n%s", c.rule, got, c.repaired)
		}
	}
	for _, r := range Rules(o.Target) {
		if !covered[r.ID] && !elsewhere[r.ID] {
			t.Errorf("rule %s has no graph that shows it", r.ID)
		}
	}
}

// elsewhere are rules with a test of their own.
var elsewhere = map[string]bool{"u8s8-saturation": true, "data-clipped": true, "external-data": true}

// TestInteropRules runs the graph of every rule in ONNX Runtime, the newest and 1.20:
// what the rule says happens in the releases that it names, and in no others.
func TestInteropRules(t *testing.T) {
	paths := saveAll(t, caseGraphs())
	for _, ort := range ortRuntimes(t) {
		release, effects := inORT(t, ort, paths)
		holdCases(t, "ONNX Runtime "+release, release, effects, func(outcome) bool { return true })
	}
}

// TestInteropWebRules does the same in ONNX Runtime Web, which does not show its graph:
// there only errors and values are seen.
func TestInteropWebRules(t *testing.T) {
	web, err := peer.Start(peer.Runtime{Name: "ONNX Runtime Web", Engine: "web"})
	if err != nil {
		t.Skip(err)
	}
	graphs := caseGraphs()
	paths := saveAll(t, graphs)
	for i, path := range paths { // ONNX Runtime Web holds to declared shapes
		m := parse(t, graphs[i])
		m.Graph.Outputs[0].Type.Shape = nil
		if err := m.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	misdeclared := text{}.q("x", "y", "uint8").String()
	if got := found(t, parse(t, misdeclared), Options{Target: namedTarget(t, "web")}, "declared-shape"); !slices.Equal(got, []string{"DQ_y"}) {
		t.Errorf("declared-shape: found at %q", got)
	}
	paths = append(paths, saveAll(t, []string{misdeclared})...)
	effects := effects(t, web, startPeer(t, ortRuntimes(t)[0]), paths)
	release, _, _ := strings.Cut(web.Version, ",")
	holdCases(t, "ONNX Runtime Web "+release, release, effects, func(o outcome) bool {
		return o(&effect{Error: "fails"}) || o(&effect{Difference: 1, Range: 1})
	})
	if last := effects[len(effects)-1]; !last.fails() {
		t.Error("declared-shape: the graph loads")
	}
	if _, err := web.End(); err != nil {
		t.Error(err)
	}
}

// caseGraphs are the graphs of cases, before and after the remedy.
func caseGraphs() (graphs []string) {
	for _, c := range cases {
		graphs = append(graphs, c.graph.String(), c.repaired.String())
	}
	return graphs
}

// holdCases holds the rules against what a runtime made of caseGraphs.
func holdCases(t *testing.T, name, release string, effects []effect, sees func(outcome) bool) {
	t.Helper()
	byID := map[string]*Rule{}
	for _, r := range Rules(nil) {
		byID[r.ID] = r
	}
	shown := 0
	for i, c := range cases {
		bad, good := &effects[2*i], &effects[2*i+1]
		if c.outcome == nil || !sees(c.outcome) {
			continue
		}
		shown++
		if want := byID[c.rule].holds(release); c.outcome(bad) != want {
			t.Errorf("%s in %s: the outcome is %v, the rule says %v: %+v", c.rule, name, !want, want, bad)
		}
		if needs := c.repaired.opset; needs <= 21 && c.outcome(good) {
			t.Errorf("%s in %s: the outcome is there after the remedy: %+v", c.rule, name, good)
		}
	}
	t.Logf("%s shows %d graphs", name, shown)
}
