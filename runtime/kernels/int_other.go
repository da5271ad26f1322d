//go:build !amd64 || purego

package kernels

func hasByteForm() bool { return false }

func encodeWords(pixels int, dst []byte, stride int, src []float32, block int, e []encoding) {
	for b := range e {
		encodeGo(pixels, asWords(dst[2*b*Lanes:]), stride/2, src[b*block:], &e[b])
	}
}

func encodeBytes(pixels int, dst []byte, stride int, src []float32, block int, e []encoding) {
	for b := range e {
		encodeGo(pixels, asSigned(dst[b*Lanes:]), stride, src[b*block:], &e[b])
	}
}

func wordInput(tiles int, src []byte, pixel, row int, dst []byte, tile, point int) {
	wordInputGo(tiles, asWords(src), pixel/2, row/2, asWords(dst), tile/2, point/2)
}

func byteInput(tiles int, src []byte, pixel, row int, dst []byte, tile, point int) {
	byteInputGo(tiles, asSigned(src), pixel, row, dst, tile, point)
}

func wordPanel(tiles, blocks, quads int, a []byte, aTile int, b []byte, bBlock int, start, c []int32, cTile int) {
	wordPanelGo(tiles, blocks, quads, asWords(a), aTile/2, asWords(b), bBlock/2, start, c, cTile)
}

func bytePanel(tiles, blocks, quads int, a []byte, aTile int, b []byte, bBlock int, start, c []int32, cTile int) {
	bytePanelGo(tiles, blocks, quads, a, aTile, asSigned(b), bBlock, start, c, cTile)
}

func bytePanelAhead(a, b []byte, start, c []int32, _ []float32, _ int) {
	bytePanelGo(intPixels, aheadBlocks, aheadInputs/4, a, aheadInputs, asSigned(b), aheadInputs*Lanes, start, c, aheadBlocks*Lanes)
}

func wordOutput(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int) {
	wordOutputGo(tiles, src, tile, point, scale, bias, lo, dst, row)
}

func byteOutput(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int) {
	byteOutputGo(tiles, src, tile, point, scale, bias, lo, dst, row)
}

func sumsOutput(tiles int, src []float32, tile, point int, bias []float32, lo float32, dst []float32, row int) {
	sumsOutputGo(tiles, src, tile, point, bias, lo, dst, row)
}

func intAccumulate(tiles int, dst []float32, src []int32, tile int, scale []float32, add bool) {
	intAccumulateGo(tiles, dst, src, tile, scale, add)
}

func intStore(pixels int, src []int32, pixel int, scale, bias []float32, lo float32, dst []float32) {
	intStoreGo(pixels, src, pixel, scale, bias, lo, dst)
}

func foldInput(points int, u, weights []float32, scale, level, half float32, sums, most, offsets []float32) {
	foldInputGo(points, u, weights, scale, level, half, sums, most, offsets)
}

func foldBytes(u, weights []float32, scale, level float32, most, offsets []float32) {
	foldBytesGo(u, weights, scale, level, most, offsets)
}

func roundWeights(pairs int, dst []int16, u []float32, pitch int, inverse []float32) {
	roundWeightsGo(pairs, dst, u, pitch, inverse)
}

func roundBytes(quads int, dst []int8, u []float32, pitch int, inverse []float32, start []int32) {
	roundBytesGo(quads, dst, u, pitch, inverse, start)
}

func momentsOf(lines, pixels int, src []float32, line int, floor, pivot *[Lanes]float32, sums *[4][Lanes]float32) {
	momentsGo(lines, pixels, src, line, floor, pivot, sums)
}

func byteRest(inputs int, u, inverse []float32) {
	byteRestGo(inputs, u, inverse)
}
