package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// six addresses, stride apart: base and a second register at 3*stride.
func six(base, stride reg.GPVirtual, disp int) [6]Mem {
	far := GP64()
	LEAQ(Mem{Base: base, Index: stride, Scale: 2}, far)
	ADDQ(stride, far)
	return [6]Mem{
		{Base: base, Disp: disp}, {Base: base, Index: stride, Scale: 1, Disp: disp}, {Base: base, Index: stride, Scale: 2, Disp: disp},
		{Base: far, Disp: disp}, {Base: far, Index: stride, Scale: 1, Disp: disp}, {Base: far, Index: stride, Scale: 2, Disp: disp},
	}
}

// inputColumn is winoB: registers 0 to 5 to those returned; 4, 5 and 2 in
// registers 13 to 15.
func inputColumn(r []reg.VecPhysical) [6]reg.VecPhysical {
	k4, k5, k2 := r[13], r[14], r[15]
	VMOVAPS(r[4], r[6]) // 4*d0 - 5*d2 + d4
	VFNMADD231PS(r[2], k5, r[6])
	VFMADD231PS(r[0], k4, r[6])
	VFNMADD231PS(r[3], k5, r[5]) // 4*d1 - 5*d3 + d5
	VFMADD231PS(r[1], k4, r[5])
	VMOVAPS(r[4], r[7]) // d4 - 4*d2
	VFNMADD231PS(r[2], k4, r[7])
	VMOVAPS(r[3], r[8]) // d3 - 4*d1
	VFNMADD231PS(r[1], k4, r[8])
	VADDPS(r[8], r[7], r[9])
	VSUBPS(r[8], r[7], r[7])
	VSUBPS(r[2], r[4], r[4]) // d4 - d2
	VSUBPS(r[1], r[3], r[3]) // d3 - d1
	VMOVAPS(r[4], r[10])
	VFMADD231PS(r[3], k2, r[4])
	VFNMADD231PS(r[3], k2, r[10])
	return [6]reg.VecPhysical{r[6], r[9], r[7], r[4], r[10], r[5]}
}

// winoInput transforms down the columns first, on pixels as they lie in memory,
// then along the rows, with one tile in each lane.
//
// The second form reads only pixels whose mask is set, 36 for each row, and
// takes the others for zero; its source starts at elements after src.
func winoInput() {
	TEXT("winoInputAVX2", 0, "func(src *float32, pitch int, dst *float32, stride int, ahead int)")
	Pragma("noescape")
	Doc("winoInputAVX2 is winoInputGo; pitch and stride are in bytes. The same pixels ahead bytes further are prefetched.")
	winoInputBody(param("src"), func(v int, at Mem, to reg.VecPhysical) { VMOVUPS(at, to) })

	TEXT("winoInputEdgeAVX2", 0, "func(src *float32, at int, mask *int32, pitch int, dst *float32, stride int, ahead int)")
	Pragma("noescape")
	Doc("winoInputEdgeAVX2 is winoInputAVX2 for a source of which mask is in the image.")
	src, at, mask := param("src"), param("at"), param("mask")
	LEAQ(Mem{Base: src, Index: at, Scale: 4}, src)
	loaded := -1
	winoInputBody(src, func(v int, at Mem, to reg.VecPhysical) {
		m := ys[12]
		if v == 4 {
			m = xs[12]
		}
		if v != loaded {
			VMOVDQU(Mem{Base: mask, Disp: 32 * v}, m)
			loaded = v
		}
		VMASKMOVPS(at, m, to)
	})
}

func winoInputBody(src reg.GPVirtual, load func(v int, at Mem, to reg.VecPhysical)) {
	k4, k5, k2 := constant("four", 4), constant("five", 5), constant("two", 2)
	pitch, dst, stride := param("pitch"), param("dst"), param("stride")
	prefetch(src, pitch, 6, 3)
	const row = 4 * 36
	mid := AllocLocal(6 * row)
	VMOVUPS(k4, ys[13])
	VMOVUPS(k5, ys[14])
	VMOVUPS(k2, ys[15])
	for v := range 5 {
		r := ys
		if v == 4 {
			r = xs // the last 4 of 36 pixels
		}
		for y, at := range six(src, pitch, 32*v) {
			load(v, at, r[y])
		}
		for i, t := range inputColumn(r) {
			VMOVUPS(t, mid.Offset(i*row+32*v))
		}
	}
	for i := range 6 {
		// Register v holds pixels 4v to 4v+3 of tile 0 on, and of tile 4 on.
		for v := range 5 {
			VMOVUPS(mid.Offset(i*row+16*v), xs[6+v])
			VINSERTF128(Imm(1), mid.Offset(i*row+16*v+64), ys[6+v], ys[6+v])
		}
		v := ys[6:11]
		VUNPCKLPS(v[2], v[1], ys[4])
		VUNPCKLPS(v[4], v[3], ys[11])
		VUNPCKHPD(ys[11], ys[4], ys[5])
		VUNPCKLPD(ys[11], ys[4], ys[4])
		VUNPCKLPS(v[1], v[0], ys[0])
		VUNPCKHPS(v[1], v[0], ys[2])
		VUNPCKLPS(v[3], v[2], ys[11])
		VUNPCKHPS(v[3], v[2], ys[12])
		VUNPCKHPD(ys[11], ys[0], ys[1])
		VUNPCKLPD(ys[11], ys[0], ys[0])
		VUNPCKHPD(ys[12], ys[2], ys[3])
		VUNPCKLPD(ys[12], ys[2], ys[2])
		to := six(dst, stride, 0)
		for j, t := range inputColumn(ys) {
			VMOVUPS(t, to[j])
		}
		LEAQ(Mem{Base: dst, Index: stride, Scale: 4}, dst)
		LEAQ(Mem{Base: dst, Index: stride, Scale: 2}, dst)
	}
	VZEROUPPER()
	RET()
}

