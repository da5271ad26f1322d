//go:build amd64 && !purego

package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func eachIntLevel(t *testing.T, f func(t *testing.T)) {
	best := intLevel
	defer func() { intLevel = best }()
	for level, name := range []string{"go", "avx2", "vnni"} {
		if intLevel = level; level <= best {
			t.Run(name, f)
		}
	}
}

// TestByteKernels: what the processor is made for gives what Go gives, integers to
// the bit.
func TestByteKernels(t *testing.T) {
	if !hasByteForm() {
		t.Skip("the processor has no AVX-512 VNNI")
	}
	best := intLevel
	defer func() { intLevel = best }()
	r := rand.New(rand.NewPCG(3, 4))
	const tiles, quads, blocks = 4, 12, 2
	pixel, row, point := 4*Lanes, (4*tiles+2)*4*Lanes, tiles*4*Lanes+line
	codes := make([]byte, 6*row)
	for i := range codes {
		codes[i] = byte(int8(r.IntN(16) - 8))
	}
	weights := make([]float32, 9*Lanes)
	for i := range weights {
		weights[i] = float32(r.NormFloat64())
	}
	start := make([]int32, blocks*Lanes)
	for i := range start {
		start[i] = int32(r.IntN(1000))
	}
	scale, bias := random(r, byteScales*Lanes), random(r, 16*Lanes)
	type results struct {
		in, folded []byte
		sums       []int32
		out        []float32
	}
	var got [2]results
	for i, level := range []int{intGo, best} {
		intLevel = level
		g := results{in: make([]byte, byteInputs*point), sums: make([]int32, bytePoints*tiles*blocks*Lanes), out: make([]float32, 16*tiles*Lanes)}
		byteInput(tiles, codes, pixel, row, g.in, pixel, point)
		u, most, offsets := make([]float32, 4*quads*bytePoints*Lanes), make([]float32, byteScales*Lanes), make([]float32, 9*Lanes)
		for k := range 4 * quads {
			foldBytes(u[k*bytePoints*Lanes:], weights, 1/float32(k+1), 0.5, most, offsets)
		}
		inverse := make([]float32, Lanes)
		for l := range inverse {
			inverse[l] = 127 / most[l]
		}
		byteRest(4*quads, u, inverse)
		g.folded = make([]byte, blocks*4*quads*Lanes)
		first := slices.Clone(start)
		roundBytes(quads, asSigned(g.folded), u, bytePoints*Lanes, inverse, first)
		for l := range inverse {
			inverse[l] = 254
		}
		roundBytes(quads, asSigned(g.folded[4*quads*Lanes:]), u[byteInputs*Lanes:], bytePoints*Lanes, inverse, first[Lanes:])
		for p := range bytePoints {
			bytePanel(tiles, blocks, quads, g.in[byteForm.source(p)*point:], pixel, g.folded, 4*quads*Lanes, first, g.sums[p*tiles*blocks*Lanes:], blocks*Lanes)
			bytePanel(tiles, blocks, quads, g.in[byteForm.source(p)*point:], pixel, g.folded, 4*quads*Lanes, nil, g.sums[p*tiles*blocks*Lanes:], blocks*Lanes)
		}
		byteOutput(tiles, g.sums, blocks*Lanes, tiles*blocks*Lanes, scale, bias, -1, g.out, 4*tiles*Lanes)
		got[i] = g
	}
	if !slices.Equal(got[0].in, got[1].in) {
		t.Error("transformed codes differ")
	}
	if !slices.Equal(got[0].folded, got[1].folded) {
		t.Error("folded weights differ")
	}
	if !slices.Equal(got[0].sums, got[1].sums) {
		t.Error("sums differ")
	}
	most := float64(slices.Max(got[0].out))
	for i, v := range got[0].out {
		if math.Abs(float64(v-got[1].out[i])) > 1e-5*most {
			t.Fatalf("output %d is %g, want %g", i, got[1].out[i], v)
		}
	}
}
