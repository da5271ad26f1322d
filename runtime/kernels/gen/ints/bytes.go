package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The transforms of kernels/int_bytes.go, whose components and points these follow.

var byteReal = [4]int{0, 1, 2, 5} // the components that are real points

// distance is n times d.
func distance(d reg.GPVirtual, n int) reg.GPVirtual {
	r := GP64()
	IMUL3Q(Imm(uint64(n)), d, r)
	return r
}

// byteInput keeps rows 1 to 4 of a window in registers 0 to 23, column by column, and
// transforms one row of the result at a time in 24 to 29.
func byteInput() {
	text("byteInputVNNI", "byteInputGo", "func(tiles int, src *int8, pixel int, row int, dst *byte, tile int, point int)")
	tiles, src, pixel, row := param("tiles"), param("src"), param("pixel"), param("row")
	dst, tile, point := param("dst"), param("tile"), param("point")
	flipped := lanes("Flip", 0x80808080)
	flip := func(v, to reg.VecPhysical) { VPXORD_BCST(flipped, v, to) }
	d := func(y, x int) reg.VecPhysical { return zs[4*x+y-1] }
	v, t, s := zs[24:30], zs[30], zs[31]

	top, bottom := GP64(), GP64()
	window := func(base reg.GPVirtual) [6]Mem { return [6]Mem(rows(6, base, pixel, 0)) }
	row5 := distance(row, 5)
	point4, point7 := GP64(), distance(point, 7)
	MOVQ(point, point4)
	SHLQ(Imm(2), point4)
	Label("tile")
	line := GP64()
	MOVQ(src, line)
	for y := 1; y <= 4; y++ {
		ADDQ(row, line)
		for x, at := range window(line) {
			VMOVDQU32(at, d(y, x))
		}
	}
	MOVQ(src, top)
	LEAQ(Mem{Base: src, Index: row5, Scale: 1}, bottom)
	to := GP64()
	MOVQ(dst, to)
	// transform makes the components of the row in v, 128 added.
	transform := func(v []reg.VecPhysical) {
		VPADDB(v[3], v[1], s)
		flip(v[4], v[4])
		VPADDB(v[4], v[2], t)
		VPSUBB(v[0], v[4], v[0])
		VPSUBB(v[2], v[4], v[4]) // the real part
		flip(v[1], v[1])
		VPSUBB(v[1], v[3], v[3]) // the imaginary part
		VPSUBB(v[1], v[5], v[5])
		VPADDB(s, t, v[1])
		VPSUBB(s, t, v[2])
		v[3], v[4] = v[4], v[3]
	}
	// three stores the factors of a complex value, which both have 128 added.
	three := func(re, im, temp reg.VecPhysical, at []Mem) {
		VPADDB(im, re, temp)
		flip(temp, temp)
		VMOVDQU32(temp, at[0])
		VMOVDQU32(re, at[1])
		VMOVDQU32(im, at[2])
	}
	for _, i := range byteReal {
		row := append([]reg.VecPhysical(nil), v...)
		switch i {
		case 0:
			for x, at := range window(top) {
				VMOVDQU32(at, t)
				VPSUBB(t, d(4, x), row[x])
			}
		case 1, 2:
			for x := range 6 {
				VPADDB(d(2, x), d(4, x), t)
				VPADDB(d(1, x), d(3, x), s)
				if i == 1 {
					VPADDB(s, t, row[x])
				} else {
					VPSUBB(s, t, row[x])
				}
			}
		case 5:
			for x, at := range window(bottom) {
				VMOVDQU32(at, row[x])
				VPSUBB(d(1, x), row[x], row[x])
			}
		}
		transform(row)
		points := rows(4, to, point, 0)
		for c, j := range byteReal {
			VMOVDQU32(row[j], points[c])
		}
		far := GP64()
		LEAQ(Mem{Base: to, Index: point4, Scale: 1}, far)
		three(row[3], row[4], t, rows(3, far, point, 0))
		ADDQ(point7, to)
	}
	// The complex row: its real part in the registers of row 4, the imaginary in
	// those of 3; the others are free.
	var re, im []reg.VecPhysical
	for x := range 6 {
		VPSUBB(d(2, x), d(4, x), d(4, x))
		VPSUBB(d(1, x), d(3, x), d(3, x))
		re, im = append(re, d(4, x)), append(im, d(3, x))
	}
	transform(re)
	transform(im)
	for _, j := range byteReal {
		three(re[j], im[j], t, rows(3, to, point, 0))
		ADDQ(point, to)
		LEAQ(Mem{Base: to, Index: point, Scale: 2}, to)
	}
	a, b := v[0], v[1]
	rr, ri, ir, ii := re[3], re[4], im[3], im[4]
	flip(rr, rr)
	flip(ri, ri)
	VPSUBB(ii, rr, a) // has 128 added: ii has
	VPADDB(ir, ri, b)
	three(a, b, t, rows(3, to, point, 0))
	ADDQ(point, to)
	LEAQ(Mem{Base: to, Index: point, Scale: 2}, to)
	VPADDB(ii, rr, a)
	VPSUBB(ri, ir, b)
	three(a, b, t, rows(3, to, point, 0))
	LEAQ(Mem{Base: src, Index: pixel, Scale: 4}, src)
	ADDQ(tile, dst)
	end(tiles, "tile")
}

