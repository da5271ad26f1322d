package passes

import (
	"slices"
	"testing"

	"github.com/daq-sr/daq/internal/target"
)

func TestDiffPlans(t *testing.T) {
	a := &Plan{Rule: Paper, Activations: []ActivationPlan{{Tensor: "x", Readers: []string{"c"}, Bits: 4, Steps: []float32{1, 2}}, {Tensor: "y", Bits: 4}},
		Weights: []WeightPlan{{Node: "c", Bits: 4}, {Node: "d", Bits: 4}}}
	b := &Plan{Rule: Paper, Activations: []ActivationPlan{{Tensor: "x", Readers: []string{"c"}, Bits: 6, ChannelBits: []int{2, 6}, Steps: []float32{1, 3}}, {Tensor: "y", Bits: 4}},
		Weights: []WeightPlan{{Node: "d", Bits: 3}, {Node: "e", Bits: 2}}}
	want := []PlanChange{
		{"tensor x bits", "4", "2-6, 4.00 on average"},
		{"tensor x steps", "2 at channel 1 (1 of 2 differ)", "3 at channel 1 (1 of 2 differ)"},
		{"weights of c", "quantized", "float"},
		{"weights of d bits", "4", "3"},
		{"weights of e", "float", "quantized"},
	}
	if got := DiffPlans(a, b); !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	a.Prunes = []PrunePlan{{"p", []int{1, 2}, []float32{0, 0}}, {"q", []int{1}, []float32{0}}, {"r", []int{3}, []float32{0}}}
	a.Folds = []FoldPlan{{"f", []float32{1, 2}}, {"g", []float32{3}}}
	b = &Plan{Rule: Paper, Mode: target.Static, Activations: slices.Clone(a.Activations), Weights: a.Weights,
		Prunes: []PrunePlan{{"p", []int{0, 2, 3, 4, 5, 6, 7, 8}, make([]float32, 8)}, {"r", []int{3}, []float32{1}}}, Folds: []FoldPlan{{"f", []float32{1, 4}}}}
	b.Activations[0].Scale, b.Activations[0].ZeroPoint = 0.5, 3
	want = []PlanChange{
		{"mode", "dynamic", "static"},
		{"prune of p", "2 channels, here alone 1", "8 channels, here alone 0, 3, 4, 5, 6 and 2 more"},
		{"prune of q", "1 channels", "no channels"},
		{"prune of r means", "0", "1"},
		{"fold of f", "2 at channel 1 (1 of 2 differ)", "4 at channel 1 (1 of 2 differ)"},
		{"fold of g", "3", "none"},
		{"tensor x scale", "0", "0.5"},
		{"tensor x zero point", "0", "3"},
	}
	if got := DiffPlans(a, b); !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := DiffPlans(a, a); len(got) != 0 {
		t.Errorf("a plan differs from itself: %+v", got)
	}
}
