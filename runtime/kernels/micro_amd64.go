//go:build amd64 && !purego

package kernels

import (
	"slices"

	"golang.org/x/sys/cpu"
)

//go:generate go -C gen run . -out ../avx2_amd64.s -stubs ../avx2_amd64.go -pkg kernels

// accelerated tells whether the micro-kernels are assembly. Tests switch it off.
var accelerated = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// The assembly does not check bounds: every wrapper touches the last elements
// first.

func gemmPanel(blocks, k int, a, b, c []float32, ldc int, start []float32, lo float32) {
	if !accelerated || blocks == 0 || k == 0 {
		gemmPanelGo(blocks, k, a, b, c, ldc, start, lo)
		return
	}
	_, _, _ = a[blocks*k*mr-1], b[k*nr-1], c[(blocks*mr-1)*ldc+nr-1]
	var from *float32
	if start != nil {
		from = &start[:blocks*mr][0]
	}
	gemmPanelAVX2(blocks, k, &a[0], &b[0], &c[0], 4*ldc, from, lo)
}

func copyPanel(dst, src []float32, offsets []int) {
	if !accelerated || len(offsets) == 0 {
		copyPanelGo(dst, src, offsets)
		return
	}
	_, _ = dst[len(offsets)*nr-1], src[offsets[len(offsets)-1]+nr-1] // offsets ascend
	copyPanelAVX2(len(offsets), &dst[0], &src[0], &offsets[0])
}

func spreadRow(panels int, dst []float32, pitch int, src []float32) {
	if !accelerated || panels == 0 {
		spreadRowGo(panels, dst, pitch, src)
		return
	}
	_, _ = dst[(panels-1)*pitch+nr-1], src[panels*nr-1]
	spreadRowAVX2(panels, &dst[0], 4*pitch, &src[0])
}

func sumTaps(blocks int, w []float32, offsets []int, src, dst []float32, start, lo float32) {
	if !accelerated {
		sumTapsGo(blocks, w, offsets, src, dst, start, lo)
		return
	}
	n := blocks * tapsWidth
	_, _, _ = src[slices.Max(offsets)+n-1], dst[n-1], w[len(offsets)-1]
	sumTapsAVX2(blocks, len(offsets), &w[0], &offsets[0], &src[0], &dst[0], start, lo)
}

func row(op Op, dst, a, b []float32, s float32) {
	if !accelerated {
		rowGo(op, dst, a, b, s)
		return
	}
	whole := len(dst) &^ 7
	if whole > 0 {
		var second *float32
		if b != nil {
			second = &b[:whole][0]
		}
		rowAVX2(int(op), whole/8, &dst[0], &a[:whole][0], second, s)
	}
	if whole < len(dst) { // the same instructions for the last few
		var x, y, z [8]float32
		copy(x[:], a[whole:])
		var second *float32
		if b != nil {
			copy(y[:], b[whole:])
			second = &y[0]
		}
		rowAVX2(int(op), 1, &z[0], &x[0], second, s)
		copy(dst[whole:], z[:])
	}
}

func winoInput(src []float32, pitch int, dst []float32, stride, ahead int) {
	if !accelerated {
		winoInputGo(src, pitch, dst, stride)
		return
	}
	_, _ = src[5*pitch+winoIn-1], dst[35*stride+winoTiles-1]
	winoInputAVX2(&src[0], 4*pitch, &dst[0], 4*stride, 4*ahead)
}

func winoOutput(src []float32, stride int, start, lo float32, dst []float32, pitch, ahead int) {
	if !accelerated {
		winoOutputGo(src, stride, start, lo, dst, pitch)
		return
	}
	_, _ = src[35*stride+winoTiles-1], dst[3*pitch+winoOut-1]
	winoOutputAVX2(&src[0], 4*stride, start, lo, &dst[0], 4*pitch, 4*ahead)
}

func interleave(dst, a, b []float32) {
	if n := len(a) &^ 7; accelerated && n > 0 {
		interleaveAVX2(n/8, &dst[:2*n][0], &a[0], &b[:n][0])
		dst, a, b = dst[2*n:], a[n:], b[n:]
	}
	interleaveGo(dst, a, b)
}

// edgeMask has winoIn neighbours for every number of pixels missing on one side.
var edgeMask = func() (m [3 * 40]int32) {
	for i := 40; i < 80; i++ {
		m[i] = -1
	}
	return m
}()

// winoInputEdge transforms tiles whose rows all exist and whose columns do not
// on one side, and reports whether these are such tiles.
func winoInputEdge(plane []float32, h, w, y, x int, dst []float32, stride int) bool {
	if !accelerated || y < 0 || y+6 > h || x <= -winoIn || x >= w || x < 0 && x+winoIn > w {
		return false
	}
	mask := 80 - (w - x)
	if x < 0 {
		mask = 40 + x
	}
	_, _ = plane[(y+6)*w-1], dst[35*stride+winoTiles-1]
	winoInputEdgeAVX2(&plane[0], y*w+x, &edgeMask[mask:][:winoIn][0], 4*w, &dst[0], 4*stride, 4*h*w)
	return true
}

func sumLanes(lanes *[16]float64, v []float32) {
	if n := len(v) &^ 15; accelerated && n > 0 {
		sumLanesAVX2(n/16, &v[0], &lanes[0])
		v = v[n:]
	}
	sumLanesGo(lanes, v)
}

func transpose16(dst []float32, to int, src []float32, from int) {
	if !accelerated {
		transpose16Go(dst, to, src, from)
		return
	}
	_, _ = dst[15*to+15], src[15*from+15]
	transpose16AVX2(&dst[0], 4*to, &src[0], 4*from)
}