// byteOutput keeps what the transform of columns gives in 24 registers.
func byteOutput() {
	text("byteOutputVNNI", "byteOutputGo", "func(tiles int, src *int32, tile int, point int, scale *float32, bias *float32, lo float32, dst *float32, row int)")
	tiles, src, tile, point := param("tiles"), param("src"), param("tile"), param("point")
	scale, bias, dst, row := param("scale"), param("bias"), param("dst"), param("row")
	scales := func(n int) Mem { return Mem{Base: scale, Disp: 64 * n} }
	point3, point7 := distance(point, 3), distance(point, 7)
	mid := func(y, j int) reg.VecPhysical { return zs[4*j+y] }
	free := zs[24:]

	// complexAt loads the integers of three points from base on.
	complexAt := func(base reg.GPVirtual, re, im reg.VecPhysical) {
		at := rows(3, base, point, 0)
		VMOVDQU32(at[0], re)
		VPADDD(at[1], re, im)
		VPSUBD(at[2], re, re)
		VCVTDQ2PS(re, re)
		VCVTDQ2PS(im, im)
	}
	base := GP64()
	Label("tile")
	// Both complex columns: component i of them in those of registers 24 to 31 that
	// are free, and of the real columns, which come later.
	var re, im [6]reg.VecPhysical
	for i := range 6 {
		re[i], im[i] = zs[i], zs[6+i]
	}
	fours := GP64()
	LEAQ(Mem{Base: src, Index: point, Scale: 4}, fours)
	MOVQ(fours, base)
	for r, i := range byteReal {
		complexAt(base, re[i], im[i])
		if r < 3 {
			ADDQ(point7, base)
		}
	}
	MOVQ(src, base)
	for range 40 / 8 {
		LEAQ(Mem{Base: base, Index: point, Scale: 8}, base)
	}
	pr, pi, nr, ni := free[0], free[1], free[2], free[3]
	complexAt(base, pr, pi)
	ADDQ(point3, base)
	complexAt(base, nr, ni)
	VMULPS(scales(24), pr, pr)
	VMULPS(scales(24), pi, pi)
	VMOVUPS(scales(25), free[4])
	VMOVAPS(pr, re[3])
	VFMADD231PS(free[4], nr, re[3]) // M33 = pr + nr
	VMOVAPS(nr, im[4])
	VFMSUB213PS(pr, free[4], im[4]) // M44 = nr - pr
	VMOVAPS(pi, re[4])
	VFMADD231PS(free[4], ni, re[4]) // M43 = pi + ni
	VMOVAPS(pi, im[3])
	VFNMADD231PS(free[4], ni, im[3]) // M34 = pi - ni
	// re and im are now the columns 3 and 4.
	for k, m := range [][6]reg.VecPhysical{re, im} {
		j := 3 + k
		s, d, sum := free[0], free[1], free[2]
		VMULPS(scales(9), m[1], s)
		VMOVUPS(scales(14), sum)
		VMOVAPS(s, d)
		VFMADD231PS(sum, m[2], s)
		VFNMADD231PS(sum, m[2], d)
		VFMADD132PS(scales(4), s, m[0])
		VFMADD132PS(scales(19), d, m[5])
		VADDPS(m[3], m[0], mid(0, j))
		VSUBPS(m[4], d, mid(1, j))
		VSUBPS(m[3], s, mid(2, j))
		VADDPS(m[4], m[5], mid(3, j))
	}
	row28, last := GP64(), GP64()
	LEAQ(Mem{Base: base, Index: point3, Scale: 1}, last)
	MOVQ(src, base)
	LEAQ(Mem{Base: base, Index: point7, Scale: 4}, row28)
	for c, j := range byteReal {
		at := rows(4, base, point7, 0)
		s, d, sum := free[0], mid(1, j), free[1]
		VCVTDQ2PS(at[1], s)
		VCVTDQ2PS(at[2], sum)
		VMULPS(scales(c+5), s, s)
		if c == 1 { // (1, 1), which the last point belongs to
			VCVTDQ2PS(Mem{Base: last}, free[2])
			VFMADD231PS(scales(26), free[2], s)
		}
		VMOVUPS(scales(c+10), free[2])
		VMOVAPS(s, d)
		VFMADD231PS(free[2], sum, s)
		VFNMADD231PS(free[2], sum, d)
		VCVTDQ2PS(at[0], mid(0, j))
		VFMADD132PS(scales(c), s, mid(0, j))
		VCVTDQ2PS(at[3], mid(3, j))
		VFMADD132PS(scales(c+15), d, mid(3, j))
		re, im := free[3], free[4]
		complexAt(row28, re, im)
		VMOVUPS(scales(20+c), free[5])
		VFMADD231PS(free[5], re, mid(0, j))
		VFNMADD231PS(free[5], im, mid(1, j))
		VFNMADD231PS(free[5], re, s)
		VMOVAPS(s, mid(2, j))
		VFMADD231PS(free[5], im, mid(3, j))
		if c < 3 {
			ADDQ(point, base)
			ADDQ(point3, row28)
		}
	}
	VBROADCASTSS(paramAt("lo"), free[7])
	to := GP64()
	MOVQ(dst, to)
	for y := range 4 {
		m := func(j int) reg.VecPhysical { return mid(y, j) }
		s, d := free[0], free[1]
		VADDPS(m(2), m(1), s)
		VSUBPS(m(2), m(1), d)
		VADDPS(s, m(0), m(0))
		VADDPS(m(3), m(0), m(0))
		VSUBPS(m(4), d, m(1))
		VSUBPS(m(3), s, m(2))
		VADDPS(m(4), d, d)
		VADDPS(m(5), d, m(3))
		for x := range 4 {
			VADDPS(Mem{Base: bias, Disp: 64 * (4*y + x)}, m(x), m(x))
			VMAXPS(m(x), free[7], m(x)) // a NaN stays
			VMOVUPS(m(x), Mem{Base: to, Disp: 64 * x})
		}
		if y < 3 {
			ADDQ(row, to)
		}
	}
	ADDQ(tile, src)
	ADDQ(U32(4*64), dst)
	end(tiles, "tile")
}

