package kernels

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// guard surrounds outputs with a value that must survive.
const guard = float32(-12345.5)

func guarded(n int) (all, inner []float32) {
	all = make([]float32, n+64)
	fill(all, guard)
	return all, all[32 : 32+n : 32+n]
}

func checkGuard(t *testing.T, all []float32) {
	t.Helper()
	for i := range 32 {
		if all[i] != guard || all[len(all)-1-i] != guard {
			t.Fatal("wrote outside of the output")
		}
	}
}

type convCase struct {
	shape   ConvShape
	n, h, w int
}

func (c convCase) String() string {
	s := c.shape
	return fmt.Sprintf("%d-%d_g%d_k%dx%d_s%dx%d_d%dx%d_p%v_o%v_%dx%dx%d", s.In, s.Out, s.Groups, s.Kernel[0], s.Kernel[1],
		s.Stride[0], s.Stride[1], s.Dilation[0], s.Dilation[1], s.Pads, s.OutputPadding, c.n, c.h, c.w)
}

func square(in, out, groups, k, stride, dilation, pad int) ConvShape {
	return ConvShape{In: in, Out: out, Groups: groups, Kernel: [2]int{k, k}, Stride: [2]int{stride, stride},
		Dilation: [2]int{dilation, dilation}, Pads: [4]int{pad, pad, pad, pad}}
}

var convCases = []convCase{
	{square(1, 1, 1, 1, 1, 1, 0), 1, 1, 1},
	{square(64, 64, 1, 3, 1, 1, 1), 1, 17, 43},  // Winograd
	{square(8, 9, 1, 3, 1, 1, 1), 2, 5, 3},      // fewer tiles than a vector
	{square(13, 70, 1, 3, 1, 1, 0), 1, 40, 41},  // two chunks of outputs, no padding
	{square(16, 8, 1, 3, 1, 1, 2), 1, 36, 36},   // more padding than usual
	{square(16, 32, 1, 3, 1, 1, 1), 1, 8, 130},  // blocks inside and at both ends
	{square(64, 64, 1, 5, 1, 1, 2), 1, 19, 45},  // Winograd of 5x5
	{square(9, 24, 1, 5, 1, 1, 0), 2, 12, 8},    // the same, tiles that are exactly full
	{square(200, 80, 1, 5, 1, 1, 3), 1, 6, 33},  // in slices and chunks
	{square(64, 3, 1, 3, 1, 1, 1), 1, 19, 61},   // last layer
	{square(32, 1, 1, 9, 1, 1, 4), 2, 11, 30},   // last layer of SRCNN kind
	{square(300, 2, 1, 3, 1, 2, 2), 1, 12, 33},  // deeper than a panel, dilated
	{square(24, 6, 3, 5, 1, 1, 2), 1, 9, 50},    // grouped, few outputs
	{square(3, 64, 1, 3, 1, 1, 1), 1, 20, 37},   // first layer
	{square(3, 64, 1, 9, 1, 1, 4), 1, 20, 25},   // first layer, large window
	{square(256, 64, 1, 1, 1, 1, 0), 1, 10, 11}, // 1x1
	{square(600, 10, 1, 1, 1, 1, 0), 2, 3, 3},   // 1x1, three slices of depth
	{square(64, 64, 4, 3, 1, 1, 1), 1, 13, 29},  // grouped
	{square(6, 9, 3, 3, 2, 1, 1), 2, 15, 17},    // grouped, strided
	{square(64, 64, 64, 3, 1, 1, 1), 1, 18, 70}, // depthwise
	{square(5, 5, 5, 7, 2, 1, 3), 2, 21, 75},    // depthwise, strided
	{square(4, 12, 4, 3, 3, 2, 2), 1, 50, 100},  // depthwise with a multiplier
	{square(2, 2, 2, 21, 1, 3, 30), 1, 33, 35},  // depthwise, large kernel attention
	{square(3, 3, 3, 3, 1, 1, 1), 1, 3, 1100},   // depthwise, wider than a frame
	{square(16, 20, 1, 2, 2, 1, 0), 1, 16, 18},  // space to depth
	{square(7, 11, 1, 5, 3, 2, 4), 2, 23, 26},   // everything at once
	{square(4, 4, 1, 3, 1, 1, 5), 1, 1, 1},      // padding wider than the image
	{square(10, 10, 1, 3, 2, 1, 1), 1, 256, 3},  // one column wide output panels
	{ConvShape{In: 5, Out: 3, Groups: 1, Kernel: [2]int{1, 7}, Stride: [2]int{1, 2}, Dilation: [2]int{3, 1}, Pads: [4]int{0, 1, 2, 3}}, 1, 9, 31},
	{ConvShape{In: 16, Out: 16, Kernel: [2]int{3, 3}, Pads: [4]int{0, 2, 1, 0}}, 1, 14, 45},
	{ConvShape{In: 40, Out: 4, Kernel: [2]int{2, 5}, Pads: [4]int{1, 0, 0, 3}}, 1, 10, 40},
	{ConvShape{In: 8, Out: 8, Kernel: [2]int{3, 3}, Pads: [4]int{-1, -2, 1, -1}}, 1, 20, 40}, // cropping
}

