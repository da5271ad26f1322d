package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// rowOps are the operations of rowGo in the order of its constants: each body
// leaves op(a = register 0, b = register 1) in register 0 and may use 2 to 6.
// setup loads what stays in registers 7 to 15.
var rowOps = []struct {
	setup, body func()
}{
	{body: func() { VADDPS(ys[1], ys[0], ys[0]) }},
	{body: func() { VSUBPS(ys[1], ys[0], ys[0]) }},
	{body: func() { VSUBPS(ys[0], ys[1], ys[0]) }},
	{body: func() { VMULPS(ys[1], ys[0], ys[0]) }},
	{body: func() { VDIVPS(ys[1], ys[0], ys[0]) }},
	{body: func() { VDIVPS(ys[0], ys[1], ys[0]) }},
	{body: func() { VMAXPS(ys[0], ys[1], ys[0]) }}, // b > a ? b : a
	{body: func() { VMINPS(ys[0], ys[1], ys[0]) }}, // b < a ? b : a
	{body: leaky, setup: func() { VXORPS(ys[7], ys[7], ys[7]) }},
	{body: func() { // a > b ? 1 : 0
		VCMPPS(Imm(0x1e), ys[1], ys[0], ys[0])
		VANDPS(ys[7], ys[0], ys[0])
	}, setup: func() { VMOVUPS(constant("one", 1), ys[7]) }},
	{body: func() { VROUNDPS(Imm(9), ys[0], ys[0]) }},
	{body: func() {
		VCVTTPS2DQ(ys[0], ys[0])
		VPAND(ys[7], ys[0], ys[0])
		VCVTDQ2PS(ys[0], ys[0])
	}, setup: func() { VMOVDQU(lanes("byteMask", 255), ys[7]) }},
	{body: func() { VSQRTPS(ys[0], ys[0]) }},
	{body: sigmoid, setup: sigmoidSetup},
}

// leaky is a < 0 ? a*b : a.
func leaky() {
	VMULPS(ys[1], ys[0], ys[2])
	VCMPPS(Imm(0x11), ys[7], ys[0], ys[3])
	VBLENDVPS(ys[3], ys[2], ys[0], ys[0])
}

func sigmoidSetup() {
	for i, v := range []float32{88, -88, math.Log2E, 0.693359375, -2.12194440e-4, 1} {
		VMOVUPS(constant("sigmoid"+string(rune('A'+i)), v), ys[7+i])
	}
	VMOVDQU(lanes("sigmoidBias", 127), ys[13])
}

// sigmoid is 1/(1+exp(-a)), exp as in Cephes (Moshier, expf): a power of two and
// a polynomial of the rest.
func sigmoid() {
	x, n := ys[0], ys[2]
	VXORPS(ys[3], ys[3], ys[3])
	VSUBPS(x, ys[3], x)
	VMINPS(x, ys[7], x) // NaN stays
	VMAXPS(x, ys[8], x)
	VMULPS(ys[9], x, n)
	VROUNDPS(Imm(8), n, n)
	VFNMADD231PS(ys[10], n, x)
	VFNMADD231PS(ys[11], n, x)
	p := ys[3]
	VMOVUPS(constant("sigmoidP0", 1.9875691500e-4), p)
	for i, c := range []float32{1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1} {
		VFMADD213PS(constant("sigmoidP"+string(rune('1'+i)), c), x, p)
	}
	VMULPS(x, x, ys[4])
	VADDPS(ys[12], x, x)
	VFMADD231PS(p, ys[4], x)
	VCVTPS2DQ(n, n)
	VPADDD(ys[13], n, n)
	VPSLLD(Imm(23), n, n)
	VMULPS(n, x, x)
	VADDPS(ys[12], x, x)
	VDIVPS(x, ys[12], x)
}

