package kernels

import "unsafe"

// intForm is how codes and weights are represented, and how F(4,3) is computed
// with them. Distances in memory of codes and weights are in bytes. A quad is four
// bytes of codes, or of weights of one output.
type intForm struct {
	size   int // bytes of a code or weight
	inputs int // points of a transformed tile
	points int // products of a tile for each pair of channels
	scales int // scales of a tile for each output
	width  int // channels that input transforms at once

	// encode sets dst[p*stride:] to the codes of pixels of some blocks, block apart in
	// src.
	encode func(pixels int, dst []byte, stride int, src []float32, block int, e []encoding)
	// input transforms tiles beside each other, of width channels: pixel and row are
	// the distances of pixels in src, tile and point those of results in dst.
	input func(tiles int, src []byte, pixel, row int, dst []byte, tile, point int)
	// panel multiplies: c[t*cTile+o] is start[o], or itself when start is nil, plus
	// the sum over quads of a[t*aTile:] times those of b [block][quad][16][4 bytes],
	// 1, 2 or 4 blocks of 16 outputs bBlock apart; tiles are even.
	panel func(tiles, blocks, quads int, a []byte, aTile int, b []byte, bBlock int, start, c []int32, cTile int)
	// output transforms tiles beside each other back, of 16 outputs: src[point] with
	// scale [scales][16]. Their 4x4 pixels, row apart in dst, get bias [4][4][16] and
	// are clamped from below by lo.
	output func(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int)
}

// Codes of up to MaxLevels levels: F(4,3) at 0, ±1, ±2 and infinity makes them up to
// 100 times as large.
var wordForm = intForm{size: 2, inputs: 36, points: 36, scales: 36, width: Lanes,
	encode: encodeWords, input: wordInput, panel: wordPanel, output: wordOutput}

// Codes of up to byteLevels levels: F(4,3) at 0, ±1, ±i and infinity makes them up to
// 16 times as large (int_bytes.go).
var byteForm = intForm{size: 1, inputs: byteInputs, points: bytePoints, scales: byteScales, width: 4 * Lanes,
	encode: encodeBytes, input: byteInput, panel: bytePanel, output: byteOutput}

// source is the transformed point that a product reads.
func (f *intForm) source(point int) int {
	if point < f.inputs {
		return point
	}
	return byteEven
}

// encoding is how the channels of a block are encoded: floor of
// (x-offset)*inverse+add within [low, high], shifted. NaN becomes low.
type encoding struct {
	offset, inverse, add, low, high [Lanes]float32
	shift                           [Lanes]int32
}

func (e *encoding) set(lane int, scale, offset float32, levels, centre, shift int) {
	e.offset[lane], e.inverse[lane], e.add[lane] = offset, 1/scale, 0.5-float32(centre)
	e.low[lane], e.high[lane], e.shift[lane] = float32(-centre), float32(levels-1-centre), int32(shift)
}

func asBytes[T int32 | float32](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 4*len(s))
}

func asSigned(b []byte) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
}

func asWords(b []byte) []int16 {
	return unsafe.Slice((*int16)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/2)
}

func asFloats(s []int32) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(s))), len(s))
}

func asInt32(f []float32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(f))), len(f))
}
