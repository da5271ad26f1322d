//go:build amd64 && !purego

package kernels

import (
	"golang.org/x/sys/cpu"
)

//go:generate go -C gen run ./ints -out ../intkernels_amd64.s -stubs ../intkernels_amd64.go -pkg kernels

// intLevel is what the processor has for integer convolution. Tests lower it.
var intLevel = func() int {
	switch {
	case !cpu.X86.HasAVX2 || !cpu.X86.HasFMA:
		return intGo
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VNNI:
		return intVNNI
	}
	return intAVX2
}()

const (
	intGo = iota
	intAVX2
	intVNNI // AVX-512
)

// hasByteForm tells whether byteForm is faster than wordForm: only with VNNI.
func hasByteForm() bool { return intLevel == intVNNI }

// The assembly does not check bounds: every wrapper touches the last elements
// first.

func encodeWords(pixels int, dst []byte, stride int, src []float32, block int, e []encoding) {
	for b := range e {
		dst, src := dst[2*b*Lanes:], src[b*block:]
		if intLevel == intGo || pixels <= 0 {
			encodeGo(pixels, asWords(dst), stride/2, src, &e[b])
			continue
		}
		_, _ = dst[(pixels-1)*stride+2*Lanes-1], src[pixels*Lanes-1]
		encodeWordsAVX2(pixels, &asWords(dst)[0], stride, &src[0], &e[b].offset[0])
	}
}

func encodeBytes(pixels int, dst []byte, stride int, src []float32, block int, e []encoding) {
	for len(e) > 0 {
		n := 1
		if intLevel < intVNNI || pixels <= 0 {
			encodeGo(pixels, asSigned(dst), stride, src, &e[0])
		} else if n = min(4, len(e)); n == 4 {
			_, _ = dst[(pixels-1)*stride+4*Lanes-1], src[3*block+pixels*Lanes-1]
			encodeBytes4VNNI(pixels, &asSigned(dst)[0], stride, &src[0], 4*block, &e[0].offset[0])
		} else {
			n = 1
			_, _ = dst[(pixels-1)*stride+Lanes-1], src[pixels*Lanes-1]
			encodeBytesVNNI(pixels, &asSigned(dst)[0], stride, &src[0], &e[0].offset[0])
		}
		if e = e[n:]; len(e) > 0 {
			dst, src = dst[n*Lanes:], src[n*block:]
		}
	}
}

func momentsOf(lines, pixels int, src []float32, line int, floor, pivot *[Lanes]float32, sums *[4][Lanes]float32) {
	if intLevel == intGo || pixels <= 0 || lines <= 0 {
		momentsGo(lines, pixels, src, line, floor, pivot, sums)
		return
	}
	_ = src[(lines-1)*line+pixels*Lanes-1]
	if intLevel == intVNNI {
		momentsVNNI(lines, pixels, &src[0], 4*line, &floor[0], &pivot[0], &sums[0][0])
	} else {
		momentsAVX2(lines, pixels, &src[0], 4*line, &floor[0], &pivot[0], &sums[0][0])
	}
}

func wordInput(tiles int, src []byte, pixel, row int, dst []byte, tile, point int) {
	if intLevel == intGo || tiles <= 0 {
		wordInputGo(tiles, asWords(src), pixel/2, row/2, asWords(dst), tile/2, point/2)
		return
	}
	_, _ = src[5*row+(4*tiles+1)*pixel+2*Lanes-1], dst[(tiles-1)*tile+35*point+2*Lanes-1]
	wordInputAVX2(tiles, &asWords(src)[0], pixel, row, &asWords(dst)[0], tile, point)
}

func byteInput(tiles int, src []byte, pixel, row int, dst []byte, tile, point int) {
	if intLevel < intVNNI || tiles <= 0 {
		byteInputGo(tiles, asSigned(src), pixel, row, dst, tile, point)
		return
	}
	_, _ = src[5*row+(4*tiles+1)*pixel+4*Lanes-1], dst[(tiles-1)*tile+(byteInputs-1)*point+4*Lanes-1]
	byteInputVNNI(tiles, &asSigned(src)[0], pixel, row, &dst[0], tile, point)
}

