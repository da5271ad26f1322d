package passes

import (
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/runtime"
)

// TestShuffleLast: a DepthToSpace goes behind the convolution that makes a picture of what it
// gives, and values stay what they were, at the borders too.
func TestShuffleLast(t *testing.T) {
	for _, tc := range []struct {
		name, graph string
		want        string // operators behind x, empty for as they are
	}{
		{"3x3", `g (float[1,8,h,w] x, float[3,2,3,3] k, float[3] b) => (float[1,3,H,W] y)
{ s = DepthToSpace <blocksize = 2> (x)  y = Conv <pads = [1,1,1,1], kernel_shape = [3,3]> (s, k, b) }`, "Conv DepthToSpace"},
		{"CRD, uneven kernel", `g (float[1,8,h,w] x, float[1,2,4,5] k) => (float[1,1,H,W] y)
{ s = DepthToSpace <blocksize = 2, mode = "CRD"> (x)  y = Conv <pads = [2,1,1,3]> (s, k) }`, "Conv DepthToSpace"},
		{"slopes, block 3", `g (float[1,18,h,w] x, float[2,1,1] p, float[2,2,9,9] k, float[2] b) => (float[1,2,H,W] y)
{ s = DepthToSpace <blocksize = 3, mode = "CRD"> (x)  r = PRelu (s, p)  z = Conv <pads = [4,4,4,4]> (r, k, b)  y = Relu (z) }`, "PRelu Conv DepthToSpace Relu"},
		{"DCR, one slope", `g (float[1,8,h,w] x, float[1] p, float[2,2,1,1] k) => (float[1,2,H,W] y)
{ s = DepthToSpace <blocksize = 2> (x)  r = PRelu (s, p)  y = Conv (r, k) }`, "PRelu Conv DepthToSpace"},
		{"many channels", `g (float[1,8,h,w] x, float[5,2,3,3] k) => (float[1,5,H,W] y)
{ s = DepthToSpace <blocksize = 2> (x)  y = Conv <pads = [1,1,1,1]> (s, k) }`, ""},
		{"smaller picture", `g (float[1,8,h,w] x, float[3,2,3,3] k) => (float[1,3,H,W] y)
{ s = DepthToSpace <blocksize = 2> (x)  y = Conv (s, k) }`, ""},
		{"two readers", `g (float[1,8,h,w] x, float[2,2,1,1] k) => (float[1,2,H,W] y)
{ s = DepthToSpace <blocksize = 2> (x)  z = Conv (s, k)  y = Add (s, z) }`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]> `+tc.graph)
			fill(t, m)
			before := m.Clone()
			shuffleLast(m.Graph)
			if tc.want == "" {
				if got, want := operators(m.Graph), operators(before.Graph); got != want {
					t.Errorf("operators are %s, were %s", got, want)
				}
				return
			}
			if got := operators(m.Graph); got != tc.want {
				t.Fatalf("operators are %s, want %s", got, tc.want)
			}
			if err := onnx.Infer(m); err != nil {
				t.Fatal(err)
			}
			in := int(m.Graph.Inputs[0].Type.Shape[1].Value)
			for _, size := range [][2]int{{1, 1}, {2, 5}, {7, 6}} {
				data := make([]float32, in*size[0]*size[1])
				for i := range data {
					data[i] = float32(i*37%101)/50 - 1
				}
				x, _ := runtime.Of([]int{1, in, size[0], size[1]}, data)
				sameValues(t, run(t, m, x), run(t, before, x))
			}
		})
	}
}

func operators(g *onnx.Graph) string {
	s := ""
	for i, n := range g.Nodes {
		if i > 0 {
			s += " "
		}
		s += n.Op
	}
	return s
}

// sameValues checks that values are equal but for the order of sums.
func sameValues(t *testing.T, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, were %d", len(got), len(want))
	}
	most := float32(0)
	for _, v := range want {
		most = max(most, v, -v)
	}
	for i, v := range want {
		if d := got[i] - v; max(d, -d) > 1e-5*most {
			t.Fatalf("value %d is %g, was %g", i, got[i], v)
		}
	}
}
