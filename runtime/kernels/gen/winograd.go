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

// inputRows computes the wanted results of winoB from vectors 0 to 5 of d into
// registers of free; 4, 5 and 2 are in k.
func inputRows(d, free []reg.VecPhysical, k [3]reg.VecPhysical, wanted [6]bool) (t [6]reg.VecPhysical) {
	next := func() reg.VecPhysical {
		r := free[0]
		free = free[1:]
		return r
	}
	k4, k5, k2 := k[0], k[1], k[2]
	temp := free[len(free)-1]
	if wanted[0] { // 4*d0 - 5*d2 + d4
		t[0] = next()
		VMOVAPS(d[4], t[0])
		VFNMADD231PS(d[2], k5, t[0])
		VFMADD231PS(d[0], k4, t[0])
	}
	if wanted[1] { // (d4 - 4*d2) ± (d3 - 4*d1)
		t[1], t[2] = next(), next()
		b := temp
		VMOVAPS(d[4], t[2])
		VFNMADD231PS(d[2], k4, t[2])
		VMOVAPS(d[3], b)
		VFNMADD231PS(d[1], k4, b)
		VADDPS(b, t[2], t[1])
		VSUBPS(b, t[2], t[2])
	}
	if wanted[3] { // (d4 - d2) ± 2*(d3 - d1)
		t[3], t[4] = next(), next()
		e := temp
		VSUBPS(d[2], d[4], t[3])
		VSUBPS(d[1], d[3], e)
		VMOVAPS(t[3], t[4])
		VFMADD231PS(e, k2, t[3])
		VFNMADD231PS(e, k2, t[4])
	}
	if wanted[5] { // 4*d1 - 5*d3 + d5
		t[5] = next()
		VMOVAPS(d[5], t[5])
		VFNMADD231PS(d[3], k5, t[5])
		VFMADD231PS(d[1], k4, t[5])
	}
	return t
}

var all = [6]bool{true, true, true, true, true, true}

