package passes

import (
	"slices"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

// TestGrids: in a dense block the nested Concats have one grid, on which is also what
// only they read (b), but neither what a convolution reads too (a) nor what stands
// behind an absorbed Relu (d), whose range begins at zero. DepthToSpace moves codes.
func TestGrids(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 13]>
g (float[n,3,h,w] x, float[8,3,3,3] head, float[8,8,3,3] k, float[8,16,3,3] k2, float[64,24,1,1] up, float[20,16,3,3] tail) => (float[n,20,H,W] y)
{
  a = Conv <pads = [1,1,1,1]> (x, head)
  b = Conv <pads = [1,1,1,1]> (a, k)
  ab = Concat <axis = 1> (a, b)
  c = Conv <pads = [1,1,1,1]> (ab, k2)
  d = Relu (c)
  abd = Concat <axis = 1> (ab, d)
  u = Conv (abd, up)
  s = DepthToSpace <blocksize = 2> (u)
  y = Conv <pads = [1,1,1,1]> (s, tail)
}`)
	fill(t, m)
	to, err := target.Named("onnxruntime")
	if err != nil {
		t.Fatal(err)
	}
	p := place(m.Graph, to, Layers{})
	var got []string
	for _, v := range p.values {
		g := p.grids[v]
		if g.values[0] == v {
			got = append(got, names(g.values)+" of "+names(g.heads))
		}
	}
	want := []string{"x of x", "a of a", "b ab abd of abd", "d of d", "u s of u"}
	if !slices.Equal(got, want) {
		t.Errorf("grids %q, want %q", got, want)
	}
	b, abd := m.Graph.Value("b"), m.Graph.Value("abd")
	if whole, at := p.whole(b); whole != m.Graph.Value("ab") || at != 8 {
		t.Errorf("b is channel %d of %v", at, whole)
	}
	for c, want := range map[int]string{3: "ab", 9: "b", 20: "abd"} { // a and d are rounded by the Concats
		if part, _ := p.part(abd, c); part.Name != want {
			t.Errorf("channel %d is rounded as part of %s, want %s", c, part.Name, want)
		}
	}
	plan := &Plan{}
	for i, v := range p.values {
		plan.Activations = append(plan.Activations, ActivationPlan{Tensor: v.Name, Bits: 8, Scale: float32(i + 1), ZeroPoint: 100})
	}
	scale := func(name string) *ActivationPlan {
		return &plan.Activations[slices.IndexFunc(plan.Activations, func(a ActivationPlan) bool { return a.Tensor == name })]
	}
	planner := &staticPlanner{target: to, place: p}
	if planner.followers(plan); scale("d").Scale == scale("abd").Scale {
		t.Error("codes of d do not begin at zero: they are not those of abd moved")
	}
	scale("d").ZeroPoint = 0
	if planner.followers(plan); scale("d").Scale != scale("abd").Scale || scale("a").Scale == scale("ab").Scale {
		t.Errorf("scales are %+v: want that of abd for d, and a's own", plan.Activations)
	}
}

func names(values []*onnx.Value) string {
	var s []string
	for _, v := range values {
		s = append(s, v.Name)
	}
	return strings.Join(s, " ")
}
