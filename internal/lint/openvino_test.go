//go:build unix

package lint

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/peer"
)

const shuffle = "r1 = Reshape (%s, s6)\n [t] t = Transpose <perm = [0,1,4,2,5,3]> (r1)\n [r2] r2 = Reshape (t, s4)"

// openvinoCases: what the rule says, and what OpenVINO does with the graph.
var openvinoCases = []struct {
	name, rule string // empty: nothing is found
	graph      text
	error      bool
	float      string // layer that is computed in float
	wrong      bool   // other values than those of the graph as it is written
}{
	{name: "as it should be", graph: text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "y", "uint8")},
	{name: "without Q/DQ behind", graph: text{}.q("x", "a", "uint8").conv("a", "y", "int8")},
	{name: "LeakyRelu between", graph: text{}.q("x", "a", "uint8").conv("a", "r", "int8").add("l = LeakyRelu (r)", "").q("l", "y", "uint8")},
	{name: "float input", rule: "openvino-conv-float", graph: text{}.conv("x", "r", "int8").q("r", "y", "uint8"), float: "Convolution"},
	{name: "float weights", rule: "openvino-conv-float", graph: text{}.q("x", "a", "uint8").add("[r] r = Conv (a, w)", "float[4,4,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}").q("r", "y", "uint8"), float: "Convolution"},
	{name: "uint8 weights", rule: "openvino-conv-float", graph: text{}.q("x", "a", "uint8").conv("a", "r", "uint8").q("r", "y", "uint8"), float: "Convolution"},
	{name: "int4 weights", rule: "openvino-conv-float", graph: text{}.q("x", "a", "uint8").conv("a", "r", "int4").q("r", "y", "uint8"), float: "Convolution"},
	{name: "16-bit input", rule: "openvino-conv-float", graph: text{}.q("x", "a", "uint16").conv("a", "r", "int8").q("r", "y", "uint16"), float: "Convolution"},
	{name: "a scale for each channel", rule: "openvino-conv-float", graph: text{}.add(pair("x", "a", "uint8", 4)).conv("a", "r", "int8").q("r", "y", "uint8"), float: "Convolution"},
	{name: "ConvTranspose, zero point 128", rule: "openvino-conv-float", graph: text{}.q("x", "a", "uint8").add(transposed, transposedWeights).q("r", "y", "uint8"), float: "Deconvolution"},
	{name: "ConvTranspose, zero point 0", graph: text{}.q("x", "a", "int8").add(transposed, transposedWeights).q("r", "y", "int8")},
	{name: "Concat with a scale for each channel", rule: "openvino-per-axis-concat", graph: text{}.add(pair("x", "a", "uint8", 4)).add("n = Neg (x)", "").add(pair("n", "b", "uint8", 4)).
		add("[r] r = Concat <axis = 1> (a, b)", "").add(pair("r", "y", "uint8", 8)), error: true},
	{name: "negative factors", rule: "openvino-negative-factor", graph: factors("x", "-1.25,0.75,0.5,1.5"), wrong: true},
	{name: "negative factors, then a Relu that the codes make superfluous", rule: "openvino-negative-factor",
		graph: sized(text{}.add("m = Mul (x, f)\n r = Relu (m)", "float[4,1,1] f = {-1.25,0.75,0.5,1.5}").window("r", "y", 0.01, 0)), wrong: true},
	{name: "negative factors, then Relu", graph: sized(text{}.add("m = Mul (x, f)\n r = Relu (m)", "float[4,1,1] f = {-1.25,0.75,0.5,1.5}").q("r", "y", "uint8"))},
	{name: "negative factors of a Concat", rule: "openvino-negative-factor",
		graph: sized(text{}.add("c = Concat <axis = 1> (x, x)\n m = Mul (c, f)", "float[8,1,1] f = {-1.25,0.75,0.5,1.5,1,1,1,1}").q("m", "y", "uint8")), wrong: true},
	{name: "positive factors", graph: factors("x", "1.25,0.75,0.5,1.5")},
	{name: "one factor", graph: factors("x", "-1.25")},
	{name: "negative factors of known sizes", graph: text{}.add("m = Mul (x, f)", "float[4,1,1] f = {-1.25,0.75,0.5,1.5}").q("m", "y", "uint8")},
	{name: "negative factors behind a Relu", graph: sized(text{}.add("r = Relu (x)\n m = Mul (r, f)", "float[4,1,1] f = {-1.25,0.75,0.5,1.5}").q("m", "y", "uint8"))},
	{name: "2-bit weights", rule: "type-int2", graph: text{opset: 25}.conv("x", "y", "int2"), error: true},
	{name: "operators of com.microsoft", rule: "foreign-domain", graph: text{opset: 17, imports: `, "com.microsoft" : 1`}.
		add("q = com.microsoft.QuantizeLinear (x, s, z)\n y = com.microsoft.DequantizeLinear (q, s, z)", "float s = {0.01}, uint16 z = {0}"), error: true},
	{name: "PixelShuffle of 6 dimensions", rule: "openvino-pixel-shuffle-old",
		graph: text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "b", "uint8").
			add(fmt.Sprintf(shuffle, "b"), "int64[6] s6 = {1,1,2,2,8,8}, int64[4] s4 = {1,1,16,16}").q("r2", "y", "uint8")},
	{name: "DepthToSpace", graph: text{}.q("x", "a", "uint8").conv("a", "r", "int8").q("r", "b", "uint8").add("d = DepthToSpace <blocksize = 2> (b)", "").q("d", "y", "uint8")},
}

