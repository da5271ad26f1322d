package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// kernelRows is intWinoG: registers 0 to 2 to those returned.
func kernelRows() [6]reg.VecPhysical {
	g, a, b := ys, ys[3], ys[4]
	VADDPS(g[2], g[0], a)
	VMULPS(constant("Sixth", -1./6), a, a)
	VMULPS(constant("Sixth", -1./6), g[1], b)
	VADDPS(b, a, ys[5])
	VSUBPS(b, a, ys[6])
	VMULPS(constant("24th", 1./24), g[0], a)
	VMULPS(constant("PlusSixth", 1./6), g[2], b)
	VADDPS(b, a, a)
	VMULPS(constant("12th", 1./12), g[1], b)
	VADDPS(b, a, ys[7])
	VSUBPS(b, a, ys[8])
	VMULPS(constant("Quarter", 0.25), g[0], g[0])
	return [6]reg.VecPhysical{g[0], ys[5], ys[6], ys[7], ys[8], g[2]}
}

func fold() {
	for _, points := range []int{1, 36} {
		text(map[int]string{1: "foldInputAVX2x1", 36: "foldInputAVX2x36"}[points], "foldInputGo", "func(u *float32, weights *float32, scale float32, level float32, half float32, sums *float32, most *float32, offsets *float32)")
		u, weights, sums, most, offsets := param("u"), param("weights"), param("sums"), param("most"), param("offsets")
		scale, level, half, absolute := ys[12], ys[13], ys[14], ys[15]
		VBROADCASTSS(paramAt("scale"), scale)
		VBROADCASTSS(paramAt("level"), level)
		VBROADCASTSS(paramAt("half"), half)
		VMOVUPS(lanes("Absolute", 0x7fffffff), absolute)
		put := func(v reg.VecPhysical, disp int) {
			VMOVUPS(v, Mem{Base: u, Disp: disp})
			VANDPS(absolute, v, v)
			VMAXPS(Mem{Base: most, Disp: disp}, v, ys[9])
			VMOVUPS(ys[9], Mem{Base: most, Disp: disp})
			VFMADD213PS(Mem{Base: sums, Disp: disp}, half, v)
			VMOVUPS(v, Mem{Base: sums, Disp: disp})
		}
		get := func(disp int, v reg.VecPhysical) {
			VMOVUPS(Mem{Base: weights, Disp: disp}, v)
			VMOVUPS(Mem{Base: offsets, Disp: disp}, ys[9])
			VFMADD231PS(v, level, ys[9])
			VMOVUPS(ys[9], Mem{Base: offsets, Disp: disp})
			VMULPS(scale, v, v)
		}
		var mid Mem
		if points == 36 {
			mid = AllocLocal(18 * 32)
		}
		for h := range 2 {
			if points == 1 {
				get(32*h, ys[0])
				put(ys[0], 32*h)
				continue
			}
			for x := range 3 {
				for y := range 3 {
					get((y*3+x)*64+32*h, ys[y])
				}
				for i, v := range kernelRows() {
					VMOVUPS(v, mid.Offset((i*3+x)*32))
				}
			}
			for i := range 6 {
				for x := range 3 {
					VMOVUPS(mid.Offset((i*3+x)*32), ys[x])
				}
				for j, v := range kernelRows() {
					put(v, (i*6+j)*64+32*h)
				}
			}
		}
		VZEROUPPER()
		RET()
	}
}

func round() {
	text("roundWeightsAVX2", "roundWeightsGo", "func(pairs int, dst *int16, u *float32, pitch int, inverse *float32)")
	pairs, dst, u, pitch, inverse := param("pairs"), param("dst"), param("u"), param("pitch"), param("inverse")
	VMOVUPS(Mem{Base: inverse}, ys[0])
	VMOVUPS(Mem{Base: inverse, Disp: 32}, ys[1])
	Label("pair")
	for h := range 2 {
		VMULPS(Mem{Base: u, Disp: 32 * h}, ys[h], ys[2])
		VMULPS(Mem{Base: u, Index: pitch, Scale: 1, Disp: 32 * h}, ys[h], ys[3])
		VCVTPS2DQ(ys[2], ys[2])
		VCVTPS2DQ(ys[3], ys[3])
		VPSLLD(Imm(16), ys[3], ys[3])
		VPBLENDW(Imm(0xaa), ys[3], ys[2], ys[2])
		VMOVDQU(ys[2], Mem{Base: dst, Disp: 32 * h})
	}
	LEAQ(Mem{Base: u, Index: pitch, Scale: 2}, u)
	ADDQ(Imm(64), dst)
	end(pairs, "pair")
}
