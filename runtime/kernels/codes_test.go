package kernels

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestQuantizer holds every variant against the definition, ties, NaN and values far
// outside included.
func TestQuantizer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, q := range []Quantizer{{0.25, 128, 255}, {0.0071, 0, 255}, {1.5, 8, 15}, {0.1, 255, 255}, {0.03, -3, 4}, {2, 2, 3}, {1e-6, 100, 200}} {
		if !q.Valid() {
			t.Fatalf("%+v is not valid", q)
		}
		src := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 0, float32(math.Copysign(0, -1)), math.MaxFloat32, -math.MaxFloat32}
		for i := range 1000 {
			x := float32(i-500) * q.Scale * 0.5 // ties
			src = append(src, x, float32(r.NormFloat64()*100)*q.Scale)
		}
		codes, values := make([]uint8, len(src)), make([]float32, len(src))
		for i, x := range src {
			code := math.RoundToEven(float64(x/q.Scale)) + float64(q.Zero)
			if !(code > 0) {
				code = 0
			}
			codes[i] = uint8(min(code, float64(q.Top)))
			values[i] = float32(int(codes[i])-q.Zero) * q.Scale
		}
		eachIntLevel(t, func(t *testing.T) {
			for _, n := range []int{0, 1, 15, 16, 33, len(src)} {
				gotCodes, got, decoded := make([]uint8, n), make([]float32, n), make([]float32, n)
				q.encode(gotCodes, src[:n])
				q.levels(got, src[:n])
				q.decode(decoded, codes[:n])
				if !slices.Equal(gotCodes, codes[:n]) || !slices.Equal(got, values[:n]) || !slices.Equal(decoded, values[:n]) {
					t.Errorf("%+v, %d values: not what the definition gives", q, n)
				}
			}
		})
	}
	for _, q := range []Quantizer{{0, 0, 255}, {-1, 0, 255}, {float32(math.NaN()), 0, 255}, {1, 0, 0}, {1, 0, 256}, {1, 256, 255}, {1, -200, 100}} {
		if q.Valid() {
			t.Errorf("%+v is valid", q)
		}
	}
}

type codesCase struct {
	in, out, kernel, n, h, w int
	q                        Quantizer
	largest                  int // weight
	relu                     bool
	upscale                  int
	tail                     string // "", "float" or "codes"
}

func (c codesCase) String() string {
	return fmt.Sprintf("%d-%d_k%d_%dx%dx%d_zero%d_up%d_%s", c.in, c.out, c.kernel, c.n, c.h, c.w, c.q.Zero, c.upscale, c.tail)
}

var codesCases = []codesCase{
	{64, 64, 3, 1, 17, 43, Quantizer{0.1, 128, 255}, 127, false, 1, ""},
	{64, 32, 3, 2, 60, 4, Quantizer{0.1, 0, 255}, 127, true, 1, "codes"},
	{32, 48, 3, 1, 60, 8, Quantizer{0.1, 255, 255}, 255, true, 1, "float"},
	{16, 16, 3, 1, 1, 1, Quantizer{0.1, 8, 15}, 7, false, 1, ""},
	{3, 5, 3, 1, 1, 9, Quantizer{0.1, 7, 255}, 127, false, 1, "codes"},
	{7, 70, 3, 1, 6, 2, Quantizer{0.1, 2, 3}, 1, false, 1, "float"},
	{130, 24, 3, 1, 7, 50, Quantizer{0.1, 77, 255}, 127, false, 1, "codes"},
	{192, 64, 3, 1, 9, 11, Quantizer{0.1, 128, 255}, 127, true, 1, ""},
	{33, 130, 3, 2, 3, 5, Quantizer{0.1, -3, 250}, 127, false, 1, "codes"},
	{20, 256, 3, 1, 5, 19, Quantizer{0.1, 130, 255}, 127, false, 2, "codes"},
	{80, 144, 3, 2, 5, 9, Quantizer{0.1, 130, 255}, 127, true, 3, "float"},
	{16, 64, 3, 1, 4, 4, Quantizer{0.1, 130, 255}, 127, false, 2, ""},
	{64, 64, 1, 1, 10, 11, Quantizer{0.1, 128, 255}, 127, false, 1, "codes"},
	{320, 80, 1, 2, 7, 29, Quantizer{0.1, 0, 255}, 255, false, 1, "float"},
	{640, 20, 1, 1, 3, 5, Quantizer{0.1, 9, 15}, 7, true, 1, ""},
	{5, 3, 1, 1, 1, 1, Quantizer{0.1, 1, 1}, 1, false, 1, ""},
	{48, 64, 1, 1, 5, 211, Quantizer{0.1, 100, 255}, 127, false, 2, "codes"},
}

