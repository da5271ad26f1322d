package converter

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

// What cannot be quantized is refused in one line that says what to do.
func TestSimplifyRefuses(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name   string
		broken func(t *testing.T, m *onnx.Model) *onnx.Model
		want   string
	}{
		{"quantized already", func(t *testing.T, m *onnx.Model) *onnx.Model {
			q, err := Quantize(ctx, m, nil, options(4, passes.Paper, 0))
			if err != nil {
				t.Fatal(err)
			}
			return q.Model
		}, "quantized already"},
		{"functions of our domain", func(_ *testing.T, m *onnx.Model) *onnx.Model {
			m.SetOpset(passes.Domain, 1)
			return m
		}, `domain "daq"`},
		{"NaN", func(t *testing.T, m *onnx.Model) *onnx.Model {
			w, err := m.Graph.Initializers()[3].Const.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			broken := append([]float32(nil), w...)
			broken[5] = float32(math.NaN())
			v := m.Graph.Initializers()[3]
			v.SetConst(onnx.Floats(v.Const.Shape, broken...))
			return m
		}, "element 5 is NaN"},
		{"no opset", func(_ *testing.T, m *onnx.Model) *onnx.Model {
			m.Opsets = nil
			return m
		}, "opset"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, _, _ := builtin(t)
			_, err := Simplify(ctx, tc.broken(t, m))
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, tc.want)
			}
		})
	}
}

// A network exported for one size becomes one for any size, with the same output.
func TestFixedSize(t *testing.T) {
	ctx := context.Background()
	m, _, _ := builtin(t)
	fixed := m.Clone()
	if err := onnx.InferWith(fixed, map[string][]int64{"input": {1, 3, 48, 32}}); err != nil {
		t.Fatal(err)
	}
	a, err := Quantize(ctx, m, nil, options(4, passes.Paper, 0))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Quantize(ctx, fixed, nil, options(4, passes.Paper, 0))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(b.Model.Graph.Nodes), len(a.Model.Graph.Nodes); got != want {
		t.Errorf("%d nodes, %d when the sizes are dynamic", got, want)
	}
	if got := b.Model.Graph.Outputs[0].Type.String(); got != "float[1,3,2*height,2*width]" {
		t.Errorf("output %s", got)
	}
}