type panelFunc func(groups, quads int, a *byte, aTile int, b *byte, bBlock int, start, c *int32, cTile int)

var wordPanelsVNNI = [3][3]panelFunc{
	{wordPanelVNNIx2x1, wordPanelVNNIx2x2, wordPanelVNNIx2x4},
	{wordPanelVNNIx4x1, wordPanelVNNIx4x2, wordPanelVNNIx4x4},
	{wordPanelVNNIx6x1, wordPanelVNNIx6x2, wordPanelVNNIx6x4},
}

var bytePanelsVNNI = [3][3]panelFunc{
	{bytePanelVNNIx2x1, bytePanelVNNIx2x2, bytePanelVNNIx2x4},
	{bytePanelVNNIx4x1, bytePanelVNNIx4x2, bytePanelVNNIx4x4},
	{bytePanelVNNIx6x1, bytePanelVNNIx6x2, bytePanelVNNIx6x4},
}

var wordPanelsAVX2 = [3]panelFunc{wordPanelAVX2x2, wordPanelAVX2x4, wordPanelAVX2x6}

// panelGroups is how many groups of how many tiles a panel computes next.
func panelGroups(tiles int) (groups, each int) {
	if tiles >= 6 {
		return tiles / 6, 6
	}
	return 1, tiles
}

// firstOf checks what a panel reads and writes and returns where it starts, nil to go
// on with c.
func firstOf(tiles, blocks, quads int, a []byte, aTile int, b []byte, bBlock int, start, c []int32, cTile int) *int32 {
	_, _, _ = a[(tiles-1)*aTile+4*quads-1], b[(blocks-1)*bBlock+4*quads*Lanes-1], c[(tiles-1)*cTile+blocks*Lanes-1]
	if start == nil {
		return nil
	}
	_ = start[blocks*Lanes-1]
	return &start[0]
}

func wordPanel(tiles, blocks, quads int, a []byte, aTile int, b []byte, bBlock int, start, c []int32, cTile int) {
	if intLevel == intGo || quads <= 0 || tiles <= 0 {
		wordPanelGo(tiles, blocks, quads, asWords(a), aTile/2, asWords(b), bBlock/2, start, c, cTile)
		return
	}
	first := firstOf(tiles, blocks, quads, a, aTile, b, bBlock, start, c, cTile)
	for t := 0; t < tiles; {
		groups, n := panelGroups(tiles - t)
		if intLevel == intVNNI {
			wordPanelsVNNI[n/2-1][blocks/2](groups, quads, &a[t*aTile], aTile, &b[0], bBlock, first, &c[t*cTile], 4*cTile)
		} else {
			for o := range blocks {
				if first != nil {
					first = &start[o*Lanes]
				}
				wordPanelsAVX2[n/2-1](groups, quads, &a[t*aTile], aTile, &b[o*bBlock], bBlock, first, &c[t*cTile+o*Lanes], 4*cTile)
			}
		}
		t += groups * n
	}
}

func bytePanel(tiles, blocks, quads int, a []byte, aTile int, b []byte, bBlock int, start, c []int32, cTile int) {
	if intLevel < intVNNI || quads <= 0 || tiles <= 0 {
		bytePanelGo(tiles, blocks, quads, a, aTile, asSigned(b), bBlock, start, c, cTile)
		return
	}
	first := firstOf(tiles, blocks, quads, a, aTile, b, bBlock, start, c, cTile)
	for t := 0; t < tiles; {
		groups, n := panelGroups(tiles - t)
		bytePanelsVNNI[n/2-1][blocks/2](groups, quads, &a[t*aTile], aTile, &b[0], bBlock, first, &c[t*cTile], 4*cTile)
		t += groups * n
	}
}