// checkCodes compares a convolution of codes with the definition in whole numbers,
// every output exactly.
func checkCodes(t *testing.T, seed uint64, c codesCase, threads int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	size, blocks := c.h*c.w, Blocks(c.in)
	src := make([]uint8, BlockedLen(c.n, c.in, size))
	for i := range src {
		src[i] = uint8(r.IntN(256)) // lanes beyond the channels too
	}
	plain := make([]float32, c.n*c.in*size)
	for i := range plain {
		code, image, ch, p := r.IntN(c.q.Top+1), i/size/c.in, i/size%c.in, i%size
		if r.IntN(3) == 0 {
			code = c.q.Top * r.IntN(2)
		}
		src[((image*blocks+ch/Lanes)*size+p)*Lanes+ch%Lanes] = uint8(code)
		plain[i] = float32(code - c.q.Zero)
	}
	shape := square(c.in, c.out, 1, c.kernel, 1, 1, c.kernel/2)
	whole := make([]int16, c.out*c.in*c.kernel*c.kernel)
	weights := make([]float32, len(whole))
	for i := range whole {
		whole[i] = int16(r.IntN(2*c.largest+1) - c.largest)
		weights[i] = float32(whole[i])
	}
	scale, bias := make([]float32, c.out), make([]float32, c.out)
	for i := range scale {
		scale[i], bias[i] = 1/float32(1+r.IntN(5000)), float32(r.NormFloat64())
	}
	conv, err := NewCodesConv(shape, whole, scale, bias, c.q, Options{Relu: c.relu, Upscale: c.upscale})
	if err != nil {
		t.Fatal(err)
	}
	length := BlockedLen(c.n, c.out, size)
	all, dst := guarded(length)
	out := Quantizer{0.05, 100, 255}
	codes := make([]uint8, length)
	var tail *ChainRun
	result := Operand{Kind: InTensor}
	switch c.tail {
	case "float":
		tail = &ChainRun{Chain: &Chain{Steps: []ChainStep{{Level, result, result, Operand{Kind: InQuantizers}}}, Quantizers: []Quantizer{out}}, Tensors: [][]float32{dst}}
	case "codes":
		tail = &ChainRun{Chain: &Chain{Steps: []ChainStep{{Encode, Operand{Kind: InCodes}, result, Operand{Kind: InQuantizers}}}, Quantizers: []Quantizer{out}},
			Tensors: [][]float32{nil}, Codes: [][]uint8{codes}}
	}
	if err := conv.Run(context.Background(), NewWorkers(threads), dst, src, c.n, c.h, c.w, tail); err != nil {
		t.Fatal(err)
	}
	checkGuard(t, all)
	want := referenceConv(shape, weights, nil, plain, c.n, c.h, c.w) // whole numbers
	for i := range want {
		o := i / size % c.out
		v := float64(float32(want[i])*scale[o] + bias[o])
		if c.relu {
			v = max(v, 0)
		}
		want[i] = v
	}
	height, width, channels := c.h, c.w, c.out
	if up := c.upscale; up > 1 {
		want = depthToSpace(want, c.n, c.out, c.h, c.w, up)
		height, width, channels = c.h*up, c.w*up, c.out/up/up
	}
	size = height * width
	for i, v := range want {
		image, ch, p := i/size/channels, i/size%channels, i%size
		at := ((image*Blocks(channels)+ch/Lanes)*size+p)*Lanes + ch%Lanes
		// The sum is exact; scaling it rounds twice, and may be fused where Go does that.
		near := []float32{float32(v), math.Nextafter32(float32(v), math.MaxFloat32), math.Nextafter32(float32(v), -math.MaxFloat32)}
		ok := false
		for _, x := range near {
			switch {
			case c.tail == "float":
				out.levelsGo(near[:1], []float32{x})
				ok = ok || dst[at] == near[0]
			case c.tail == "codes":
				var code [1]uint8
				out.encodeCodesGo(code[:], []float32{x})
				ok = ok || codes[at] == code[0]
			default:
				ok = ok || math.Abs(float64(dst[at]-x)) <= 1e-6*math.Abs(v)+1e-6
			}
		}
		if !ok {
			t.Fatalf("output %d of channel %d, pixel %d: %g, code %d, want about %g", i, ch, p, dst[at], codes[at], v)
		}
	}
}

func TestCodesConv(t *testing.T) {
	eachIntLevel(t, func(t *testing.T) {
		for i, c := range codesCases {
			t.Run(c.String(), func(t *testing.T) { checkCodes(t, uint64(i), c, 1+i%3) })
		}
	})
}

