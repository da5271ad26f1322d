package passes

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/daq-sr/daq/internal/target"
	"github.com/daq-sr/daq/onnx"
)

func storageTarget(t *testing.T) *target.Target {
	t.Helper()
	to, err := target.Named("storage")
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// The body has 4 bits in blocks, what is around it 8 for each output channel; what is
// left out stays float.
func TestQuantizeStorage(t *testing.T) {
	const before = `<ir_version: 8, opset_import: ["" : 17]>
g (float[n,3,h,w] x, float[40,3,1,1] k0, float[40,40,1,1] k1, float[3,40,1,1] k2, float[3,3,1,1] k3) => (float[n,3,h,w] y)
{
  [head] a = Conv (x, k0)
  [body] b = Conv (a, k1)
  c = Add (a, b)
  [tail] d = Conv (c, k2)
  [last] y = Conv (d, k3)
}`
	m := parseInferred(t, before)
	fill(t, m)
	to := storageTarget(t)
	plan, err := MakeStoragePlan(m.Graph, Settings{WeightBits: 4, ActivationBits: 8, Rule: Calibrated, Layers: Layers{Exclude: regexp.MustCompile("last")}}, to)
	if err != nil {
		t.Fatal(err)
	}
	done, err := QuantizeStorage(m, plan, nil, to, 0)
	if err != nil {
		t.Fatal(err)
	}
	if done.Convolutions != 3 || len(done.Nearest) != 3 {
		t.Errorf("%+v", done)
	}
	const want = `   [k0_dequantized] k0_dequantized = DequantizeLinear <axis: int = 0> (k0_codes, k0_scale)
   [head] a = Conv (x, k0_dequantized)
   [k1_dequantized] k1_dequantized = DequantizeLinear <block_size: int = 32, axis: int = 1> (k1_codes, k1_scale, k1_zero_point)
   [body] b = Conv (a, k1_dequantized)
   c = Add (a, b)
   [k2_dequantized] k2_dequantized = DequantizeLinear <axis: int = 0> (k2_codes, k2_scale)
   [tail] d = Conv (c, k2_dequantized)
   [last] y = Conv (d, k3)`
	if got := body(m); got != want {
		t.Errorf("graph is\n%s\nwant\n%s", got, want)
	}
	for name, want := range map[string]string{
		"k0_codes": "int8[40,3,1,1]", "k1_codes": "int4[40,40,1,1]", "k1_scale": "float[40,2,1,1]", "k1_zero_point": "int4[40,2,1,1]", "k2_scale": "float[3]",
	} {
		if got := m.Graph.Value(name).Type.String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if m.Opset("") != 21 {
		t.Errorf("opset %d", m.Opset(""))
	}
}

// What ONNX Runtime makes of stored weights, with blocks that end early and scales of
// either sign, is what they were rounded to; rounded for pictures they lose less.
func TestStoredWeights(t *testing.T) {
	dir, to := t.TempDir(), storageTarget(t)
	var pairs []string
	for _, conv := range []string{
		`[c] y = Conv <pads = [1, 1, 1, 1]> (x, w)`,
		`[c] y = Conv <pads = [1, 1, 1, 1], group = 2> (x, w)`,
		`[c] y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w)`,
	} {
		shape := "float[6,20,3,3]"
		if strings.Contains(conv, "group") {
			shape = "float[6,10,3,3]"
		}
		if strings.Contains(conv, "Transpose") {
			shape = "float[20,6,3,3]"
		}
		m := parseInferred(t, fmt.Sprintf(`<ir_version: 8, opset_import: ["" : 17]>
g (float[1,20,h,w] x, %s w) => (float[1,6,hy,wy] y) {
  %s
}`, shape, conv))
		fill(t, m)
		pictures := smoothPictures(t, 4, 20, 30)
		pictures, other := pictures[:3], pictures[3]
		want := run(t, m.Clone(), other)
		for _, bits := range []int{2, 3, 4, 8} {
			plan, err := MakeStoragePlan(m.Graph, Settings{WeightBits: bits, ActivationBits: 8, Rule: Calibrated, Layers: Layers{All: true}}, to)
			if err != nil {
				t.Fatal(err)
			}
			if w := &plan.Weights[0]; w.Block > 0 {
				w.Block = 8 // of 20 or 10
			} else if bits < 8 {
				t.Errorf("%d bits: no blocks", bits)
			}
			rounding, err := Round(context.Background(), m, plan, pictures, RoundOptions{})
			if err != nil {
				t.Fatal(err)
			}
			loss := func(q *onnx.Model) (sum float64) {
				for i, v := range run(t, q, other) {
					sum += float64(v-want[i]) * float64(v-want[i])
				}
				return sum
			}
			nearest, rounded, direct := m.Clone(), m.Clone(), m.Clone()
			if _, err := QuantizeStorage(nearest, plan, nil, to, 0); err != nil {
				t.Fatal(err)
			}
			if _, err := QuantizeStorage(rounded, plan, rounding, to, 0); err != nil {
				t.Fatal(err)
			}
			if a, b := loss(rounded.Clone()), loss(nearest); a > 0.8*b && bits < 8 {
				t.Errorf("%s, %d bits: error %.3g rounded for pictures, %.3g of the nearest codes", conv, bits, a, b)
			}
			// The same weights as floats.
			n, r := direct.Graph.Nodes[0], rounding["c"]
			l := matrixOf(n, n.Inputs[1].Const.Shape)
			data := make([]float32, len(r.codes))
			for g := range l.groups {
				for o := range l.outputs {
					for i := range l.inputs {
						data[l.index(g, o, i)] = l.level(r, plan.weightLevels(&plan.Weights[0]), g, o, i)
					}
				}
			}
			n.Inputs[1].SetConst(onnx.Floats(n.Inputs[1].Const.Shape, data...))
			n.SetInput(2, direct.Graph.AddInitializer("bias", onnx.Floats([]int64{6}, r.bias...)))
			name := fmt.Sprintf("%d_%d", len(pairs), bits)
			pairs = append(pairs, save(t, direct, filepath.Join(dir, name+"f.onnx")), save(t, rounded, filepath.Join(dir, name+".onnx")))
		}
	}
	for _, d := range compareModels(t, pairs, "--size", "24x27", "--check") {
		if d.Relative > 1e-6 {
			t.Errorf("%s and %s differ by %g of the range", d.A, d.B, d.Relative)
		}
	}
}

// TestStoreSharedWeights: a ConvTranspose has its outputs along another axis than a Conv, and does not take its scales.
func TestStoreSharedWeights(t *testing.T) {
	m := parseInferred(t, `<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8,h,w] x, float[8,8,3,3] k) => (float[1,8,h,w] y)
{
  [a] a = Conv <pads = [1,1,1,1]> (x, k)
  [b] b = Conv <pads = [1,1,1,1]> (a, k)
  [up] y = ConvTranspose <pads = [1,1,1,1]> (b, k)
}`)
	fill(t, m)
	plan := &Plan{Rule: Calibrated, Weights: []WeightPlan{{Node: "a", Bits: 8}, {Node: "b", Bits: 8}, {Node: "up", Bits: 8}}}
	if _, err := QuantizeStorage(m, plan, nil, storageTarget(t), 17); err != nil {
		t.Fatal(err)
	}
	weights := func(name string) *onnx.Node { return m.Graph.Value(name).Producer.Inputs[1].Producer }
	if weights("a") != weights("b") || weights("y").Int("axis", 0) != 1 {
		t.Errorf("graph is\n%s", body(m))
	}
}
