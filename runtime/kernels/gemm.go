package kernels

import (
	"context"
	"fmt"
)

// Blocks of one item of Gemm: the packed columns fill about half of a
// second-level cache.
const (
	gemmRows = 128
	gemmCols = 12 * nr
)

// Gemm computes dst[m, n] = A*B, all row-major. A is a[m, k], or a[k, m] when
// transA; B is b[k, n], or b[n, k] when transB. dst must not overlap a or b.
func Gemm(ctx context.Context, w *Workers, dst, a, b []float32, m, n, k int, transA, transB bool) error {
	return gemm(ctx, w, dst, a, b, m, n, k, transA, transB, false)
}

// Gram computes the products of the columns of x[n, k] with each other, dst[k, k], on the
// diagonal and to the right of it; what is left of it may be anything.
func Gram(ctx context.Context, w *Workers, dst, x []float32, k, n int) error {
	return gemm(ctx, w, dst, x, x, k, k, n, true, false, true)
}

// gemm is Gemm or, when upper, the blocks of it that do not lie wholly left of the diagonal.
func gemm(ctx context.Context, w *Workers, dst, a, b []float32, m, n, k int, transA, transB, upper bool) error {
	if m < 0 || n < 0 || k < 0 || len(dst) < m*n || len(a) < m*k || len(b) < k*n {
		return fmt.Errorf("kernels: gemm %dx%dx%d: slices of %d, %d and %d elements are too short", m, n, k, len(dst), len(a), len(b))
	}
	if m == 0 || n == 0 {
		return nil
	}
	if k == 0 {
		clear(dst[:m*n])
		return nil
	}
	rowA, colA := k, 1 // steps of a along its row and depth
	if transA {
		rowA, colA = 1, m
	}
	// The split changes who computes an element, never how.
	rows, cols := gemmRows, gemmCols
	for cols > 2*nr && ceilDiv(m, rows)*ceilDiv(n, cols) < 2*w.threads {
		cols /= 2
	}
	columnItems := ceilDiv(n, cols)
	return w.each(ctx, ceilDiv(m, rows)*columnItems, func(item int, s *scratch) {
		m0, n0 := item/columnItems*rows, item%columnItems*cols
		m1, n1 := min(m0+rows, m), min(n0+cols, n)
		if upper && n1 <= m0 {
			return
		}
		buf := s.floats((gemmRows + gemmCols) * kc)
		packedA, packedB := buf[:gemmRows*kc], buf[gemmRows*kc:]
		for k0 := 0; k0 < k; k0 += kc {
			depth := min(kc, k-k0)
			packRows(packedA, a[m0*rowA+k0*colA:], rowA, colA, m1-m0, depth)
			var start []float32
			if k0 == 0 {
				start = zeros[:]
			}
			for p := n0; p < n1; p += nr {
				width := min(nr, n1-p)
				panel := packedB[(p-n0)*depth:][:depth*nr]
				if transB {
					packTransposed(panel, b[p*k+k0:], k, width, depth)
				} else {
					packColumns(panel, b[k0*n+p:], n, width, depth)
				}
				multiplyPanel(m1-m0, width, depth, packedA, panel, dst[m0*n+p:], n, start, noClamp)
			}
		}
	})
}

var zeros [gemmRows]float32

// packColumns packs width columns and depth rows of a row-major matrix into
// [depth][nr], with zero columns at the end.
func packColumns(dst, src []float32, ld, width, depth int) {
	for k := range depth {
		row := (*[nr]float32)(dst[k*nr:])
		if width == nr {
			*row = [nr]float32(src[k*ld:])
			continue
		}
		clear(row[copy(row[:], src[k*ld:][:width]):])
	}
}

// packTransposed is packColumns for a matrix stored column after column.
func packTransposed(dst, src []float32, ld, width, depth int) {
	if width < nr {
		clear(dst[:depth*nr])
	}
	for j := range width {
		for k, v := range src[j*ld:][:depth] {
			dst[k*nr+j] = v
		}
	}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
