package converter

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/daq-sr/daq/calib"
	"github.com/daq-sr/daq/internal/imaging"
	"github.com/daq-sr/daq/internal/npy"
	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
	"github.com/daq-sr/daq/runtime"
)

// A network against itself under other names, against a quantized one, and against
// one in which a single bias is wrong: that one is named first.
func TestCompare(t *testing.T) {
	float, _, data := builtin(t)
	pictures := t.TempDir()
	picture, err := os.ReadFile(filepath.Join(data, "LRx2", "sunset_by_Aitzol_Berasategi.png"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(pictures, "a.png"), picture, 0o666); err != nil {
		t.Fatal(err)
	}
	compare := func(b *onnx.Model) *Comparison {
		t.Helper()
		c, err := Compare(context.Background(), float, b, pictures, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	renamed := float.Clone()
	var broken *onnx.Node
	for i, n := range renamed.Graph.Nodes {
		if n.Is("Conv") && i > len(renamed.Graph.Nodes)/2 && broken == nil {
			broken = n
		}
	}
	same := compare(renamed)
	if len(same.Tensors) < 20 || same.Unmatched != 0 || same.Pictures != 1 || same.FirstBad(maxSQNR) != nil {
		t.Errorf("against itself: %+v", same)
	}

	// Half of its outputs are nothing but their bias.
	weights := broken.Inputs[1]
	w := weights.Const.Clone()
	w.Data = slices.Clone(w.Data)
	for i := range len(w.Data) / 2 {
		w.Data[i] = 0
	}
	weights.SetConst(w)
	bad := compare(renamed).FirstBad(40)
	if bad == nil || bad.A != broken.Outputs[0].Name {
		t.Errorf("the first bad tensor is %+v, want %s", bad, broken.Outputs[0].Name)
	}

	q, err := Quantize(context.Background(), float, nil, options(8, passes.Paper, 0))
	if err != nil {
		t.Fatal(err)
	}
	c := compare(q.Model)
	last := c.Tensors[len(c.Tensors)-1]
	if !last.Output || last.SQNR < 20 || last.SQNR > 80 {
		t.Errorf("8 bits: output %+v", last)
	}

	other, err := onnx.Parse("<ir_version: 8, opset_import: [\"\" : 13]>\ng (float[1,3,h,w] x) => (int64[4] y) { y = Shape (x) }")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compare(context.Background(), float, other, pictures, CompareOptions{}); err == nil {
		t.Error("compared with a network of nothing in common")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Compare(ctx, float, float, pictures, CompareOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A dump holds what another runtime computed: here our own tensors, one of them off.
func TestCompareDump(t *testing.T) {
	float, _, data := builtin(t)
	dir := t.TempDir()
	if _, err := CompareDump(context.Background(), float, dir, 0); err == nil {
		t.Error("compared with an empty folder")
	}
	conv := float.Graph.Nodes[0]
	for _, n := range float.Graph.Nodes {
		if n.Is("Conv") {
			conv = n
			break
		}
	}
	name := conv.Outputs[0].Name
	network, err := Open(context.Background(), float, calib.Input{}, runtime.Options{Observe: []string{name, float.Graph.Inputs[0].Name}})
	if err != nil {
		t.Fatal(err)
	}
	picture, err := imaging.ReadFile(filepath.Join(data, "LRx2", "sunset_by_Aitzol_Berasategi.png"))
	if err != nil {
		t.Fatal(err)
	}
	off := float32(0)
	write := func(tensor string, t *runtime.Tensor) error {
		v, err := t.Float32s()
		if err != nil {
			return err
		}
		v = append([]float32(nil), v...)
		if tensor == name {
			v[0] += off
		}
		return npy.Write(filepath.Join(dir, url.PathEscape(tensor)+".npy"), t.Shape, v)
	}
	for _, off = range []float32{0, 10} {
		if _, err := network.Run(context.Background(), picture, write); err != nil {
			t.Fatal(err)
		}
		c, err := CompareDump(context.Background(), float, dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Tensors) != 1 || (c.FirstBad(60) != nil) != (off > 0) || c.Tensors[0].MaxError != float64(off) && off == 0 {
			t.Errorf("off by %g: %+v", off, c)
		}
	}
}

// TestCommon: channels that both tensors have, by what files say that they lost, whatever that is.
func TestCommon(t *testing.T) {
	for _, tc := range []struct {
		goneA, goneB []int
		a, b         int
		inA, inB     []int
	}{
		{nil, nil, 2, 2, []int{0, 1}, []int{0, 1}},
		{[]int{0}, []int{2}, 2, 2, []int{0}, []int{1}},
		{[]int{1}, nil, 2, 3, []int{0, 1}, []int{0, 2}},
		{[]int{1}, nil, 2, 4, nil, nil},
		{[]int{-1}, nil, 2, 3, nil, nil},
		{[]int{1, 1}, nil, 2, 4, nil, nil},
		{nil, []int{9}, 3, 2, nil, nil},
	} {
		d := &difference{goneA: tc.goneA, goneB: tc.goneB}
		if inA, inB := d.common([]int{1, tc.a, 5, 5}, []int{1, tc.b, 5, 5}); !slices.Equal(inA, tc.inA) || !slices.Equal(inB, tc.inB) {
			t.Errorf("%+v: %v and %v", tc, inA, inB)
		}
	}
}
