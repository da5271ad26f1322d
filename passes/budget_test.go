package passes

import (
	"math"
	"slices"
	"testing"

	"github.com/daq-sr/daq/onnx"
)

func falling(scale float64) *channelNoise {
	n := normalNoise
	for b := range n {
		n[b] *= scale
	}
	return &n
}

// Greedy spending is compared with all ways to spend.
func TestDistributeIsBest(t *testing.T) {
	units := []unit{{falling(1), 1}, {falling(40), 1}, {falling(0.01), 1}, {falling(3), 1}}
	for _, average := range []float64{2, 2.5, 3, 4.25, 8} {
		bits := distribute(units, average)
		loss, sum := 0.0, 0
		for i, b := range bits {
			loss += units[i].noise[b]
			sum += b
		}
		if float64(sum) > average*4 {
			t.Errorf("average %g: %v spends %d bits", average, bits, sum)
		}
		best := math.Inf(1)
		for code := range 7 * 7 * 7 * 7 {
			total, sum := 0.0, 0
			for _, u := range units {
				b := leastBits + code%7
				total += u.noise[b]
				sum += b
				code /= 7
			}
			if float64(sum) <= average*4 {
				best = min(best, total)
			}
		}
		if loss > best*1.0001 {
			t.Errorf("average %g: %v has error %g, the best is %g", average, bits, loss, best)
		}
	}
}

func TestDistributeByCost(t *testing.T) {
	// A bit of the first unit costs as much as ten of the second.
	units := []unit{{falling(2), 10}, {falling(1), 1}}
	bits := distribute(units, 3)
	if spent := 10*bits[0] + bits[1]; spent > 33 {
		t.Errorf("%v spends %d of 33", bits, spent)
	}
	if bits[1] <= bits[0] {
		t.Errorf("%v: the cheap unit should have more bits", bits)
	}
}

func TestInputChannels(t *testing.T) {
	for _, tc := range []struct {
		op       string
		shape    []int64
		channels int
		want     []int // of each weight
	}{
		{"Conv", []int64{2, 3, 1, 1}, 3, []int{0, 1, 2, 0, 1, 2}},
		{"Conv", []int64{2, 1, 1, 2}, 2, []int{0, 0, 1, 1}}, // two groups
		{"Conv", []int64{4, 2, 1, 1}, 4, []int{0, 1, 0, 1, 2, 3, 2, 3}},
		{"ConvTranspose", []int64{2, 3, 1, 1}, 2, []int{0, 0, 0, 1, 1, 1}},
	} {
		layout := inputChannels(&onnx.Node{Op: tc.op}, tc.shape, tc.channels)
		var got []int
		for i := range tc.want {
			got = append(got, layout(i))
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s %v: %v, want %v", tc.op, tc.shape, got, tc.want)
		}
	}
}

func TestAgreement(t *testing.T) {
	s := Sensitivity{Activations: []PartSensitivity{{Noise: 1, Loss: 10}, {Noise: 2, Loss: 30}, {Noise: 3, Loss: 90}}}
	if r := s.Agreement(); math.Abs(r-1) > 1e-12 {
		t.Errorf("the same order: %g", r)
	}
	s.Activations[0].Loss = 100
	if r := s.Agreement(); math.Abs(r+0.5) > 1e-12 {
		t.Errorf("ranks 3 1 2: %g, want -0.5", r)
	}
}
