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

func testConv(t *testing.T, c convCase, seed uint64, options ...Option) {
	r := rand.New(rand.NewPCG(seed, 1))
	s := c.shape
	s.setDefaults()
	weights := random(r, s.Out*s.In/s.Groups*s.taps())
	bias := random(r, s.Out)
	if seed%3 == 0 {
		bias = nil
	}
	src := random(r, c.n*s.In*c.h*c.w)
	conv, err := NewConv(c.shape, weights, bias, options...)
	if err != nil {
		t.Fatal(err)
	}
	want := referenceConv(s, weights, bias, src, c.n, c.h, c.w)
	if slices.Contains(options, Relu) {
		for i, v := range want {
			want[i] = max(v, 0)
		}
	}
	// A tail as networks have it: a slope for each channel, then a residual.
	planes := c.n * s.Out
	slopes, residual := random(r, s.Out), random(r, len(want))
	tail := func(dst []float32) *ChainRun { return nil }
	if seed%2 == 0 {
		size := len(want) / planes
		for i, v := range want {
			if v < 0 {
				v *= float64(slopes[i/size%s.Out])
			}
			want[i] = v + float64(residual[i])
		}
		tail = func(dst []float32) *ChainRun {
			out, temp := Operand{InTensor, 0}, Operand{InTemp, 0}
			return &ChainRun{&Chain{[]ChainStep{{Leaky, temp, out, Operand{InValues, 0}}, {Add, out, temp, Operand{InTensor, 1}}}, 1},
				[][]float32{dst, residual}, [][]float32{slopes}}
		}
	}
	var first []float32
	for _, threads := range []int{1, 3} {
		all, dst := guarded(len(want))
		if err := conv.Run(context.Background(), NewWorkers(threads), dst, src, c.n, c.h, c.w, tail(dst)); err != nil {
			t.Fatal(err)
		}
		checkGuard(t, all)
		compare(t, dst, want, 1e-5)
		if first == nil {
			first = dst
		} else if !slices.Equal(first, dst) {
			t.Fatal("the result depends on the number of threads")
		}
	}
}

func TestConv(t *testing.T) {
	bothPaths(t, func(t *testing.T) {
		for i, c := range convCases {
			t.Run(c.String(), func(t *testing.T) {
				testConv(t, c, uint64(i))
				testConv(t, c, uint64(i), Strict, Relu)
			})
		}
		testConv(t, convCases[1], 7, Relu)
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
		c := convCase{n: 1 + r.IntN(2), h: 1 + r.IntN(40), w: 1 + r.IntN(70)}
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
		if r.IntN(2) == 0 {
			s.Kernel, s.Stride, s.Dilation = [2]int{3, 3}, [2]int{1, 1}, [2]int{1, 1}
		}
		for i := range s.Pads {
			s.Pads[i] = r.IntN(4)
		}
		testTranspose(t, c, seed)
		if s.convSize(0, c.h) == 0 || s.convSize(1, c.w) == 0 {
			return
		}
		testConv(t, c, seed)
		if accelerated {
			accelerated = false
			defer func() { accelerated = true }()
			testConv(t, c, seed, Relu)
		}
	})
}

func testTranspose(t *testing.T, c convCase, seed uint64, options ...Option) {
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
	conv, err := NewConvTranspose(c.shape, weights, bias, options...)
	if err != nil {
		t.Fatal(err)
	}
	want := referenceTranspose(s, weights, bias, src, c.n, c.h, c.w)
	var first []float32
	for _, threads := range []int{1, 3} {
		all, dst := guarded(len(want))
		if err := conv.Run(context.Background(), NewWorkers(threads), dst, src, c.n, c.h, c.w); err != nil {
			t.Fatal(err)
		}
		checkGuard(t, all)
		compare(t, dst, want, 1e-5)
		if first == nil {
			first = dst
		} else if !slices.Equal(first, dst) {
			t.Fatal("the result depends on the number of threads")
		}
	}
}

func TestConvTranspose(t *testing.T) {
	padded := square(6, 4, 2, 4, 3, 2, 1)
	padded.OutputPadding = [2]int{2, 1}
	sparse := square(3, 5, 1, 2, 4, 1, 0) // stride beyond the kernel: gaps hold the bias
	bothPaths(t, func(t *testing.T) {
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
		if _, err := NewConv(c.shape, c.weights, c.bias); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one about %s", c.shape, err, c.want)
		}
	}
	conv, err := NewConv(ok, weights, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := make([]float32, 4*25)
	ctx := context.Background()
	if err := conv.Run(ctx, NewWorkers(1), v[1:], v, 1, 5, 5, nil); err == nil {
		t.Error("short output accepted")
	}
	if err := conv.Run(ctx, NewWorkers(1), v, v[1:], 1, 5, 5, nil); err == nil {
		t.Error("short input accepted")
	}
	if err := conv.Run(ctx, NewWorkers(1), v, v, 1, 0, 5, nil); err == nil {
		t.Error("empty image accepted")
	}
}

func TestConvCancelled(t *testing.T) {
	s := square(64, 64, 1, 3, 1, 1, 1)
	conv, err := NewConv(s, make([]float32, 64*64*9), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v := make([]float32, 2*64*64*64)
	if err := conv.Run(ctx, NewWorkers(2), v[:64*64*64], v[64*64*64:], 1, 64, 64, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
