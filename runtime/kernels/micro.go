package kernels

import "math"

// The micro-kernels, in Go. micro_amd64.go chooses between these and assembly;
// both read and write exactly the same elements.

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

// copyPanelGo sets the rows of nr floats of dst to src[offsets[i]:].
func copyPanelGo(dst, src []float32, offsets []int) {
	for i, o := range offsets {
		copy(dst[i*nr:][:nr], src[o:])
	}
}

// spreadRowGo sets the panels of nr floats that lie pitch apart in dst to
// neighbouring ones of src.
func spreadRowGo(panels int, dst []float32, pitch int, src []float32) {
	for p := range panels {
		copy(dst[p*pitch:][:nr], src[p*nr:])
	}
}

// tapsWidth is the number of pixels sumTapsGo computes for a block.
const tapsWidth = 32

// sumTapsGo sums shifted rows: dst[x] = start + sum over t of w[t]*src[offsets[t]+x]
// for blocks*tapsWidth values of x, clamped from below by lo.
func sumTapsGo(blocks int, w []float32, offsets []int, src, dst []float32, start, lo float32) {
	n := blocks * tapsWidth
	dst = dst[:n]
	for x := range dst {
		dst[x] = start
	}
	for t, o := range offsets {
		v, row := w[t], src[o:][:n]
		for x := range dst {
			dst[x] += v * row[x]
		}
	}
	for x := range dst {
		dst[x] = clamp(dst[x], lo)
	}
}

// Geometry of one call of the Winograd transforms: winoTiles tiles beside each
// other, read as 6 rows of winoIn floats, written as 4 rows of winoOut floats.
const (
	winoTiles = 8
	winoIn    = 4*winoTiles + 4 // 2 more than needed: whole vectors of 4
	winoOut   = 4 * winoTiles
)

// winoInputGo writes B'dB of the tiles that start at src[4t], rows pitch apart,
// element (i, j) of tile t to dst[(i*6+j)*stride+t].
func winoInputGo(src []float32, pitch int, dst []float32, stride int) {
	for t := range winoTiles {
		var m [6][6]float32
		for j := range 6 {
			x := 4*t + j
			d0, d1, d2 := src[x], src[pitch+x], src[2*pitch+x]
			d3, d4, d5 := src[3*pitch+x], src[4*pitch+x], src[5*pitch+x]
			m[0][j], m[1][j], m[2][j], m[3][j], m[4][j], m[5][j] = winoB(d0, d1, d2, d3, d4, d5)
		}
		for i := range 6 {
			o := dst[i*6*stride+t:]
			o[0], o[stride], o[2*stride], o[3*stride], o[4*stride], o[5*stride] =
				winoB(m[i][0], m[i][1], m[i][2], m[i][3], m[i][4], m[i][5])
		}
	}
}

// winoB is one column of the input transform of F(4,3), points 0, 1, -1, 2, -2.
func winoB(d0, d1, d2, d3, d4, d5 float32) (t0, t1, t2, t3, t4, t5 float32) {
	a, b := d4-4*d2, d3-4*d1
	c, e := d4-d2, 2*(d3-d1)
	return 4*d0 - 5*d2 + d4, a + b, a - b, c + e, c - e, 4*d1 - 5*d3 + d5
}

// winoOutputGo writes A'mA + start, clamped from below by lo, of winoTiles
// tiles: element (i, j) of tile t is src[(i*6+j)*stride+t], pixel (y, x) of it
// goes to dst[y*pitch+4t+x].
func winoOutputGo(src []float32, stride int, start, lo float32, dst []float32, pitch int) {
	for t := range winoTiles {
		var m [4][6]float32
		for j := range 6 {
			s := src[j*stride+t:]
			m[0][j], m[1][j], m[2][j], m[3][j] =
				winoA(s[0], s[6*stride], s[12*stride], s[18*stride], s[24*stride], s[30*stride])
		}
		for y := range 4 {
			y0, y1, y2, y3 := winoA(m[y][0], m[y][1], m[y][2], m[y][3], m[y][4], m[y][5])
			o := dst[y*pitch+4*t:][:4]
			o[0], o[1], o[2], o[3] = clamp(y0+start, lo), clamp(y1+start, lo), clamp(y2+start, lo), clamp(y3+start, lo)
		}
	}
}

// winoA is one column of the output transform of F(4,3).
func winoA(m0, m1, m2, m3, m4, m5 float32) (y0, y1, y2, y3 float32) {
	s, d, p, q := m1+m2, m1-m2, m3+m4, m3-m4
	return m0 + s + p, d + 2*q, s + 4*p, d + 8*q + m5
}
