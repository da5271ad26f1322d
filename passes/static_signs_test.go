package passes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/target"
)

// TestReadSigns: what the last skip connection gives is read by its sign, where the convolution
// that reads it is a small part of the network.
func TestReadSigns(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[16,3,3,3] head, float[16,16,5,5] k, float[48,16,1,1] up, float[12,48,5,5] flat) => (float[n,3,H,W] y)
{
  [head] a = Conv <pads = [1,1,1,1]> (x, head)
  [body] c = Conv <pads = [2,2,2,2]> (a, k)
  [body2] d = Conv <pads = [2,2,2,2]> (c, k)
  [last] s = Add (a, d)
  [up] u = Conv (s, up)
  [flat] f = Conv <pads = [2,2,2,2]> (u, flat)
  y = DepthToSpace <blocksize = 2> (f)
}`)
	to, err := target.Named("onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	fill(t, m)
	before := m.Clone()
	if err := PrepareStatic(m, to, Layers{}); err != nil {
		t.Fatal(err)
	}
	const want = `   [a_skip] a_skip = Conv <pads: ints = [1, 1, 1, 1]> (x, head)
   [head] a = Conv <pads: ints = [1, 1, 1, 1]> (x, head)
   [body] c = Conv <pads: ints = [2, 2, 2, 2]> (a, k)
   [body2] d = Conv <pads: ints = [2, 2, 2, 2]> (c, k)
   [body2_above] body2_above = Relu (d)
   [body2_negative] body2_negative = Conv <pads: ints = [2, 2, 2, 2]> (c, k_below)
   [body2_below] body2_below = Relu (body2_negative)
   [body2_sides] body2_sides = Sub (body2_above, body2_below)
   [last] s = Add (a_skip, body2_sides)
   [s_negative] s_negative = Neg (s)
   [s_sides] s_sides = Concat <axis: int = 1> (s, s_negative)
   [s_scaled] s_scaled = Mul (s_sides, s_factors)
   [s_signs] s_signs = Relu (s_scaled)
   [up] u = Conv (s_signs, up)
   [flat] f = Conv <pads: ints = [2, 2, 2, 2]> (u, flat)
   y = DepthToSpace <blocksize: int = 2> (f)`
	if got := body(m); got != want {
		t.Errorf("graph is\n%s\nwant\n%s", got, want)
	}
	x := picture(6, 7)
	sameValues(t, run(t, m, x), run(t, before, x))
	if p := place(m.Graph, to, Layers{}); p.skip == nil || p.skip.Label() != "last" || !p.convs[m.Graph.Value("u").Producer] {
		t.Errorf("the last skip is %v, convolutions in integers %v", p.skip, p.convs)
	}
	// tensorrt has no codes for one side of zero alone.
	to, err = target.Named("tensorrt")
	if err != nil {
		t.Fatal(err)
	}
	m = before.Clone()
	if err := PrepareStatic(m, to, Layers{}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(body(m), "_signs") {
		t.Errorf("tensorrt: graph is\n%s", body(m))
	}
}

// TestFreeSkip: factors end and begin behind the last skip connection, but where convolutions make both its sides for it alone.
func TestFreeSkip(t *testing.T) {
	to, err := target.Named("tensorrt") // reads no signs
	if err != nil {
		t.Fatal(err)
	}
	for side, want := range map[string]bool{"a": true, "b": false} {
		m := parseInferred(t, fmt.Sprintf(`<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[16,3,3,3] head, float[16,3,3,3] side, float[16,16,3,3] k, float[16,16,3,3] k2, float[48,16,3,3] up, float[12,48,3,3] flat) => (float[n,3,H,W] y)
{ a = Conv <pads = [1,1,1,1]> (x, head)  b = Conv <pads = [1,1,1,1]> (x, side)
  c = Conv <pads = [1,1,1,1]> (a, k)  d = Conv <pads = [1,1,1,1]> (c, k2)  s = Add (%s, d)
  u = Conv <pads = [1,1,1,1]> (s, up)  f = Conv <pads = [1,1,1,1]> (u, flat)  y = DepthToSpace <blocksize = 2> (f) }`, side))
		FreeSkip(m, to, Layers{})
		if got := strings.Contains(body(m), "s_scaled = Mul"); got != want {
			t.Errorf("a Mul where %s is added: %t, want %t\n%s", side, got, want, body(m))
		}
	}
}
