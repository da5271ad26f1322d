package kernels

import "math"

// Quantizer maps values to codes from 0 to Top and back, with one scale and zero
// point for all (ONNX operators QuantizeLinear and DequantizeLinear):
//
//	code  = clamp(round_half_even(x / Scale) + Zero, 0, Top)     (NaN has code 0)
//	x_hat = (code - Zero) * Scale
//
// Feature maps of codes have one byte for each element, in either layout.
type Quantizer struct {
	Scale     float32
	Zero, Top int
}

// Valid tells whether codes fit a byte, code - Zero lies within +-255, and clamping
// x is the same as clamping codes.
func (q Quantizer) Valid() bool {
	return q.Scale > 1e-30 && q.Scale < 1e30 && q.Top > 0 && q.Top <= math.MaxUint8 && q.Zero >= q.Top-math.MaxUint8 && q.Zero <= math.MaxUint8
}

// limits are the values of codes 0 and Top.
func (q *Quantizer) limits() (least, most float32) {
	return float32(-q.Zero) * q.Scale, float32(q.Top-q.Zero) * q.Scale
}

// steps is code - Zero. The value of a code, divided by Scale, is never further
// from it than rounding, so that x can be clamped first.
func (q *Quantizer) steps(x, least, most float32) int {
	if !(x > least) {
		x = least
	}
	return int(math.RoundToEven(float64(min(x, most) / q.Scale)))
}

// levelsGo sets dst[i] to the value of the code of src[i].
func (q *Quantizer) levelsGo(dst, src []float32) {
	least, most := q.limits()
	for i, x := range src {
		dst[i] = float32(q.steps(x, least, most)) * q.Scale
	}
}

// encodeCodesGo sets dst[i] to the code of src[i].
func (q *Quantizer) encodeCodesGo(dst []uint8, src []float32) {
	least, most := q.limits()
	for i, x := range src {
		dst[i] = uint8(q.steps(x, least, most) + q.Zero)
	}
}

// decodeCodesGo sets dst[i] to the value of code src[i].
func (q *Quantizer) decodeCodesGo(dst []float32, src []uint8) {
	for i, code := range src {
		dst[i] = float32(int(code)-q.Zero) * q.Scale
	}
}

// widenCodesGo sets dst[p*stride+l] = src[p*16+l] - zero for pixels of one block.
func widenCodesGo(pixels int, dst []int16, stride int, src []uint8, zero int) {
	for p := range pixels {
		for l, code := range src[p*Lanes:][:Lanes] {
			dst[p*stride+l] = int16(int(code) - zero)
		}
	}
}

// codesOutputGo transforms tiles of exact products back (codesWinoG), of 16
// outputs: the sums of 4x4 pixels, times scale, plus bias, clamped from below by lo.
// Arithmetic is modulo 2^32, in which products may have wrapped around: what counts
// is that 64 times a sum does not.
func codesOutputGo(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int) {
	const ninth = 954437177 // times 9 is 1 modulo 2^32
	shift := [4]int{3, 2, 1, 1}
	for t := range tiles {
		for l := range Lanes {
			var mid [4][6]int32
			for j := range 6 {
				var m [6]int32
				for i := range m {
					m[i] = src[t*tile+(i*6+j)*point+l]
				}
				for y, v := range codesWinoA(m) {
					mid[y][j] = v
				}
			}
			for y := range 4 {
				for x, v := range codesWinoA(mid[y]) {
					sum := v * ninth >> (shift[y] + shift[x])
					dst[y*row+(4*t+x)*Lanes+l] = clamp(float32(float32(sum)*scale[l])+bias[l], lo)
				}
			}
		}
	}
}

// codesWinoA is the last transform of F(4,3) for products of codesWinoG: its
// results are the sums times 24, 12, 6 and 6.
func codesWinoA(m [6]int32) [4]int32 {
	a, b, c, d := m[1]+m[2], m[1]-m[2], m[3]+m[4], m[3]-m[4]
	return [4]int32{m[0] + 4*a + c, 2*b + d, a + c, b + 2*(d+m[5])}
}

// codesWinoG transforms three weights without fractions: the rows of F(4,3)'s G times 24, 6, 6,
// 24, 24 and 3.
func codesWinoG(g [3]int) [6]int {
	return [6]int{6 * g[0], -g[0] - g[1] - g[2], -g[0] + g[1] - g[2], g[0] + 2*g[1] + 4*g[2], g[0] - 2*g[1] + 4*g[2], 3 * g[2]}
}
