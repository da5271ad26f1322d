package main

import (
	"fmt"
	"math"
	"sync"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa is what kernels of both vector widths are written over.
type isa struct {
	name  string
	bytes int
	v     []reg.VecPhysical
}

var (
	avx2   = isa{"AVX2", 32, ys}
	avx512 = isa{"AVX512", 64, zs}
)

// perBlock is the number of vectors in a block of 16 channels.
func (m isa) perBlock() int { return 64 / m.bytes }

// Fields of panelArgs in the order of the Go struct, eight bytes each.
const (
	argPanels = 8 * iota
	argA
	argAt
	argPixel
	argSpans
	argCount
	argB
	argC
	argCPixel
	argCBlock
	argStart
	argLo
)

// text begins a kernel over panelArgs and returns their address.
func text(name, doc string) reg.GPVirtual {
	TEXT(name, NOSPLIT, "func(args *byte)")
	Pragma("noescape")
	Doc(name + " " + doc + " It uses its arguments up.")
	return param("args")
}

// rows is the addresses of up to 12 rows, stride apart.
type rows struct {
	stride reg.GPVirtual
	base   []reg.GPVirtual // rows 0, 3, 6, 9
}

func newRows(n int, stride reg.GPVirtual) rows {
	r := rows{stride: stride}
	for i := 0; i < n; i += 3 {
		r.base = append(r.base, GP64())
	}
	return r
}

// set makes row 0 start at base; three is a register with 3*stride.
func (r rows) set(base Mem, three reg.GPVirtual) {
	LEAQ(base, r.base[0])
	for i := 1; i < len(r.base); i++ {
		LEAQ(Mem{Base: r.base[i-1], Index: three, Scale: 1}, r.base[i])
	}
}

func (r rows) at(row, disp int) Mem {
	m := Mem{Base: r.base[row/3], Disp: disp}
	if row%3 > 0 {
		m.Index, m.Scale = r.stride, uint8(row%3)
	}
	return m
}

func (r rows) advance(bytes int) {
	for _, b := range r.base {
		ADDQ(Imm(uint64(bytes)), b)
	}
}

func loadArg(args reg.GPVirtual, field int) reg.GPVirtual {
	r := GP64()
	MOVQ(Mem{Base: args, Disp: field}, r)
	return r
}

// times3 returns a register with three times another.
func times3(r reg.GPVirtual) reg.GPVirtual {
	t := GP64()
	LEAQ(Mem{Base: r, Index: r, Scale: 2}, t)
	return t
}

// outputs calls f for every row with a function that gives the address of a
// block of it.
func outputs(args reg.GPVirtual, n, blocks int, f func(row int, block func(b, disp int) Mem)) {
	c, pixel, block := loadArg(args, argC), loadArg(args, argCPixel), loadArg(args, argCBlock)
	var three reg.GPVirtual
	if blocks > 3 {
		three = times3(block)
	}
	for row := range n {
		f(row, func(b, disp int) Mem {
			switch b {
			case 0:
				return Mem{Base: c, Disp: disp}
			case 3:
				return Mem{Base: c, Index: three, Scale: 1, Disp: disp}
			}
			return Mem{Base: c, Index: block, Scale: uint8(b), Disp: disp}
		})
		ADDQ(pixel, c)
	}
}

// nextPanel moves c on and goes back for as long as there are panels; base is
// moved by the caller.
func nextPanel(args reg.GPVirtual, n int, loop string) {
	step := loadArg(args, argCPixel)
	IMUL3Q(Imm(uint64(n)), step, step)
	ADDQ(step, Mem{Base: args, Disp: argC})
	DECQ(Mem{Base: args, Disp: argPanels})
	JNZ(LabelRef(loop))
	VZEROUPPER()
	RET()
}

// panel: n pixels of so many blocks of output channels, whose sums stay in
// registers; pixels are broadcast one channel at a time.
func panel(m isa, n, blocks int) {
	args := text(fmt.Sprintf("panel%s_%dx%d", m.name, n, blocks), fmt.Sprintf("is panelGo for panels of %d pixels and %d blocks.", n, blocks))
	vecs := blocks * m.perBlock()
	acc := func(row, v int) reg.VecPhysical { return m.v[row*vecs+v] }
	weight := m.v[n*vecs:][:vecs]
	pixel := m.v[(n+1)*vecs]
	block := func(at func(b, disp int) Mem, v int) Mem { return at(v/m.perBlock(), v%m.perBlock()*m.bytes) }

	stride := loadArg(args, argPixel)
	base := loadArg(args, argA)
	ADDQ(Mem{Base: args, Disp: argAt}, base)
	a := newRows(n, stride)
	three := times3(stride)
	ahead, next := GP64(), GP64()
	IMUL3Q(Imm(uint64(n)), stride, ahead)

	Label("panel")
	start := loadArg(args, argStart)
	TESTQ(start, start)
	JZ(LabelRef("accumulate"))
	for v := range vecs {
		VMOVUPS(Mem{Base: start, Disp: v * m.bytes}, acc(0, v))
		for row := 1; row < n; row++ {
			VMOVAPS(acc(0, v), acc(row, v))
		}
	}
	JMP(LabelRef("multiply"))
	Label("accumulate")
	outputs(args, n, blocks, func(row int, at func(b, disp int) Mem) {
		for v := range vecs {
			VMOVUPS(block(at, v), acc(row, v))
		}
	})

	Label("multiply")
	spans, count, b := loadArg(args, argSpans), loadArg(args, argCount), loadArg(args, argB)
	TESTQ(count, count)
	JZ(LabelRef("store"))
	Label("span")
	lanes := GP64()
	MOVQ(Mem{Base: spans}, lanes)
	a.set(Mem{Base: base, Index: lanes, Scale: 1}, three)
	MOVQ(Mem{Base: spans, Disp: 8}, lanes)
	ADDQ(Imm(16), spans)
	for _, base := range a.base { // the same of the next panel
		LEAQ(Mem{Base: base, Index: ahead, Scale: 1}, next)
		for row := range 3 {
			PREFETCHT0(rows{stride, []reg.GPVirtual{next}}.at(row, 0))
		}
	}
	step := func(u int) {
		for v := range vecs {
			VMOVUPS(Mem{Base: b, Disp: (u*vecs + v) * m.bytes}, weight[v])
		}
		for row := range n {
			VBROADCASTSS(a.at(row, 4*u), pixel)
			for v := range vecs {
				VFMADD231PS(weight[v], pixel, acc(row, v))
			}
		}
	}
	SUBQ(Imm(4), lanes)
	JLT(LabelRef("rest"))
	Label("four")
	for u := range 4 {
		step(u)
	}
	ADDQ(U32(uint32(4*vecs*m.bytes)), b)
	a.advance(16)
	SUBQ(Imm(4), lanes)
	JGE(LabelRef("four"))
	Label("rest")
	ADDQ(Imm(4), lanes)
	JZ(LabelRef("end"))
	Label("one")
	step(0)
	ADDQ(U32(uint32(vecs*m.bytes)), b)
	a.advance(4)
	DECQ(lanes)
	JNZ(LabelRef("one"))
	Label("end")
	DECQ(count)
	JNZ(LabelRef("span"))

	Label("store")
	VBROADCASTSS(Mem{Base: args, Disp: argLo}, pixel)
	outputs(args, n, blocks, func(row int, at func(b, disp int) Mem) {
		for v := range vecs {
			// A NaN in the first operand (the last in this order) is kept.
			VMAXPS(acc(row, v), pixel, acc(row, v))
			VMOVUPS(acc(row, v), block(at, v))
		}
	})
	ADDQ(ahead, base)
	nextPanel(args, n, "panel")
}

// lanewise: 6 pixels of one block, every lane with its own weight.
func lanewise(m isa) {
	const n = 6
	args := text("lanewise"+m.name, "is lanewiseGo.")
	vecs := m.perBlock()
	acc := func(row, v int) reg.VecPhysical { return m.v[row*vecs+v] }
	weight := m.v[n*vecs:][:vecs]
	low := m.v[(n+1)*vecs]
	stride := loadArg(args, argPixel)
	base := loadArg(args, argA)
	ADDQ(Mem{Base: args, Disp: argAt}, base)
	a := newRows(n, stride)
	three := times3(stride)
	VBROADCASTSS(Mem{Base: args, Disp: argLo}, low)

	Label("panel")
	start := loadArg(args, argStart)
	for v := range vecs {
		for row := range n {
			VMOVUPS(Mem{Base: start, Disp: v * m.bytes}, acc(row, v))
		}
	}
	spans, count, b := loadArg(args, argSpans), loadArg(args, argCount), loadArg(args, argB)
	TESTQ(count, count)
	JZ(LabelRef("store"))
	Label("tap")
	at := GP64()
	MOVQ(Mem{Base: spans}, at)
	a.set(Mem{Base: base, Index: at, Scale: 1}, three)
	ADDQ(Imm(16), spans)
	for v := range vecs {
		VMOVUPS(Mem{Base: b, Disp: v * m.bytes}, weight[v])
	}
	for row := range n {
		for v := range vecs {
			VFMADD231PS(a.at(row, v*m.bytes), weight[v], acc(row, v))
		}
	}
	ADDQ(Imm(64), b)
	DECQ(count)
	JNZ(LabelRef("tap"))
	Label("store")
	outputs(args, n, 1, func(row int, at func(b, disp int) Mem) {
		for v := range vecs {
			VMAXPS(acc(row, v), low, acc(row, v))
			VMOVUPS(acc(row, v), at(0, v*m.bytes))
		}
	})
	for range n {
		ADDQ(stride, base)
	}
	nextPanel(args, n, "panel")
}

// dots: 6 pixels of a few outputs, with channels as lanes: sums of 16 channels stay in
// registers and are added up in the end.
func dots(m isa, outs int) {
	args := text(fmt.Sprintf("dots%s_%d", m.name, outs), fmt.Sprintf("is dotsGo for %d outputs.", outs))
	n := 6 // pixels at a time
	if m.bytes == 32 {
		n = 3
	}
	vecs := m.perBlock()
	// The first registers are free for sums of sums.
	acc := func(p, o int) reg.VecPhysical { return m.v[len(m.v)-1-p*outs-o] }
	weight, pixel, mask := m.v[:outs], m.v[outs], m.v[outs+1]
	low := xs[m.bytes/8]
	stride, base := loadArg(args, argPixel), loadArg(args, argA)
	ADDQ(Mem{Base: args, Disp: argAt}, base)
	a := newRows(n, stride)
	three := times3(stride)

	Label("panel")
	for first := 0; first < 6; first += n {
		label := func(name string) string { return fmt.Sprint(name, first) }
		for o := range outs {
			for p := range n {
				if m.bytes == 64 {
					VPXORD(acc(p, o), acc(p, o), acc(p, o))
				} else {
					VPXOR(acc(p, o), acc(p, o), acc(p, o))
				}
			}
		}
		spans, count, b := loadArg(args, argSpans), loadArg(args, argCount), loadArg(args, argB)
		step := func(masks reg.GPVirtual) {
			for v := range vecs {
				for o, w := range weight {
					VMOVUPS(Mem{Base: b, Disp: 64*o + v*m.bytes}, w)
				}
				if masks != nil {
					VMOVUPS(Mem{Base: masks, Disp: v * m.bytes}, mask)
				}
				for p := range n {
					VMOVUPS(a.at(p, v*m.bytes), pixel)
					if masks != nil && m.bytes == 64 {
						VPANDD(mask, pixel, pixel)
					} else if masks != nil {
						VPAND(mask, pixel, pixel)
					}
					for o, w := range weight {
						VFMADD231PS(pixel, w, acc(p, o))
					}
				}
			}
		}
		TESTQ(count, count)
		JZ(LabelRef(label("sums")))
		Label(label("span"))
		at := GP64()
		MOVQ(Mem{Base: spans}, at)
		a.set(Mem{Base: base, Index: at, Scale: 1}, three)
		CMPQ(Mem{Base: spans, Disp: 8}, Imm(16))
		JNE(LabelRef(label("part")))
		step(nil)
		Label(label("next"))
		ADDQ(Imm(16), spans)
		ADDQ(U32(uint32(64*outs)), b)
		DECQ(count)
		JNZ(LabelRef(label("span")))
		JMP(LabelRef(label("sums")))
		Label(label("part")) // other lanes may hold anything
		masks := GP64()
		LEAQ(laneMask().Offset(64), masks)
		MOVQ(Mem{Base: spans, Disp: 8}, at)
		SHLQ(Imm(2), at)
		SUBQ(at, masks)
		step(masks)
		JMP(LabelRef(label("next")))

		Label(label("sums"))
		ADDQ(three, base)
		if n == 6 {
			ADDQ(three, base)
		}
		c, start, plane := loadArg(args, argC), loadArg(args, argStart), loadArg(args, argCBlock)
		VBROADCASTSS(Mem{Base: args, Disp: argLo}, low)
		for o := range outs {
			VBROADCASTSS(Mem{Base: start, Disp: 4 * o}, xs[6])
			y := func(p int) reg.VecPhysical { return ys[p] }
			if m.bytes == 64 {
				for p := range n {
					VSHUFF64X2(Imm(0x4e), acc(p, o), acc(p, o), zs[p]) // the other half
					VADDPS(acc(p, o), zs[p], zs[p])
				}
			} else {
				y = func(p int) reg.VecPhysical { return acc(p, o) }
			}
			// finish adds the halves of ys[i], a sum for each of 4 pixels.
			finish := func(i int) {
				VEXTRACTF128(Imm(1), ys[i], xs[5])
				VADDPS(xs[5], xs[i], xs[i])
				VADDPS(xs[6], xs[i], xs[i])
				VMAXPS(xs[i], low, xs[i]) // keeps a NaN
			}
			VHADDPS(y(1), y(0), ys[0])
			if n == 3 {
				VHADDPS(y(2), y(2), ys[1])
				VHADDPS(ys[1], ys[0], ys[0])
				finish(0)
				VMOVLPS(xs[0], Mem{Base: c, Disp: 4 * first})
				VEXTRACTPS(Imm(2), xs[0], Mem{Base: c, Disp: 4*first + 8})
			} else {
				VHADDPS(y(3), y(2), ys[2])
				VHADDPS(ys[2], ys[0], ys[0])
				VHADDPS(y(5), y(4), ys[4])
				VHADDPS(ys[4], ys[4], ys[4])
				finish(0)
				finish(4)
				VMOVUPS(xs[0], Mem{Base: c})
				VMOVLPS(xs[4], Mem{Base: c, Disp: 16})
			}
			if o < outs-1 {
				ADDQ(plane, c)
			}
		}
	}
	nextPanel(args, 6, "panel")
}

// laneMask is 16 lanes of ones, then 16 of zeros.
var laneMask = sync.OnceValue(func() Mem {
	m := GLOBL("laneMask", RODATA|NOPTR)
	for i := range 32 {
		v := uint32(0)
		if i < 16 {
			v = math.MaxUint32
		}
		DATA(4*i, U32(v))
	}
	return m
})
