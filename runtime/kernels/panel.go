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

// maxFew is the largest number of outputs of dots.
const maxFew = 3

// dotsGo computes a few output planes, cBlock apart, cPixel is 1: b is
// [spans][outs][16], a span one block of channels, start [16].
func (m *panels) dotsGo(outs int) {
	for p := range m.count * panelPixels {
		for o := range outs {
			sum := m.start[o]
			for k, s := range m.spans {
				w := m.b[(k*outs+o)*Lanes:][:s.n]
				for l, v := range m.a[m.at+p*m.pixel+s.at/4:][:s.n] {
					sum += v * w[l]
				}
			}
			m.c[o*m.cBlock+p] = clamp(sum, m.lo)
		}
	}
}
