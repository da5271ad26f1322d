package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSurvey(t *testing.T) {
	type result struct {
		sum, squares    float64
		lowest, highest float32
	}
	for _, n := range []int{1, 3, 4, 7, 8, 4099} {
		x := random(rand.New(rand.NewPCG(1, uint64(n))), n)
		const about = 0.25
		var want result
		want.lowest, want.highest = slices.Min(x), slices.Max(x)
		for _, v := range x {
			d := float64(v) - about
			want.sum, want.squares = want.sum+d, want.squares+float64(d*d)
		}
		var first *result
		atLevels(t, func(t *testing.T) {
			var got result
			got.sum, got.squares, got.lowest, got.highest = Survey(x, about)
			if first == nil {
				first = &got
			} else if got != *first {
				t.Errorf("%d values: %v, another level has %v", n, got, *first)
			}
			if math.Abs(got.sum-want.sum) > 1e-9 || math.Abs(got.squares-want.squares) > 1e-9 || got.lowest != want.lowest || got.highest != want.highest {
				t.Errorf("%d values: %v, want %v", n, got, want)
			}
		})
	}
}

func TestSurveyOfValuesThatAreNotFinite(t *testing.T) {
	inf := float32(math.Inf(1))
	atLevels(t, func(t *testing.T) {
		for _, wrong := range [][]float32{{float32(math.NaN())}, {inf}, {-inf}, {inf, -inf}} {
			for at := range 9 {
				x := make([]float32, 11)
				copy(x[at:], wrong)
				if sum, _, _, _ := Survey(x, 0); sum-sum == 0 {
					t.Error(fmt.Sprint(x), "have the finite sum", sum)
				}
			}
		}
	})
}