// bytePanelAhead is bytePanel for aheadInputs inputs beside each other and, before they are
// encoded, asks for the next intPixels pixels of as many, of blocks that are block apart: with
// each six pixels for those of one block.
func bytePanelAhead(a, b []byte, start, c []int32, ahead []float32, block int) {
	const quads, outputs = aheadInputs / 4, aheadBlocks * Lanes
	if intLevel < intVNNI {
		bytePanelGo(intPixels, aheadBlocks, quads, a, aheadInputs, asSigned(b), quads*4*Lanes, start, c, outputs)
		return
	}
	first := firstOf(intPixels, aheadBlocks, quads, a, aheadInputs, b, quads*4*Lanes, start, c, outputs)
	bytePanelAheadVNNIx6x4(intPixels/6, quads, &a[0], aheadInputs, &b[0], quads*4*Lanes, first, &c[0], 4*outputs, &ahead[0], 4*block-2*64*quads)
}

func wordOutput(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int) {
	if intLevel == intGo || tiles <= 0 {
		wordOutputGo(tiles, src, tile, point, scale, bias, lo, dst, row)
		return
	}
	_, _, _, _ = src[(tiles-1)*tile+35*point+Lanes-1], scale[36*Lanes-1], bias[16*Lanes-1], dst[3*row+4*tiles*Lanes-1]
	wordOutputAVX2(tiles, &src[0], 4*tile, 4*point, &scale[0], &bias[0], lo, &dst[0], 4*row)
}

func byteOutput(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int) {
	if intLevel < intVNNI || tiles <= 0 {
		byteOutputGo(tiles, src, tile, point, scale, bias, lo, dst, row)
		return
	}
	_, _, _, _ = src[(tiles-1)*tile+(bytePoints-1)*point+Lanes-1], scale[byteScales*Lanes-1], bias[16*Lanes-1], dst[3*row+4*tiles*Lanes-1]
	byteOutputVNNI(tiles, &src[0], 4*tile, 4*point, &scale[0], &bias[0], lo, &dst[0], 4*row)
}

func sumsOutput(tiles int, src []float32, tile, point int, bias []float32, lo float32, dst []float32, row int) {
	if intLevel == intGo || tiles <= 0 {
		sumsOutputGo(tiles, src, tile, point, bias, lo, dst, row)
		return
	}
	_, _, _ = src[(tiles-1)*tile+35*point+Lanes-1], bias[16*Lanes-1], dst[3*row+4*tiles*Lanes-1]
	sumsOutputAVX2(tiles, &src[0], 4*tile, 4*point, &bias[0], lo, &dst[0], 4*row)
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

func foldBytes(u, weights []float32, scale, level float32, most, offsets []float32) {
	if intLevel < intVNNI {
		foldBytesGo(u, weights, scale, level, most, offsets)
		return
	}
	_, _, _, _ = u[byteInputs*Lanes-1], weights[9*Lanes-1], most[byteScales*Lanes-1], offsets[9*Lanes-1]
	foldBytesVNNI(&u[0], &weights[0], scale, level, &most[0], &offsets[0])
}

func roundBytes(quads int, dst []int8, u []float32, pitch int, inverse []float32, start []int32) {
	if intLevel < intVNNI || quads <= 0 {
		roundBytesGo(quads, dst, u, pitch, inverse, start)
		return
	}
	_, _, _, _ = dst[4*quads*Lanes-1], u[(4*quads-1)*pitch+Lanes-1], inverse[Lanes-1], start[Lanes-1]
	roundBytesVNNI(quads, &dst[0], &u[0], 4*pitch, &inverse[0], &start[0])
}

func byteRest(inputs int, u, inverse []float32) {
	if intLevel < intVNNI || inputs <= 0 {
		byteRestGo(inputs, u, inverse)
		return
	}
	_, _ = u[inputs*bytePoints*Lanes-1], inverse[Lanes-1]
	byteRestVNNI(inputs, &u[0], &inverse[0])
}
