package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// The fields of kernels.encoding.
const (
	encodingOffset = 64 * iota
	encodingInverse
	encodingAdd
	encodingLow
	encodingHigh
	encodingShift
)

func encodeWords() {
	text("encodeWordsAVX2", "encodeWordsGo", "func(pixels int, dst *int16, stride int, src *float32, e *float32)")
	pixels, dst, stride, src, e := param("pixels"), param("dst"), param("stride"), param("src"), param("e")
	field := func(disp, h int) Mem { return Mem{Base: e, Disp: disp + 32*h} }
	for h := range 2 {
		for i, disp := range []int{encodingOffset, encodingInverse, encodingAdd, encodingLow, encodingHigh, encodingShift} {
			VMOVUPS(field(disp, h), ys[2*i+h])
		}
	}
	Label("pixel")
	for h := range 2 {
		v := ys[12+h]
		VMOVUPS(Mem{Base: src, Disp: 32 * h}, v)
		VSUBPS(ys[h], v, v)
		VFMADD213PS(ys[4+h], ys[2+h], v)
		VMAXPS(ys[6+h], v, v) // NaN becomes the lowest
		VMINPS(ys[8+h], v, v)
		VROUNDPS(Imm(9), v, v) // down
		VCVTPS2DQ(v, v)
		VPSLLVD(ys[10+h], v, v)
	}
	VPACKSSDW(ys[13], ys[12], ys[12])
	VPERMQ(Imm(0xd8), ys[12], ys[12])
	VMOVDQU(ys[12], Mem{Base: dst})
	ADDQ(Imm(64), src)
	ADDQ(stride, dst)
	end(pixels, "pixel")
}

func encodeBytes() {
	text("encodeBytesVNNI", "encodeBytesGo", "func(pixels int, dst *int8, stride int, src *float32, e *float32)")
	pixels, dst, stride, src, e := param("pixels"), param("dst"), param("stride"), param("src"), param("e")
	for i := range 6 {
		VMOVUPS(Mem{Base: e, Disp: 64 * i}, zs[i])
	}
	Label("pixel")
	v := zs[6]
	VMOVUPS(Mem{Base: src}, v)
	VSUBPS(zs[0], v, v)
	VFMADD213PS(zs[2], zs[1], v)
	VMAXPS(zs[3], v, v) // NaN becomes the lowest
	VMINPS(zs[4], v, v)
	VCVTPS2DQ_RD_SAE(v, v)
	VPSLLVD(zs[5], v, v)
	VPMOVDB(v, Mem{Base: dst})
	ADDQ(Imm(64), src)
	ADDQ(stride, dst)
	end(pixels, "pixel")
}

func moments() {
	text("momentsAVX2", "momentsGo", "func(pixels int, src *float32, floor *float32, pivot *float32, sums *float32)")
	pixels, src, floor, pivot, sums := param("pixels"), param("src"), param("floor"), param("pivot"), param("sums")
	VMOVUPS(constant("One", 1), ys[15])
	for h := range 2 {
		VMOVUPS(Mem{Base: floor, Disp: 32 * h}, ys[h])
		VMOVUPS(Mem{Base: pivot, Disp: 32 * h}, ys[2+h])
		for i := range 3 {
			VXORPS(ys[4+2*i+h], ys[4+2*i+h], ys[4+2*i+h])
		}
	}
	Label("pixel")
	for h := range 2 {
		x, above := ys[10+2*h], ys[11+2*h]
		VMOVUPS(Mem{Base: src, Disp: 32 * h}, x)
		VCMPPS(Imm(0x1e), ys[h], x, above) // x > floor
		VSUBPS(ys[2+h], x, x)
		VANDPS(above, x, x)
		VANDPS(ys[15], above, above)
		VADDPS(above, ys[4+h], ys[4+h])
		VADDPS(x, ys[6+h], ys[6+h])
		VFMADD231PS(x, x, ys[8+h])
	}
	ADDQ(Imm(64), src)
	DECQ(pixels)
	JNZ(LabelRef("pixel"))
	for i := range 6 {
		VMOVUPS(ys[4+i], Mem{Base: sums, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
}

func pointwise() {
	text("intStoreAVX2", "intStoreGo", "func(pixels int, src *int32, pixel int, scale *float32, bias *float32, lo float32, dst *float32)")
	pixels, src, pixel, scale, bias, dst := param("pixels"), param("src"), param("pixel"), param("scale"), param("bias"), param("dst")
	VBROADCASTSS(paramAt("lo"), ys[4])
	for h := range 2 {
		VMOVUPS(Mem{Base: scale, Disp: 32 * h}, ys[h])
		VMOVUPS(Mem{Base: bias, Disp: 32 * h}, ys[2+h])
	}
	Label("pixel")
	for h := range 2 {
		VCVTDQ2PS(Mem{Base: src, Disp: 32 * h}, ys[5+h])
		VFMADD213PS(ys[2+h], ys[h], ys[5+h])
		VMAXPS(ys[5+h], ys[4], ys[5+h])
		VMOVUPS(ys[5+h], Mem{Base: dst, Disp: 32 * h})
	}
	ADDQ(pixel, src)
	ADDQ(Imm(64), dst)
	end(pixels, "pixel")
}
