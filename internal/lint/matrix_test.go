//go:build unix

package lint

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

// pair is the text of a QuantizeLinear and a DequantizeLinear that make y of x, and
// of their parameters.
func pair(x, y, typ string, channels int) (nodes, constants string) {
	bits := 8
	fmt.Sscanf(strings.TrimLeft(typ, "uint"), "%d", &bits)
	zero := "0"
	if typ[0] == 'u' {
		zero = fmt.Sprint(1 << (bits - 1))
	}
	shape, scale := "", fmt.Sprint(2/float64(int(1)<<bits-1))
	axis := ""
	if channels > 1 {
		shape, axis = fmt.Sprintf("[%d]", channels), "<axis = 1>"
		scales, zeros := make([]string, channels), make([]string, channels)
		for c := range scales {
			scales[c], zeros[c] = fmt.Sprint(2/float64(int(1)<<bits-1)*(1+float64(c)/8)), zero
		}
		scale, zero = strings.Join(scales, ","), strings.Join(zeros, ",")
	}
	nodes = fmt.Sprintf("[Q_%s] q_%s = QuantizeLinear %s (%s, s_%s, z_%s)\n [DQ_%s] %s = DequantizeLinear %s (q_%s, s_%s, z_%s)\n ", y, y, axis, x, y, y, y, y, axis, y, y, y)
	constants = fmt.Sprintf("float%s s_%s = {%s}, %s%s z_%s = {%s}, ", shape, y, scale, typ, shape, y, zero)
	return nodes, constants
}

// single is an operator of the sweep with Q/DQ of one type on all sides.
type single struct {
	op, text, constants string
	inputs, channels    int // of the result
}

var singles = []single{
	{op: "Conv", text: "Conv <pads = [1,1,1,1]> (a, w)", inputs: 1, channels: 4},
	{op: "ConvTranspose", text: "ConvTranspose <pads = [1,1,1,1]> (a, w)", inputs: 1, channels: 4},
	{op: "Add", text: "Add (a, b)", inputs: 2, channels: 4}, {op: "Mul", text: "Mul (a, b)", inputs: 2, channels: 4},
	{op: "Sub", text: "Sub (a, b)", inputs: 2, channels: 4}, {op: "Div", text: "Div (a, b)", inputs: 2, channels: 4},
	{op: "Max", text: "Max (a, b)", inputs: 2, channels: 4}, {op: "Concat", text: "Concat <axis = 1> (a, b)", inputs: 2, channels: 8},
	{op: "LeakyRelu", text: "LeakyRelu (a)", inputs: 1, channels: 4}, {op: "Sigmoid", text: "Sigmoid (a)", inputs: 1, channels: 4},
	{op: "Softmax", text: "Softmax <axis = 1> (a)", inputs: 1, channels: 4}, {op: "Tanh", text: "Tanh (a)", inputs: 1, channels: 4},
	{op: "Gelu", text: "Gelu (a)", inputs: 1, channels: 4}, {op: "HardSigmoid", text: "HardSigmoid (a)", inputs: 1, channels: 4},
	{op: "Elu", text: "Elu (a)", inputs: 1, channels: 4}, {op: "Abs", text: "Abs (a)", inputs: 1, channels: 4},
	{op: "MeanVarianceNormalization", text: "MeanVarianceNormalization (a)", inputs: 1, channels: 4},
	{op: "PRelu", text: "PRelu (a, slope)", constants: "float[4,1,1] slope = {0.1,0.2,0.3,0.4}, ", inputs: 1, channels: 4},
	{op: "Clip", text: "Clip (a, lo, hi)", constants: "float lo = {-0.3}, float hi = {0.3}, ", inputs: 1, channels: 4},
	{op: "Pad", text: `Pad <mode = "reflect"> (a, pads)`, constants: "int64[8] pads = {0,0,1,1,0,0,1,1}, ", inputs: 1, channels: 4},
	{op: "ReduceMean", text: "ReduceMean (a, axes)", constants: "int64[2] axes = {2,3}, ", inputs: 1, channels: 4},
	{op: "AveragePool", text: "AveragePool <kernel_shape = [2,2]> (a)", inputs: 1, channels: 4},
	{op: "GlobalAveragePool", text: "GlobalAveragePool (a)", inputs: 1, channels: 4},
	{op: "MaxPool", text: "MaxPool <kernel_shape = [2,2]> (a)", inputs: 1, channels: 4},
	{op: "DepthToSpace", text: "DepthToSpace <blocksize = 2> (a)", inputs: 1, channels: 1},
	{op: "Transpose", text: "Transpose <perm = [0,1,3,2]> (a)", inputs: 1, channels: 4},
	{op: "Reshape", text: "Reshape (a, shape)", constants: "int64[4] shape = {1,4,4,16}, ", inputs: 1, channels: 4},
	{op: "Slice", text: "Slice (a, zero, two, one)", constants: "int64[1] zero = {0}, int64[1] two = {2}, int64[1] one = {1}, ", inputs: 1, channels: 2},
	{op: "Gather", text: "Gather <axis = 1> (a, two)", constants: "int64[2] two = {0,1}, ", inputs: 1, channels: 2},
	{op: "Resize nearest", text: `Resize <mode = "nearest"> (a, , scales)`, constants: "float[4] scales = {1,1,2,2}, ", inputs: 1, channels: 4},
	{op: "Resize linear", text: `Resize <mode = "linear"> (a, , scales)`, constants: "float[4] scales = {1,1,2,2}, ", inputs: 1, channels: 4},
	{op: "Resize cubic", text: `Resize <mode = "cubic"> (a, , scales)`, constants: "float[4] scales = {1,1,2,2}, ", inputs: 1, channels: 4},
}

