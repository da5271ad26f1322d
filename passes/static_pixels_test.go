package passes

import (
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/runtime"
)

// TestPrepareStatic: the first convolution reads the picture, padded with the mean that it was
// shifted by, and the last skip connection reads a float twin of it.
func TestPrepareStatic(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[8,8,3,3] k, float[12,8,3,3] up) => (float[n,3,H,W] y)
<float[1,3,1,1] mean = {-0.25, -0.5, -0.75}, float two = {2}, float[8,3,1,1] head = {4,0,0, 0,4,0, 0,0,4, 0,0,0, 0,0,0, 0,0,0, 0,0,0, 2,2,2}>
{
  shifted = Add (x, mean)
  scaled = Mul (shifted, two)
  [head] a = Conv <pads = [1,1,1,1]> (scaled, head)
  [body] b = Conv <pads = [1,1,1,1]> (a, k)
  [body2] c = Conv <pads = [1,1,1,1]> (b, k)
  [body3] d = Conv <pads = [1,1,1,1]> (c, k)
  [last] s = Add (a, d)
  [up] u = Conv <pads = [1,1,1,1]> (s, up)
  y = DepthToSpace <blocksize = 2> (u)
}`)
	fill(t, m)
	to, err := target.Named("onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	before := m.Clone()
	if err := PrepareStatic(m, to, Layers{}); err != nil {
		t.Fatal(err)
	}
	const want = `   shifted = Add (x, mean)
   scaled = Mul (shifted, two)
   [a_skip] a_skip = Conv <pads: ints = [1, 1, 1, 1]> (scaled, head)
   [head_padded] head_padded = Pad (scaled, head_pads)
   [head_scaled] head_scaled = Mul (head_padded, head_unscale)
   [head_pixels] head_pixels = Add (head_scaled, head_unshift)
   [head] a = Conv (head_pixels, head_1, head_bias)
   [body] b = Conv <pads: ints = [1, 1, 1, 1]> (a, k)
   [body2] c = Conv <pads: ints = [1, 1, 1, 1]> (b, k)
   [body3] d = Conv <pads: ints = [1, 1, 1, 1]> (c, k)
   [last] s = Add (a_skip, d)
   [up] u = Conv <pads: ints = [1, 1, 1, 1]> (s, up)
   y = DepthToSpace <blocksize: int = 2> (u)`
	if got := body(m); got != want {
		t.Errorf("graph is\n%s\nwant\n%s", got, want)
	}
	x := picture(6, 7)
	sameValues(t, run(t, m, x), run(t, before, x))
	for v, want := range map[string]bool{"x": true, "shifted": false, "head_padded": false, "head_pixels": true, "a": false} {
		if isPixels(m.Graph.Value(v)) != want {
			t.Errorf("%s holds pixels: %v", v, !want)
		}
	}
	plan := StaticTensors(m.Graph, to, Layers{})
	if slices.Contains(plan, "head_pixels") || !slices.Contains(plan, "a") {
		t.Errorf("tensors %v: want a, and not the pixels, whose codes are known", plan)
	}
}

// picture returns pixels [1,3,h,w] of 8 bits.
func picture(h, w int) *runtime.Tensor {
	data := make([]float32, 3*h*w)
	for i := range data {
		data[i] = float32(i*37%256) / 255
	}
	x, _ := runtime.Of([]int{1, 3, h, w}, data)
	return x
}
