package main

import (
	"fmt"

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

// few: 4 vectors of pixels for each of a few output planes; the weights are
// broadcast.
func few(m isa, outs int) {
	const n = 4
	args := text(fmt.Sprintf("few%s_%d", m.name, outs), fmt.Sprintf("is fewGo for %d outputs.", outs))
	acc := func(o, v int) reg.VecPhysical { return m.v[o*n+v] }
	weight := m.v[outs*n:][:outs]
	pixels := m.v[outs*n+outs]
	base := loadArg(args, argA)
	ADDQ(Mem{Base: args, Disp: argAt}, base)

	Label("panel")
	start := loadArg(args, argStart)
	for o := range outs {
		for v := range n {
			VBROADCASTSS(Mem{Base: start, Disp: 4 * o}, acc(o, v))
		}
	}
	spans, count, b := loadArg(args, argSpans), loadArg(args, argCount), loadArg(args, argB)
	Label("tap")
	at := GP64()
	MOVQ(Mem{Base: spans}, at)
	ADDQ(Imm(16), spans)
	for o := range outs {
		VBROADCASTSS(Mem{Base: b, Disp: 4 * o}, weight[o])
	}
	for v := range n {
		VMOVUPS(Mem{Base: base, Index: at, Scale: 1, Disp: v * m.bytes}, pixels)
		for o := range outs {
			VFMADD231PS(pixels, weight[o], acc(o, v))
		}
	}
	ADDQ(Imm(uint64(4*outs)), b)
	DECQ(count)
	JNZ(LabelRef("tap"))
	VBROADCASTSS(Mem{Base: args, Disp: argLo}, pixels)
	c, plane := loadArg(args, argC), loadArg(args, argCBlock)
	for o := range outs {
		for v := range n {
			VMAXPS(acc(o, v), pixels, acc(o, v))
			VMOVUPS(acc(o, v), Mem{Base: c, Disp: v * m.bytes})
		}
		if o < outs-1 {
			ADDQ(plane, c)
		}
	}
	ADDQ(U32(uint32(n*m.bytes)), base)
	ADDQ(U32(uint32(n*m.bytes)), Mem{Base: args, Disp: argC})
	DECQ(Mem{Base: args, Disp: argPanels})
	JNZ(LabelRef("panel"))
	VZEROUPPER()
	RET()
}
