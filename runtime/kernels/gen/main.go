// Command gen writes the AVX2 and FMA micro-kernels of package kernels. It is a
// module of its own so that the generator is no dependency of daq.
package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64,!purego")
	gemmPanel()
	copyPanel()
	spreadRow()
	sumTaps()
	row()
	interleave()
	sumLanes()
	transpose16()
	winoInput()
	winoOutput()
	Generate()
}

var (
	ys = []reg.VecPhysical{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
		reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}
	xs = []reg.VecPhysical{reg.X0, reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7,
		reg.X8, reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14, reg.X15}
)

func param(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// address of a parameter, to broadcast a float32 from.
func paramAt(name string) Mem {
	b, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// constant is v in all eight lanes. (F32 would emit an integer for whole
// numbers.)
func constant(name string, v float32) Mem { return lanes(name, math.Float32bits(v)) }

var defined = map[string]Mem{}

// lanes is v in all eight lanes, defined once for each name.
func lanes(name string, v uint32) Mem {
	m, ok := defined[name]
	if !ok {
		m = GLOBL(name, RODATA|NOPTR)
		for i := range 8 {
			DATA(4*i, U32(v))
		}
		defined[name] = m
	}
	return m
}

// gemmPanel: 4 rows x 24 columns in 12 accumulators, 3 registers for a row of
// the panel and one for the broadcast weight.
func gemmPanel() {
	TEXT("gemmPanelAVX2", NOSPLIT, "func(blocks int, k int, a *float32, b *float32, c *float32, ldc int, start *float32, lo float32)")
	Pragma("noescape")
	Doc("gemmPanelAVX2 is gemmPanelGo; ldc is in bytes.")
	blocks, a, c, ldc, start := param("blocks"), param("a"), param("c"), param("ldc"), param("start")
	acc := func(row, v int) reg.VecPhysical { return ys[3*row+v] }
	weight := ys[15]
	c3 := GP64()

	Label("block")
	// c3 is row 3; rows 0 to 2 are c + 0, 1, 2 times ldc.
	LEAQ(Mem{Base: c, Index: ldc, Scale: 2}, c3)
	ADDQ(ldc, c3)
	out := func(row, v int) Mem {
		switch row {
		case 0:
			return Mem{Base: c, Disp: 32 * v}
		case 3:
			return Mem{Base: c3, Disp: 32 * v}
		}
		return Mem{Base: c, Index: ldc, Scale: uint8(row), Disp: 32 * v}
	}
	TESTQ(start, start)
	JZ(LabelRef("accumulate"))
	for row := range 4 {
		VBROADCASTSS(Mem{Base: start, Disp: 4 * row}, acc(row, 0))
		VMOVAPS(acc(row, 0), acc(row, 1))
		VMOVAPS(acc(row, 0), acc(row, 2))
	}
	ADDQ(Imm(16), start)
	JMP(LabelRef("multiply"))
	Label("accumulate")
	for row := range 4 {
		for v := range 3 {
			VMOVUPS(out(row, v), acc(row, v))
		}
	}

	Label("multiply")
	b, k := param("b"), param("k")
	step := func(u int) {
		for v := range 3 {
			VMOVUPS(Mem{Base: b, Disp: u*96 + 32*v}, ys[12+v])
		}
		for row := range 4 {
			VBROADCASTSS(Mem{Base: a, Disp: 16*u + 4*row}, weight)
			for v := range 3 {
				VFMADD231PS(weight, ys[12+v], acc(row, v))
			}
		}
	}
	SUBQ(Imm(4), k)
	JLT(LabelRef("rest"))
	Label("four")
	for u := range 4 {
		step(u)
	}
	ADDQ(U32(4*96), b)
	ADDQ(Imm(4*16), a)
	SUBQ(Imm(4), k)
	JGE(LabelRef("four"))
	Label("rest")
	ADDQ(Imm(4), k)
	JZ(LabelRef("store"))
	Label("one")
	step(0)
	ADDQ(Imm(96), b)
	ADDQ(Imm(16), a)
	DECQ(k)
	JNZ(LabelRef("one"))

	Label("store")
	VBROADCASTSS(paramAt("lo"), weight)
	for row := range 4 {
		for v := range 3 {
			// A NaN in the first operand (the last in this order) is kept.
			VMAXPS(acc(row, v), weight, acc(row, v))
			VMOVUPS(acc(row, v), out(row, v))
		}
	}
	LEAQ(Mem{Base: c, Index: ldc, Scale: 4}, c)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

func copyPanel() {
	TEXT("copyPanelAVX2", NOSPLIT, "func(rows int, dst *float32, src *float32, offsets *int)")
	Pragma("noescape")
	Doc("copyPanelAVX2 is copyPanelGo.")
	rows, dst, src, offsets := param("rows"), param("dst"), param("src"), param("offsets")
	from := GP64()
	Label("row")
	MOVQ(Mem{Base: offsets}, from)
	LEAQ(Mem{Base: src, Index: from, Scale: 4}, from)
	for v := range 3 {
		VMOVUPS(Mem{Base: from, Disp: 32 * v}, ys[v])
		VMOVUPS(ys[v], Mem{Base: dst, Disp: 32 * v})
	}
	ADDQ(Imm(8), offsets)
	ADDQ(Imm(96), dst)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

func spreadRow() {
	TEXT("spreadRowAVX2", NOSPLIT, "func(panels int, dst *float32, pitch int, src *float32)")
	Pragma("noescape")
	Doc("spreadRowAVX2 is spreadRowGo; pitch is in bytes.")
	panels, dst, pitch, src := param("panels"), param("dst"), param("pitch"), param("src")
	Label("panel")
	for v := range 3 {
		VMOVUPS(Mem{Base: src, Disp: 32 * v}, ys[v])
		VMOVUPS(ys[v], Mem{Base: dst, Disp: 32 * v})
	}
	ADDQ(Imm(96), src)
	ADDQ(pitch, dst)
	DECQ(panels)
	JNZ(LabelRef("panel"))
	VZEROUPPER()
	RET()
}

// sumTaps: 32 pixels in 4 accumulators.
func sumTaps() {
	TEXT("sumTapsAVX2", NOSPLIT, "func(blocks int, taps int, w *float32, offsets *int, src *float32, dst *float32, start float32, lo float32)")
	Pragma("noescape")
	Doc("sumTapsAVX2 is sumTapsGo.")
	blocks, taps, w, offsets := param("blocks"), param("taps"), param("w"), param("offsets")
	src, dst := param("src"), param("dst")
	t, from := GP64(), GP64()
	Label("block")
	for v := range 4 {
		VBROADCASTSS(paramAt("start"), ys[v])
	}
	XORQ(t, t)
	Label("tap")
	MOVQ(Mem{Base: offsets, Index: t, Scale: 8}, from)
	VBROADCASTSS(Mem{Base: w, Index: t, Scale: 4}, ys[4])
	LEAQ(Mem{Base: src, Index: from, Scale: 4}, from)
	for v := range 4 {
		VFMADD231PS(Mem{Base: from, Disp: 32 * v}, ys[4], ys[v])
	}
	INCQ(t)
	CMPQ(t, taps)
	JLT(LabelRef("tap"))
	VBROADCASTSS(paramAt("lo"), ys[4])
	for v := range 4 {
		VMAXPS(ys[v], ys[4], ys[v])
		VMOVUPS(ys[v], Mem{Base: dst, Disp: 32 * v})
	}
	ADDQ(U32(128), src)
	ADDQ(U32(128), dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
