package runtime

import (
	"context"
	"slices"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

// TestPlaces: Concats of Concats, one tensor in two of them or twice in one, an
// output, a view and a graph input among the inputs. A batch of two, whose parts
// lie apart and are copied, gives the same twice.
func TestPlaces(t *testing.T) {
	m, err := onnx.Parse(`
<ir_version: 10, opset_import: ["": 21]>
agraph (float[N,2,H,W] x) => (float[N,C,H,W] y, float[N,C1,H,W] z, float[N,C2,H,W] first)
<int64[2] sizes = {3, 1}>
{
  a = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)
  ab = Concat <axis = 1> (a, x)
  c = Neg (ab)
  d = Concat <axis = 1> (ab, c, a)
  e = Abs (d)
  f, g = Split <axis = 1> (c, sizes)
  h = Identity (g)
  z = Concat <axis = -3> (d, e, e, f, h)
  first = Exp (z)
  i = Neg (ab)
  y = Concat <axis = 1> (i, first, a)
}`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(m, Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	run := func(x *Tensor) map[string]*Tensor {
		out, err := p.Run(context.Background(), map[string]*Tensor{"x": x}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one := noise(1, 2, 5, 6, 3)
	two := noise(2, 2, 5, 6, 3)
	data := two.Data.([]float32)
	copy(data, one.Data.([]float32))
	copy(data[len(data)/2:], one.Data.([]float32))
	for range 2 {
		singles, pairs := run(one), run(two)
		for name, s := range singles {
			got, want := s.Data.([]float32), pairs[name].Data.([]float32)
			if !slices.Equal(got, want[:len(got)]) || !slices.Equal(got, want[len(got):]) {
				t.Errorf("%s in place differs from copied", name)
			}
		}
	}
}
