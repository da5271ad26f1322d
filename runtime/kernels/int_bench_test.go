package kernels

import (
	"context"
	"math/rand/v2"
	"testing"
)

func BenchmarkIntConv(b *testing.B) {
	for _, c := range []intCase{
		{64, 64, 3, 128, 128, []int{16}, false},
		{64, 64, 3, 16, 48, []int{16}, false},
		{192, 64, 3, 128, 128, []int{16}, false},
		{64, 64, 3, 128, 128, []int{256}, false},
		{256, 64, 1, 128, 128, []int{16}, false},
	} {
		b.Run(c.String(), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 1))
			src, win, levels, _ := intInputs(r, c)
			weights := make([]float32, c.out*c.in*c.kernel*c.kernel)
			for i := range weights {
				weights[i] = float32(r.NormFloat64())
			}
			conv, err := NewIntConv(c.shape(), weights, nil, levels, false)
			if err != nil {
				b.Fatal(err)
			}
			w, dst := NewWorkers(1), make([]float32, BlockedLen(1, c.out, c.h*c.w))
			var f Folded
			if err := conv.Fold(context.Background(), w, &f, win); err != nil {
				b.Fatal(err)
			}
			for _, part := range []string{"fold", "run"} {
				b.Run(part, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if part == "fold" {
							err = conv.Fold(context.Background(), w, &f, win)
						} else {
							err = conv.Run(context.Background(), w, dst, src, &f, 0, c.h, c.w, nil, nil)
						}
						if err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
