//go:build !amd64 || purego

package kernels

func (q *Quantizer) levels(dst, src []float32) { q.levelsGo(dst, src) }

func (q *Quantizer) encode(dst []uint8, src []float32) { q.encodeCodesGo(dst, src) }

func (q *Quantizer) decode(dst []float32, src []uint8) { q.decodeCodesGo(dst, src) }

func widenCodes(pixels int, dst []int16, stride int, src []uint8, zero int) {
	widenCodesGo(pixels, dst, stride, src, zero)
}

func codesOutput(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int) {
	codesOutputGo(tiles, src, tile, point, scale, bias, lo, dst, row)
}
