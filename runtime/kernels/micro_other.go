//go:build !amd64 || purego

package kernels

// The micro-kernels are Go.
const (
	withGo = iota
	withAVX2
	withAVX512
)

var level = withGo

func gemmPanel(blocks, k int, a, b, c []float32, ldc int, start []float32, lo float32) {
	gemmPanelGo(blocks, k, a, b, c, ldc, start, lo)
}

func (m *panels) multiply() { m.panelGo() }

func (m *panels) lanewise() { m.lanewiseGo() }

func (m *panels) dots(outs int) { m.dotsGo(outs) }

func winoInput(tiles int, src []float32, row, step int, dst []float32, tile, pos int) {
	winoInputGo(tiles, src, row, step, dst, tile, pos)
}

func winoOutput(size, tiles int, src []float32, tile, pos int, start []float32, lo float32, dst []float32, row, pixel int) {
	winoOutputGo(size, tiles, src, tile, pos, start, lo, dst, row, pixel)
}

func row(op Op, dst, a, b []float32, step int) { rowGo(op, dst, a, b, step) }

func interleave(dst, a, b []float32) { interleaveGo(dst, a, b) }

func sumLanes(lanes *[16]float64, v []float32) { sumLanesGo(lanes, v) }

func survey(lanes *[2][4]float64, extremes *[2][4]float32, x []float32, about float64) {
	surveyGo(lanes, extremes, x, about)
}

func sumPixels(chains *[16][Lanes]float64, v []float32) { sumPixelsGo(chains, v) }

func transpose16(dst []float32, to int, src []float32, from int) { transpose16Go(dst, to, src, from) }
