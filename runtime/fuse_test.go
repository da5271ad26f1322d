package runtime

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
)

// runBoth runs a model fused, on one thread and on three, and with every value
// observed, so that nothing is fused, and holds the outputs against each other
// bit by bit. It returns the number of steps of the fused program.
func runBoth(t *testing.T, m *onnx.Model, inputs map[string]*Tensor) int {
	t.Helper()
	var all []string
	for _, n := range m.Graph.Nodes {
		for _, v := range n.Outputs {
			if v != nil {
				all = append(all, v.Name)
			}
		}
	}
	composed := false // two convolutions are one: equal but for rounding
	run := func(o Options) (map[string]*Tensor, int) {
		p, err := Compile(m, o)
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.Run(context.Background(), inputs, func(string, *Tensor) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.plan.steps {
			composed = composed || s.front != ""
		}
		return out, len(p.plan.steps)
	}
	want, _ := run(Options{Threads: 2, Observe: all})
	var steps int
	for _, threads := range []int{1, 3} {
		var got map[string]*Tensor
		got, steps = run(Options{Threads: threads})
		for name, w := range want {
			g := got[name]
			if composed {
				sameFloats(t, g, w, 1e-5)
			} else if !slices.Equal(g.Shape, w.Shape) || !slices.Equal(bytesOf(g), bytesOf(w)) {
				t.Errorf("%d threads: %s differs from the result of the nodes one by one", threads, name)
			}
		}
	}
	return steps
}

func TestFusion(t *testing.T) {
	weights := func(n int) string {
		var v []string
		for i := range n {
			v = append(v, fmt.Sprint(float32(i*37%19)/19-0.4))
		}
		return strings.Join(v, ", ")
	}
	head := `<ir_version: 10, opset_import: ["": 21]>
agraph (float[N,4,H,W] x, float[N,4,H,W] r, float[N,4,1,1] s, float[1,1,W] wide, float[4,4,3,3] v) => (float[N,C,H1,W1] y)
<float[4,4,3,3] w = {` + weights(144) + `}, float[4,4,1,1] k = {` + weights(16) + `}, float[4] b = {` + weights(4) + `}, float[4,1,1] slope = {` + weights(4) + `},
 float half = {0.5}, float[1] two = {2}, float one = {1}, float three = {3}, float top = {15}>
{`
	for _, c := range []struct {
		name, body string
		steps      int
	}{
		{"residual", `c = Conv <pads = [1, 1, 1, 1]> (x, w, b)  y = Add (r, c)`, 1},
		{"relu first", `c = Conv <pads = [1, 1, 1, 1]> (x, w)  d = Relu (c)  e = Mul (d, half)  y = Add (e, x)`, 1},
		{"relu last", `c = Conv <pads = [1, 1, 1, 1]> (x, w)  d = Add (c, r)  y = Relu (d)`, 1},
		{"slopes, clip", `c = Conv <pads = [1, 1, 1, 1]> (x, w)  d = PRelu (c, slope)  e = LeakyRelu <alpha = 0.2> (d)  y = Clip (e, half, three)`, 1},
		{"stride and scale of each image", `c = Conv <strides = [2, 2]> (x, w, b)  d = Mul (s, c)  y = Sub (half, d)`, 1},
		{"itself twice", `c = Conv <pads = [1, 1, 1, 1]> (x, w)  g = Sigmoid (c)  y = Mul (c, g)`, 1},
		{"square of itself", `c = Conv <pads = [1, 1, 1, 1]> (x, w)  d = Add (c, x)  e = Mul (d, d)  f = Sub (d, e)  y = Div (f, e)`, 1},
		{"read elsewhere", `c = Conv <pads = [1, 1, 1, 1]> (x, w)  d = Relu (c)  p = MaxPool <kernel_shape = [1, 1]> (c)  y = Add (d, p)`, 3},
		{"smaller than the other", `m = GlobalAveragePool (x)  c = Conv (m, k, b)  g = Sigmoid (c)  y = Mul (x, g)`, 3},
		{"not of one value for each channel", `c = Conv <pads = [1, 1, 1, 1]> (x, w)  y = Add (c, wide)`, 2},
		{"two of them", `c = Conv <pads = [1, 1, 1, 1]> (x, w)  d = Conv <pads = [1, 1, 1, 1]> (r, w)  y = Add (c, d)`, 2},
		{"weights not known", `c = Conv <pads = [1, 1, 1, 1]> (x, v)  y = Relu (c)`, 2},
		{"element-wise", `a = Sub (x, s)  b1 = Div (a, slope)  c = Add (b1, half)  d = Floor (c)  e = Max (d, one)  y = Min (e, three)`, 1},
		{"codes", `a = Mul (x, top)  c = Cast <to = 2> (a)  f = Cast <to = 1> (c)  g = Mul (f, s)  y = Add (g, r)`, 1},
		{"mask", `a = Greater (x, half)  f = Cast <to = 1> (a)  g = Sub (x, s)  y = Mul (g, f)`, 2},
		{"mask last", `a = Greater (x, half)  y = Cast <to = 1> (a)`, 1},
		{"square", `a = Sub (x, r)  y = Pow (a, two)`, 1},
		{"in place of an operand", `a = MaxPool <kernel_shape = [1, 1]> (x)  b1 = Sub (a, r)  c = Mul (b1, a)  y = Add (c, s)`, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := onnx.Parse(head + c.body + "\n}")
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range [][3]int{{1, 5, 7}, {2, 40, 33}} {
				n, h, w := size[0], size[1], size[2]
				in := map[string]*Tensor{"x": noise(n, 4, h, w, 2), "r": noise(n, 4, h, w, 3), "s": noise(n, 4, 1, 1, 1), "wide": noise(1, 1, 1, w, 1), "v": noise(4, 4, 3, 3, 1)}
				in["wide"].Shape = []int{1, 1, w}
				x := in["x"].Data.([]float32)
				for i := range x {
					x[i] -= 1
				}
				x[3], x[5] = float32(math.NaN()), float32(math.Inf(1))
				if steps := runBoth(t, m, in); steps != c.steps {
					t.Errorf("%d steps, want %d", steps, c.steps)
				}
			}
		})
	}
}

// TestFusedNetworks: fusion changes no bit of the real networks' outputs, but where
// two convolutions are computed as one (TestCompose).
func TestFusedNetworks(t *testing.T) {
	for _, net := range testenv.Models(t) {
		t.Run(net.Name, func(t *testing.T) {
			t.Parallel()
			m, err := onnx.Load(net.Path)
			if err != nil {
				t.Fatal(err)
			}
			channels := 3
			if net.Y {
				channels = 1
			}
			runBoth(t, m, map[string]*Tensor{"input": noise(1, channels, 21, 34, net.Range)})
		})
	}
}