func testConv(t *testing.T, c convCase, seed uint64, o Options) {
	r := rand.New(rand.NewPCG(seed, 1))
	s := c.shape
	s.setDefaults()
	weights := random(r, s.Out*s.In/s.Groups*s.taps())
	bias := random(r, s.Out)
	if seed%3 == 0 {
		bias = nil
	}
	src := random(r, c.n*s.In*c.h*c.w)
	conv, err := NewConv(c.shape, weights, bias, o)
	if err != nil {
		t.Fatal(err)
	}
	want := referenceConv(s, weights, bias, src, c.n, c.h, c.w)
	if o.Relu {
		for i, v := range want {
			want[i] = max(v, 0)
		}
	}
	oh, ow := conv.OutputSize(c.h, c.w)
	size := oh * ow
	// A tail as networks have it: a slope for each channel, then a residual.
	slopes, residual := random(r, s.Out), random(r, len(want))
	withTail := seed%2 == 0
	if withTail {
		for i, v := range want {
			if v < 0 {
				v *= float64(slopes[i/size%s.Out])
			}
			want[i] = v
			if o.Upscale == 0 {
				want[i] += float64(residual[i])
			}
		}
	}
	tail := func(dst []float32) *ChainRun {
		if !withTail {
			return nil
		}
		out, temp := Operand{InTensor, 0}, Operand{InTemp, 0}
		steps := []ChainStep{{Leaky, temp, out, Operand{InValues, 0}}, {Add, out, temp, Operand{InTensor, 1}}}
		if o.Upscale > 0 {
			steps = []ChainStep{{Leaky, out, out, Operand{InValues, 0}}}
		}
		lanes, other := blockedOf(slopes, 1, s.Out, 1), blockedOf(residual, c.n, s.Out, size)
		if conv.PlanarOutput() {
			lanes, other = nil, residual
			for _, v := range slopes {
				lanes = append(lanes, slices.Repeat([]float32{v}, Lanes)...)
			}
		}
		return &ChainRun{Chain: &Chain{Steps: steps, Temps: 1}, Tensors: [][]float32{dst, other}, Values: [][]float32{lanes}}
	}
	if o.Upscale > 0 {
		want = depthToSpace(want, c.n, s.Out, oh, ow, o.Upscale)
	}
	var first []float32
	for _, threads := range []int{1, 3} {
		for _, planar := range []bool{false, true} {
			if planar && !conv.PlanarInput() {
				continue
			}
			in := src
			if !planar {
				in = blockedOf(src, c.n, s.In, c.h*c.w)
			}
			length, channels := BlockedLen(c.n, s.Out, size), s.Out
			if conv.PlanarOutput() {
				length = len(want)
			}
			if up := o.Upscale; up > 0 {
				channels /= up * up
			}
			all, dst := guarded(length)
			if err := conv.Run(context.Background(), NewWorkers(threads), dst, in, planar, c.n, c.h, c.w, tail(dst)); err != nil {
				t.Fatal(err)
			}
			checkGuard(t, all)
			got := dst
			if !conv.PlanarOutput() {
				got = planarOf(dst, c.n, channels, len(want)/c.n/channels)
			}
			compare(t, got, want, 1e-5)
			if first == nil {
				first = got
			} else if !slices.Equal(first, got) {
				t.Fatal("the result depends on the number of threads or the layout of the input")
			}
		}
	}
}

