package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// transpose16 is four transposes of 8x8.
func transpose16() {
	TEXT("transpose16AVX2", NOSPLIT, "func(dst *float32, to int, src *float32, from int)")
	Pragma("noescape")
	Doc("transpose16AVX2 is transpose16Go; to and from are in bytes.")
	dst, to, src, from := param("dst"), param("to"), param("src"), param("from")
	at, out, half := GP64(), GP64(), GP64()
	MOVQ(to, half)
	SHLQ(Imm(3), half)
	for rows := range 2 {
		for cols := range 2 {
			MOVQ(src, at)
			for r := range 8 {
				VMOVUPS(Mem{Base: at, Disp: 32 * cols}, ys[r])
				if r < 7 {
					ADDQ(from, at)
				}
			}
			// Pairs of rows, then pairs of pairs, then halves.
			for i := range 4 {
				VUNPCKLPS(ys[2*i+1], ys[2*i], ys[8+i])
				VUNPCKHPS(ys[2*i+1], ys[2*i], ys[12+i])
			}
			for i, pair := range [][2]int{{8, 9}, {12, 13}, {10, 11}, {14, 15}} {
				VUNPCKLPD(ys[pair[1]], ys[pair[0]], ys[2*i])
				VUNPCKHPD(ys[pair[1]], ys[pair[0]], ys[2*i+1])
			}
			if cols == 0 {
				MOVQ(dst, out)
			} else {
				LEAQ(Mem{Base: dst, Index: half, Scale: 1}, out)
			}
			for c := range 8 {
				low, high := ys[c%4], ys[4+c%4]
				sel := uint64(0x20)
				if c >= 4 {
					sel = 0x31
				}
				VPERM2F128(Imm(sel), high, low, ys[8])
				VMOVUPS(ys[8], Mem{Base: out, Disp: 32 * rows})
				if c < 7 {
					ADDQ(to, out)
				}
			}
		}
		if rows == 0 {
			LEAQ(Mem{Base: src, Index: from, Scale: 8}, src)
		}
	}
	VZEROUPPER()
	RET()
}
