// Command ints writes the micro-kernels of integer convolution: in words for AVX2
// with FMA, and the matrix multiplication for AVX-512 VNNI too; in bytes for AVX-512 VNNI.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/daq-sr/daq/runtime/kernels/gen/asm"
)

func main() {
	ConstraintExpr("amd64,!purego")
	encodeWords()
	encodeBytes()
	encodeBytes4()
	momentsAVX2()
	momentsVNNI()
	input()
	for _, tiles := range []int{2, 4, 6} {
		panelAVX2(tiles)
		for _, blocks := range []int{1, 2, 4} {
			panelVNNI("word", "VPDPWSSD", tiles, blocks)
			panelVNNI("byte", "VPDPBUSD", tiles, blocks)
		}
	}
	panelAhead(6, 4)
	output("word", "int32")
	output("sums", "float32")
	accumulate()
	pointwise()
	fold()
	round()
	byteInput()
	byteOutput()
	foldBytes()
	roundBytes()
	byteRest()
	Generate()
}

var (
	ys, zs          = asm.Ys, asm.Zs
	param, paramAt  = asm.Param, asm.ParamAt
	text, end, rows = asm.Text, asm.End, asm.Rows
)

// The names of constants begin with int: those of the float kernels are in the same
// package.
func constant(name string, v float32) Mem { return asm.Constant("int"+name, v) }
func lanes(name string, v uint32) Mem     { return asm.Lanes("int"+name, v) }

// permutation is 16 numbers of 32 bits.
func permutation(name string, of func(i int) int) Mem {
	m := GLOBL("int"+name, RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(of(i)))
	}
	return m
}

// store stores a register of 64 bytes in halves: Zen 4 takes longer over the whole.
func store(v reg.VecPhysical, at Mem) {
	VMOVDQU32(v.AsY(), at)
	at.Disp += 32
	VEXTRACTI64X4(Imm(1), v, at)
}
