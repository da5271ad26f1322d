// Command gen writes the micro-kernels of package kernels for AVX2 with FMA and for AVX-512. It is a
// module of its own so that the generator is no dependency of daq.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/daq-sr/daq/runtime/kernels/gen/asm"
)

func main() {
	ConstraintExpr("amd64,!purego")
	gemmPanel()
	row()
	interleave()
	sumLanes()
	sumPixels()
	survey()
	transpose16()
	for _, m := range []isa{avx2, avx512} {
		panels := [][2]int{{6, 1}}
		if m.bytes == 64 {
			panels = [][2]int{{6, 1}, {12, 1}, {6, 2}, {12, 2}, {6, 3}, {6, 4}}
		}
		for _, p := range panels {
			panel(m, p[0], p[1])
		}
		lanewise(m)
		for outs := 1; outs <= 3; outs++ {
			dots(m, outs)
		}
		winoInput(m)
		winoOutput(m, 6)
		winoOutput(m, 4)
	}
	Generate()
}

var (
	xs, ys, zs     = asm.Xs, asm.Ys, asm.Zs
	param, paramAt = asm.Param, asm.ParamAt
	constant       = asm.Constant
	lanes          = asm.Lanes
)

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
