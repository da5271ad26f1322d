package kernels

// panelPixels is the number of pixels (or Winograd tiles) of a panel: 6 x 64
// sums fill 24 AVX-512 registers, 6 x 16 sums 12 of AVX2.
const panelPixels = 6

// maxChunk is the number of blocks of outputs that are computed together.
const maxChunk = 4

// span is neighbouring channels that a pixel is read at: n elements from byte at
// on.
type span struct{ at, n int }

// panels is one call of a micro-kernel: the product of pixels (rows of a, read
// at the spans) and packed weights. Pixel p of block o goes to the 16 elements
// c[p*cPixel+o*cBlock:].
type panels struct {
	count          int       // of panels
	a              []float32 // pixel p begins at element at+p*pixel, which may be outside of a where the spans are not
	at, pixel      int
	spans          []span
	b              []float32 // packBlocks, from the weights of the first span on
	depth          int       // of all weights of b
	blocks         int       // up to maxChunk
	c              []float32
	cPixel, cBlock int
	start          []float32 // [blocks][16] that sums start at; nil: at what is in c
	lo             float32   // lower bound of results
}

// packBlocks packs weights for panels: those of output o and depth k are
// weight(o, k). AVX-512 wants [depth][blocks][16], all others
// [blocks][depth][16]; what begins at depth k begins at element packedAt(k).
func packBlocks(blocks, depth int, weight func(o, k int) float32) []float32 {
	b := make([]float32, blocks*depth*Lanes)
	for k := range depth {
		for o := range blocks * Lanes {
			at := (o/Lanes*depth+k)*Lanes + o%Lanes
			if level == withAVX512 {
				at = k*blocks*Lanes + o
			}
			b[at] = weight(o, k)
		}
	}
	return b
}

func packedAt(blocks, k int) int {
	if level == withAVX512 {
		return k * blocks * Lanes
	}
	return k * Lanes
}

// panelGo is the product in Go.
func (m *panels) panelGo() {
	for p := range m.count * panelPixels {
		base := m.at + p*m.pixel
		for o := range m.blocks {
			b := m.b[o*m.depth*Lanes:]
			c := m.c[p*m.cPixel+o*m.cBlock:][:Lanes]
			from := c
			if m.start != nil {
				from = m.start[o*Lanes:][:Lanes]
			}
			for j := 0; j < Lanes; j += 8 {
				v := from[j : j+8 : j+8]
				s0, s1, s2, s3, s4, s5, s6, s7 := v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]
				k := j
				for _, s := range m.spans {
					for _, x := range m.a[base+s.at/4:][:s.n] {
						w := b[k : k+8 : k+8]
						s0 += x * w[0]
						s1 += x * w[1]
						s2 += x * w[2]
						s3 += x * w[3]
						s4 += x * w[4]
						s5 += x * w[5]
						s6 += x * w[6]
						s7 += x * w[7]
						k += Lanes
					}
				}
				v = c[j : j+8 : j+8]
				v[0], v[1], v[2], v[3] = clamp(s0, m.lo), clamp(s1, m.lo), clamp(s2, m.lo), clamp(s3, m.lo)
				v[4], v[5], v[6], v[7] = clamp(s4, m.lo), clamp(s5, m.lo), clamp(s6, m.lo), clamp(s7, m.lo)
			}
		}
	}
}

// lanewiseGo multiplies every lane by weights of its own: b is [spans][16], one
// block, and the lengths of spans do not matter.
func (m *panels) lanewiseGo() {
	for p := range m.count * panelPixels {
		sums := [Lanes]float32(m.start)
		for k, s := range m.spans {
			a, w := (*[Lanes]float32)(m.a[m.at+p*m.pixel+s.at/4:]), (*[Lanes]float32)(m.b[k*Lanes:])
			for l := range sums {
				sums[l] += a[l] * w[l]
			}
		}
		c := m.c[p*m.cPixel:][:Lanes]
		for l, v := range sums {
			c[l] = clamp(v, m.lo)
		}
	}
}

// fewGo computes a few output planes, cBlock apart, from planes: every span is
// one element of the window of pixel 0, b is [spans][outs], start [outs]. A
// panel is fewPixels() pixels.
func (m *panels) fewGo(outs int) {
	for o := range outs {
		c := m.c[o*m.cBlock:][:m.count*fewPixels()]
		fill(c, m.start[o])
		for k, s := range m.spans {
			w := m.b[k*outs+o]
			for i, v := range m.a[m.at+s.at/4:][:len(c)] {
				c[i] += v * w
			}
		}
		for i, v := range c {
			c[i] = clamp(v, m.lo)
		}
	}
}

// fewPixels is the number of pixels of a panel of few.
func fewPixels() int {
	if level == withAVX512 {
		return 64
	}
	return 32
}

// winoInputGo transforms tiles of 6x6 pixels of 16 channels, 4 pixels apart, rows
// row apart: element (i, j) of tile t goes to dst[t*tile+(i*6+j)*pos:].
func winoInputGo(tiles int, src []float32, row int, dst []float32, tile, pos int) {
	for t := range tiles {
		for l := range Lanes {
			var m [6][6]float32
			for j := range 6 {
				d := src[(4*t+j)*Lanes+l:]
				m[0][j], m[1][j], m[2][j], m[3][j], m[4][j], m[5][j] = winoB(d[0], d[row], d[2*row], d[3*row], d[4*row], d[5*row])
			}
			for i, r := range m {
				o := dst[t*tile+i*6*pos+l:]
				o[0], o[pos], o[2*pos], o[3*pos], o[4*pos], o[5*pos] = winoB(r[0], r[1], r[2], r[3], r[4], r[5])
			}
		}
	}
}

// winoB is one column of the input transform of F(4,3), points 0, 1, -1, 2, -2.
func winoB(d0, d1, d2, d3, d4, d5 float32) (t0, t1, t2, t3, t4, t5 float32) {
	a, b := d4-4*d2, d3-4*d1
	c, e := d4-d2, 2*(d3-d1)
	return 4*d0 - 5*d2 + d4, a + b, a - b, c + e, c - e, 4*d1 - 5*d3 + d5
}

// winoOutputGo transforms tiles back: element (i, j) of tile t is
// src[t*tile+(i*6+j)*pos:], pixel (y, x) of it, plus start and at least lo, goes
// to dst[y*row+(4*t+x)*pixel:].
func winoOutputGo(tiles int, src []float32, tile, pos int, start []float32, lo float32, dst []float32, row, pixel int) {
	for t := range tiles {
		for l := range Lanes {
			var m [4][6]float32
			for j := range 6 {
				s := src[t*tile+j*pos+l:]
				m[0][j], m[1][j], m[2][j], m[3][j] = winoA(s[0], s[6*pos], s[12*pos], s[18*pos], s[24*pos], s[30*pos])
			}
			for y, r := range m {
				o := dst[y*row+4*t*pixel+l:]
				y0, y1, y2, y3 := winoA(r[0], r[1], r[2], r[3], r[4], r[5])
				o[0], o[pixel], o[2*pixel], o[3*pixel] = clamp(y0+start[l], lo), clamp(y1+start[l], lo), clamp(y2+start[l], lo), clamp(y3+start[l], lo)
			}
		}
	}
}

// winoA is one column of the output transform of F(4,3).
func winoA(m0, m1, m2, m3, m4, m5 float32) (y0, y1, y2, y3 float32) {
	s, d, p, q := m1+m2, m1-m2, m3+m4, m3-m4
	return m0 + s + p, d + 2*q, s + 4*p, d + m5 + 8*q
}
