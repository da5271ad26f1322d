package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// inputRows is intWinoB: registers 0 to 5 to those returned, of up to 12.
func inputRows() [6]reg.VecPhysical {
	d, t, u, a, b := ys, ys[6], ys[7], ys[8], ys[9]
	VPSUBW(d[2], d[4], t) // t = d4 - d2
	VPSUBW(d[1], d[3], u) // u = d3 - d1
	VPSUBW(d[2], d[0], d[0])
	VPSLLW(Imm(2), d[0], d[0])
	VPADDW(t, d[0], d[0]) // 0
	VPSLLW(Imm(2), d[2], d[2])
	VPSUBW(d[2], d[4], a)
	VPSLLW(Imm(2), d[1], d[1])
	VPSUBW(d[1], d[3], b)
	VPADDW(b, a, d[1]) // 1
	VPSUBW(b, a, d[2]) // 2
	VPSUBW(d[3], d[5], d[5])
	VPADDW(u, u, u)
	VPADDW(u, t, d[3]) // 3
	VPSUBW(u, t, d[4]) // 4
	VPADDW(u, u, u)
	VPSUBW(u, d[5], d[5]) // 5
	return [6]reg.VecPhysical{d[0], d[1], d[2], d[3], d[4], d[5]}
}

func input() {
	text("wordInputAVX2", "wordInputGo", "func(tiles int, src *int16, pixel int, row int, dst *int16, tile int, point int)")
	tiles, src, pixel, row := param("tiles"), param("src"), param("pixel"), param("row")
	dst, tile, point := param("dst"), param("tile"), param("point")
	mid := AllocLocal(36 * 32)
	Label("tile")
	from := GP64()
	MOVQ(src, from)
	for x := range 6 {
		for y, at := range rows(6, from, row, 0) {
			VMOVDQU(at, ys[y])
		}
		for i, v := range inputRows() {
			VMOVDQU(v, mid.Offset((i*6+x)*32))
		}
		if x < 5 {
			ADDQ(pixel, from)
		}
	}
	to := GP64()
	MOVQ(dst, to)
	for i := range 6 {
		for x := range 6 {
			VMOVDQU(mid.Offset((i*6+x)*32), ys[x])
		}
		at := rows(6, to, point, 0)
		for j, v := range inputRows() {
			VMOVDQU(v, at[j])
		}
		if i < 5 {
			LEAQ(Mem{Base: to, Index: point, Scale: 4}, to)
			LEAQ(Mem{Base: to, Index: point, Scale: 2}, to)
		}
	}
	LEAQ(Mem{Base: src, Index: pixel, Scale: 4}, src)
	ADDQ(tile, dst)
	end(tiles, "tile")
}

// outputRows is intWinoA: registers 0 to 5 to those returned; 2, 4 and 8 in 13 to
// 15.
func outputRows() [4]reg.VecPhysical {
	m, a, b, c, d := ys, ys[6], ys[7], ys[8], ys[9]
	VADDPS(m[2], m[1], a)
	VSUBPS(m[2], m[1], b)
	VADDPS(m[4], m[3], c)
	VSUBPS(m[4], m[3], d)
	VADDPS(a, m[0], m[0])
	VADDPS(c, m[0], m[0])
	VMOVAPS(b, m[1])
	VFMADD231PS(d, ys[13], m[1])
	VFMADD231PS(c, ys[14], a)
	VADDPS(m[5], b, b)
	VFMADD231PS(d, ys[15], b)
	return [4]reg.VecPhysical{m[0], m[1], a, b}
}

func output(kind, source string) {
	scales := ""
	if source == "int32" {
		scales = "scale *float32, "
	}
	text(kind+"OutputAVX2", kind+"OutputGo", "func(tiles int, src *"+source+", tile int, point int, "+scales+"bias *float32, lo float32, dst *float32, row int)")
	tiles, src, tile, point := param("tiles"), param("src"), param("tile"), param("point")
	bias, dst := param("bias"), param("dst")
	var scale reg.GPVirtual
	if source == "int32" {
		scale = param("scale")
	}
	sixth := GP64()
	LEAQ(Mem{Base: point, Index: point, Scale: 2}, sixth)
	ADDQ(sixth, sixth)
	for i, v := range []float32{2, 4, 8} {
		VMOVUPS(constant([]string{"Two", "Four", "Eight"}[i], v), ys[13+i])
	}
	mid := AllocLocal(24 * 32)
	Label("tile")
	for h := range 2 {
		from := GP64()
		MOVQ(src, from)
		for j := range 6 {
			for i, at := range rows(6, from, sixth, 32*h) {
				if source == "float32" {
					VMOVUPS(at, ys[i])
					continue
				}
				VCVTDQ2PS(at, ys[i])
				VMULPS(Mem{Base: scale, Disp: (i*6+j)*64 + 32*h}, ys[i], ys[i])
			}
			for y, v := range outputRows() {
				VMOVUPS(v, mid.Offset((y*6+j)*32))
			}
			if j < 5 {
				ADDQ(point, from)
			}
		}
		to, row := GP64(), param("row")
		MOVQ(dst, to)
		VBROADCASTSS(paramAt("lo"), ys[12])
		for y := range 4 {
			for j := range 6 {
				VMOVUPS(mid.Offset((y*6+j)*32), ys[j])
			}
			for x, v := range outputRows() {
				VADDPS(Mem{Base: bias, Disp: 64*(4*y+x) + 32*h}, v, v)
				VMAXPS(v, ys[12], v) // a NaN stays
				VMOVUPS(v, Mem{Base: to, Disp: 64*x + 32*h})
			}
			if y < 3 {
				ADDQ(row, to)
			}
		}
	}
	ADDQ(tile, src)
	ADDQ(U32(4*64), dst)
	end(tiles, "tile")
}

func accumulate() {
	text("intAccumulateAVX2", "intAccumulateGo", "func(tiles int, dst *float32, src *int32, tile int, scale *float32, add bool)")
	tiles, dst, src, tile, scale := param("tiles"), param("dst"), param("src"), param("tile"), param("scale")
	VMOVUPS(Mem{Base: scale}, ys[0])
	VMOVUPS(Mem{Base: scale, Disp: 32}, ys[1])
	for _, kind := range []string{"more", "first"} {
		if kind == "more" {
			CMPB(paramAt("add"), Imm(0))
			JEQ(LabelRef("first"))
		}
		Label(kind)
		for h := range 2 {
			VCVTDQ2PS(Mem{Base: src, Disp: 32 * h}, ys[2+h])
			if kind == "more" {
				VFMADD213PS(Mem{Base: dst, Disp: 32 * h}, ys[h], ys[2+h])
			} else {
				VMULPS(ys[h], ys[2+h], ys[2+h])
			}
			VMOVUPS(ys[2+h], Mem{Base: dst, Disp: 32 * h})
		}
		ADDQ(tile, src)
		ADDQ(tile, dst)
		end(tiles, kind)
	}
}