func foldBytes() {
	text("foldBytesVNNI", "foldBytesGo", "func(u *float32, weights *float32, scale float32, level float32, most *float32, offsets *float32)")
	u, weights, most, offsets := param("u"), param("weights"), param("most"), param("offsets")
	scale, level, quarter := zs[31], zs[30], zs[29]
	VBROADCASTSS(paramAt("scale"), scale)
	VBROADCASTSS(paramAt("level"), level)
	VBROADCASTSS(constant("Quarter", 0.25), quarter)
	temp := zs[26:29]
	// rowG transforms three values to six; minus is -1 for the first, which may be
	// left as it is.
	put := func(v reg.VecPhysical, p int) { VMOVUPS(v, Mem{Base: u, Disp: 64 * p}) }
	widen := func(n int, list ...reg.VecPhysical) {
		VMOVUPS(Mem{Base: most, Disp: 64 * n}, temp[2])
		for _, v := range list {
			VRANGEPS(Imm(11), v, temp[2], temp[2]) // the larger absolute value
		}
		VMOVUPS(temp[2], Mem{Base: most, Disp: 64 * n})
	}
	three := func(c, d reg.VecPhysical, p, n int) {
		put(c, p)
		VSUBPS(c, d, temp[0])
		put(temp[0], p+1)
		VADDPS(c, d, temp[1])
		put(temp[1], p+2)
		widen(n, temp[0], temp[1])
	}
	// transform makes 6 components of g, which become those at 0 and infinity and one
	// more; without sign of the first.
	transform := func(g [3]reg.VecPhysical, to [6]reg.VecPhysical) {
		VADDPS(g[2], g[0], temp[0])
		VMULPS(quarter, g[1], to[4])
		VMOVAPS(temp[0], to[1])
		VFMADD213PS(to[4], quarter, to[1])
		VFMSUB213PS(to[4], quarter, temp[0])
		VMOVAPS(temp[0], to[2])
		VSUBPS(g[2], g[0], temp[0])
		VMULPS(quarter, temp[0], to[3])
		VPXORD(temp[1], temp[1], temp[1])
		VSUBPS(g[0], temp[1], to[0])
		if to[5] != g[2] {
			VMOVAPS(g[2], to[5])
		}
	}
	// Columns first: m(i, x) in registers 0 to 17.
	m := func(i, x int) reg.VecPhysical { return zs[3*i+x] }
	for x := range 3 {
		g := [3]reg.VecPhysical{zs[18], zs[19], zs[20]}
		for y := range 3 {
			disp := (y*3 + x) * 64
			VMOVUPS(Mem{Base: weights, Disp: disp}, g[y])
			VMOVUPS(Mem{Base: offsets, Disp: disp}, temp[0])
			VFMADD231PS(g[y], level, temp[0])
			VMOVUPS(temp[0], Mem{Base: offsets, Disp: disp})
			VMULPS(scale, g[y], g[y])
		}
		transform(g, [6]reg.VecPhysical{m(0, x), m(1, x), m(2, x), m(3, x), m(4, x), m(5, x)})
	}
	rowOf := func(i int) [3]reg.VecPhysical { return [3]reg.VecPhysical{m(i, 0), m(i, 1), m(i, 2)} }
	to := [6]reg.VecPhysical{zs[18], zs[19], zs[20], zs[21], zs[22], zs[23]}
	for r, i := range byteReal {
		transform(rowOf(i), to)
		for c, j := range byteReal {
			put(to[j], 7*r+c)
			widen(5*r+c, to[j])
		}
		three(to[3], to[4], 7*r+4, 5*r+4)
	}
	// The complex row, in place of those done.
	re := [6]reg.VecPhysical{zs[0], zs[1], zs[2], zs[3], zs[4], zs[5]}
	transform(rowOf(3), re)
	transform(rowOf(4), to)
	for c, j := range byteReal {
		three(re[j], to[j], 28+3*c, 20+c)
	}
	rr, ri, ir, ii := re[3], re[4], to[3], to[4]
	VSUBPS(ii, rr, zs[6])
	VADDPS(ir, ri, zs[7])
	three(zs[6], zs[7], 40, 24)
	VADDPS(ii, rr, zs[6])
	VSUBPS(ri, ir, zs[7])
	three(zs[6], zs[7], 43, 25)
	VZEROUPPER()
	RET()
}

