package kernels

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

type intCase struct {
	in, out, kernel, h, w int
	levels                []int // taken in turn by the channels
	relu                  bool
}

func (c intCase) String() string {
	return fmt.Sprintf("%d-%d_k%d_%dx%d_levels%v_relu%v", c.in, c.out, c.kernel, c.h, c.w, c.levels, c.relu)
}

func (c intCase) shape() ConvShape { return square(c.in, c.out, 1, c.kernel, 1, 1, c.kernel/2) }

var intCases = []intCase{
	{64, 64, 3, 17, 43, []int{16}, false},
	{64, 64, 3, 60, 8, []int{4}, true},
	{16, 16, 3, 1, 1, []int{2}, false},
	{3, 5, 3, 1, 9, []int{256}, false},
	{7, 70, 3, 6, 2, []int{8, 16, 4}, false},
	{130, 24, 3, 13, 50, []int{256, 3}, false},
	{192, 64, 3, 9, 11, []int{256}, true},
	{33, 130, 3, 5, 5, []int{64}, false},
	{150, 100, 3, 5, 9, []int{256}, false},
	{272, 80, 3, 9, 20, []int{16}, false},
	{64, 64, 1, 10, 11, []int{16}, false},
	{256, 64, 1, 7, 29, []int{256}, false},
	{640, 64, 1, 7, 29, []int{16}, false}, // wide enough to ask for what comes
	{256, 64, 1, 16, 24, []int{16, 4}, true},
	{640, 20, 1, 3, 5, []int{4, 16}, true},
	{5, 3, 1, 1, 1, []int{2}, false},
}

// intInputs makes an image, blocked, and windows over its channels; values reach
// a little beyond the windows. Lanes beyond the channels are NaN.
func intInputs(r *rand.Rand, c intCase) (blocked []float32, win Windows, levels []int, dequantized []float32) {
	size := c.h * c.w
	blocked = make([]float32, BlockedLen(1, c.in, size))
	fill(blocked, float32(math.NaN()))
	dequantized = make([]float32, c.in*size)
	for ch := range c.in {
		l := c.levels[ch%len(c.levels)]
		spread := float32(math.Exp(0.7 * r.NormFloat64()))
		scale, offset := spread*5/float32(l), spread*float32(r.NormFloat64()*3-2.5)
		levels, win.Scale, win.Offset = append(levels, l), append(win.Scale, scale), append(win.Offset, offset)
		for p := range size {
			code := r.IntN(l)
			x := offset + (float32(code)+0.9*(r.Float32()-0.5))*scale // away from ties
			if r.IntN(8) == 0 {                                       // beyond the window
				if code = 0; r.IntN(2) == 0 {
					code = l - 1
				}
				x = offset + (float32(code)+float32(code*2/l*2-1)*3*r.Float32())*scale
			}
			blocked[(ch/Lanes*size+p)*Lanes+ch%Lanes] = x
			dequantized[ch*size+p] = float32(code)*scale + offset
		}
	}
	return blocked, win, levels, dequantized
}

// checkInt compares an integer convolution with the definition on dequantized
// inputs and returns the largest difference over the largest output.
func checkInt(t testing.TB, seed uint64, c intCase, threads int) float64 {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	src, win, levels, dequantized := intInputs(r, c)
	weights, bias := make([]float32, c.out*c.in*c.kernel*c.kernel), make([]float32, c.out)
	for i := range weights {
		weights[i] = float32(r.NormFloat64() * 0.05)
	}
	for i := range bias {
		bias[i] = float32(r.NormFloat64())
	}
	conv, err := NewIntConv(c.shape(), weights, bias, levels, c.relu)
	if err != nil {
		t.Fatal(err)
	}
	w := NewWorkers(threads)
	var f Folded
	if err := conv.Fold(context.Background(), w, &f, win); err != nil {
		t.Fatal(err)
	}
	size := c.h * c.w
	all, dst := guarded(BlockedLen(1, c.out, size))
	if err := conv.Run(context.Background(), w, dst, src, &f, 0, c.h, c.w, nil, nil); err != nil {
		t.Fatal(err)
	}
	checkGuard(t.(*testing.T), all)
	want := referenceConv(c.shape(), weights, bias, dequantized, 1, c.h, c.w)
	worst, most := 0.0, 0.0
	for i, v := range want {
		most = max(most, math.Abs(v))
		if c.relu {
			v = max(v, 0)
		}
		o, p := i/size, i%size
		worst = max(worst, math.Abs(v-float64(dst[(o/Lanes*size+p)*Lanes+o%Lanes])))
	}
	return worst / most
}

// bound is the largest difference to float arithmetic on the same codes, over the
// largest output: that of rounding the folded weights, which in byteForm have 8 bits.
func (c intCase) bound() float64 {
	if hasByteForm() && slices.Max(c.levels) <= byteLevels {
		return 2.5e-2
	}
	return 1e-3
}

