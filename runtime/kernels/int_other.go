//go:build !amd64 || purego

package kernels

func encode(pixels int, dst []int16, stride int, src, offset, inverse, levels []float32, factor []int16) {
	encodeGo(pixels, dst, stride, src, offset, inverse, levels, factor)
}

func intInput(tiles int, src []int16, pixel, row int, dst []int16, tile, point int) {
	intInputGo(tiles, src, pixel, row, dst, tile, point)
}

func intPanel(tiles, blocks, pairs int, a []int16, aTile int, b []int16, bBlock int, c []int32, cTile int, add bool) {
	intPanelGo(tiles, blocks, pairs, a, aTile, b, bBlock, c, cTile, add)
}

func intOutput(tiles int, src []int32, tile, point int, scale, bias []float32, biasRow, biasPixel int, lo float32, dst []float32, row int) {
	intOutputGo(tiles, src, tile, point, scale, bias, biasRow, biasPixel, lo, dst, row)
}

func intSumsOutput(tiles int, src []float32, tile, point int, bias []float32, biasRow, biasPixel int, lo float32, dst []float32, row int) {
	intSumsOutputGo(tiles, src, tile, point, bias, biasRow, biasPixel, lo, dst, row)
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

func roundWeights(pairs int, dst []int16, u []float32, pitch int, inverse []float32) {
	roundWeightsGo(pairs, dst, u, pitch, inverse)
}

func momentsOf(pixels int, src []float32, floor, pivot *[Lanes]float32, sums *[3][Lanes]float32) {
	momentsGo(pixels, src, floor, pivot, sums)
}
