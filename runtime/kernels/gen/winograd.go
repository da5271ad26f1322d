package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Tiles of 8x8 are transformed column by column into local memory, then row by row.

// eight is the addresses of rows, stride apart, from base on.
type eight struct{ base, far, stride, three reg.GPVirtual }

func newEight(base, stride, three reg.GPVirtual) eight {
	e := eight{base, GP64(), stride, three}
	LEAQ(Mem{Base: base, Index: three, Scale: 1}, e.far)
	return e
}

func (e eight) at(row, disp int) Mem {
	m := Mem{Base: e.base, Disp: disp}
	switch row {
	case 1, 2, 4:
		m.Index, m.Scale = e.stride, uint8(row)
	case 3, 6:
		m.Index, m.Scale = e.three, uint8(row/3)
	case 5, 7:
		m.Base, m.Index, m.Scale = e.far, e.stride, uint8(row-3)
	}
	return m
}

// factors are constants by value, in registers where there are enough of them.
func factors(m isa, values ...float32) func(v float32) Op {
	in := map[float32]Op{}
	for i, v := range values {
		c := constant(fmt.Sprintf("wino%d_%d", int(v), int(v*64)%64), v)
		if in[v] = c; m.bytes == 64 {
			r := m.v[len(m.v)-1-i]
			VBROADCASTSS(c, r)
			in[v] = r
		}
	}
	return func(v float32) Op { return in[v] }
}

// local is n aligned vectors.
func local(m isa, n int) func(i int) Mem {
	base := GP64()
	LEAQ(AllocLocal(n*m.bytes+m.bytes).Offset(m.bytes-1), base)
	ANDQ(I32(int32(-m.bytes)), base)
	return func(i int) Mem { return Mem{Base: base, Disp: i * m.bytes} }
}