// winoInput transforms tiles beside each other, 16 channels at a time.
func winoInput(m isa) {
	frame := 0
	if m.bytes == 32 {
		frame = 36 * m.bytes
	}
	TEXT("winoInput"+m.name, 0, "func(tiles int, src *float32, row int, dst *float32, tile int, pos int)")
	Pragma("noescape")
	Doc("winoInput" + m.name + " is winoInputGo; row, tile and pos are in bytes.")
	tiles, src, row, dst, tile, pos := param("tiles"), param("src"), param("row"), param("dst"), param("tile"), param("pos")
	last := len(m.v)
	k := [3]reg.VecPhysical{m.v[last-3], m.v[last-2], m.v[last-1]}
	for i, v := range []float32{4, 5, 2} {
		VBROADCASTSS(constant([]string{"four", "five", "two"}[i], v), k[i])
	}
	var mid Mem
	if frame > 0 {
		mid = AllocLocal(frame)
	}
	Label("tile")
	if frame > 0 {
		for half := range 2 {
			disp := half * m.bytes
			for x := range 6 {
				for y, at := range six(src, row, 64*x+disp) {
					VMOVUPS(at, m.v[y])
				}
				for i, t := range inputRows(m.v, m.v[6:13], k, all) {
					VMOVUPS(t, mid.Offset((i*6+x)*m.bytes))
				}
			}
			to := GP64()
			MOVQ(dst, to)
			for i := range 6 {
				for x := range 6 {
					VMOVUPS(mid.Offset((i*6+x)*m.bytes), m.v[x])
				}
				at := six(to, pos, disp)
				for j, t := range inputRows(m.v, m.v[6:13], k, all) {
					VMOVUPS(t, at[j])
				}
				if i < 5 {
					LEAQ(Mem{Base: to, Index: pos, Scale: 4}, to)
					LEAQ(Mem{Base: to, Index: pos, Scale: 2}, to)
				}
			}
		}
	} else {
		// Three rows of results at a time leave everything in registers.
		to := GP64()
		MOVQ(dst, to)
		for half := range 2 {
			first := 3 * half
			wanted := [6]bool{true, true, true, false, false, false}
			if half == 1 {
				wanted = [6]bool{false, false, false, true, true, true}
			}
			var held [3][]reg.VecPhysical
			for i := range held {
				held[i] = make([]reg.VecPhysical, 6)
			}
			loaded := m.v[18:24]
			for x := range 6 {
				for y, at := range six(src, row, 64*x) {
					if half == 0 && y < 5 || half == 1 && y > 0 {
						VMOVUPS(at, loaded[y])
					}
				}
				t := inputRows(loaded, []reg.VecPhysical{m.v[3*x], m.v[3*x+1], m.v[3*x+2], m.v[24]}, k, wanted)
				for i, r := range t[first : first+3] {
					held[i][x] = r
				}
			}
			for i := range 3 {
				at := six(to, pos, 0)
				for j, t := range inputRows(held[i], m.v[18:29], k, all) {
					VMOVUPS(t, at[j])
				}
				if half == 0 || i < 2 {
					LEAQ(Mem{Base: to, Index: pos, Scale: 4}, to)
					LEAQ(Mem{Base: to, Index: pos, Scale: 2}, to)
				}
			}
		}
	}
	ADDQ(U32(4*64), src)
	ADDQ(tile, dst)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// outputRows is winoA of vectors d, using them up; two more registers, and 2, 4
// and 8 in k.
func outputRows(d []reg.VecPhysical, free [2]reg.VecPhysical, k [3]reg.VecPhysical) [4]reg.VecPhysical {
	k2, k4, k8 := k[0], k[1], k[2]
	s, p := free[0], free[1]
	VADDPS(d[1], d[2], s)
	VSUBPS(d[2], d[1], d[1]) // difference
	VADDPS(d[3], d[4], p)
	VSUBPS(d[4], d[3], d[3]) // difference
	VADDPS(s, d[0], d[0])
	VADDPS(p, d[0], d[0])
	VADDPS(d[1], d[5], d[5])
	VFMADD231PS(d[3], k8, d[5])
	VFMADD231PS(d[3], k2, d[1])
	VFMADD231PS(p, k4, s)
	return [4]reg.VecPhysical{d[0], d[1], s, d[5]}
}

// winoOutput transforms back, adds the bias and stores 16 pixels.
func winoOutput(m isa) {
	TEXT("winoOutput"+m.name, 0, "func(tiles int, src *float32, tile int, pos int, start *float32, lo float32, dst *float32, row int, pixel int)")
	Pragma("noescape")
	Doc("winoOutput" + m.name + " is winoOutputGo; tile, pos, row and pixel are in bytes.")
	tiles, src, pos, start := param("tiles"), param("src"), param("pos"), param("start")
	dst, row, pixel := param("dst"), param("row"), param("pixel")
	sixth, three := GP64(), times3(pixel) // six positions
	LEAQ(Mem{Base: pos, Index: pos, Scale: 2}, sixth)
	ADDQ(sixth, sixth)
	last := len(m.v)
	k := [3]reg.VecPhysical{m.v[last-3], m.v[last-2], m.v[last-1]}
	for i, v := range []float32{2, 4, 8} {
		VBROADCASTSS(constant([]string{"two", "four", "eight"}[i], v), k[i])
	}
	var mid Mem
	if m.bytes == 32 {
		mid = AllocLocal(24 * m.bytes)
	}
	finish := func(t [4]reg.VecPhysical, bias, low reg.VecPhysical, to reg.GPVirtual, disp int) {
		for x, v := range t {
			VADDPS(bias, v, v)
			VMAXPS(v, low, v)
			at := Mem{Base: to, Disp: disp}
			switch x {
			case 1, 2:
				at.Index, at.Scale = pixel, uint8(x)
			case 3:
				at.Index, at.Scale = three, 1
			}
			VMOVUPS(v, at)
		}
	}
	Label("tile")
	for disp := 0; disp < 64; disp += m.bytes {
		from, to := GP64(), GP64()
		MOVQ(src, from)
		var held [6][4]reg.VecPhysical
		free := m.v[:last-3]
		for j := range 6 {
			if m.bytes == 32 {
				free = m.v
			}
			d := free[:6]
			for i, at := range six(from, sixth, disp) {
				VMOVUPS(at, d[i])
			}
			// Six registers are loaded and four kept; the others are free again.
			t := outputRows(d, [2]reg.VecPhysical{free[6], free[7]}, k)
			if m.bytes == 32 {
				for y, v := range t {
					VMOVUPS(v, mid.Offset((y*6+j)*m.bytes))
				}
			} else {
				held[j] = t
				var rest []reg.VecPhysical
				for _, r := range free {
					if r != t[0] && r != t[1] && r != t[2] && r != t[3] {
						rest = append(rest, r)
					}
				}
				free = rest
			}
			if j < 5 {
				ADDQ(pos, from)
			}
		}
		MOVQ(dst, to)
		for y := range 4 {
			var d []reg.VecPhysical
			if m.bytes == 32 {
				free, d = m.v[6:], m.v[:6]
				for j := range 6 {
					VMOVUPS(mid.Offset((y*6+j)*m.bytes), d[j])
				}
			} else {
				for j := range 6 {
					d = append(d, held[j][y])
				}
			}
			t := outputRows(d, [2]reg.VecPhysical{free[0], free[1]}, k)
			// Registers of d that hold no result take the bias and the bound.
			VMOVUPS(Mem{Base: start, Disp: disp}, d[3])
			VBROADCASTSS(paramAt("lo"), d[4])
			finish(t, d[3], d[4], to, disp)
			if y < 3 {
				ADDQ(row, to)
			}
		}
	}
	tile := param("tile")
	ADDQ(tile, src)
	LEAQ(Mem{Base: dst, Index: pixel, Scale: 4}, dst)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}