// graph returns the operator between Q/DQ. The node in question is named OP.
func (s single) graph(typ, weights string, perAxis bool) string {
	channels := func(n int) int {
		if perAxis {
			return n
		}
		return 1
	}
	nodes, constants := pair("x", "a", typ, channels(4))
	if s.inputs == 2 {
		n, c := pair("negative", "b", typ, channels(4))
		nodes, constants = nodes+"negative = Neg (x)\n "+n, constants+c
	}
	if strings.HasPrefix(s.op, "Conv") {
		n, c := weightText("w", weights, 4, 4, 3)
		nodes, constants = nodes+n, constants+c
	}
	n, c := pair("r", "y", typ, channels(s.channels))
	opset, ir := 21, 10
	if strings.HasSuffix(typ, "int2") || strings.HasSuffix(weights, "int2") {
		opset, ir = 25, 13
	}
	return fmt.Sprintf("<ir_version: %d, opset_import: [\"\" : %d]>\ng (float[1,4,8,8] x) => (float y)\n <%s> {\n %s[OP] r = %s\n %s}",
		ir, opset, strings.TrimSuffix(constants+s.constants+c, ", "), nodes, s.text, n)
}

// weightText is a DequantizeLinear of constant weights [m,c,k,k], one scale each
// output channel.
func weightText(name, typ string, m, c, k int) (nodes, constants string) {
	bits := 8
	fmt.Sscanf(strings.TrimLeft(typ, "uint"), "%d", &bits)
	codes := make([]string, m*c*k*k)
	for i := range codes {
		code := i * 7 % (1 << bits)
		if typ[0] == 'i' {
			code -= 1 << (bits - 1)
		}
		codes[i] = fmt.Sprint(code)
	}
	scales := strings.TrimSuffix(strings.Repeat(fmt.Sprint(0.1/float64(int(1)<<(bits-1)))+",", m), ",")
	zero := "0"
	if typ[0] == 'u' {
		zero = fmt.Sprint(1 << (bits - 1))
	}
	zeros := strings.TrimSuffix(strings.Repeat(zero+",", m), ",")
	return fmt.Sprintf("[DQ_%s] %s = DequantizeLinear <axis = 0> (q_%s, s_%s, z_%s)\n ", name, name, name, name, name),
		fmt.Sprintf("%s[%d,%d,%d,%d] q_%s = {%s}, float[%d] s_%s = {%s}, %s[%d] z_%s = {%s}, ", typ, m, c, k, k, name, strings.Join(codes, ","), m, name, scales, typ, m, name, zeros)
}

// TestInteropOperators puts every operator of the list between Q/DQ of every type and
// holds what the rules say against ONNX Runtime: it fails exactly where they say
// error, and computes in integers exactly where they say so.
func TestInteropOperators(t *testing.T) {
	for _, ort := range ortRuntimes(t) {
		var names, paths []string
		var models []*onnx.Model
		dir := t.TempDir()
		add := func(name, text string) {
			m, err := onnx.Parse(text)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			path := filepath.Join(dir, fmt.Sprintf("%d.onnx", len(paths)))
			if err := m.Save(path); err != nil {
				t.Fatal(err)
			}
			names, paths, models = append(names, name), append(paths, path), append(models, m)
		}
		for _, s := range singles {
			for _, typ := range []string{"uint8", "int8", "uint16", "uint4", "int4", "uint2", "int2"} {
				add(s.op+" "+typ, s.graph(typ, "int8", false))
				add(s.op+" "+typ+" per axis", s.graph(typ, "int8", true))
				if s.op == "Conv" {
					for _, weights := range []string{"uint8", "int16", "uint4", "int4", "int2"} {
						add(s.op+" "+typ+" weights "+weights, s.graph(typ, weights, false))
					}
				}
			}
		}
		release, effects := inORT(t, ort, paths)
		for i, e := range effects {
			r, err := Run(context.Background(), models[i], Options{Target: namedTarget(t, "onnxruntime"), Release: release})
			if err != nil {
				t.Fatalf("%s: %v", names[i], err)
			}
			var rules []string
			for _, f := range r.Findings {
				if f.Level == Error {
					rules = append(rules, f.Rule)
				}
			}
			bad := e.fails() || e.wrong()
			if bad != (len(rules) > 0) {
				t.Errorf("%s in %s: rules say %v, ONNX Runtime %q, difference %g of %g", names[i], release, rules, e.Error, e.Difference, e.Range)
			}
			if bad {
				continue
			}
			// In integers: no float operator with a DequantizeLinear in front is left.
			op := strings.Fields(singleOf(names[i]))[0]
			float := e.has("DequantizeLinear") > 1 && e.has(op, "FusedConv", "MatMulNBits") > 0
			if float != (r.Float > 0) {
				t.Errorf("%s in %s: %d in integers, %d float by the rules; in ONNX Runtime %v", names[i], release, r.Integer, r.Float, e.Nodes)
			}
		}
		t.Logf("%d graphs in ONNX Runtime %s", len(effects), release)
	}
}