// Sums as large as they may be are exact; larger ones have no CodesConv.
func TestCodesRange(t *testing.T) {
	eachIntLevel(t, func(t *testing.T) {
		for _, c := range []struct {
			in, kernel, weight int
			suits              bool
		}{{114, 3, 127, true}, {115, 3, 128, false}, {57, 3, 255, true}, {58, 3, 255, false}, {16384, 1, 255, true}, {64, 3, 256, false}, {20000, 1, 1, false}} {
			shape := square(c.in, 1, 1, c.kernel, 1, 1, c.kernel/2)
			weights := slices.Repeat([]int16{int16(c.weight)}, c.in*c.kernel*c.kernel)
			q := Quantizer{1, 0, 255}
			if got := CodesSuits(shape, weights, q); got != c.suits {
				t.Errorf("%+v: suits %v", c, got)
			}
			if !c.suits {
				continue
			}
			for _, sign := range []float32{1, -1} {
				conv, err := NewCodesConv(shape, weights, []float32{1}, nil, q, Options{})
				if err != nil {
					t.Fatal(err)
				}
				dst := make([]float32, BlockedLen(1, 1, 25))
				if err := conv.Run(context.Background(), NewWorkers(1), dst, slices.Repeat([]uint8{255}, BlockedLen(1, c.in, 25)), 1, 5, 5, nil); err != nil {
					t.Fatal(err)
				}
				if want := sign * float32(255*c.weight*c.in*c.kernel*c.kernel); dst[12*Lanes] != want {
					t.Errorf("%+v: %g, want %g", c, dst[12*Lanes], want)
				}
				for i := range weights {
					weights[i] = -weights[i]
				}
			}
		}
	})
}

// FuzzCodesConv holds every variant against the definition over odd sizes.
func FuzzCodesConv(f *testing.F) {
	f.Add(uint64(1), uint16(64), uint16(64), uint8(7), uint8(9), uint8(128), uint8(255), uint8(0))
	f.Add(uint64(2), uint16(17), uint16(33), uint8(5), uint8(1), uint8(0), uint8(15), uint8(7))
	f.Add(uint64(3), uint16(150), uint16(3), uint8(4), uint8(66), uint8(3), uint8(3), uint8(11))
	f.Fuzz(func(t *testing.T, seed uint64, in, out uint16, h, w, zero, top, kind uint8) {
		c := codesCase{in: 1 + int(in)%110, out: 1 + int(out)%150, kernel: 1 + int(kind)%2*2, n: 1 + int(seed%2), h: 1 + int(h)%40, w: 1 + int(w)%80,
			q: Quantizer{0.5, int(zero), 1 + int(top)%255}, largest: 127, relu: kind&2 > 0, upscale: 1, tail: []string{"", "float", "codes"}[kind/4%3]}
		if kind&128 > 0 {
			c.upscale, c.out = 2, 64*(1+c.out%3)
		}
		eachIntLevel(t, func(t *testing.T) { checkCodes(t, seed, c, 1+int(seed%3)) })
	})
}

func BenchmarkCodesConv(b *testing.B) {
	for _, c := range []struct{ in, out, kernel, up int }{{64, 64, 3, 1}, {64, 256, 3, 2}, {64, 3, 3, 1}, {256, 64, 1, 1}} {
		b.Run(fmt.Sprintf("%d-%d_k%d", c.in, c.out, c.kernel), func(b *testing.B) {
			weights, scale := make([]int16, c.in*c.out*c.kernel*c.kernel), make([]float32, c.out)
			for i := range weights {
				weights[i] = int16(i*7919%255 - 127)
			}
			q := Quantizer{0.1, 128, 255}
			conv, err := NewCodesConv(square(c.in, c.out, 1, c.kernel, 1, 1, c.kernel/2), weights, scale, nil, q, Options{Upscale: c.up})
			if err != nil {
				b.Fatal(err)
			}
			src, codes := make([]uint8, BlockedLen(1, c.in, 128*128)), make([]uint8, BlockedLen(1, c.out, 128*128))
			tail := &ChainRun{Chain: &Chain{Steps: []ChainStep{{Encode, Operand{Kind: InCodes}, Operand{}, Operand{Kind: InQuantizers}}}, Quantizers: []Quantizer{q}},
				Tensors: [][]float32{nil}, Codes: [][]uint8{codes}}
			w := NewWorkers(1)
			b.ReportAllocs()
			for b.Loop() {
				if err := conv.Run(context.Background(), w, nil, src, 1, 128, 128, tail); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