func roundBytes() {
	text("roundBytesVNNI", "roundBytesGo", "func(quads int, dst *int8, u *float32, pitch int, inverse *float32, start *int32)")
	quads, dst, u, pitch := param("quads"), param("dst"), param("u"), param("pitch")
	inverse, start := param("inverse"), param("start")
	sum, factor, low := zs[4], zs[5], zs[6]
	VPXORD(sum, sum, sum)
	VMOVUPS(Mem{Base: inverse}, factor)
	VPBROADCASTD(lanes("LowByte", 0xff), low)
	Label("quad")
	for k, at := range rows(4, u, pitch, 0) {
		VMULPS(at, factor, zs[k])
		VCVTPS2DQ(zs[k], zs[k])
		VPADDD(zs[k], sum, sum)
		if k < 3 {
			VPANDD(low, zs[k], zs[k])
		}
		if k > 0 {
			VPSLLD(Imm(uint64(8*k)), zs[k], zs[k])
			VPORD(zs[k], zs[0], zs[0])
		}
	}
	VMOVDQU32(zs[0], Mem{Base: dst})
	LEAQ(Mem{Base: u, Index: pitch, Scale: 4}, u)
	ADDQ(Imm(64), dst)
	DECQ(quads)
	JNZ(LabelRef("quad"))
	VPSLLD(Imm(7), sum, sum)
	VMOVDQU32(Mem{Base: start}, zs[0])
	VPSUBD(sum, zs[0], zs[0])
	VMOVDQU32(zs[0], Mem{Base: start})
	VZEROUPPER()
	RET()
}

func byteRest() {
	text("byteRestVNNI", "byteRestGo", "func(inputs int, u *float32, inverse *float32)")
	inputs, u, inverse := param("inputs"), param("u"), param("inverse")
	VMOVUPS(Mem{Base: inverse}, zs[0])
	Label("input")
	VMULPS(Mem{Base: u, Disp: 8 * 64}, zs[0], zs[1])
	VREDUCEPS(Imm(0), zs[1], zs[1])
	VMOVUPS(zs[1], Mem{Base: u, Disp: 46 * 64})
	ADDQ(U32(47*64), u)
	end(inputs, "input")
}
