package kernels

import "math"

// The micro-kernels of integer convolution in words, in Go. int_amd64.go chooses
// between these and assembly: integers are equal, floats up to rounding.

// winoGain is the largest |sum of |B||: what transforming the input of one
// dimension makes of a code.
var winoGain = [6]float64{10, 10, 10, 6, 6, 10}

// code is what x in a lane is multiplied as.
func (e *encoding) code(x float32, lane int) int32 {
	v := float32(math.FMA(float64(x-e.offset[lane]), float64(e.inverse[lane]), float64(e.add[lane])))
	if !(v > e.low[lane]) {
		v = e.low[lane]
	}
	return int32(math.Floor(float64(min(v, e.high[lane])))) << e.shift[lane]
}

// encodeGo is intForm.encode for one block, with the distance of pixels in codes.
func encodeGo[T int8 | int16](pixels int, dst []T, stride int, src []float32, e *encoding) {
	for p := range pixels {
		for l, x := range src[p*Lanes:][:Lanes] {
			dst[p*stride+l] = T(e.code(x, l))
		}
	}
}

// wordInputGo is intForm.input, with distances in words.
func wordInputGo(tiles int, src []int16, pixel, row int, dst []int16, tile, point int) {
	for t := range tiles {
		from, to := src[4*t*pixel:], dst[t*tile:]
		for l := range Lanes {
			var mid [6][6]int16
			for x := range 6 {
				var d [6]int16
				for y := range d {
					d[y] = from[y*row+x*pixel+l]
				}
				for i, v := range intWinoB(d) {
					mid[i][x] = v
				}
			}
			for i := range 6 {
				for j, v := range intWinoB(mid[i]) {
					to[(i*6+j)*point+l] = v
				}
			}
		}
	}
}

func intWinoB(d [6]int16) [6]int16 {
	t, u := d[4]-d[2], d[3]-d[1]
	a, b := d[4]-4*d[2], d[3]-4*d[1]
	return [6]int16{4*(d[0]-d[2]) + t, a + b, a - b, t + 2*u, t - 2*u, d[5] - d[3] - 4*u}
}

// wordPanelGo is intForm.panel, with distances in words.
func wordPanelGo(tiles, blocks, quads int, a []int16, aTile int, b []int16, bBlock int, start, c []int32, cTile int) {
	for t := range tiles {
		pixels := a[t*aTile:][:2*quads]
		for o := range blocks * Lanes {
			sum := startAt(start, c[t*cTile:], o)
			weights := b[o/Lanes*bBlock+o%Lanes*2:]
			for k, v := range pixels {
				sum += int32(v) * int32(weights[k/2*2*Lanes+k%2])
			}
			c[t*cTile+o] = sum
		}
	}
}

// startAt is where the sum of an output starts.
func startAt(start, c []int32, output int) int32 {
	if start == nil {
		return c[output]
	}
	return start[output]
}

func wordOutputGo(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int) {
	for t := range tiles {
		for l := range Lanes {
			var m [36]float32
			for p := range m {
				m[p] = float32(src[t*tile+p*point+l]) * scale[p*Lanes+l]
			}
			intTileOutput(&m, bias[l:], lo, dst[4*t*Lanes+l:], row)
		}
	}
}

// sumsOutputGo is intForm.output for products that are scaled already.
func sumsOutputGo(tiles int, src []float32, tile, point int, bias []float32, lo float32, dst []float32, row int) {
	for t := range tiles {
		for l := range Lanes {
			var m [36]float32
			for p := range m {
				m[p] = src[t*tile+p*point+l]
			}
			intTileOutput(&m, bias[l:], lo, dst[4*t*Lanes+l:], row)
		}
	}
}

// intTileOutput transforms the products of one lane of a tile back.
func intTileOutput(m *[36]float32, bias []float32, lo float32, dst []float32, row int) {
	var mid [4][6]float32
	for j := range 6 {
		for y, v := range intWinoA([6]float32{m[j], m[6+j], m[12+j], m[18+j], m[24+j], m[30+j]}) {
			mid[y][j] = v
		}
	}
	for y := range mid {
		for x, v := range intWinoA(mid[y]) {
			dst[y*row+x*Lanes] = clamp(v+bias[(y*4+x)*Lanes], lo)
		}
	}
}

