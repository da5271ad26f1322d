// Command ints writes the micro-kernels of integer convolution: for AVX2 with FMA,
// and the matrix multiplication for AVX-512 VNNI too.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"github.com/daq-sr/daq/runtime/kernels/gen/asm"
)

func main() {
	ConstraintExpr("amd64,!purego")
	encode()
	moments()
	input()
	for _, tiles := range []int{2, 4, 6} {
		panelAVX2(tiles)
		for _, blocks := range []int{1, 2, 4} {
			panelVNNI(tiles, blocks)
		}
	}
	output("Output", "int32")
	output("SumsOutput", "float32")
	accumulate()
	store()
	fold()
	round()
	Generate()
}

var (
	ys, zs         = asm.Ys, asm.Zs
	param, paramAt = asm.Param, asm.ParamAt
)

// text begins a function; its distances are in bytes.
func text(name, of, signature string) {
	TEXT(name, 0, signature)
	Pragma("noescape")
	Doc(name + " is " + of + "; distances are in bytes.")
}

// The names of constants begin with int: those of the float kernels are in the same
// package.
func constant(name string, v float32) Mem { return asm.Constant("int"+name, v) }
func lanes(name string, v uint32) Mem     { return asm.Lanes("int"+name, v) }

// rows are the addresses of up to six rows, stride apart.
func rows(n int, base, stride reg.GPVirtual, disp int) (list []Mem) {
	far := GP64()
	if n > 3 {
		LEAQ(Mem{Base: base, Index: stride, Scale: 2}, far)
		ADDQ(stride, far)
	}
	for i := range n {
		m := Mem{Base: base, Disp: disp}
		if i >= 3 {
			m.Base = far
		}
		if i%3 > 0 {
			m.Index, m.Scale = stride, uint8(i%3)
		}
		list = append(list, m)
	}
	return list
}

func end(counter reg.GPVirtual, loop string) {
	DECQ(counter)
	JNZ(LabelRef(loop))
	VZEROUPPER()
	RET()
}

func encode() {
	text("encodeAVX2", "encodeGo", "func(pixels int, dst *int16, stride int, src *float32, offset *float32, inverse *float32, levels *float32, factor *int16)")
	pixels, dst, stride, src := param("pixels"), param("dst"), param("stride"), param("src")
	offset, inverse, levels, factor := param("offset"), param("inverse"), param("levels"), param("factor")
	zero, half, centre := ys[7], ys[8], ys[6]
	VXORPS(zero, zero, zero)
	VMOVUPS(constant("Half", 0.5), half)
	for h := range 2 {
		VMOVUPS(Mem{Base: offset, Disp: 32 * h}, ys[h])
		VMOVUPS(Mem{Base: inverse, Disp: 32 * h}, ys[2+h])
		VMOVUPS(Mem{Base: levels, Disp: 32 * h}, ys[9+h])
		VSUBPS(constant("One", 1), ys[9+h], ys[4+h])
		VMAXPS(zero, ys[4+h], ys[4+h])
		VMULPS(half, ys[9+h], ys[9+h])
		VCVTTPS2DQ(ys[9+h], ys[9+h])
	}
	VPACKSSDW(ys[10], ys[9], centre)
	VPERMQ(Imm(0xd8), centre, centre)
	VMOVDQU(Mem{Base: factor}, ys[11])
	Label("pixel")
	for h := range 2 {
		v := ys[9+h]
		VMOVUPS(Mem{Base: src, Disp: 32 * h}, v)
		VSUBPS(ys[h], v, v)
		VMULPS(ys[2+h], v, v)
		VADDPS(half, v, v)
		VMAXPS(zero, v, v) // NaN becomes zero
		VMINPS(ys[4+h], v, v)
		VCVTTPS2DQ(v, v)
	}
	VPACKSSDW(ys[10], ys[9], ys[9])
	VPERMQ(Imm(0xd8), ys[9], ys[9])
	VPSUBW(centre, ys[9], ys[9])
	VPMULLW(ys[11], ys[9], ys[9])
	VMOVDQU(ys[9], Mem{Base: dst})
	ADDQ(Imm(64), src)
	ADDQ(stride, dst)
	end(pixels, "pixel")
}

