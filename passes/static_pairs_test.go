package passes

import "testing"

// TestPairsDoNotSaturate emulates vpmaddubsw: two products of an unsigned activation
// and a signed weight are added with saturation to 16 bits. Bounded weights give
// the exact sum with the largest activations, unbounded ones do not.
func TestPairsDoNotSaturate(t *testing.T) {
	l := matrix{groups: 1, outputs: 1, inputs: 4 * 9, taps: 9}
	const levels = 255
	weights := make([]float32, l.inputs)
	for i := range weights {
		weights[i] = float32(i%7) - 2.9 // neighbours of the same sign among them
	}
	weights[0], weights[9] = 5, 4.9
	encode := func(codes []uint8, scale float32) float32 {
		for i, w := range weights {
			codes[i] = uint8(min(max(int(w/scale+127.5), 0), levels-1))
		}
		return scale
	}
	code := func(codes []uint8) func(i int) int {
		return func(i int) int { return int(codes[i]) - 127 }
	}
	saturated := func(codes []uint8) (lost int) {
		for k := 0; k < l.inputs; k += 2 { // [taps, channels]
			a, b := code(codes)(k%4*9+k/4), code(codes)((k+1)%4*9+(k+1)/4)
			sum := 255*a + 255*b
			lost += max(sum-32767, -32768-sum, 0)
		}
		return lost
	}
	codes := make([]uint8, l.inputs)
	scale := encode(codes, 5.0/127)
	if saturated(codes) == 0 {
		t.Fatal("the unbounded weights saturate nothing: the test shows nothing")
	}
	bounded := l.boundPairs(codes, levels, 128, scale, func(s float32) float32 { return encode(codes, s) })
	if lost := saturated(codes); lost != 0 || l.pairSum(code(codes)) > 128 {
		t.Errorf("pairs sum up to %d, %d are lost", l.pairSum(code(codes)), lost)
	}
	if bounded > 2.02*scale {
		t.Errorf("scale %g, of %g: more than a bit is lost", bounded, scale)
	}
}
