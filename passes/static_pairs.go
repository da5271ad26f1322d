package passes

// Where the products of unsigned activations and signed weights are added in pairs
// in 16 bits (x86 without VNNI: vpmaddubsw), a pair of weights whose codes sum up to
// more than 128 saturates with the largest activations: 255*129 > 32767. Halving
// all weights (7 bits) avoids it and costs a bit of each; bounding the sums of the
// pairs that meet, and leaving all other weights their 8 bits, costs next to nothing.

// pairSum returns the largest magnitude of the sum of two codes of one output channel
// that are added in a pair: neighbours in the order [kH,kW,C] of the products.
func (m matrix) pairSum(code func(i int) int) int {
	channels := m.inputs / m.taps
	at := func(k int) int { return code(k%channels*m.taps + k/channels) }
	most := 0
	for k := 0; k+1 < m.inputs; k += 2 {
		sum := at(k) + at(k+1)
		most = max(most, sum, -sum)
	}
	return most
}

// boundPairs calls round with ever larger scales until no pair exceeds the bound.
func (m matrix) boundPairs(codes []uint8, levels, bound int, scale float32, round func(scale float32) float32) float32 {
	if bound == 0 || m.transposed {
		return scale
	}
	for {
		sum := m.pairSum(func(i int) int { return int(codes[i]) - (levels-1)/2 })
		if sum <= bound {
			return scale
		}
		scale = round(scale * max(1.01, float32(sum)/float32(bound)))
	}
}
