package lint

import "github.com/daq-sr/daq/onnx"

// saturateRules: sums that do not fit.
var saturateRules = []Rule{{
	ID: "u8s8-saturation", Level: Warning, Targets: []string{"onnxruntime"}, Basis: "run in ONNX Runtime 1.20 and 1.32 on an emulated processor with AVX2 and without VNNI",
	Title:  "on x86 processors without VNNI two products of activation and int8 weight can exceed 16 bits and saturate",
	Remedy: "use 7 bits for weights (reduce_range), uint8 weights, or uint8 activations of 7 bits; processors with VNNI and ARM are exact",
	check: func(v *view, report reporter) {
		for _, n := range v.nodes {
			if f, _, _ := v.fate(n); f != integer || !n.Is("Conv") {
				continue
			}
			x, w := v.in(n.Input(0)), v.in(n.Input(1))
			if w == nil || w.codes == nil || w.codes.Type != onnx.Int8 || len(w.codes.Shape) < 3 {
				continue
			}
			low, high := x.low, x.high
			if x.linear().codes == onnx.Int8 {
				low, high = low+128, high+128 // signed codes are shifted first
			}
			channels, worst := saturating(w.codes, low, high)
			if len(channels) > 0 {
				report(n, n.Input(1).Name, "a pair of products can reach %.0f, 16 bits end at 32767: output channels %s of %d", worst, channelsText(channels), w.codes.Shape[0])
			}
		}
	},
}}

// saturating returns the output channels of convolution weights [M,C,k...] in which
// the sum of two products with activation codes low to high can leave 16 bits, and
// the largest such sum by magnitude. The products that are added first are those of
// elements 2i and 2i+1 in the order taps, then input channels, in which ONNX Runtime
// packs the weights.
func saturating(weights *onnx.Tensor, low, high float64) (channels []int, worst float64) {
	codes := numbers(weights)
	m, c := int(weights.Shape[0]), int(weights.Shape[1])
	if m == 0 || c == 0 {
		return nil, 0
	}
	taps := len(codes) / m / c
	for out := range m {
		at := func(k int) float64 { return codes[(out*c+k%c)*taps+k/c] }
		saturates := false
		for k := 0; k+1 < c*taps; k += 2 {
			a, b := at(k), at(k+1)
			most := max(a*low, a*high) + max(b*low, b*high)
			least := min(a*low, a*high) + min(b*low, b*high)
			if most > 32767 || least < -32768 {
				saturates = true
				if most > -least {
					worst = max(worst, most)
				} else {
					worst = max(worst, -least)
				}
			}
		}
		if saturates {
			channels = append(channels, out)
		}
	}
	return channels, worst
}