// intAccumulateGo sets dst[t*tile+l] (+)= src[t*tile+l]*scale[l].
func intAccumulateGo(tiles int, dst []float32, src []int32, tile int, scale []float32, add bool) {
	for t := range tiles {
		for l := range Lanes {
			v := float32(src[t*tile+l]) * scale[l]
			if add {
				v += dst[t*tile+l]
			}
			dst[t*tile+l] = v
		}
	}
}

func intWinoA(m [6]float32) [4]float32 {
	a, b, c, d := m[1]+m[2], m[1]-m[2], m[3]+m[4], m[3]-m[4]
	return [4]float32{m[0] + a + c, b + 2*d, a + 4*c, b + 8*d + m[5]}
}

// intStoreGo sets dst[p*16+l] = src[p*pixel+l]*scale[l] + bias[l] for pixels of one
// block of outputs, clamped from below by lo.
func intStoreGo(pixels int, src []int32, pixel int, scale, bias []float32, lo float32, dst []float32) {
	for p := range pixels {
		for l := range Lanes {
			dst[p*Lanes+l] = clamp(float32(src[p*pixel+l])*scale[l]+bias[l], lo)
		}
	}
}

// foldInputGo scales the weights [tap][16] of one input channel and transforms
// them, to u[point][16]. To sums it adds |u|*half, to offsets weights*level; most
// becomes the largest |u|.
func foldInputGo(points int, u, weights []float32, scale, level, half float32, sums, most, offsets []float32) {
	for i, v := range weights {
		offsets[i] += v * level
	}
	for l := range Lanes {
		if points == 1 {
			u[l] = weights[l] * scale
		} else {
			var t [6][3]float32
			for x := range 3 {
				for i, v := range intWinoG([3]float32{weights[x*Lanes+l] * scale, weights[(3+x)*Lanes+l] * scale, weights[(6+x)*Lanes+l] * scale}) {
					t[i][x] = v
				}
			}
			for i := range t {
				for j, v := range intWinoG(t[i]) {
					u[(i*6+j)*Lanes+l] = v
				}
			}
		}
	}
	for i := range points * Lanes {
		v := float32(math.Abs(float64(u[i])))
		sums[i] += v * half
		most[i] = max(most[i], v)
	}
}

func intWinoG(g [3]float32) [6]float32 {
	a := (g[0] + g[2]) * (-1. / 6)
	b := g[1] * (-1. / 6)
	c := g[0]*(1./24) + g[2]*(1./6)
	d := g[1] * (1. / 12)
	return [6]float32{g[0] * (1. / 4), a + b, a - b, c + d, c - d, g[2]}
}

// roundWeightsGo rounds the weights of pairs of inputs, which lie pitch apart in
// u, times inverse, to dst [pair][16][2].
func roundWeightsGo(pairs int, dst []int16, u []float32, pitch int, inverse []float32) {
	for p := range pairs {
		for k := range 2 {
			for l := range Lanes {
				dst[(p*Lanes+l)*2+k] = int16(math.RoundToEven(float64(u[(2*p+k)*pitch+l] * inverse[l])))
			}
		}
	}
}

// momentsGo sums over lines of pixels of one block, line apart, in each lane: how many
// are above floor, their x - pivot, its square, and x of the others.
func momentsGo(lines, pixels int, src []float32, line int, floor, pivot *[Lanes]float32, sums *[4][Lanes]float32) {
	*sums = [4][Lanes]float32{}
	for y := range lines {
		for p := range pixels {
			for l, x := range src[y*line+p*Lanes:][:Lanes] {
				if x > floor[l] {
					d := x - pivot[l]
					sums[0][l]++
					sums[1][l] += d
					sums[2][l] += d * d
				} else {
					sums[3][l] += x
				}
			}
		}
	}
}