// depthToSpace is the operator in mode DCR.
func depthToSpace(v []float64, n, channels, h, w, r int) []float64 {
	out := make([]float64, len(v))
	inner := channels / r / r
	for i, x := range v {
		px, y, c, image := i%w, i/w%h, i/w/h%channels, i/w/h/channels
		phase := c / inner
		out[((image*inner+c%inner)*h*r+y*r+phase/r)*w*r+px*r+phase%r] = x
	}
	return out
}

func TestConv(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for i, c := range convCases {
			t.Run(c.String(), func(t *testing.T) {
				testConv(t, c, uint64(i), Options{})
				testConv(t, c, uint64(i), Options{Strict: true, Relu: true})
			})
		}
		testConv(t, convCases[1], 7, Options{Relu: true})
		for seed := range uint64(2) {
			testConv(t, convCase{square(20, 64, 1, 3, 1, 1, 1), 2, 9, 14}, seed, Options{Upscale: 2})
			testConv(t, convCase{square(64, 288, 1, 3, 1, 1, 1), 1, 5, 107}, seed, Options{Upscale: 3, Relu: true})
		}
	})
}

// FuzzConv also runs its seeds, random shapes, as a test.
func FuzzConv(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		pick := func(v ...int) int { return v[r.IntN(len(v))] }
		c := convCase{n: 1 + r.IntN(2), h: 1 + r.IntN(25), w: 1 + r.IntN(40)}
		s := &c.shape
		s.Groups = pick(1, 1, 1, 2, 5)
		s.In, s.Out = s.Groups*(1+r.IntN(20)), s.Groups*(1+r.IntN(20))
		if r.IntN(4) == 0 {
			s.Groups = s.In
			s.Out = s.In * pick(1, 1, 2)
		}
		for a := range 2 {
			s.Kernel[a] = pick(1, 2, 3, 3, 3, 5)
			s.Stride[a] = pick(1, 1, 1, 2, 3)
			s.Dilation[a] = pick(1, 1, 1, 2)
		}
		if k := pick(0, 0, 3, 3, 5); k > 0 {
			s.Kernel, s.Stride, s.Dilation = [2]int{k, k}, [2]int{1, 1}, [2]int{1, 1}
		}
		for i := range s.Pads {
			s.Pads[i] = r.IntN(4)
		}
		testTranspose(t, c, seed)
		if s.convSize(0, c.h) == 0 || s.convSize(1, c.w) == 0 {
			return
		}
		defer func(l int) { level = l }(level)
		for ; level >= withGo; level-- {
			testConv(t, c, seed, Options{Relu: level == withAVX2})
		}
	})
}

