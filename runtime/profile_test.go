package runtime

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/daq-sr/daq/onnx"
)

// TestProfile: steps come in order with names and operators, and their times
// add up to no more than the run took.
func TestProfile(t *testing.T) {
	m, err := onnx.Parse(`
<ir_version: 10, opset_import: ["": 21]>
agraph (float[1,3,H,W] x, bool yes) => (float[N,C,H,W] y)
{
  [pool] p = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)
  q = Relu (p)
  y = If (yes) <
    then_branch = a () => (float[N,C,H,W] s) { s = Add (q, x) },
    else_branch = b () => (float[N,C,H,W] d) { d = Sub (q, x) }
  >
}`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(m, Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	x, _ := Of([]int{1, 3, 64, 64}, make([]float32, 3*64*64))
	yes, err := Of([]int{}, []bool{true})
	if err != nil {
		t.Fatal(err)
	}
	inputs := map[string]*Tensor{"x": x, "yes": yes}
	for range 2 {
		start := time.Now()
		steps, err := p.Profile(context.Background(), inputs)
		took := time.Since(start)
		if err != nil {
			t.Fatal(err)
		}
		var got [][2]string
		var sum time.Duration
		for _, s := range steps {
			got = append(got, [2]string{s.Node, s.Op})
			if s.Time <= 0 {
				t.Errorf("%s took %v", s.Node, s.Time)
			}
			sum += s.Time
		}
		want := [][2]string{{"pool", "AveragePool"}, {"q", "Relu"}, {"y", "If"}}
		if !slices.Equal(got, want) {
			t.Errorf("steps %v, want %v", got, want)
		}
		if sum > took {
			t.Errorf("steps took %v of a run of %v", sum, took)
		}
	}
	if _, err := p.Profile(context.Background(), nil); err == nil {
		t.Error("no error without inputs")
	}
}