// outputColumn is winoA: registers 0 to 5 to those returned; 2, 4 and 8 in
// registers 13 to 15.
func outputColumn() [4]reg.VecPhysical {
	r := ys
	k2, k4, k8 := r[13], r[14], r[15]
	VADDPS(r[1], r[2], r[8])
	VSUBPS(r[2], r[1], r[9])
	VADDPS(r[3], r[4], r[10])
	VSUBPS(r[4], r[3], r[11])
	VADDPS(r[8], r[0], r[0])
	VADDPS(r[10], r[0], r[0])
	VMOVAPS(r[9], r[6])
	VFMADD231PS(r[11], k2, r[6])
	VMOVAPS(r[8], r[7])
	VFMADD231PS(r[10], k4, r[7])
	VADDPS(r[9], r[5], r[5])
	VFMADD231PS(r[11], k8, r[5])
	return [4]reg.VecPhysical{r[0], r[6], r[7], r[5]}
}

// winoOutput is winoInput the other way round: down the columns, along the rows
// with a tile in each lane, then back to pixels as they lie in memory.
func winoOutput() {
	k8 := constant("eight", 8)
	TEXT("winoOutputAVX2", 0, "func(src *float32, stride int, start float32, lo float32, dst *float32, pitch int, ahead int)")
	Pragma("noescape")
	Doc("winoOutputAVX2 is winoOutputGo; stride and pitch are in bytes.")
	src, stride, dst, pitch := param("src"), param("stride"), param("dst"), param("pitch")
	prefetch(dst, pitch, 4, 2)
	mid := AllocLocal(4 * 6 * 32)
	VMOVUPS(constant("two", 2), ys[13])
	VMOVUPS(constant("four", 4), ys[14])
	VMOVUPS(k8, ys[15])
	row := GP64() // six positions
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, row)
	ADDQ(row, row)
	for j := range 6 {
		for i, at := range six(src, row, 0) {
			VMOVUPS(at, ys[i])
		}
		for y, t := range outputColumn() {
			VMOVUPS(t, mid.Offset((y*6+j)*32))
		}
		ADDQ(stride, src)
	}
	for y := range 4 {
		for j := range 6 {
			VMOVUPS(mid.Offset((y*6+j)*32), ys[j])
		}
		p := outputColumn()
		VBROADCASTSS(paramAt("start"), ys[1])
		VBROADCASTSS(paramAt("lo"), ys[2])
		for _, v := range p {
			VADDPS(ys[1], v, v)
			VMAXPS(v, ys[2], v)
		}
		VUNPCKLPS(p[1], p[0], ys[1])
		VUNPCKLPS(p[3], p[2], ys[2])
		VUNPCKHPS(p[1], p[0], ys[3])
		VUNPCKHPS(p[3], p[2], ys[4])
		VUNPCKLPD(ys[2], ys[1], ys[8])
		VUNPCKHPD(ys[2], ys[1], ys[9])
		VUNPCKLPD(ys[4], ys[3], ys[10])
		VUNPCKHPD(ys[4], ys[3], ys[11])
		for t := range 4 { // tiles t and t+4
			VMOVUPS(xs[8+t], Mem{Base: dst, Disp: 16 * t})
			VEXTRACTF128(Imm(1), ys[8+t], Mem{Base: dst, Disp: 64 + 16*t})
		}
		ADDQ(pitch, dst)
	}
	VZEROUPPER()
	RET()
}

// prefetch asks for so many cache lines of each row, ahead of base.
func prefetch(base, pitch reg.GPVirtual, rows, lines int) {
	at := param("ahead")
	ADDQ(base, at)
	for r := range rows {
		for l := range lines {
			PREFETCHT0(Mem{Base: at, Disp: 64 * l})
		}
		if r < rows-1 {
			ADDQ(pitch, at)
		}
	}
}