// TestInteropSigned mixes uint8 and int8 activations that one node or several read.
func TestInteropSigned(t *testing.T) {
	type mixed struct {
		name, op string
		model    *onnx.Model
	}
	var list []mixed
	var paths []string
	dir := t.TempDir()
	operators := [][2]string{
		{"Conv", ""}, {"Add", "r = Add (a, b)"}, {"Mul", "r = Mul (a, b)"}, {"Concat", "r = Concat <axis = 1> (a, b)"}, {"LeakyRelu", "r = LeakyRelu (a)"},
		{"MaxPool", "r = MaxPool <kernel_shape = [2,2]> (a)"}, {"AveragePool", "r = AveragePool <kernel_shape = [2,2]> (a)"},
		{"DepthToSpace", "r = DepthToSpace <blocksize = 2> (a)"}, {"Transpose", "r = Transpose <perm = [0,1,3,2]> (a)"}, {"Split", "r, r2 = Split <axis = 1, num_outputs = 2> (a)"},
	}
	for _, op := range operators {
		for i := range 16 {
			in, other := []string{"uint8", "int8"}[i&1], []string{"uint8", "int8"}[i>>1&1]
			sharedIn, sharedOut := i&4 != 0, i&8 != 0
			zero := map[string]int{"uint8": 128}
			g := text{}.typed("x", "a", in, 0.01, zero[in]).add("n = Neg (x)", "").typed("n", "b", other, 0.01, zero[other])
			if op[0] == "Conv" {
				g = g.conv("a", "r", "int8")
			} else {
				g = g.add(op[1], "")
			}
			tail := "s = ReduceMax <keepdims = 0> (y0)\n t = ReduceMax <keepdims = 0> (%s)\n u = ReduceMin <keepdims = 0> (%s)\n w = ReduceMin <keepdims = 0> (%s)\n y = Sum (s, t, u, w)"
			second := "b"
			if op[0] == "Split" {
				g, second = g.typed("r2", "y2", other, 0.01, zero[other]), "y2"
			}
			pick := map[bool]string{true: "a", false: "x"}
			shared := map[bool]string{true: "y0", false: "x"}
			g = g.typed("r", "y0", other, 0.01, zero[other]).add(fmt.Sprintf(tail, pick[sharedIn], shared[sharedOut], second), "")
			m := parse(t, g.String())
			path := filepath.Join(dir, fmt.Sprintf("%d.onnx", len(paths)))
			if err := m.Save(path); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
			list = append(list, mixed{fmt.Sprintf("%s, %s in (shared: %v), %s out (shared: %v)", op[0], in, sharedIn, other, sharedOut), op[0], m})
		}
	}
	for _, ort := range ortRuntimes(t) {
		release, effects := inORT(t, ort, paths)
		for i, e := range effects {
			v, err := newView(list[i].model, Options{Target: namedTarget(t, "onnxruntime"), Release: release})
			if err != nil {
				t.Fatal(err)
			}
			said := false
			for _, n := range v.nodes {
				if f, _, _ := v.fate(n); n.Op == list[i].op {
					said = f == integer
				}
			}
			left := false // in float: it reads what a DequantizeLinear gives
			for _, n := range e.Nodes {
				if n.Op == "DequantizeLinear" {
					for _, m := range e.Nodes {
						left = left || m.Op == list[i].op && slices.Contains(m.Inputs, n.Outputs[0])
					}
				}
			}
			if e.Error != "" || said == left {
				t.Errorf("%s in %s: integer %v by the rules; in ONNX Runtime %v %s", list[i].name, release, said, e.Nodes, e.Error)
			}
		}
		t.Logf("%d graphs in ONNX Runtime %s", len(effects), release)
	}
}

func singleOf(name string) string { return strings.Fields(name)[0] }
