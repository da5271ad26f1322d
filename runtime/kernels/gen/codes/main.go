// Command codes writes the micro-kernels for tensors of codes, for AVX2.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/daq-sr/daq/runtime/kernels/gen/asm"
)

func main() {
	ConstraintExpr("amd64,!purego")
	levels()
	encode()
	decode()
	widen()
	output()
	Generate()
}

var (
	xs, ys          = asm.Xs, asm.Ys
	param, paramAt  = asm.Param, asm.ParamAt
	text, end, rows = asm.Text, asm.End, asm.Rows
)

// steps brings 8 values at src into v as whole numbers of steps between the least
// and the most; NaN is the least. Scale, least and most are in registers 13 to 15.
func steps(src Mem, v reg.VecPhysical) {
	VMOVUPS(src, v)
	VMAXPS(ys[14], v, v)
	VMINPS(ys[15], v, v)
	VDIVPS(ys[13], v, v)
	VCVTPS2DQ(v, v)
}

func loadQuantizer() {
	for i, name := range []string{"scale", "least", "most"} {
		VBROADCASTSS(paramAt(name), ys[13+i])
	}
}

func loadZero() { VMOVD(Load(Param("zero"), GP32()).(reg.GPVirtual), xs[12]) }

func levels() {
	text("levelsAVX2", "levelsGo for 16 values at a time", "func(n int, dst *float32, src *float32, scale float32, least float32, most float32)")
	n, dst, src := param("n"), param("dst"), param("src")
	loadQuantizer()
	Label("values")
	for h := range 2 {
		steps(Mem{Base: src, Disp: 32 * h}, ys[h])
		VCVTDQ2PS(ys[h], ys[h])
		VMULPS(ys[13], ys[h], ys[h])
		VMOVUPS(ys[h], Mem{Base: dst, Disp: 32 * h})
	}
	ADDQ(Imm(64), src)
	ADDQ(Imm(64), dst)
	end(n, "values")
}

func encode() {
	text("encodeCodesAVX2", "encodeCodesGo for 16 values at a time", "func(n int, dst *uint8, src *float32, scale float32, least float32, most float32, zero int32)")
	n, dst, src := param("n"), param("dst"), param("src")
	loadQuantizer()
	loadZero()
	VPBROADCASTD(xs[12], ys[12])
	Label("values")
	for h := range 2 {
		steps(Mem{Base: src, Disp: 32 * h}, ys[h])
		VPADDD(ys[12], ys[h], ys[h])
	}
	VPACKSSDW(ys[1], ys[0], ys[0])
	VPERMQ(Imm(0xd8), ys[0], ys[0])
	VEXTRACTI128(Imm(1), ys[0], xs[1])
	VPACKUSWB(xs[1], xs[0], xs[0])
	VMOVDQU(xs[0], Mem{Base: dst})
	ADDQ(Imm(64), src)
	ADDQ(Imm(16), dst)
	end(n, "values")
}

func decode() {
	text("decodeCodesAVX2", "decodeCodesGo for 16 values at a time", "func(n int, dst *float32, src *uint8, scale float32, zero int32)")
	n, dst, src := param("n"), param("dst"), param("src")
	VBROADCASTSS(paramAt("scale"), ys[13])
	loadZero()
	VPBROADCASTD(xs[12], ys[12])
	Label("values")
	for h := range 2 {
		VPMOVZXBD(Mem{Base: src, Disp: 8 * h}, ys[h])
		VPSUBD(ys[12], ys[h], ys[h])
		VCVTDQ2PS(ys[h], ys[h])
		VMULPS(ys[13], ys[h], ys[h])
		VMOVUPS(ys[h], Mem{Base: dst, Disp: 32 * h})
	}
	ADDQ(Imm(16), src)
	ADDQ(Imm(64), dst)
	end(n, "values")
}

func widen() {
	text("widenCodesAVX2", "widenCodesGo", "func(pixels int, dst *int16, stride int, src *uint8, zero int32)")
	pixels, dst, stride, src := param("pixels"), param("dst"), param("stride"), param("src")
	loadZero()
	VPBROADCASTW(xs[12], ys[12])
	Label("pixel")
	VPMOVZXBW(Mem{Base: src}, ys[0])
	VPSUBW(ys[12], ys[0], ys[0])
	VMOVDQU(ys[0], Mem{Base: dst})
	ADDQ(Imm(16), src)
	ADDQ(stride, dst)
	end(pixels, "pixel")
}

// outputRows is codesWinoA: registers 0 to 5 to those returned.
func outputRows() [4]reg.VecPhysical {
	m, a, b, c, d := ys, ys[6], ys[7], ys[8], ys[9]
	VPADDD(m[2], m[1], a)
	VPSUBD(m[2], m[1], b)
	VPADDD(m[4], m[3], c)
	VPSUBD(m[4], m[3], d)
	VPADDD(c, m[0], m[0])
	VPADDD(c, a, c) // 2
	VPSLLD(Imm(2), a, a)
	VPADDD(a, m[0], m[0]) // 0
	VPADDD(m[5], d, m[5])
	VPADDD(m[5], m[5], m[5])
	VPADDD(b, m[5], m[5]) // 3
	VPADDD(b, b, b)
	VPADDD(d, b, b) // 1
	return [4]reg.VecPhysical{m[0], b, c, m[5]}
}

func output() {
	text("codesOutputAVX2", "codesOutputGo", "func(tiles int, src *int32, tile int, point int, scale *float32, bias *float32, lo float32, dst *float32, row int)")
	tiles, src, tile, point := param("tiles"), param("src"), param("tile"), param("point")
	scale, bias, dst, row := param("scale"), param("bias"), param("dst"), param("row")
	sixth := GP64()
	LEAQ(Mem{Base: point, Index: point, Scale: 2}, sixth)
	ADDQ(sixth, sixth)
	VMOVDQU(asm.Lanes("codesNinth", 954437177), ys[15]) // times 9 is 1 modulo 2^32
	VBROADCASTSS(paramAt("lo"), ys[12])
	mid := AllocLocal(24 * 32)
	Label("tile")
	for h := range 2 {
		from := GP64()
		MOVQ(src, from)
		for j := range 6 {
			for i, at := range rows(6, from, sixth, 32*h) {
				VMOVDQU(at, ys[i])
			}
			for y, v := range outputRows() {
				VMOVDQU(v, mid.Offset((y*6+j)*32))
			}
			if j < 5 {
				ADDQ(point, from)
			}
		}
		VMOVUPS(Mem{Base: scale, Disp: 32 * h}, ys[13])
		VMOVUPS(Mem{Base: bias, Disp: 32 * h}, ys[14])
		to := GP64()
		MOVQ(dst, to)
		shift := [4]uint64{3, 2, 1, 1}
		for y := range 4 {
			for j := range 6 {
				VMOVDQU(mid.Offset((y*6+j)*32), ys[j])
			}
			for x, v := range outputRows() {
				VPMULLD(ys[15], v, v)
				VPSRAD(Imm(shift[y]+shift[x]), v, v)
				VCVTDQ2PS(v, v)
				VMULPS(ys[13], v, v)
				VADDPS(ys[14], v, v)
				VMAXPS(v, ys[12], v)
				VMOVUPS(v, Mem{Base: to, Disp: 64*x + 32*h})
			}
			if y < 3 {
				ADDQ(row, to)
			}
		}
	}
	ADDQ(tile, src)
	ADDQ(U32(4*64), dst)
	end(tiles, "tile")
}
