package converter

import (
	"context"
	"testing"

	"github.com/daq-sr/daq/onnx"
	"github.com/daq-sr/daq/passes"
)

func TestDominating(t *testing.T) {
	for _, c := range []struct {
		losses []float64
		want   int
	}{
		{[]float64{1, 1, 1, 1}, 0},
		{[]float64{100, 1, 1, 1}, 1},
		{[]float64{1000, 900, 1, 1, 1}, 2},
		{[]float64{5, 4, 3, 2}, 0},
		{[]float64{1e6, 1000, 1, 0, 0}, 1}, // what is left does not matter
		{[]float64{7}, 0},
		{[]float64{0, 0, 0}, 0},
		{nil, 0},
	} {
		var losses []LayerLoss
		for _, l := range c.losses {
			losses = append(losses, LayerLoss{Loss: l})
		}
		if got := dominating(losses); got != c.want {
			t.Errorf("%v: %d layers stand out, want %d", c.losses, got, c.want)
		}
	}
}

// At 2 bits the built-in network loses much: every layer's own loss is measured, and
// protected ones have more bits in a plan that gives the same network again.
func TestProtect(t *testing.T) {
	if testing.Short() {
		t.Skip("quantizes the built-in network several times")
	}
	float, images, _ := builtin(t)
	q, err := Quantize(context.Background(), float, images, options(1, passes.Calibrated, 0))
	if err != nil {
		t.Fatal(err)
	}
	if q.Drop.DB() <= MuchDrop && len(q.Protected) == 0 {
		t.Fatalf("1 bit loses only %.2f dB: the test needs a harder case", q.Drop.DB())
	}
	if len(q.Losses) != len(q.Plan.Activations) {
		t.Errorf("%d layers were measured, the plan has %d", len(q.Losses), len(q.Plan.Activations))
	}
	share := 0.0
	for i, l := range q.Losses {
		share += l.Share
		if i > 0 && l.Loss > q.Losses[i-1].Loss {
			t.Errorf("%s is out of order", l.Tensor)
		}
	}
	if share < 0.999 || share > 1.001 {
		t.Errorf("shares add up to %g", share)
	}

	worst := tensorsOf(q.Losses[:2])
	plan, err := q.Plan.Protect(worst, protectedBits, q.Profile)
	if err != nil {
		t.Fatal(err)
	}
	bits := map[int]int{}
	for _, a := range plan.Activations {
		bits[a.Bits]++
	}
	if bits[protectedBits] < 2 || bits[1] == 0 {
		t.Errorf("tensors by bits: %v", bits)
	}
	same, err := Quantize(context.Background(), float, images, QuantizeOptions{Plan: q.Plan})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := encoded(t, q.Model), encoded(t, same.Model); a != b {
		t.Error("the plan does not give the same network again")
	}
}

func encoded(t *testing.T, m *onnx.Model) string {
	t.Helper()
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
