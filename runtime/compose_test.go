package runtime

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

// TestCompose holds pairs of convolutions computed as one against the nodes one by
// one, on pictures so small that an edge is everywhere.
func TestCompose(t *testing.T) {
	constant := func(name string, seed float32, shape ...int) string {
		v := noise(shape[0], shape[1], shape[2], shape[3], seed).Data.([]float32)
		text := make([]string, len(v))
		for i, x := range v {
			text[i] = fmt.Sprint(x - seed/2)
		}
		return fmt.Sprintf("float[%s] %s = {%s}", strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ", "), "[]"), name, strings.Join(text, ", "))
	}
	bias := func(name string, n int) string {
		return strings.Replace(constant(name, 1, 1, n, 1, 1), fmt.Sprintf("1, %d, 1, 1", n), fmt.Sprint(n), 1)
	}
	const pair = `c = Conv <pads = [1, 1, 1, 1]> (x, w, b)  d = DepthToSpace <blocksize = 2> (c)  `
	for _, c := range []struct {
		name          string
		channels      int // of the first convolution
		side, outputs [2]int
		body          string
		steps         int
	}{
		{"shuffled", 64, [2]int{3, 3}, [2]int{16, 3}, pair + `y = Conv <pads = [1, 1, 1, 1]> (d, v, e)`, 1},
		{"shuffled as CRD, no bias", 64, [2]int{3, 3}, [2]int{16, 3}, `c = Conv <pads = [1, 1, 1, 1]> (x, w)  d = DepthToSpace <blocksize = 2, mode = "CRD"> (c)  y = Conv <pads = [1, 1, 1, 1]> (d, v)`, 1},
		{"by 3, wide second", 72, [2]int{1, 5}, [2]int{8, 1}, `c = Conv (x, w, b)  d = DepthToSpace <blocksize = 3, mode = "CRD"> (c)  y = Conv <pads = [2, 2, 2, 2]> (d, v, e)`, 1},
		{"no shuffle", 96, [2]int{3, 3}, [2]int{96, 2}, `c = Conv <pads = [1, 1, 1, 1]> (x, w, b)  y = Conv <pads = [1, 1, 1, 1]> (c, v, e)`, 2},
		{"with a tail", 64, [2]int{3, 3}, [2]int{16, 3}, pair + `f = Conv <pads = [1, 1, 1, 1]> (d, v, e)  g = Relu (f)  y = Mul (g, half)`, 1},
		{"with a tail of channels", 64, [2]int{3, 3}, [2]int{16, 3}, pair + `f = Conv <pads = [1, 1, 1, 1]> (d, v)  y = Add (f, three)`, 1},
		{"read twice", 64, [2]int{3, 3}, [2]int{16, 3}, pair + `f = Conv <pads = [1, 1, 1, 1]> (d, v, e)  s = ReduceMean (d)  y = Add (f, s)`, 3},
		{"activation between", 64, [2]int{3, 3}, [2]int{16, 3}, `c = Conv <pads = [1, 1, 1, 1]> (x, w, b)  r = Relu (c)  d = DepthToSpace <blocksize = 2> (r)  y = Conv <pads = [1, 1, 1, 1]> (d, v, e)`, 2},
		{"reaches beyond neighbours", 64, [2]int{3, 7}, [2]int{16, 1}, pair + `y = Conv <pads = [3, 3, 3, 3]> (d, v, e)`, 2},
		{"no padding", 64, [2]int{3, 3}, [2]int{16, 3}, pair + `y = Conv (d, v, e)`, 2},
		{"not less to compute", 64, [2]int{3, 3}, [2]int{16, 16}, pair + `y = Conv <pads = [1, 1, 1, 1]> (d, v, e)`, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			const in = 20
			m, err := onnx.Parse(`<ir_version: 10, opset_import: ["": 21]>
agraph (float[N,` + fmt.Sprint(in) + `,H,W] x) => (float[N,C,H1,W1] y)
<` + strings.Join([]string{constant("w", 0.3, c.channels, in, c.side[0], c.side[0]), bias("b", c.channels), constant("v", 0.3, c.outputs[1], c.outputs[0], c.side[1], c.side[1]),
				bias("e", c.outputs[1]), constant("three", 1, 1, 3, 1, 1), "float half = {0.5}"}, ", ") + `>
{ ` + c.body + ` }`)
			if err != nil {
				t.Fatal(err)
			}
			composed, err := Compile(m, Options{Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(composed.plan.steps); n != c.steps {
				t.Errorf("%d steps, want %d", n, c.steps)
			}
			plain, err := Compile(m, Options{Strict: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range [][3]int{{1, 1, 1}, {1, 1, 7}, {2, 5, 1}, {1, 2, 2}, {3, 3, 2}, {2, 17, 30}} {
				if min(size[1], size[2]) < 2 && c.name == "no padding" {
					continue
				}
				inputs := map[string]*Tensor{"x": noise(size[0], in, size[1], size[2], 2)}
				got, err := composed.Run(context.Background(), inputs, nil)
				if err != nil {
					t.Fatal(err)
				}
				want, err := plain.Run(context.Background(), inputs, nil)
				if err != nil {
					t.Fatal(err)
				}
				sameFloats(t, got["y"], want["y"], 1e-5)
			}
		})
	}
}

// sameFloats wants two tensors equal within a share of the largest value.
func sameFloats(t *testing.T, got, want *Tensor, share float64) {
	t.Helper()
	if !slices.Equal(got.Shape, want.Shape) {
		t.Fatalf("%v, want %v", got, want)
	}
	g, w := got.Data.([]float32), want.Data.([]float32)
	most := 0.0
	for _, v := range w {
		most = max(most, math.Abs(float64(v)))
	}
	for i, v := range w {
		if d := math.Abs(float64(g[i] - v)); d > share*most {
			t.Fatalf("%v: element %d is %g, want %g (largest %g)", want, i, g[i], v, most)
		}
	}
}