func moments() {
	text("momentsAVX2", "momentsGo", "func(pixels int, src *float32, floor *float32, pivot *float32, sums *float32)")
	pixels, src, floor, pivot, sums := param("pixels"), param("src"), param("floor"), param("pivot"), param("sums")
	VMOVUPS(constant("One", 1), ys[15])
	for h := range 2 {
		VMOVUPS(Mem{Base: floor, Disp: 32 * h}, ys[h])
		VMOVUPS(Mem{Base: pivot, Disp: 32 * h}, ys[2+h])
		for i := range 3 {
			VXORPS(ys[4+2*i+h], ys[4+2*i+h], ys[4+2*i+h])
		}
	}
	Label("pixel")
	for h := range 2 {
		x, above := ys[10+2*h], ys[11+2*h]
		VMOVUPS(Mem{Base: src, Disp: 32 * h}, x)
		VCMPPS(Imm(0x1e), ys[h], x, above) // x > floor
		VSUBPS(ys[2+h], x, x)
		VANDPS(above, x, x)
		VANDPS(ys[15], above, above)
		VADDPS(above, ys[4+h], ys[4+h])
		VADDPS(x, ys[6+h], ys[6+h])
		VFMADD231PS(x, x, ys[8+h])
	}
	ADDQ(Imm(64), src)
	DECQ(pixels)
	JNZ(LabelRef("pixel"))
	for i := range 6 {
		VMOVUPS(ys[4+i], Mem{Base: sums, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
}

// inputRows is intWinoB: registers 0 to 5 to those returned, of up to 12.
func inputRows() [6]reg.VecPhysical {
	d, t, u, a, b := ys, ys[6], ys[7], ys[8], ys[9]
	VPSUBW(d[2], d[4], t) // t = d4 - d2
	VPSUBW(d[1], d[3], u) // u = d3 - d1
	VPSUBW(d[2], d[0], d[0])
	VPSLLW(Imm(2), d[0], d[0])
	VPADDW(t, d[0], d[0]) // 0
	VPSLLW(Imm(2), d[2], d[2])
	VPSUBW(d[2], d[4], a)
	VPSLLW(Imm(2), d[1], d[1])
	VPSUBW(d[1], d[3], b)
	VPADDW(b, a, d[1]) // 1
	VPSUBW(b, a, d[2]) // 2
	VPSUBW(d[3], d[5], d[5])
	VPADDW(u, u, u)
	VPADDW(u, t, d[3]) // 3
	VPSUBW(u, t, d[4]) // 4
	VPADDW(u, u, u)
	VPSUBW(u, d[5], d[5]) // 5
	return [6]reg.VecPhysical{d[0], d[1], d[2], d[3], d[4], d[5]}
}

func input() {
	text("intInputAVX2", "intInputGo", "func(tiles int, src *int16, pixel int, row int, dst *int16, tile int, point int)")
	tiles, src, pixel, row := param("tiles"), param("src"), param("pixel"), param("row")
	dst, tile, point := param("dst"), param("tile"), param("point")
	mid := AllocLocal(36 * 32)
	Label("tile")
	from := GP64()
	MOVQ(src, from)
	for x := range 6 {
		for y, at := range rows(6, from, row, 0) {
			VMOVDQU(at, ys[y])
		}
		for i, v := range inputRows() {
			VMOVDQU(v, mid.Offset((i*6+x)*32))
		}
		if x < 5 {
			ADDQ(pixel, from)
		}
	}
	to := GP64()
	MOVQ(dst, to)
	for i := range 6 {
		for x := range 6 {
			VMOVDQU(mid.Offset((i*6+x)*32), ys[x])
		}
		at := rows(6, to, point, 0)
		for j, v := range inputRows() {
			VMOVDQU(v, at[j])
		}
		if i < 5 {
			LEAQ(Mem{Base: to, Index: point, Scale: 4}, to)
			LEAQ(Mem{Base: to, Index: point, Scale: 2}, to)
		}
	}
	LEAQ(Mem{Base: src, Index: pixel, Scale: 4}, src)
	ADDQ(tile, dst)
	end(tiles, "tile")
}

const panelSignature = "func(pairs int, a *int16, aTile int, b *int16, bBlock int, c *int32, cTile int, add bool)"

func name(kind string, numbers ...int) string {
	for _, n := range numbers {
		kind += "x" + string(rune('0'+n))
	}
	return kind
}

func panelAVX2(tiles int) {
	text(name("intPanelAVX2", tiles), "intPanelGo for one block", panelSignature)
	panel(tiles, 1, 2, ys, func(pair, weights, acc, temp reg.VecPhysical) {
		VPMADDWD(pair, weights, temp)
		VPADDD(temp, acc, acc)
	})
}

func panelVNNI(tiles, blocks int) {
	text(name("intPanelVNNI", tiles, blocks), "intPanelGo", panelSignature)
	panel(tiles, blocks, 1, zs, func(pair, weights, acc, _ reg.VecPhysical) { vpdpwssd(pair, weights, acc) })
}

// vpdpwssd adds the products of pairs of int16; avo does not know the instruction.
func vpdpwssd(a, b, acc reg.VecPhysical) {
	Instruction(&ir.Instruction{Opcode: "VPDPWSSD", Operands: []Op{a, b, acc}, Inputs: []Op{a, b, acc}, Outputs: []Op{acc}, ISA: []string{"AVX512_VNNI"}})
}

// panel keeps the sums of tiles in registers; pairs of channels are broadcast.
func panel(tiles, blocks, perBlock int, v []reg.VecPhysical, multiply func(pair, weights, acc, temp reg.VecPhysical)) {
	pairs, a, aTile, b, bBlock, c, cTile := param("pairs"), param("a"), param("aTile"), param("b"), param("bBlock"), param("c"), param("cTile")
	width := 64 / perBlock
	vecs := blocks * perBlock
	acc := func(t, i int) reg.VecPhysical { return v[t*vecs+i] }
	weights, pair, temp := v[tiles*vecs:][:vecs], v[tiles*vecs+vecs], v[tiles*vecs+vecs+1]
	move := func(from, to Op) {
		if perBlock == 1 {
			VMOVDQU32(from, to)
		} else {
			VMOVDQU(from, to)
		}
	}
	zero := func(r reg.VecPhysical) {
		if perBlock == 1 {
			VPXORD(r, r, r)
		} else {
			VPXOR(r, r, r)
		}
	}
	out := rows(tiles, c, cTile, 0)
	at := func(t, i int) Mem {
		m := out[t]
		m.Disp += i * width
		return m
	}
	CMPB(paramAt("add"), Imm(0))
	JEQ(LabelRef("zero"))
	for t := range tiles {
		for i := range vecs {
			move(at(t, i), acc(t, i))
		}
	}
	JMP(LabelRef("multiply"))
	Label("zero")
	for t := range tiles {
		for i := range vecs {
			zero(acc(t, i))
		}
	}
	Label("multiply")
	pixels := rows(tiles, a, aTile, 0)
	streams := rows(blocks, b, bBlock, 0)
	Label("pair")
	for i, w := range weights {
		m := streams[i/perBlock]
		m.Disp += i % perBlock * width
		move(m, w)
	}
	for t := range tiles {
		VPBROADCASTD(pixels[t], pair)
		for i := range vecs {
			multiply(pair, weights[i], acc(t, i), temp)
		}
	}
	moved := map[reg.Register]int{}
	for _, m := range pixels {
		moved[m.Base] = 4
	}
	for _, m := range streams {
		moved[m.Base] = 64
	}
	done := map[reg.Register]bool{}
	for _, m := range append(pixels, streams...) {
		if !done[m.Base] {
			done[m.Base] = true
			ADDQ(Imm(uint64(moved[m.Base])), m.Base)
		}
	}
	DECQ(pairs)
	JNZ(LabelRef("pair"))
	for t := range tiles {
		for i := range vecs {
			move(acc(t, i), at(t, i))
		}
	}
	VZEROUPPER()
	RET()
}

// outputRows is intWinoA: registers 0 to 5 to those returned; 2, 4 and 8 in 13 to
// 15.
func outputRows() [4]reg.VecPhysical {
	m, a, b, c, d := ys, ys[6], ys[7], ys[8], ys[9]
	VADDPS(m[2], m[1], a)
	VSUBPS(m[2], m[1], b)
	VADDPS(m[4], m[3], c)
	VSUBPS(m[4], m[3], d)
	VADDPS(a, m[0], m[0])
	VADDPS(c, m[0], m[0])
	VMOVAPS(b, m[1])
	VFMADD231PS(d, ys[13], m[1])
	VFMADD231PS(c, ys[14], a)
	VADDPS(m[5], b, b)
	VFMADD231PS(d, ys[15], b)
	return [4]reg.VecPhysical{m[0], m[1], a, b}
}

func output(kind, source string) {
	scales := ""
	if source == "int32" {
		scales = "scale *float32, "
	}
	text("int"+kind+"AVX2", "int"+kind+"Go", "func(tiles int, src *"+source+", tile int, point int, "+scales+"bias *float32, biasRow int, biasPixel int, lo float32, dst *float32, row int)")
	tiles, src, tile, point := param("tiles"), param("src"), param("tile"), param("point")
	dst := param("dst")
	var scale reg.GPVirtual
	if source == "int32" {
		scale = param("scale")
	}
	sixth := GP64()
	LEAQ(Mem{Base: point, Index: point, Scale: 2}, sixth)
	ADDQ(sixth, sixth)
	for i, v := range []float32{2, 4, 8} {
		VMOVUPS(constant([]string{"Two", "Four", "Eight"}[i], v), ys[13+i])
	}
	mid := AllocLocal(24 * 32)
	Label("tile")
	for h := range 2 {
		from := GP64()
		MOVQ(src, from)
		for j := range 6 {
			for i, at := range rows(6, from, sixth, 32*h) {
				if source == "float32" {
					VMOVUPS(at, ys[i])
					continue
				}
				VCVTDQ2PS(at, ys[i])
				VMULPS(Mem{Base: scale, Disp: (i*6+j)*64 + 32*h}, ys[i], ys[i])
			}
			for y, v := range outputRows() {
				VMOVUPS(v, mid.Offset((y*6+j)*32))
			}
			if j < 5 {
				ADDQ(point, from)
			}
		}
		to, bias, row, biasRow, biasPixel := GP64(), param("bias"), param("row"), param("biasRow"), param("biasPixel")
		MOVQ(dst, to)
		VBROADCASTSS(paramAt("lo"), ys[12])
		for y := range 4 {
			for j := range 6 {
				VMOVUPS(mid.Offset((y*6+j)*32), ys[j])
			}
			biases := rows(4, bias, biasPixel, 32*h)
			for x, v := range outputRows() {
				VADDPS(biases[x], v, v)
				VMAXPS(v, ys[12], v) // a NaN stays
				VMOVUPS(v, Mem{Base: to, Disp: 64*x + 32*h})
			}
			if y < 3 {
				ADDQ(row, to)
				ADDQ(biasRow, bias)
			}
		}
	}
	ADDQ(tile, src)
	ADDQ(U32(4*64), dst)
	end(tiles, "tile")
}

func accumulate() {
	text("intAccumulateAVX2", "intAccumulateGo", "func(tiles int, dst *float32, src *int32, tile int, scale *float32, add bool)")
	tiles, dst, src, tile, scale := param("tiles"), param("dst"), param("src"), param("tile"), param("scale")
	VMOVUPS(Mem{Base: scale}, ys[0])
	VMOVUPS(Mem{Base: scale, Disp: 32}, ys[1])
	for _, kind := range []string{"more", "first"} {
		if kind == "more" {
			CMPB(paramAt("add"), Imm(0))
			JEQ(LabelRef("first"))
		}
		Label(kind)
		for h := range 2 {
			VCVTDQ2PS(Mem{Base: src, Disp: 32 * h}, ys[2+h])
			if kind == "more" {
				VFMADD213PS(Mem{Base: dst, Disp: 32 * h}, ys[h], ys[2+h])
			} else {
				VMULPS(ys[h], ys[2+h], ys[2+h])
			}
			VMOVUPS(ys[2+h], Mem{Base: dst, Disp: 32 * h})
		}
		ADDQ(tile, src)
		ADDQ(tile, dst)
		end(tiles, kind)
	}
}

func store() {
	text("intStoreAVX2", "intStoreGo", "func(pixels int, src *int32, pixel int, scale *float32, bias *float32, lo float32, dst *float32)")
	pixels, src, pixel, scale, bias, dst := param("pixels"), param("src"), param("pixel"), param("scale"), param("bias"), param("dst")
	VBROADCASTSS(paramAt("lo"), ys[4])
	for h := range 2 {
		VMOVUPS(Mem{Base: scale, Disp: 32 * h}, ys[h])
		VMOVUPS(Mem{Base: bias, Disp: 32 * h}, ys[2+h])
	}
	Label("pixel")
	for h := range 2 {
		VCVTDQ2PS(Mem{Base: src, Disp: 32 * h}, ys[5+h])
		VFMADD213PS(ys[2+h], ys[h], ys[5+h])
		VMAXPS(ys[5+h], ys[4], ys[5+h])
		VMOVUPS(ys[5+h], Mem{Base: dst, Disp: 32 * h})
	}
	ADDQ(pixel, src)
	ADDQ(Imm(64), dst)
	end(pixels, "pixel")
}

// kernelRows is intWinoG: registers 0 to 2 to those returned.
func kernelRows() [6]reg.VecPhysical {
	g, a, b := ys, ys[3], ys[4]
	VADDPS(g[2], g[0], a)
	VMULPS(constant("Sixth", -1./6), a, a)
	VMULPS(constant("Sixth", -1./6), g[1], b)
	VADDPS(b, a, ys[5])
	VSUBPS(b, a, ys[6])
	VMULPS(constant("24th", 1./24), g[0], a)
	VMULPS(constant("PlusSixth", 1./6), g[2], b)
	VADDPS(b, a, a)
	VMULPS(constant("12th", 1./12), g[1], b)
	VADDPS(b, a, ys[7])
	VSUBPS(b, a, ys[8])
	VMULPS(constant("Quarter", 0.25), g[0], g[0])
	return [6]reg.VecPhysical{g[0], ys[5], ys[6], ys[7], ys[8], g[2]}
}

func fold() {
	for _, points := range []int{1, 36} {
		text(map[int]string{1: "foldInputAVX2x1", 36: "foldInputAVX2x36"}[points], "foldInputGo", "func(u *float32, weights *float32, scale float32, level float32, half float32, sums *float32, most *float32, offsets *float32)")
		u, weights, sums, most, offsets := param("u"), param("weights"), param("sums"), param("most"), param("offsets")
		scale, level, half, absolute := ys[12], ys[13], ys[14], ys[15]
		VBROADCASTSS(paramAt("scale"), scale)
		VBROADCASTSS(paramAt("level"), level)
		VBROADCASTSS(paramAt("half"), half)
		VMOVUPS(lanes("Absolute", 0x7fffffff), absolute)
		put := func(v reg.VecPhysical, disp int) {
			VMOVUPS(v, Mem{Base: u, Disp: disp})
			VANDPS(absolute, v, v)
			VMAXPS(Mem{Base: most, Disp: disp}, v, ys[9])
			VMOVUPS(ys[9], Mem{Base: most, Disp: disp})
			VFMADD213PS(Mem{Base: sums, Disp: disp}, half, v)
			VMOVUPS(v, Mem{Base: sums, Disp: disp})
		}
		get := func(disp int, v reg.VecPhysical) {
			VMOVUPS(Mem{Base: weights, Disp: disp}, v)
			VMOVUPS(Mem{Base: offsets, Disp: disp}, ys[9])
			VFMADD231PS(v, level, ys[9])
			VMOVUPS(ys[9], Mem{Base: offsets, Disp: disp})
			VMULPS(scale, v, v)
		}
		var mid Mem
		if points == 36 {
			mid = AllocLocal(18 * 32)
		}
		for h := range 2 {
			if points == 1 {
				get(32*h, ys[0])
				put(ys[0], 32*h)
				continue
			}
			for x := range 3 {
				for y := range 3 {
					get((y*3+x)*64+32*h, ys[y])
				}
				for i, v := range kernelRows() {
					VMOVUPS(v, mid.Offset((i*3+x)*32))
				}
			}
			for i := range 6 {
				for x := range 3 {
					VMOVUPS(mid.Offset((i*3+x)*32), ys[x])
				}
				for j, v := range kernelRows() {
					put(v, (i*6+j)*64+32*h)
				}
			}
		}
		VZEROUPPER()
		RET()
	}
}

func round() {
	text("roundWeightsAVX2", "roundWeightsGo", "func(pairs int, dst *int16, u *float32, pitch int, inverse *float32)")
	pairs, dst, u, pitch, inverse := param("pairs"), param("dst"), param("u"), param("pitch"), param("inverse")
	VMOVUPS(Mem{Base: inverse}, ys[0])
	VMOVUPS(Mem{Base: inverse, Disp: 32}, ys[1])
	Label("pair")
	for h := range 2 {
		VMULPS(Mem{Base: u, Disp: 32 * h}, ys[h], ys[2])
		VMULPS(Mem{Base: u, Index: pitch, Scale: 1, Disp: 32 * h}, ys[h], ys[3])
		VCVTPS2DQ(ys[2], ys[2])
		VCVTPS2DQ(ys[3], ys[3])
		VPSLLD(Imm(16), ys[3], ys[3])
		VPBLENDW(Imm(0xaa), ys[3], ys[2], ys[2])
		VMOVDQU(ys[2], Mem{Base: dst, Disp: 32 * h})
	}
	LEAQ(Mem{Base: u, Index: pitch, Scale: 2}, u)
	ADDQ(Imm(64), dst)
	end(pairs, "pair")
}
