package kernels

import "math"

// The micro-kernel of matrix multiplication, in Go. micro_amd64.go chooses
// between these, those of panel.go and row.go, and assembly; all read and write
// the same elements.

const (
	mr = 4   // rows (output channels) of a matrix micro-kernel
	nr = 24  // columns (pixels): three AVX vectors; 4 x 3 accumulators fill the registers
	kc = 256 // depth of a packed panel: kc x nr floats stay in the first-level cache
)

// noClamp is the lower bound of outputs that have none.
var noClamp = float32(math.Inf(-1))

// gemmPanelGo multiplies blocks of mr packed rows by one packed panel of nr
// columns. a is [blocks][k][mr], b is [k][nr]; row r of the result is the nr
// floats at c[r*ldc]. The sums start at start[r], or at c when start is nil,
// and are clamped from below by lo.
func gemmPanelGo(blocks, k int, a, b, c []float32, ldc int, start []float32, lo float32) {
	for block := range blocks {
		a := a[block*k*mr:][:k*mr]
		for r := range mr {
			row := c[(block*mr+r)*ldc:][:nr]
			for j := 0; j < nr; j += 8 {
				var s0, s1, s2, s3, s4, s5, s6, s7 float32
				v := row[j : j+8 : j+8]
				if start != nil {
					s0 = start[block*mr+r]
					s1, s2, s3, s4, s5, s6, s7 = s0, s0, s0, s0, s0, s0, s0
				} else {
					s0, s1, s2, s3, s4, s5, s6, s7 = v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]
				}
				for i, p := r, j; i < len(a); i, p = i+mr, p+nr {
					x, y := a[i], b[p:p+8:p+8]
					s0 += x * y[0]
					s1 += x * y[1]
					s2 += x * y[2]
					s3 += x * y[3]
					s4 += x * y[4]
					s5 += x * y[5]
					s6 += x * y[6]
					s7 += x * y[7]
				}
				v[0], v[1], v[2], v[3] = clamp(s0, lo), clamp(s1, lo), clamp(s2, lo), clamp(s3, lo)
				v[4], v[5], v[6], v[7] = clamp(s4, lo), clamp(s5, lo), clamp(s6, lo), clamp(s7, lo)
			}
		}
	}
}

// clamp returns x, but at least lo. NaN stays NaN.
func clamp(x, lo float32) float32 {
	if x < lo {
		return lo
	}
	return x
}