// winoInput transforms tiles beside each other, 16 channels at a time.
func winoInput(m isa) {
	TEXT("winoInput"+m.name, 0, "func(tiles int, src *float32, row int, step int, dst *float32, tile int, pos int)")
	Pragma("noescape")
	Doc("winoInput" + m.name + " is winoInputGo; row, step, tile and pos are in bytes.")
	tiles, src, row, step := param("tiles"), param("src"), param("row"), param("step")
	dst, tile, pos := param("dst"), param("tile"), param("pos")
	row3, pos3 := times3(row), times3(pos)
	k := factors(m, 21./4, 17./4, 1./4, 5./4, 1./2, 5./2, 2, 4, 5)
	mid := local(m, 64)
	d, p, q, r := m.v[:8], m.v[8], m.v[9], m.v[10]
	// transform is winoB of d.
	transform := func(emit func(i int, v reg.VecPhysical)) {
		for i := range 2 {
			VSUBPS(d[i], d[6+i], p)
			VSUBPS(d[4+i], d[2+i], q)
			VFMADD231PS(k(21./4), q, p)
			emit(7*i, p)
		}
		both := func(i int) {
			VADDPS(q, p, r)
			VSUBPS(q, p, q)
			emit(i, r)
			emit(i+1, q)
		}
		VADDPS(d[2], d[6], p)
		VFNMADD231PS(k(17./4), d[4], p)
		VADDPS(d[1], d[5], q)
		VFNMADD231PS(k(17./4), d[3], q)
		both(1)
		for i, f := range [][5]float32{{1. / 4, 5. / 4, 1. / 2, 5. / 2, 2}, {4, 5, 2, 5. / 2, 1. / 2}} {
			VMOVAPS(d[6], p)
			VFMADD231PS(k(f[0]), d[2], p)
			VFNMADD231PS(k(f[1]), d[4], p)
			VMULPS(k(f[2]), d[1], q)
			VFNMADD231PS(k(f[3]), d[3], q)
			VFMADD231PS(k(f[4]), d[5], q)
			both(3 + 2*i)
		}
	}
	Label("tile")
	for disp := 0; disp < 64; disp += m.bytes {
		from, to := newEight(src, row, row3), GP64()
		MOVQ(dst, to)
		for x := range 8 {
			for y := range 8 {
				VMOVUPS(from.at(y, 64*x+disp), d[y])
			}
			transform(func(y int, v reg.VecPhysical) { VMOVUPS(v, mid(8*y+x)) })
		}
		for y := range 8 {
			for x := range 8 {
				VMOVUPS(mid(8*y+x), d[x])
			}
			out := newEight(to, pos, pos3)
			transform(func(x int, v reg.VecPhysical) { VMOVUPS(v, out.at(x, disp)) })
			if y < 7 {
				LEAQ(Mem{Base: to, Index: pos, Scale: 8}, to)
			}
		}
	}
	ADDQ(step, src)
	ADDQ(tile, dst)
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// winoOutput transforms back, adds the bias and stores the pixels of tiles of
// size x size.
func winoOutput(m isa, size int) {
	name := fmt.Sprintf("winoOutput%s_%d", m.name, size)
	TEXT(name, 0, "func(tiles int, src *float32, tile int, pos int, start *float32, lo float32, dst *float32, row int, pixel int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is winoOutputGo for tiles of %[2]dx%[2]d; tile, pos, row and pixel are in bytes.", name, size))
	tiles, src, tile, pos, start := param("tiles"), param("src"), param("tile"), param("pos"), param("start")
	dst, row, pixel := param("dst"), param("row"), param("pixel")
	line, pixel3 := GP64(), times3(pixel)
	MOVQ(pos, line)
	SHLQ(Imm(3), line)
	line3 := times3(line)
	k := factors(m, 2, 1./2, 4, 1./4, 8, 1./8, 16, 1./16, 32, 1./32)
	mid := local(m, 8*size)
	d, sums, y, low := m.v[:8], m.v[8:11], m.v[11], m.v[12]
	VBROADCASTSS(paramAt("lo"), low)
	// transform is winoA of d.
	transform := func(emit func(i int, v reg.VecPhysical)) {
		for i, s := range sums {
			VADDPS(d[2*i+1], d[2*i+2], s)
			VSUBPS(d[2*i+2], d[2*i+1], d[2*i+1]) // difference
		}
		VADDPS(sums[0], d[0], d[0])
		VADDPS(sums[1], sums[2], y)
		VADDPS(d[0], y, y)
		emit(0, y)
		for i := 1; i < size; i++ {
			a, b, c := d[1], d[3], d[5]
			if i%2 == 0 {
				a, b, c = sums[0], sums[1], sums[2]
			}
			if i < size-1 {
				VMOVAPS(a, y)
			} else {
				VADDPS(a, d[7], y)
			}
			VFMADD231PS(k(float32(int(1)<<i)), b, y)
			VFMADD231PS(k(1/float32(int(1)<<i)), c, y)
			emit(i, y)
		}
	}
	Label("tile")
	for disp := 0; disp < 64; disp += m.bytes {
		from, to := GP64(), GP64()
		MOVQ(src, from)
		for x := range 8 {
			rows := newEight(from, line, line3)
			for i := range 8 {
				VMOVUPS(rows.at(i, disp), d[i])
			}
			transform(func(i int, v reg.VecPhysical) { VMOVUPS(v, mid(8*i+x)) })
			if x < 7 {
				ADDQ(pos, from)
			}
		}
		MOVQ(dst, to)
		for i := range size {
			for x := range 8 {
				VMOVUPS(mid(8*i+x), d[x])
			}
			out := newEight(to, pixel, pixel3)
			transform(func(x int, v reg.VecPhysical) {
				VADDPS(Mem{Base: start, Disp: disp}, v, v)
				VMAXPS(v, low, v) // keeps a NaN
				VMOVUPS(v, out.at(x, disp))
			})
			if i < size-1 {
				ADDQ(row, to)
			}
		}
	}
	ADDQ(tile, src)
	LEAQ(Mem{Base: dst, Index: pixel, Scale: 4}, dst)
	if size == 6 {
		LEAQ(Mem{Base: dst, Index: pixel, Scale: 2}, dst)
	}
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}
