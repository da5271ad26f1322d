package passes

import (
	"slices"
	"testing"
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
	if got := DiffPlans(a, a); len(got) != 0 {
		t.Errorf("a plan differs from itself: %+v", got)
	}
}
