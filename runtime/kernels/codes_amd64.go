//go:build amd64 && !purego

package kernels

//go:generate go -C gen run ./codes -out ../codeskernels_amd64.s -stubs ../codeskernels_amd64.go -pkg kernels

// The assembly does not check bounds and takes 16 values at a time: every wrapper
// touches the last elements first, and leaves the rest to Go.

func (q *Quantizer) levels(dst, src []float32) {
	n := 0
	if intLevel != intGo && len(src) >= Lanes {
		least, most := q.limits()
		n = len(src) / Lanes * Lanes
		_ = dst[n-1]
		levelsAVX2(n/Lanes, &dst[0], &src[0], q.Scale, least, most)
	}
	q.levelsGo(dst[n:], src[n:])
}

func (q *Quantizer) encode(dst []uint8, src []float32) {
	n := 0
	if intLevel != intGo && len(src) >= Lanes {
		least, most := q.limits()
		n = len(src) / Lanes * Lanes
		_ = dst[n-1]
		encodeCodesAVX2(n/Lanes, &dst[0], &src[0], q.Scale, least, most, int32(q.Zero))
	}
	q.encodeCodesGo(dst[n:], src[n:])
}

func (q *Quantizer) decode(dst []float32, src []uint8) {
	n := 0
	if intLevel != intGo && len(src) >= Lanes {
		n = len(src) / Lanes * Lanes
		_ = dst[n-1]
		decodeCodesAVX2(n/Lanes, &dst[0], &src[0], q.Scale, int32(q.Zero))
	}
	q.decodeCodesGo(dst[n:], src[n:])
}

func widenCodes(pixels int, dst []int16, stride int, src []uint8, zero int) {
	if intLevel == intGo || pixels <= 0 {
		widenCodesGo(pixels, dst, stride, src, zero)
		return
	}
	_, _ = dst[(pixels-1)*stride+Lanes-1], src[pixels*Lanes-1]
	widenCodesAVX2(pixels, &dst[0], 2*stride, &src[0], int32(zero))
}

func codesOutput(tiles int, src []int32, tile, point int, scale, bias []float32, lo float32, dst []float32, row int) {
	if intLevel == intGo || tiles <= 0 {
		codesOutputGo(tiles, src, tile, point, scale, bias, lo, dst, row)
		return
	}
	_, _, _, _ = src[(tiles-1)*tile+35*point+Lanes-1], scale[Lanes-1], bias[Lanes-1], dst[3*row+4*tiles*Lanes-1]
	codesOutputAVX2(tiles, &src[0], 4*tile, 4*point, &scale[0], &bias[0], lo, &dst[0], 4*row)
}