func TestIntConv(t *testing.T) {
	eachIntLevel(t, func(t *testing.T) {
		for i, c := range intCases {
			t.Run(c.String(), func(t *testing.T) {
				e := checkInt(t, uint64(i), c, 1+i%3)
				t.Logf("error %.1e", e)
				if !(e < c.bound()) {
					t.Errorf("error %.1e of the largest output, want below %.0e", e, c.bound())
				}
			})
		}
	})
}

// TestCodes: codes are those of the definition but for values that lie on the border
// of two, which division and rounding may move across.
func TestCodes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const pixels = 20000
	eachIntLevel(t, func(t *testing.T) {
		for _, levels := range []int{2, 4, 16, 256} {
			var e encoding
			var scale, offset [Lanes]float32
			for l := range Lanes {
				scale[l], offset[l] = float32(math.Exp(r.NormFloat64())), float32(20*r.NormFloat64())
				e.set(l, scale[l], offset[l], levels, 0, 0)
			}
			src := make([]float32, pixels*Lanes)
			for i := range src {
				src[i] = offset[i%Lanes] + scale[i%Lanes]*float32(levels)*(1.2*r.Float32()-0.1)
			}
			words, codes := make([]int32, pixels*Lanes/2), make([]byte, pixels*Lanes)
			encodeWords(pixels, asBytes(words), 2*Lanes, src, 0, []encoding{e})
			encodeBytes(pixels, codes, Lanes, src, 0, []encoding{e})
			differ := 0
			for i, x := range src {
				v := (x-offset[i%Lanes])/scale[i%Lanes] + 0.5
				want := int(min(max(math.Floor(float64(v)), 0), float64(levels-1)))
				got := int(asWords(asBytes(words))[i])
				if got != int(codes[i]) {
					t.Fatalf("codes %d and %d of %g", got, codes[i], x)
				}
				if got == want {
					continue
				}
				differ++
				if border := float64(max(got, want)); math.Abs(float64(v)-border) > 1e-6*float64(levels) {
					t.Errorf("code %d, want %d, of %g in levels", got, want, v)
				}
			}
			t.Logf("%d levels: %d of %d codes differ", levels, differ, len(src))
			if differ > len(src)/20000 {
				t.Errorf("%d levels: %d of %d codes differ", levels, differ, len(src))
			}
		}
	})
}

// TestIntConvThreads: the same bytes whatever the number of threads.
func TestIntConvThreads(t *testing.T) {
	c := intCase{70, 40, 3, 33, 61, []int{16}, false}
	r := rand.New(rand.NewPCG(7, 7))
	src, win, levels, _ := intInputs(r, c)
	conv, err := NewIntConv(c.shape(), random(r, c.out*c.in*9), nil, levels, false)
	if err != nil {
		t.Fatal(err)
	}
	run := func(threads int) []float32 {
		w, dst := NewWorkers(threads), make([]float32, BlockedLen(1, c.out, c.h*c.w))
		var f Folded
		if err := conv.Fold(context.Background(), w, &f, win); err != nil {
			t.Fatal(err)
		}
		if err := conv.Run(context.Background(), w, dst, src, &f, 0, c.h, c.w, nil, nil); err != nil {
			t.Fatal(err)
		}
		return dst
	}
	if !slices.Equal(run(1), run(5)) {
		t.Error("5 threads give another result than one")
	}
}

// TestOutputMoments: what a convolution gathers is what ChannelMoments sees.
func TestOutputMoments(t *testing.T) {
	eachIntLevel(t, func(t *testing.T) {
		for _, c := range []intCase{{20, 40, 3, 33, 61, []int{16}, false}, {20, 40, 1, 33, 61, []int{256}, true}} {
			r := rand.New(rand.NewPCG(8, 8))
			src, win, levels, _ := intInputs(r, c)
			conv, err := NewIntConv(c.shape(), random(r, c.out*c.in*c.kernel*c.kernel), nil, levels, c.relu)
			if err != nil {
				t.Fatal(err)
			}
			floor := make([]float32, c.out)
			for i := range floor {
				if floor[i] = 0; i%2 == 0 {
					floor[i] = float32(math.Inf(-1))
				}
			}
			gather := func(threads int) (got, want []Moments) {
				w, dst := NewWorkers(threads), make([]float32, BlockedLen(1, c.out, c.h*c.w))
				var f Folded
				if err := conv.Fold(context.Background(), w, &f, win); err != nil {
					t.Fatal(err)
				}
				m := NewOutputMoments(floor, c.out)
				if err := conv.Run(context.Background(), w, dst, src, &f, 0, c.h, c.w, nil, m); err != nil {
					t.Fatal(err)
				}
				got, want = make([]Moments, c.out), make([]Moments, c.out)
				m.Moments(got)
				if err := ChannelMoments(context.Background(), w, want, dst, c.h*c.w, floor); err != nil {
					t.Fatal(err)
				}
				return got, want
			}
			got, want := gather(1)
			if more, _ := gather(3); !slices.Equal(got, more) {
				t.Error("the number of threads changes moments")
			}
			for i, g := range got {
				w := want[i]
				if g.Count != w.Count || math.Abs(g.Mean-w.Mean) > 1e-5*math.Sqrt(w.Squares/w.Count) || math.Abs(g.Squares-w.Squares) > 3e-5*w.Squares {
					t.Errorf("%v, output %d: %v, want %v", c, i, g, w)
				}
			}
		}
	})
}

