package passes

import (
	"context"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
	"github.com/daq-sr/daq/onnx"
)

func TestFreeSize(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       bool
		output     string
	}{
		{"fully convolutional",
			`g (float[1,4,48,32] x) => (float[1,1,96,64] y) { float_relu = Relu (x)  y = DepthToSpace <blocksize = 2> (float_relu) }`,
			true, "float[1,1,2*height,2*width]"},
		{"dynamic already", `g (float[n,4,h,w] x) => (float[n,4,h,w] y) { y = Relu (x) }`, true, "float[n,4,h,w]"},
		{"size in a constant",
			`g (float[1,4,48,32] x) => (float[1,1,96,64] y) <int64[6] a = {1,2,2,1,48,32}, int64[4] b = {1,1,96,64}>
			{ r = Reshape (x, a)  t = Transpose <perm = [0,3,4,1,5,2]> (r)  y = Reshape (t, b) }`,
			false, "float[1,1,96,64]"},
		{"size in a side branch",
			`g (float[1,4,48,32] x) => (float[1,4,48,32] y) <int64[4] s = {1,4,48,32}>
			{ p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)  r = Resize (p, , , s)  y = Mul (x, r) }`,
			false, "float[1,4,48,32]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := parse(t, tc.text)
			got, err := FreeSize(m)
			if err != nil {
				t.Fatal(err)
			}
			if out := m.Graph.Outputs[0].Type.String(); got != tc.want || out != tc.output {
				t.Errorf("FreeSize = %v with output %s, want %v, %s", got, out, tc.want, tc.output)
			}
		})
	}
}

// Real networks, fixed to a size as an exporter would, become dynamic again.
func TestFreeSizeRealNetworks(t *testing.T) {
	for _, net := range testenv.Models(t) {
		m, err := onnx.Load(net.Path)
		if err != nil {
			t.Fatal(err)
		}
		want := m.Clone()
		if err := onnx.Infer(want); err != nil {
			t.Fatal(err)
		}
		x := m.Graph.Inputs[0]
		if err := onnx.InferWith(m, map[string][]int64{x.Name: {1, x.Type.Shape[1].Value, 48, 32}}); err != nil {
			t.Fatal(err)
		}
		free, err := FreeSize(m)
		if err != nil || !free {
			t.Errorf("%s: stays fixed (%v)", net.Name, err)
			continue
		}
		scale, _ := m.Graph.Outputs[0].Type.Shape[2].Over(m.Graph.Inputs[0].Type.Shape[2])
		if scale != int64(net.Scale) {
			t.Errorf("%s: scale %d", net.Name, scale)
		}
	}
}

func TestNames(t *testing.T) {
	m := parse(t, `g (float[n,3,h,w] x) => (float[n,3,h,w] y) { [a] b = Relu (x)  [a_1] c = Relu (b)  [a] d = Neg (c)  e = Abs (d)  [a] y = Neg (e) }`)
	if n, err := Names.Run(context.Background(), m); n != 2 || err != nil {
		t.Errorf("%d changes, %v", n, err)
	}
	var names []string
	for _, n := range m.Graph.Nodes {
		names = append(names, n.Label())
	}
	want := []string{"a", "a_1", "a_2", "e", "a_3"}
	for i := range want {
		if names[i] != want[i] {
			t.Fatalf("names %q, want %q", names, want)
		}
	}
}
