package kernels

import "math"

// The micro-kernels of integer convolution, in Go. int_amd64.go chooses between
// these and assembly: integers are equal, floats up to rounding.

// winoGain is the largest |sum of |winoB||: what transforming the input of one
// dimension makes of a code.
var winoGain = [6]float64{10, 10, 10, 6, 6, 10}

// encodeGo sets dst[p*stride+l] = code - levels/2 for pixels of one block, code =
// clamp(floor((x-offset)*inverse + 1/2), 0, levels-1), times factor; NaN has code 0.
func encodeGo(pixels int, dst []int16, stride int, src, offset, inverse, levels []float32, factor []int16) {
	for p := range pixels {
		for l := range Lanes {
			top := max(levels[l]-1, 0)
			v := (src[p*Lanes+l]-offset[l])*inverse[l] + 0.5
			if !(v > 0) {
				v = 0
			}
			dst[p*stride+l] = (int16(min(v, top)) - int16(levels[l]*0.5)) * factor[l]
		}
	}
}

// intInputGo transforms tiles beside each other, of 16 channels: pixel and row are
// the distances of pixels in src, tile and point those of results in dst.
func intInputGo(tiles int, src []int16, pixel, row int, dst []int16, tile, point int) {
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

// intPanelGo multiplies: c[t*cTile+o] (+)= sum over k < 2*pairs of a[t*aTile+k] *
// weight(o, k) for blocks of 16 outputs, whose weights [pair][16][2] lie bBlock
// apart.
func intPanelGo(tiles, blocks, pairs int, a []int16, aTile int, b []int16, bBlock int, c []int32, cTile int, add bool) {
	for t := range tiles {
		pixels := a[t*aTile:][:2*pairs]
		for o := range blocks * Lanes {
			var sum int32
			if add {
				sum = c[t*cTile+o]
			}
			weights := b[o/Lanes*bBlock+o%Lanes*2:]
			for p := range pairs {
				sum += int32(pixels[2*p])*int32(weights[p*2*Lanes]) + int32(pixels[2*p+1])*int32(weights[p*2*Lanes+1])
			}
			c[t*cTile+o] = sum
		}
	}
}

// intOutputGo transforms tiles beside each other back, of 16 outputs: a tile is
// src[point]*scale[point]. Their 4x4 pixels, row apart in dst, are clamped from
// below by lo. The bias of pixel (y, x) is bias[y*biasRow+x*biasPixel:].
func intOutputGo(tiles int, src []int32, tile, point int, scale, bias []float32, biasRow, biasPixel int, lo float32, dst []float32, row int) {
	for t := range tiles {
		for l := range Lanes {
			var mid [4][6]float32
			for j := range 6 {
				var m [6]float32
				for i := range m {
					m[i] = float32(src[t*tile+(i*6+j)*point+l]) * scale[(i*6+j)*Lanes+l]
				}
				for y, v := range intWinoA(m) {
					mid[y][j] = v
				}
			}
			for y := range 4 {
				for x, v := range intWinoA(mid[y]) {
					dst[y*row+(4*t+x)*Lanes+l] = clamp(v+bias[y*biasRow+x*biasPixel+l], lo)
				}
			}
		}
	}
}

// intSumsOutputGo is intOutputGo for products that are scaled already.
func intSumsOutputGo(tiles int, src []float32, tile, point int, bias []float32, biasRow, biasPixel int, lo float32, dst []float32, row int) {
	for t := range tiles {
		for l := range Lanes {
			var mid [4][6]float32
			for j := range 6 {
				var m [6]float32
				for i := range m {
					m[i] = src[t*tile+(i*6+j)*point+l]
				}
				for y, v := range intWinoA(m) {
					mid[y][j] = v
				}
			}
			for y := range 4 {
				for x, v := range intWinoA(mid[y]) {
					dst[y*row+(4*t+x)*Lanes+l] = clamp(v+bias[y*biasRow+x*biasPixel+l], lo)
				}
			}
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

// momentsGo sums over pixels of one block, those above floor in each lane: how
// many they are, x - pivot, and its square.
func momentsGo(pixels int, src []float32, floor, pivot *[Lanes]float32, sums *[3][Lanes]float32) {
	*sums = [3][Lanes]float32{}
	for p := range pixels {
		for l, x := range src[p*Lanes:][:Lanes] {
			if x > floor[l] {
				d := x - pivot[l]
				sums[0][l]++
				sums[1][l] += d
				sums[2][l] += d * d
			}
		}
	}
}