func testTranspose(t *testing.T, c convCase, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	s := c.shape
	s.setDefaults()
	oh, ow := s.transposeSize(0, c.h), s.transposeSize(1, c.w)
	if oh == 0 || ow == 0 {
		return
	}
	weights := random(r, s.In*s.Out/s.Groups*s.taps())
	bias := random(r, s.Out)
	src := random(r, c.n*s.In*c.h*c.w)
	conv, err := NewConvTranspose(c.shape, weights, bias, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := referenceTranspose(s, weights, bias, src, c.n, c.h, c.w)
	var first []float32
	for _, threads := range []int{1, 3} {
		all, dst := guarded(BlockedLen(c.n, s.Out, oh*ow))
		in := blockedOf(src, c.n, s.In, c.h*c.w)
		if threads == 3 && conv.PlanarInput() {
			in = src
		}
		if err := conv.Run(context.Background(), NewWorkers(threads), dst, in, threads == 3 && conv.PlanarInput(), c.n, c.h, c.w, nil); err != nil {
			t.Fatal(err)
		}
		checkGuard(t, all)
		got := planarOf(dst, c.n, s.Out, oh*ow)
		compare(t, got, want, 1e-5)
		if first == nil {
			first = got
		} else if !slices.Equal(first, got) {
			t.Fatal("the result depends on the number of threads or the layout of the input")
		}
	}
}

func TestConvTranspose(t *testing.T) {
	padded := square(6, 4, 2, 4, 3, 2, 1)
	padded.OutputPadding = [2]int{2, 1}
	sparse := square(3, 5, 1, 2, 4, 1, 0) // stride beyond the kernel: gaps hold the bias
	atLevels(t, func(t *testing.T) {
		for i, c := range []convCase{
			{square(1, 1, 1, 1, 1, 1, 0), 1, 1, 1},
			{square(16, 8, 1, 4, 2, 1, 1), 2, 9, 31},
			{square(56, 1, 1, 9, 2, 1, 4), 1, 20, 33}, // FSRCNN
			{square(64, 64, 1, 3, 2, 1, 1), 1, 7, 60},
			{square(300, 3, 1, 3, 1, 1, 1), 1, 5, 80},
			{padded, 2, 8, 9},
			{sparse, 1, 6, 7},
		} {
			t.Run(c.String(), func(t *testing.T) { testTranspose(t, c, uint64(i)) })
		}
	})
}

func TestConvErrors(t *testing.T) {
	ok := square(4, 4, 1, 3, 1, 1, 1)
	weights := make([]float32, 4*4*9)
	change := func(f func(*ConvShape)) ConvShape { s := ok; f(&s); return s }
	for _, c := range []struct {
		shape   ConvShape
		weights []float32
		bias    []float32
		want    string
	}{
		{change(func(s *ConvShape) { s.Groups = 3 }), weights, nil, "groups"},
		{change(func(s *ConvShape) { s.Kernel[1] = 0 }), weights, nil, "kernel width"},
		{change(func(s *ConvShape) { s.Stride[0] = -1 }), weights, nil, "stride"},
		{change(func(s *ConvShape) { s.In = 1 << 40 }), weights, nil, "input channels"},
		{ok, weights[1:], nil, "weights"},
		{ok, weights, make([]float32, 3), "biases"},
	} {
		if _, err := NewConv(c.shape, c.weights, c.bias, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one about %s", c.shape, err, c.want)
		}
	}
	conv, err := NewConv(ok, weights, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := make([]float32, 16*25)
	ctx := context.Background()
	if err := conv.Run(ctx, NewWorkers(1), v[1:], v, false, 1, 5, 5, nil); err == nil {
		t.Error("short output accepted")
	}
	if err := conv.Run(ctx, NewWorkers(1), v, v[1:], false, 1, 5, 5, nil); err == nil {
		t.Error("short input accepted")
	}
	if err := conv.Run(ctx, NewWorkers(1), v, v[301:], true, 1, 5, 5, nil); err == nil {
		t.Error("short planar input accepted")
	}
	if err := conv.Run(ctx, NewWorkers(1), v, v, false, 1, 0, 5, nil); err == nil {
		t.Error("empty image accepted")
	}
}

func TestConvCancelled(t *testing.T) {
	s := square(64, 64, 1, 3, 1, 1, 1)
	conv, err := NewConv(s, make([]float32, 64*64*9), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v := make([]float32, 2*64*64*64)
	if err := conv.Run(ctx, NewWorkers(2), v[:64*64*64], v[64*64*64:], false, 1, 64, 64, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
