//go:build unix

package lint

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/daq-sr/daq/internal/peer"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// Graphs in which one rounding makes most of the noise, large enough to measure it.
var (
	large        = text{input: "float[1,4,64,64] x"}
	noisyProduct = large.add("g = Sigmoid (x)\n p = Mul (x, g)", "").window("p", "b", 0.02, 128).conv("b", "r", "int8").window("r", "y", 0.005, 128)
	noisyConcat  = large.add("n = Mul (x, f)\n c = Concat <axis = 1> (x, n)", "float f = {0.73}").window("c", "d", 0.1, 128).add(weightText("w", "int8", 4, 8, 3)).add("r = Conv <pads = [1,1,1,1]> (d, w)", "").window("r", "y", 0.02, 128)
	noisySum     = summedProduct(large, 0.02)
	noisyLast    = large.window("x", "a", 0.05, 128).conv("a", "r", "int8").window("r", "y", 0.013, 128)
	noisyTwice   = large.conv("x", "r", "int8").window("r", "b", 0.02, 128).add("[l] l = LeakyRelu <alpha = 0.2> (b)", "").window("l", "y", 0.013, 100)
)

// summedProduct adds to a picture what a product of matrices makes of a Concat of it, in float.
func summedProduct(g text, step float64) text {
	return g.add("n = Mul (x, f)\n c = Concat <axis = 1> (x, n)", "float f = {0.73}").window("c", "d", 0.1, 128).
		add("w = DequantizeLinear <axis = 1> (k, t)\n r = Transpose <perm = [0,2,3,1]> (d)\n [p] p = MatMul (r, w)\n u = Transpose <perm = [0,3,1,2]> (p)\n s = Add (u, x)",
			"int8[8,4] k = {31,-7,22,-40,9,25,-33,14,-28,37,5,-19,26,-12,34,8,-21,30,-6,17,39,-24,11,-35,15,-29,38,3,-18,27,-10,32}, float[4] t = {0.01,0.011,0.009,0.01}").window("s", "y", step, 128)
}

// TestInteropNoise holds what the rules say of noise against ONNX Runtime: how much of
// it a graph has with the named quantizer and without.
func TestInteropNoise(t *testing.T) {
	p := startPeer(t, ortRuntimes(t)[0])
	for _, c := range []struct {
		rule, pair string // Q/DQ that are named
		graph      text
		times      func(v *view, q *linear) float64 // noise that the pair adds, in units of that of the rest
	}{
		{"product-step", "b", noisyProduct, func(v *view, q *linear) float64 { _, times := v.noiseInto(q); return times }},
		{"concat-step", "d", noisyConcat, func(v *view, q *linear) float64 { _, times := v.noiseInto(q); return times }},
		{"concat-step", "d", noisySum, func(v *view, q *linear) float64 { _, times := v.noiseInto(q); return times }},
		{"last-step", "a", noisyLast, func(v *view, q *linear) float64 {
			gains, step := v.toOutput(q.node.Outputs[0])
			return q.scale[0] * q.scale[0] * (gains[0] + gains[1] + gains[2] + gains[3]) / (step * step)
		}},
		{"rounded-twice", "b", noisyTwice, func(v *view, q *linear) float64 {
			return roundedTwice(q, linearOf(v.nodes[len(v.nodes)-2], "QuantizeLinear"), 0.2)
		}},
	} {
		m := parse(t, c.graph.String())
		if len(found(t, m, Options{Target: namedTarget(t, "onnxruntime")}, c.rule)) == 0 {
			t.Errorf("%s is not found", c.rule)
		}
		v, err := newView(m, Options{Target: namedTarget(t, "onnxruntime")})
		if err != nil {
			t.Fatal(err)
		}
		var want float64
		for q := range v.linears {
			if q.node.Label() == "Q_"+c.pair {
				want = 1 + c.times(v, q)
			}
		}
		exact := plainOutput(t, p, without(t, m, c.pair, "y"))
		got := meanSquare(exact, plainOutput(t, p, m)) / meanSquare(exact, plainOutput(t, p, without(t, m, c.pair)))
		t.Logf("%s: %.3g times the noise in ONNX Runtime, %.3g by the rule", c.rule, got, want)
		if want < 1.4 || math.Abs(got/want-1) > 0.15 {
			t.Errorf("%s: %.3g times the noise in ONNX Runtime, %.3g by the rule", c.rule, got, want)
		}
	}
}

// without returns a model without the Q/DQ that give some tensors.
func without(t *testing.T, m *onnx.Model, names ...string) *onnx.Model {
	t.Helper()
	m = m.Clone()
	for _, name := range names {
		dq := m.Graph.Value(name).Producer
		q := dq.Inputs[0].Producer
		same := m.Graph.NewNode("Identity", []*onnx.Value{q.Inputs[0]}, []string{m.Graph.UniqueName("plain_" + name)})
		m.Graph.InsertBefore(q, same)
		if y := dq.Outputs[0]; y.IsOutput() {
			m.Graph.Outputs[0] = same.Outputs[0]
		} else {
			y.ReplaceUses(same.Outputs[0])
		}
		m.Graph.Remove(dq)
		m.Graph.Remove(q)
	}
	m.Graph.DropUnused()
	return m
}

// plainOutput returns what ONNX Runtime computes without optimization.
func plainOutput(t *testing.T, p *peer.Process, m *onnx.Model) *runtime.Tensor {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.Save(path); err != nil {
		t.Fatal(err)
	}
	s, err := p.Open(path, randomInput(t, path), peer.Options{Level: "disabled"})
	if err != nil {
		t.Fatal(err)
	}
	closeSession(t, s)
	return s.Output
}

func meanSquare(a, b *runtime.Tensor) float64 {
	sum := 0.0
	x, y := a.Data.([]float32), b.Data.([]float32)
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		sum += d * d
	}
	return sum / float64(len(x))
}