func TestIntConvRefuses(t *testing.T) {
	weights := make([]float32, 4*4*25)
	for _, c := range []struct {
		shape  ConvShape
		levels []int
	}{
		{square(4, 4, 1, 5, 1, 1, 2), []int{4, 4, 4, 4}},
		{square(4, 4, 1, 3, 2, 1, 1), []int{4, 4, 4, 4}},
		{square(4, 4, 1, 3, 1, 1, 0), []int{4, 4, 4, 4}},
		{square(4, 4, 1, 1, 1, 1, 0), []int{4, 4, 4}},
		{square(4, 4, 1, 1, 1, 1, 0), []int{4, 4, 4, 1}},
		{square(4, 4, 1, 1, 1, 1, 0), []int{4, 4, 4, 257}},
	} {
		n := c.shape.In * c.shape.Out * c.shape.Kernel[0] * c.shape.Kernel[1]
		if _, err := NewIntConv(c.shape, weights[:n], nil, c.levels, false); err == nil {
			t.Errorf("%v with levels %v: no error", c.shape, c.levels)
		}
	}
}

// FuzzIntConv holds every variant against the definition over odd sizes.
func FuzzIntConv(f *testing.F) {
	f.Add(uint64(1), uint16(64), uint16(64), uint8(7), uint8(9), uint8(2), uint8(8), true, false)
	f.Add(uint64(2), uint16(17), uint16(33), uint8(5), uint8(1), uint8(1), uint8(1), false, true)
	f.Add(uint64(3), uint16(150), uint16(3), uint8(4), uint8(66), uint8(8), uint8(3), true, true)
	f.Fuzz(func(t *testing.T, seed uint64, in, out uint16, h, w, bits, others uint8, winograd, relu bool) {
		c := intCase{1 + int(in)%200, 1 + int(out)%100, 1, 1 + int(h)%40, 1 + int(w)%80, []int{2 << (bits % 8), 2 << (others % 8)}, relu}
		if winograd {
			c.kernel = 3
		}
		eachIntLevel(t, func(t *testing.T) {
			if e := checkInt(t, seed, c, 1+int(seed%3)); !(e < 2*c.bound()) {
				t.Errorf("%v: error %.1e of the largest output", c, e)
			}
		})
	})
}

func TestChannelMoments(t *testing.T) {
	eachIntLevel(t, func(t *testing.T) {
		for _, c := range []struct{ channels, size int }{{1, 1}, {16, 100}, {37, 5000}} {
			r := rand.New(rand.NewPCG(1, uint64(c.size)))
			src := make([]float32, BlockedLen(1, c.channels, c.size))
			fill(src, float32(math.NaN()))
			floor, want := make([]float32, c.channels), make([]Moments, c.channels)
			for ch := range floor {
				shift := float32(0)
				if floor[ch] = float32(math.Inf(-1)); ch%2 == 0 {
					floor[ch] = 0
				} else {
					shift = 30 // deviations
				}
				var values []float64
				for p := range c.size {
					v := float32(r.NormFloat64()) + shift
					if ch%3 > 0 { // others go below the floor
						v = max(v, floor[ch])
					}
					src[(ch/Lanes*c.size+p)*Lanes+ch%Lanes] = v
					if v > floor[ch] {
						values = append(values, float64(v))
						want[ch].Mean += float64(v)
					} else {
						want[ch].Rest += float64(v)
					}
				}
				want[ch].Count = float64(len(values))
				want[ch].Mean /= max(want[ch].Count, 1)
				for _, v := range values {
					want[ch].Squares += (v - want[ch].Mean) * (v - want[ch].Mean)
				}
			}
			got := make([]Moments, c.channels)
			if err := ChannelMoments(context.Background(), NewWorkers(2), got, src, c.size, floor); err != nil {
				t.Fatal(err)
			}
			for ch, w := range want {
				g := got[ch]
				if g.Count != w.Count || math.Abs(g.Mean-w.Mean) > 1e-6*(1+w.Mean) || math.Abs(g.Squares-w.Squares) > 2e-5*w.Squares ||
					!(math.Abs(g.Rest-w.Rest) <= 1e-5*math.Abs(w.Rest)) {
					t.Errorf("%d pixels, channel %d: %v, want %v", c.size, ch, g, w)
				}
			}
		}
	})
}