// sized is a graph whose height and width are not known.
func sized(g text) text {
	g.input = "float[1,4,H,W] x"
	return g
}

// factors multiplies x for each channel, or by one number, and quantizes it.
func factors(x, numbers string) text {
	shape := "[4,1,1]"
	if !strings.Contains(numbers, ",") {
		shape = ""
	}
	return sized(text{}.add("m = Mul ("+x+", f)", "float"+shape+" f = {"+numbers+"}").q("m", "y", "uint8"))
}

const transposed = "w = DequantizeLinear (k, t)\n [r] r = ConvTranspose (a, w)"
const transposedWeights = "int8[4,4,1,1] k = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}, float t = {0.05}"

func TestOpenVINORules(t *testing.T) {
	o := Options{Target: namedTarget(t, "openvino")}
	for _, c := range openvinoCases {
		m := parse(t, c.graph.String())
		if c.rule != "" {
			if got := found(t, m, o, c.rule); len(got) == 0 {
				t.Errorf("%s: %s found at %q", c.name, c.rule, got)
			}
			continue
		}
		r, err := Run(context.Background(), m, o)
		if err != nil || len(r.Findings) > 0 {
			t.Errorf("%s: %+v (%v)", c.name, r.Findings, err)
		}
	}
}

// TestInteropOpenVINORules runs the graphs in OpenVINO and compares the values with
// those of the graph as it is written, in ONNX Runtime without optimization.
func TestInteropOpenVINORules(t *testing.T) {
	python := peer.Environment(".venv-peers")
	if !exists(python) {
		t.Skip("no OpenVINO: make runtimes")
	}
	openvino := startPeer(t, peer.Runtime{Name: "OpenVINO", Engine: "openvino", Python: python})
	plain := startPeer(t, ortRuntimes(t)[0])
	var graphs []string
	for _, c := range openvinoCases {
		graphs = append(graphs, c.graph.String())
	}
	for i, e := range effects(t, openvino, plain, saveAll(t, graphs)) {
		c := openvinoCases[i]
		if e.fails() != c.error {
			t.Errorf("%s: error %q", c.name, e.Error)
		}
		float := []string{}
		for _, n := range e.Nodes {
			if kind, isFloat := strings.CutSuffix(n.Op, ":f32"); isFloat && slices.Contains([]string{"Convolution", "Deconvolution", "Transpose"}, kind) {
				float = append(float, kind)
			}
		}
		if strings.Join(float, " ") != c.float {
			t.Errorf("%s: in float %v, want %q: %v", c.name, float, c.float, e.Nodes)
		}
		if e.wrong() != c.wrong {
			t.Errorf("%s: values differ by %.3g of %.3g, want them wrong: %v", c.name, e.Difference, e.Range, c.wrong)
		}
	}
	t.Logf("%d graphs in OpenVINO %s", len(openvinoCases), openvino.Version)
}
