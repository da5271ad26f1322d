package onnx

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/testenv"
)

type measured struct {
	Shape []int64
	Type  DataType
}

// measuredShapes runs the networks in ONNX Runtime and returns what their
// tensors are, by file and size.
func measuredShapes(t *testing.T, nets []testenv.Model, sizes ...string) map[string]map[string]map[string]measured {
	t.Helper()
	args := []string{filepath.Join(testenv.Root(), "interop", "shapes.py")}
	for _, net := range nets {
		args = append(args, net.Path)
	}
	out, err := exec.Command(testenv.Python(t), append(append(args, "--size"), sizes...)...).Output()
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			t.Fatalf("%v: %s", err, e.Stderr)
		}
		t.Fatal(err)
	}
	var shapes map[string]map[string]map[string]measured
	if err := json.Unmarshal(out, &shapes); err != nil {
		t.Fatal(err)
	}
	return shapes
}

// Every tensor of the real networks has the shape ONNX Runtime measures, when
// inferred for that size and when the symbolic shape is evaluated at it.
func TestInferAgreesWithRuntime(t *testing.T) {
	nets := testenv.Models(t)
	all := measuredShapes(t, nets, "27x34", "32x24")
	for _, net := range nets {
		t.Run(net.Name, func(t *testing.T) {
			symbolic, err := Load(net.Path)
			if err != nil {
				t.Fatal(err)
			}
			original := symbolic.Clone()
			if err := Infer(symbolic); err != nil {
				t.Fatal(err)
			}
			// Without value_info that could give the answer.
			for _, n := range original.Graph.Nodes {
				for _, v := range n.Outputs {
					v.Type, v.info = Type{}, nil
				}
			}
			for _, size := range [][2]int64{{27, 34}, {32, 24}} {
				h, w := size[0], size[1]
				concrete := original.Clone()
				if err := InferWith(concrete, map[string][]int64{"input": {1, concrete.Graph.Inputs[0].Type.Shape[1].Value, h, w}}); err != nil {
					t.Fatal(err)
				}
				shapes := all[net.Path][fmt.Sprintf("%dx%d", h, w)]
				if len(shapes) < 10 {
					t.Fatalf("only %d tensors measured", len(shapes))
				}
				for name, want := range shapes {
					got, ok := concrete.Graph.Value(name).Type.Shape.Ints()
					if elem := concrete.Graph.Value(name).Type.Elem; !ok || !slices.Equal(got, want.Shape) || elem != want.Type {
						t.Errorf("%dx%d: %q inferred as %s, measured %s%v", h, w, name, concrete.Graph.Value(name).Type, want.Type, want.Shape)
					}
					var evaluated []int64
					for _, d := range symbolic.Graph.Value(name).Type.Shape {
						n, ok := d.Eval(map[string]int64{"n": 1, "h": h, "w": w})
						if !ok {
							t.Errorf("%q: %q does not evaluate", name, d)
						}
						evaluated = append(evaluated, n)
					}
					if !slices.Equal(evaluated, want.Shape) {
						t.Errorf("%dx%d: %q is %s, evaluated %v, measured %v", h, w, name, symbolic.Graph.Value(name).Type, evaluated, want.Shape)
					}
				}
			}
			out := symbolic.Graph.Outputs[0].Type.Shape
			want := Shape{Symbol("n"), out[1], Known(int64(net.Scale)).poly().mul(symbol("h")).dim(), Known(int64(net.Scale)).poly().mul(symbol("w")).dim()}
			if !slices.Equal(out, want) {
				t.Errorf("output is %s, want %s", out, want)
			}
		})
	}
}
