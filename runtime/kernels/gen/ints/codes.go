package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
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
	text("encodeWordsAVX2", "encodeGo", "func(pixels int, dst *int16, stride int, src *float32, e *float32)")
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
	text("encodeBytesVNNI", "encodeGo", "func(pixels int, dst *int8, stride int, src *float32, e *float32)")
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

// encodeBytes4 encodes four blocks at once: bytes are clamped from below when they are
// packed, for 64 channels together.
func encodeBytes4() {
	text("encodeBytes4VNNI", "encodeGo for four blocks", "func(pixels int, dst *int8, stride int, src *float32, block int, e *float32)")
	pixels, dst, stride, src, block, e := param("pixels"), param("dst"), param("stride"), param("src"), param("block"), param("e")
	field := func(i, k int) Mem { return Mem{Base: e, Disp: 6*64*k + i} }
	v, t := zs[:4], zs[4:6]
	order, low, shift := zs[6], zs[7:9], zs[9:11]
	pack := func(of int, to []reg.VecPhysical, convert bool) { // two blocks to words
		for k := range 4 {
			VMOVUPS(field(of, k), v[k])
			if convert {
				VCVTPS2DQ(v[k], v[k])
			}
		}
		VPACKSSDW(v[1], v[0], to[0])
		VPACKSSDW(v[3], v[2], to[1])
	}
	pack(encodingLow, low, true)
	pack(encodingShift, shift, false)
	for k := range 4 {
		for i, of := range []int{encodingOffset, encodingInverse, encodingAdd, encodingHigh} {
			VMOVUPS(field(of, k), zs[12+4*i+k])
		}
	}
	VMOVDQU32(permutation("Blocks", func(i int) int { return i%4*4 + i/4 }), order)
	blocks := rows(4, src, block, 0)
	Label("pixel")
	for k := range 4 {
		VMOVUPS(blocks[k], v[k])
		VSUBPS(zs[12+k], v[k], v[k])
		VFMADD213PS(zs[20+k], zs[16+k], v[k])
		VMINPS(v[k], zs[24+k], v[k]) // NaN stays, and is the lowest integer
		VCVTPS2DQ_RD_SAE(v[k], v[k])
	}
	for i := range t {
		VPACKSSDW(v[2*i+1], v[2*i], t[i])
		VPMAXSW(low[i], t[i], t[i])
		VPSLLVW(shift[i], t[i], t[i])
	}
	VPACKSSWB(t[1], t[0], t[0])
	VPERMD(t[0], order, t[0])
	VMOVDQU32(t[0], Mem{Base: dst})
	moved := map[reg.Register]bool{}
	for _, m := range blocks {
		if !moved[m.Base] {
			moved[m.Base] = true
			ADDQ(Imm(64), m.Base)
		}
	}
	ADDQ(stride, dst)
	end(pixels, "pixel")
}

// momentsSignature: see kernels.momentsGo.
const momentsSignature = "func(lines int, pixels int, src *float32, line int, floor *float32, pivot *float32, sums *float32)"

func momentsAVX2() {
	text("momentsAVX2", "momentsGo", momentsSignature)
	lines, src, line := param("lines"), param("src"), param("line")
	floor, pivot, sums := param("floor"), param("pivot"), param("sums")
	one := ys[15]
	VMOVUPS(constant("One", 1), one)
	for h := range 2 {
		VMOVUPS(Mem{Base: floor, Disp: 32 * h}, ys[h])
		VMOVUPS(Mem{Base: pivot, Disp: 32 * h}, ys[2+h])
		for i := range 4 {
			VXORPS(ys[4+2*i+h], ys[4+2*i+h], ys[4+2*i+h])
		}
	}
	Label("line")
	pixels, at := param("pixels"), GP64()
	MOVQ(src, at)
	Label("pixel")
	for h := range 2 {
		x, above, below := ys[12], ys[13], ys[14]
		VMOVUPS(Mem{Base: at, Disp: 32 * h}, x)
		VCMPPS(Imm(0x1e), ys[h], x, above) // x > floor
		VANDNPS(x, above, below)
		VADDPS(below, ys[10+h], ys[10+h])
		VSUBPS(ys[2+h], x, x)
		VANDPS(above, x, x)
		VANDPS(one, above, above)
		VADDPS(above, ys[4+h], ys[4+h])
		VADDPS(x, ys[6+h], ys[6+h])
		VFMADD231PS(x, x, ys[8+h])
	}
	ADDQ(Imm(64), at)
	DECQ(pixels)
	JNZ(LabelRef("pixel"))
	ADDQ(line, src)
	DECQ(lines)
	JNZ(LabelRef("line"))
	for i := range 8 {
		VMOVUPS(ys[4+i], Mem{Base: sums, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
}

// momentsVNNI adds two pixels at a time, so that sums do not wait for each other.
func momentsVNNI() {
	text("momentsVNNI", "momentsGo", momentsSignature)
	lines, src, line := param("lines"), param("src"), param("line")
	floor, pivot, sums := zs[0], zs[1], param("sums")
	VMOVUPS(Mem{Base: param("floor")}, floor)
	VMOVUPS(Mem{Base: param("pivot")}, pivot)
	one := zs[2]
	VBROADCASTSS(constant("One", 1), one)
	sum := func(which, i int) reg.VecPhysical { return zs[4+2*i+which] }
	for i := range 8 {
		VPXORD(zs[4+i], zs[4+i], zs[4+i])
	}
	add := func(which int, at Mem) {
		x, k, not := zs[12+which], []reg.OpmaskPhysical{reg.K1, reg.K2}[which], []reg.OpmaskPhysical{reg.K3, reg.K4}[which]
		VMOVUPS(at, x)
		VCMPPS(Imm(0x1e), floor, x, k)
		KNOTW(k, not)
		VADDPS(x, sum(which, 3), not, sum(which, 3))
		VSUBPS(pivot, x, x)
		VADDPS(one, sum(which, 0), k, sum(which, 0))
		VADDPS(x, sum(which, 1), k, sum(which, 1))
		VFMADD231PS(x, x, k, sum(which, 2))
	}
	Label("line")
	pixels, at := param("pixels"), GP64()
	MOVQ(src, at)
	SUBQ(Imm(2), pixels)
	JL(LabelRef("last"))
	Label("pixels")
	add(0, Mem{Base: at})
	add(1, Mem{Base: at, Disp: 64})
	ADDQ(Imm(128), at)
	SUBQ(Imm(2), pixels)
	JGE(LabelRef("pixels"))
	Label("last")
	TESTB(Imm(1), pixels.As8())
	JEQ(LabelRef("next"))
	add(0, Mem{Base: at})
	Label("next")
	ADDQ(line, src)
	DECQ(lines)
	JNZ(LabelRef("line"))
	for i := range 4 {
		VADDPS(sum(0, i), sum(1, i), sum(0, i))
		VMOVUPS(sum(0, i), Mem{Base: sums, Disp: 64 * i})
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
