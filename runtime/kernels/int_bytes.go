package kernels

import "math"

// F(4,3) in bytes. With the points 0, 1, -1, i, -i and infinity all coefficients of
// the transforms of codes and of results are 0 and ±1 (those of weights are halved
// twice), so that codes of -8 to 7 become at most 16 times as large and still fit 8
// bits, also on the way; with 2 for i they become 100 times as large. What it costs
// are complex products: at i and -i, conjugates of each other, in one dimension 1, in
// two 10 beside 16 real ones, each of three real products,
//
//	(a+bi)(c+di) = c(a+b) - b(c+d) + i(c(a+b) + a(d-c)),
//
// 46 in all where the real points need 36 of twice the width and the definition 144.
// (L. Meng, J. Brothers, "Efficient Winograd Convolution via Integer Arithmetic",
// arXiv 1901.01965.)
//
// A transform of one dimension has 6 real components: at 0, 1, -1, the real and the
// imaginary part at i, and at infinity. Points of a tile are, for each of the four
// real rows, the four real columns and the three products of the complex one; then
// for each real column the three of the complex row; then those at (i, i), and those at
// (i, -i). The three share a scale.
//
// What is even in a tile is seen at (1, 1) alone, so what rounding does to weights there
// shifts whole pictures. They are multiplied once more with what rounding took away.
const (
	byteInputs = 46
	bytePoints = 47
	byteScales = 27
	byteEven   = 8 // the point (1, 1)
)

var byteReal = [4]int{0, 1, 2, 5} // the components that are real points

// byteScaleOf is the number of the scale of a point.
func byteScaleOf(p int) int {
	switch {
	case p == byteInputs:
		return 26
	case p >= 28:
		return 20 + (p-28)/3
	case p%7 > 4:
		return p/7*5 + 4
	}
	return p/7*5 + p%7
}

// byteGain is what the results of a scale are multiplied by: a complex point stands
// for its conjugate too.
func byteGain(scale int) float32 {
	if scale < 20 && scale%5 < 4 || scale == 26 {
		return 1
	}
	return 2
}

// bytePointsOf orders the components of a tile by points; three gives the three
// factors of a complex value. Of codes none exceeds 8 bits, but what a sum in between
// may wrap around comes back.
func bytePointsOf[T int8 | float32](m *[6][6]T, three func(re, im T) [3]T) (points [byteInputs]T) {
	for r, i := range byteReal {
		for c, j := range byteReal {
			points[7*r+c] = m[i][j]
		}
		copy(points[7*r+4:], sliceOf(three(m[i][3], m[i][4])))
		copy(points[28+3*r:], sliceOf(three(m[3][i], m[4][i])))
	}
	copy(points[40:], sliceOf(three(m[3][3]-m[4][4], m[3][4]+m[4][3])))
	copy(points[43:], sliceOf(three(m[3][3]+m[4][4], m[4][3]-m[3][4])))
	return points
}

func sliceOf[T any](a [3]T) []T { return a[:] }

// byteInputGo is intForm.input; to be unsigned codes get 128 added.
func byteInputGo(tiles int, src []int8, pixel, row int, dst []byte, tile, point int) {
	for t := range tiles {
		from, to := src[4*t*pixel:], dst[t*tile:]
		for l := range 4 * Lanes {
			var m [6][6]int8
			for x := range 6 {
				var d [6]int8
				for y := range d {
					d[y] = from[y*row+x*pixel+l]
				}
				for i, v := range byteB(d) {
					m[i][x] = v
				}
			}
			for i := range m {
				m[i] = byteB(m[i])
			}
			for p, v := range bytePointsOf(&m, func(a, b int8) [3]int8 { return [3]int8{a + b, a, b} }) {
				to[p*point+l] = byte(v) ^ 0x80
			}
		}
	}
}

func byteB(d [6]int8) [6]int8 {
	t, s := d[2]+d[4], d[1]+d[3]
	return [6]int8{d[4] - d[0], t + s, t - s, d[4] - d[2], d[3] - d[1], d[5] - d[1]}
}

