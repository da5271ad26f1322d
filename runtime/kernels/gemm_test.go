package kernels

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestGemm(t *testing.T) {
	atLevels(t, func(t *testing.T) {
		for _, d := range [][3]int{{1, 1, 1}, {4, 24, 8}, {5, 25, 3}, {129, 289, 257}, {3, 700, 30}, {200, 2, 600}, {64, 64, 0}, {17, 48, 513}} {
			m, n, k := d[0], d[1], d[2]
			for trans := range 4 {
				transA, transB := trans&1 != 0, trans&2 != 0
				t.Run(fmt.Sprintf("%dx%dx%d_%v_%v", m, n, k, transA, transB), func(t *testing.T) {
					r := rand.New(rand.NewPCG(1, uint64(trans)))
					a, b := random(r, m*k), random(r, k*n)
					want := make([]float64, m*n)
					for i := range m {
						for j := range n {
							for l := range k {
								x, y := a[min(i*k+l, len(a)-1)], b[min(l*n+j, len(b)-1)]
								if transA {
									x = a[l*m+i]
								}
								if transB {
									y = b[j*k+l]
								}
								want[i*n+j] += float64(x) * float64(y)
							}
						}
					}
					var first []float32
					for _, threads := range []int{1, 5} {
						all, dst := guarded(m * n)
						if err := Gemm(context.Background(), NewWorkers(threads), dst, a, b, m, n, k, transA, transB); err != nil {
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
				})
			}
		}
	})
	if err := Gemm(context.Background(), NewWorkers(1), make([]float32, 3), make([]float32, 4), make([]float32, 4), 2, 2, 2, false, false); err == nil {
		t.Error("short output accepted")
	}
}
