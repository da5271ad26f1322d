package kernels

// packRows packs rows of a matrix for gemmPanel: element (r, k) is
// src[r*ld+k*step], dst becomes [ceil(rows/mr)][depth][mr] with zero rows at the
// end.
func packRows(dst, src []float32, ld, step, rows, depth int) {
	for r0 := 0; r0 < rows; r0 += mr {
		block := dst[r0*depth:][:depth*mr]
		if rows-r0 < mr {
			clear(block)
		}
		for r := range min(mr, rows-r0) {
			p := (r0 + r) * ld
			for k := range depth {
				block[k*mr+r] = src[p]
				p += step
			}
		}
	}
}

// multiplyPanel is gemmPanel for any number of rows and of columns up to nr: c
// is touched in rows x cols only. a, b and start are padded to whole blocks.
func multiplyPanel(rows, cols, k int, a, b, c []float32, ldc int, start []float32, lo float32) {
	whole := 0
	if cols == nr {
		whole = rows / mr
		if whole > 0 {
			gemmPanel(whole, k, a, b, c, ldc, start, lo)
		}
	}
	for r := whole * mr; r < rows; r += mr {
		var edge [mr * nr]float32
		n := min(mr, rows-r)
		var from []float32
		if start != nil {
			from = start[r:]
		} else {
			for i := range n {
				copy(edge[i*nr:][:cols], c[(r+i)*ldc:])
			}
		}
		gemmPanel(1, k, a[r*k:], b, edge[:], nr, from, lo)
		for i := range n {
			copy(c[(r+i)*ldc:][:cols], edge[i*nr:])
		}
	}
}

// roundUp is the smallest multiple of m that is at least n.
func roundUp(n, m int) int { return (n + m - 1) / m * m }

// padTo copies v, or nothing when it is nil, into a slice of n zeros.
func padTo(v []float32, n int) []float32 {
	p := make([]float32, n)
	copy(p, v)
	return p
}
