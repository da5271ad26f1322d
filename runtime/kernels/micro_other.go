//go:build !amd64 || purego

package kernels

// accelerated tells whether the micro-kernels are assembly.
var accelerated = false

func gemmPanel(blocks, k int, a, b, c []float32, ldc int, start []float32, lo float32) {
	gemmPanelGo(blocks, k, a, b, c, ldc, start, lo)
}

func copyPanel(dst, src []float32, offsets []int) { copyPanelGo(dst, src, offsets) }

func spreadRow(panels int, dst []float32, pitch int, src []float32) {
	spreadRowGo(panels, dst, pitch, src)
}

func sumTaps(blocks int, w []float32, offsets []int, src, dst []float32, start, lo float32) {
	sumTapsGo(blocks, w, offsets, src, dst, start, lo)
}

func row(op Op, dst, a, b []float32, s float32) { rowGo(op, dst, a, b, s) }

func winoInput(src []float32, pitch int, dst []float32, stride, _ int) {
	winoInputGo(src, pitch, dst, stride)
}

func winoOutput(src []float32, stride int, start, lo float32, dst []float32, pitch, _ int) {
	winoOutputGo(src, stride, start, lo, dst, pitch)
}

func interleave(dst, a, b []float32) { interleaveGo(dst, a, b) }

func winoInputEdge(plane []float32, h, w, y, x int, dst []float32, stride int) bool { return false }

func sumLanes(lanes *[16]float64, v []float32) { sumLanesGo(lanes, v) }

func transpose16(dst []float32, to int, src []float32, from int) { transpose16Go(dst, to, src, from) }
