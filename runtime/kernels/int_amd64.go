//go:build amd64 && !purego

package kernels

import "golang.org/x/sys/cpu"

//go:generate go -C gen run ./ints -out ../intkernels_amd64.s -stubs ../intkernels_amd64.go -pkg kernels

// intLevel is what the processor has for integer convolution. Tests lower it.
var intLevel = func() int {
	switch {
	case !cpu.X86.HasAVX2 || !cpu.X86.HasFMA:
		return intGo
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VNNI:
		return intVNNI
	}
	return intAVX2
}()

const (
	intGo = iota
	intAVX2
	intVNNI // AVX-512
)

// The assembly does not check bounds: every wrapper touches the last elements
// first.

func encode(pixels int, dst []int16, stride int, src, offset, inverse, levels []float32, factor []int16) {
	if intLevel == intGo || pixels <= 0 {
		encodeGo(pixels, dst, stride, src, offset, inverse, levels, factor)
		return
	}
	_, _ = dst[(pixels-1)*stride+Lanes-1], src[pixels*Lanes-1]
	encodeAVX2(pixels, &dst[0], 2*stride, &src[0], &offset[:Lanes][0], &inverse[:Lanes][0], &levels[:Lanes][0], &factor[:Lanes][0])
}

func momentsOf(pixels int, src []float32, floor, pivot *[Lanes]float32, sums *[3][Lanes]float32) {
	if intLevel == intGo || pixels <= 0 {
		momentsGo(pixels, src, floor, pivot, sums)
		return
	}
	_ = src[pixels*Lanes-1]
	momentsAVX2(pixels, &src[0], &floor[0], &pivot[0], &sums[0][0])
}

func intInput(tiles int, src []int16, pixel, row int, dst []int16, tile, point int) {
	if intLevel == intGo || tiles <= 0 {
		intInputGo(tiles, src, pixel, row, dst, tile, point)
		return
	}
	_, _ = src[5*row+(4*tiles+1)*pixel+Lanes-1], dst[(tiles-1)*tile+35*point+Lanes-1]
	intInputAVX2(tiles, &src[0], 2*pixel, 2*row, &dst[0], 2*tile, 2*point)
}

type intPanelFunc func(pairs int, a *int16, aTile int, b *int16, bBlock int, c *int32, cTile int, add bool)

var intPanelsVNNI = [3][3]intPanelFunc{
	{intPanelVNNIx2x1, intPanelVNNIx2x2, intPanelVNNIx2x4},
	{intPanelVNNIx4x1, intPanelVNNIx4x2, intPanelVNNIx4x4},
	{intPanelVNNIx6x1, intPanelVNNIx6x2, intPanelVNNIx6x4},
}

var intPanelsAVX2 = [3]intPanelFunc{intPanelAVX2x2, intPanelAVX2x4, intPanelAVX2x6}

func intPanel(tiles, blocks, pairs int, a []int16, aTile int, b []int16, bBlock int, c []int32, cTile int, add bool) {
	if intLevel == intGo || pairs <= 0 {
		intPanelGo(tiles, blocks, pairs, a, aTile, b, bBlock, c, cTile, add)
		return
	}
	_, _, _ = a[(tiles-1)*aTile+2*pairs-1], b[(blocks-1)*bBlock+2*pairs*Lanes-1], c[(tiles-1)*cTile+blocks*Lanes-1]
	if intLevel == intVNNI {
		intPanelsVNNI[tiles/2-1][blocks/2](pairs, &a[0], 2*aTile, &b[0], 2*bBlock, &c[0], 4*cTile, add)
		return
	}
	for o := range blocks {
		intPanelsAVX2[tiles/2-1](pairs, &a[0], 2*aTile, &b[o*bBlock], 2*bBlock, &c[o*Lanes], 4*cTile, add)
	}
}

func intOutput(tiles int, src []int32, tile, point int, scale, bias []float32, biasRow, biasPixel int, lo float32, dst []float32, row int) {
	if intLevel == intGo || tiles <= 0 {
		intOutputGo(tiles, src, tile, point, scale, bias, biasRow, biasPixel, lo, dst, row)
		return
	}
	_, _, _, _ = src[(tiles-1)*tile+35*point+Lanes-1], scale[36*Lanes-1], bias[3*(biasRow+biasPixel)+Lanes-1], dst[3*row+4*tiles*Lanes-1]
	intOutputAVX2(tiles, &src[0], 4*tile, 4*point, &scale[0], &bias[0], 4*biasRow, 4*biasPixel, lo, &dst[0], 4*row)
}

func intSumsOutput(tiles int, src []float32, tile, point int, bias []float32, biasRow, biasPixel int, lo float32, dst []float32, row int) {
	if intLevel == intGo || tiles <= 0 {
		intSumsOutputGo(tiles, src, tile, point, bias, biasRow, biasPixel, lo, dst, row)
		return
	}
	_, _, _ = src[(tiles-1)*tile+35*point+Lanes-1], bias[3*(biasRow+biasPixel)+Lanes-1], dst[3*row+4*tiles*Lanes-1]
	intSumsOutputAVX2(tiles, &src[0], 4*tile, 4*point, &bias[0], 4*biasRow, 4*biasPixel, lo, &dst[0], 4*row)
}

func intAccumulate(tiles int, dst []float32, src []int32, tile int, scale []float32, add bool) {
	if intLevel == intGo || tiles <= 0 {
		intAccumulateGo(tiles, dst, src, tile, scale, add)
		return
	}
	_, _, _ = dst[(tiles-1)*tile+Lanes-1], src[(tiles-1)*tile+Lanes-1], scale[Lanes-1]
	intAccumulateAVX2(tiles, &dst[0], &src[0], 4*tile, &scale[0], add)
}

func intStore(pixels int, src []int32, pixel int, scale, bias []float32, lo float32, dst []float32) {
	if intLevel == intGo || pixels <= 0 {
		intStoreGo(pixels, src, pixel, scale, bias, lo, dst)
		return
	}
	_, _, _, _ = src[(pixels-1)*pixel+Lanes-1], scale[Lanes-1], bias[Lanes-1], dst[pixels*Lanes-1]
	intStoreAVX2(pixels, &src[0], 4*pixel, &scale[0], &bias[0], lo, &dst[0])
}

func foldInput(points int, u, weights []float32, scale, level, half float32, sums, most, offsets []float32) {
	if intLevel == intGo {
		foldInputGo(points, u, weights, scale, level, half, sums, most, offsets)
		return
	}
	n := points * Lanes
	_, _, _, _ = u[n-1], sums[n-1], most[n-1], offsets[len(weights)-1]
	fold := foldInputAVX2x36
	if points == 1 {
		fold = foldInputAVX2x1
	}
	fold(&u[0], &weights[0], scale, level, half, &sums[0], &most[0], &offsets[0])
}

func roundWeights(pairs int, dst []int16, u []float32, pitch int, inverse []float32) {
	if intLevel == intGo || pairs <= 0 {
		roundWeightsGo(pairs, dst, u, pitch, inverse)
		return
	}
	_, _, _ = dst[2*pairs*Lanes-1], u[(2*pairs-1)*pitch+Lanes-1], inverse[Lanes-1]
	roundWeightsAVX2(pairs, &dst[0], &u[0], 4*pitch, &inverse[0])
}