// row has a loop for each operation, 16 elements at a time.
func row() {
	TEXT("rowAVX2", NOSPLIT, "func(op int, blocks int, dst *float32, a *float32, b *float32, step int)")
	Pragma("noescape")
	Doc("rowAVX2 is rowGo for blocks of 16 elements; step is in bytes.")
	op, blocks, dst, a, b, step := param("op"), param("blocks"), param("dst"), param("a"), param("b"), param("step")
	label := func(op int) string { return "op" + string(rune('A'+op)) }
	for i := range rowOps {
		CMPQ(op, Imm(uint64(i)))
		JEQ(LabelRef(label(i)))
	}
	RET()
	for i, o := range rowOps {
		Label(label(i))
		if o.setup != nil {
			o.setup()
		}
		loop := label(i) + "Loop"
		Label(loop)
		for half := range 2 {
			VMOVUPS(Mem{Base: a, Disp: 32 * half}, ys[0])
			VMOVUPS(Mem{Base: b, Disp: 32 * half}, ys[1])
			o.body()
			VMOVUPS(ys[0], Mem{Base: dst, Disp: 32 * half})
		}
		ADDQ(Imm(64), a)
		ADDQ(step, b)
		ADDQ(Imm(64), dst)
		DECQ(blocks)
		JNZ(LabelRef(loop))
		VZEROUPPER()
		RET()
	}
}

// interleave merges two rows of 8 elements into one of 16.
func interleave() {
	TEXT("interleaveAVX2", NOSPLIT, "func(blocks int, dst *float32, a *float32, b *float32)")
	Pragma("noescape")
	Doc("interleaveAVX2 is interleaveGo for blocks of 8 elements of a and b.")
	blocks, dst, a, b := param("blocks"), param("dst"), param("a"), param("b")
	Label("block")
	VMOVUPS(Mem{Base: a}, ys[0])
	VMOVUPS(Mem{Base: b}, ys[1])
	VUNPCKLPS(ys[1], ys[0], ys[2])
	VUNPCKHPS(ys[1], ys[0], ys[3])
	VMOVUPS(xs[2], Mem{Base: dst})
	VMOVUPS(xs[3], Mem{Base: dst, Disp: 16})
	VEXTRACTF128(Imm(1), ys[2], Mem{Base: dst, Disp: 32})
	VEXTRACTF128(Imm(1), ys[3], Mem{Base: dst, Disp: 48})
	ADDQ(Imm(32), a)
	ADDQ(Imm(32), b)
	ADDQ(Imm(64), dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// sumLanes adds element i to the float64 at i%16.
func sumLanes() {
	TEXT("sumLanesAVX2", NOSPLIT, "func(blocks int, src *float32, lanes *float64)")
	Pragma("noescape")
	Doc("sumLanesAVX2 is sumLanesGo for blocks of 16 elements.")
	blocks, src, lanes := param("blocks"), param("src"), param("lanes")
	for v := range 4 {
		VMOVUPD(Mem{Base: lanes, Disp: 32 * v}, ys[v])
	}
	Label("block")
	for v := range 4 {
		VCVTPS2PD(Mem{Base: src, Disp: 16 * v}, ys[4+v])
		VADDPD(ys[4+v], ys[v], ys[v])
	}
	ADDQ(Imm(64), src)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	for v := range 4 {
		VMOVUPD(ys[v], Mem{Base: lanes, Disp: 32 * v})
	}
	VZEROUPPER()
	RET()
}

// sumPixels keeps its 16 chains of 16 lanes in memory.
func sumPixels() {
	TEXT("sumPixelsAVX2", NOSPLIT, "func(pixels int, src *float32, chains *float64)")
	Pragma("noescape")
	Doc("sumPixelsAVX2 is sumPixelsGo.")
	pixels, src, chains := param("pixels"), param("src"), param("chains")
	at := GP64()
	XORQ(at, at)
	Label("pixel")
	for v := range 4 {
		chain := Mem{Base: chains, Index: at, Scale: 1, Disp: 32 * v}
		VCVTPS2PD(Mem{Base: src, Disp: 16 * v}, ys[v])
		VADDPD(chain, ys[v], ys[v])
		VMOVUPD(ys[v], chain)
	}
	ADDQ(Imm(64), src)
	ADDQ(U32(128), at)
	ANDQ(U32(2047), at)
	DECQ(pixels)
	JNZ(LabelRef("pixel"))
	VZEROUPPER()
	RET()
}
