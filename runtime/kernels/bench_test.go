package kernels

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkConv reports effective GMAC/s: multiplications of the definition,
// whatever the algorithm needs.
func BenchmarkConv(b *testing.B) {
	for _, c := range []struct {
		name    string
		shape   ConvShape
		options Options
	}{
		{"64-64_3x3", square(64, 64, 1, 3, 1, 1, 1), Options{}},
		{"64-64_3x3_strict", square(64, 64, 1, 3, 1, 1, 1), Options{Strict: true}},
		{"64-256_3x3", square(64, 256, 1, 3, 1, 1, 1), Options{}},
		{"192-64_3x3", square(192, 64, 1, 3, 1, 1, 1), Options{}},
		{"32-32_3x3", square(32, 32, 1, 3, 1, 1, 1), Options{}},
		{"256-64_1x1", square(256, 64, 1, 1, 1, 1, 0), Options{}},
		{"64-64_5x5", square(64, 64, 1, 5, 1, 1, 2), Options{}},
		{"64-3_3x3", square(64, 3, 1, 3, 1, 1, 1), Options{}},
		{"64-3_9x9", square(64, 3, 1, 9, 1, 1, 4), Options{}},
		{"3-64_3x3", square(3, 64, 1, 3, 1, 1, 1), Options{}},
		{"3-64_9x9", square(3, 64, 1, 9, 1, 1, 4), Options{}},
		{"64-64_3x3_stride2", square(64, 64, 1, 3, 2, 1, 1), Options{}},
		{"64-64_3x3_groups4", square(64, 64, 4, 3, 1, 1, 1), Options{}},
		{"64_3x3_depthwise", square(64, 64, 64, 3, 1, 1, 1), Options{}},
	} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/threads=%d", c.name, threads), func(b *testing.B) {
				const h, wd = 128, 128
				s := c.shape
				r := rand.New(rand.NewPCG(1, 1))
				conv, err := NewConv(s, random(r, s.Out*s.In/s.Groups*s.taps()), random(r, s.Out), c.options)
				if err != nil {
					b.Fatal(err)
				}
				benchmarkRun(b, conv, conv.OutputSize, s.In, s.Out, s.In/s.Groups*s.taps()*s.Out, h, wd, threads, r)
			})
		}
	}
}

func benchmarkRun(b *testing.B, conv *Conv, size func(int, int) (int, int), in, out, macs, h, wd, threads int, r *rand.Rand) {
	oh, ow := size(h, wd)
	src, dst, w := random(r, BlockedLen(1, in, h*wd)), make([]float32, BlockedLen(1, out, oh*ow)), NewWorkers(threads)
	for b.Loop() {
		if err := conv.Run(context.Background(), w, dst, src, conv.PlanarInput(), 1, h, wd, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(macs)*float64(oh*ow)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GMAC/s")
}

func BenchmarkGemm(b *testing.B) {
	const m, n, k = 512, 512, 512
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("512/threads=%d", threads), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			x, y, dst, w := random(r, m*k), random(r, k*n), make([]float32, m*n), NewWorkers(threads)
			for b.Loop() {
				if err := Gemm(context.Background(), w, dst, x, y, m, n, k, false, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(m)*n*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GMAC/s")
		})
	}
}

// BenchmarkPeak is the matrix micro-kernel alone, its operands in the first
// cache: the most the others can reach.
func BenchmarkPeak(b *testing.B) {
	const k = 128
	x, y, c := make([]float32, k*mr), make([]float32, k*nr), make([]float32, mr*nr)
	for b.Loop() {
		for range 100 {
			gemmPanel(1, k, x, y, c, nr, zeros[:], noClamp)
		}
	}
	b.ReportMetric(100*k*mr*nr*float64(b.N)/b.Elapsed().Seconds()/1e9, "GMAC/s")
}
