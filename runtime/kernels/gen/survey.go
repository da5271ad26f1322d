package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// survey keeps lane i%4 of the sums and extremes in registers.
func survey() {
	TEXT("surveyAVX2", NOSPLIT, "func(blocks int, src *float32, about float64, lanes *float64, extremes *float32)")
	Pragma("noescape")
	Doc("surveyAVX2 is surveyGo for blocks of 4 elements.")
	blocks, src, lanes, extremes := param("blocks"), param("src"), param("lanes"), param("extremes")
	about, sum, squares, lowest, highest := ys[0], ys[1], ys[2], xs[3], xs[4]
	VBROADCASTSD(paramAt("about"), about)
	VMOVUPD(Mem{Base: lanes}, sum)
	VMOVUPD(Mem{Base: lanes, Disp: 32}, squares)
	VMOVUPS(Mem{Base: extremes}, lowest)
	VMOVUPS(Mem{Base: extremes, Disp: 16}, highest)
	Label("block")
	VMOVUPS(Mem{Base: src}, xs[5])
	VMINPS(lowest, xs[5], lowest)
	VMAXPS(highest, xs[5], highest)
	VCVTPS2PD(xs[5], ys[6])
	VSUBPD(about, ys[6], ys[6])
	VADDPD(ys[6], sum, sum)
	VMULPD(ys[6], ys[6], ys[6]) // not fused: the same sums everywhere
	VADDPD(ys[6], squares, squares)
	ADDQ(Imm(16), src)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VMOVUPD(sum, Mem{Base: lanes})
	VMOVUPD(squares, Mem{Base: lanes, Disp: 32})
	VMOVUPS(lowest, Mem{Base: extremes})
	VMOVUPS(highest, Mem{Base: extremes, Disp: 16})
	VZEROUPPER()
	RET()
}