func bytePanelGo(tiles, blocks, quads int, a []byte, aTile int, b []int8, bBlock int, start, c []int32, cTile int) {
	for t := range tiles {
		pixels := a[t*aTile:][:4*quads]
		for o := range blocks * Lanes {
			sum := startAt(start, c[t*cTile:], o)
			weights := b[o/Lanes*bBlock+o%Lanes*4:]
			for k, v := range pixels {
				sum += int32(v) * int32(weights[k/4*4*Lanes+k%4])
			}
			c[t*cTile+o] = sum
		}
	}
}

func byteOutputGo(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int) {
	for t := range tiles {
		for l := range Lanes {
			at := func(p int) int32 { return src[t*tile+p*point+l] }
			factor := func(p int) float32 { return scale[byteScaleOf(p)*Lanes+l] }
			complexAt := func(p int) (re, im float32) {
				return float32(at(p)-at(p+2)) * factor(p), float32(at(p)+at(p+1)) * factor(p)
			}
			var m [6][6]float32
			for r, i := range byteReal {
				for c, j := range byteReal {
					m[i][j] = float32(at(7*r+c)) * factor(7*r+c)
				}
				m[i][3], m[i][4] = complexAt(7*r + 4)
				m[3][i], m[4][i] = complexAt(28 + 3*r)
			}
			m[1][1] += float32(at(byteInputs)) * factor(byteInputs)
			re, im := complexAt(40)
			re2, im2 := complexAt(43)
			m[3][3], m[4][4], m[4][3], m[3][4] = re+re2, re2-re, im+im2, im-im2
			var mid [4][6]float32
			for j := range 6 {
				for y, v := range byteA([6]float32{m[0][j], m[1][j], m[2][j], m[3][j], m[4][j], m[5][j]}) {
					mid[y][j] = v
				}
			}
			for y := range mid {
				for x, v := range byteA(mid[y]) {
					dst[y*row+(4*t+x)*Lanes+l] = clamp(v+bias[(y*4+x)*Lanes+l], lo)
				}
			}
		}
	}
}

func byteA(m [6]float32) [4]float32 {
	s, d := m[1]+m[2], m[1]-m[2]
	return [4]float32{m[0] + s + m[3], d - m[4], s - m[3], d + m[4] + m[5]}
}

// foldBytesGo scales the weights [tap][16] of one input channel and transforms them,
// to u[point][16]. To offsets it adds weights*level; most [scale][16] becomes the
// largest |u|.
func foldBytesGo(u, weights []float32, scale, level float32, most, offsets []float32) {
	for i, v := range weights {
		offsets[i] += v * level
	}
	for l := range Lanes {
		var m [6][6]float32
		for x := range 3 {
			for i, v := range byteG([3]float32{weights[x*Lanes+l] * scale, weights[(3+x)*Lanes+l] * scale, weights[(6+x)*Lanes+l] * scale}) {
				m[i][x] = v
			}
		}
		for i := range m {
			m[i] = byteG([3]float32(m[i][:3]))
		}
		for p, v := range bytePointsOf(&m, func(c, d float32) [3]float32 { return [3]float32{c, d - c, c + d} }) {
			u[p*Lanes+l] = v
			to := &most[byteScaleOf(p)*Lanes+l]
			*to = max(*to, float32(math.Abs(float64(v))))
		}
	}
}

func byteG(g [3]float32) [6]float32 {
	const quarter = 1. / 4
	a, b := (g[0]+g[2])*quarter, g[1]*quarter
	return [6]float32{-g[0], a + b, a - b, (g[0] - g[2]) * quarter, b, g[2]}
}

// roundBytesGo rounds the weights of quads of inputs, which lie pitch apart in u, times
// inverse, to dst [quad][16][4], and takes from start what 128 times them add.
func roundBytesGo(quads int, dst []int8, u []float32, pitch int, inverse []float32, start []int32) {
	for k := range 4 * quads {
		for l := range Lanes {
			v := math.RoundToEven(float64(u[k*pitch+l] * inverse[l]))
			dst[(k/4*Lanes+l)*4+k%4] = int8(v)
			start[l] -= 128 * int32(v)
		}
	}
}

// byteRestGo sets what the last point multiplies: what rounding takes from the weights
// of the even one, times inverse.
func byteRestGo(inputs int, u, inverse []float32) {
	for k := range inputs {
		u := u[k*bytePoints*Lanes:]
		for l := range Lanes {
			v := u[byteEven*Lanes+l] * inverse[l]
			u[byteInputs*Lanes+l] = v - float32(math.RoundToEven(float64(v)))
		}
	}
}
