package main

import (
	"strings"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const panelSignature = "func(groups int, quads int, a *byte, aTile int, b *byte, bBlock int, start *int32, c *int32, cTile int)"

func name(kind string, numbers ...int) string {
	for _, n := range numbers {
		kind += "x" + string(rune('0'+n))
	}
	return kind
}

// panelAhead is panelVNNI for bytes that asks for what is read next on the way: two lines
// of 64 bytes from ahead on for each quad, then aheadStep further.
func panelAhead(tiles, blocks int) {
	text(name("bytePanelAheadVNNI", tiles, blocks), "bytePanelGo", strings.Replace(panelSignature, ")", ", ahead *float32, aheadStep int)", 1))
	ahead := param("ahead")
	panel(tiles, blocks, 1, zs, func(quad, weights, acc, _ reg.VecPhysical) { vnni("VPDPBUSD", weights, quad, acc) }, func(inQuad bool) {
		if inQuad {
			PREFETCHT1(Mem{Base: ahead})
			PREFETCHT1(Mem{Base: ahead, Disp: 64})
			ADDQ(Imm(128), ahead)
		} else {
			ADDQ(param("aheadStep"), ahead)
		}
	})
}

func panelAVX2(tiles int) {
	text(name("wordPanelAVX2", tiles), "wordPanelGo for one block", panelSignature)
	panel(tiles, 1, 2, ys, func(pair, weights, acc, temp reg.VecPhysical) {
		VPMADDWD(pair, weights, temp)
		VPADDD(temp, acc, acc)
	}, nil)
}

func panelVNNI(of, opcode string, tiles, blocks int) {
	text(name(of+"PanelVNNI", tiles, blocks), of+"PanelGo", panelSignature)
	panel(tiles, blocks, 1, zs, func(quad, weights, acc, _ reg.VecPhysical) { vnni(opcode, weights, quad, acc) }, nil)
}

// vnni adds the products of pairs of int16 (VPDPWSSD), or of four bytes of a, signed,
// and b, unsigned (VPDPBUSD); avo does not know these instructions.
func vnni(opcode string, a, b, acc reg.VecPhysical) {
	Instruction(&ir.Instruction{Opcode: opcode, Operands: []Op{a, b, acc}, Inputs: []Op{a, b, acc}, Outputs: []Op{acc}, ISA: []string{"AVX512_VNNI"}})
}

// panel keeps the sums of a group of tiles in registers; quads of bytes of channels are
// broadcast.
func panel(tiles, blocks, perBlock int, v []reg.VecPhysical, multiply func(quad, weights, acc, temp reg.VecPhysical), also func(inQuad bool)) {
	groups, first, aTile, bBlock := param("groups"), param("a"), param("aTile"), param("bBlock")
	start, c, cTile := param("start"), param("c"), param("cTile")
	width := 64 / perBlock
	vecs := blocks * perBlock
	acc := func(t, i int) reg.VecPhysical { return v[t*vecs+i] }
	weights, quad, temp := v[tiles*vecs:][:vecs], v[tiles*vecs+vecs], v[tiles*vecs+vecs+1]
	move := func(from, to Op) {
		if perBlock == 1 {
			VMOVDQU32(from, to)
		} else {
			VMOVDQU(from, to)
		}
	}
	Label("group")
	out := rows(tiles, c, cTile, 0)
	at := func(t, i int) Mem {
		m := out[t]
		m.Disp += i * width
		return m
	}
	TESTQ(start, start)
	JNE(LabelRef("start"))
	for t := range tiles {
		for i := range vecs {
			move(at(t, i), acc(t, i))
		}
	}
	JMP(LabelRef("multiply"))
	Label("start")
	for i := range vecs {
		move(Mem{Base: start, Disp: i * width}, acc(0, i))
		for t := 1; t < tiles; t++ {
			move(acc(0, i), acc(t, i))
		}
	}
	Label("multiply")
	a, b, quads := GP64(), param("b"), param("quads")
	MOVQ(first, a)
	pixels := rows(tiles, a, aTile, 0)
	streams := rows(blocks, b, bBlock, 0)
	Label("quad")
	for i, w := range weights {
		m := streams[i/perBlock]
		m.Disp += i % perBlock * width
		move(m, w)
	}
	for t := range tiles {
		VPBROADCASTD(pixels[t], quad)
		for i := range vecs {
			multiply(quad, weights[i], acc(t, i), temp)
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
	if also != nil {
		also(true)
	}
	DECQ(quads)
	JNZ(LabelRef("quad"))
	for t := range tiles {
		for i := range vecs {
			if perBlock == 1 {
				store(acc(t, i), at(t, i))
			} else {
				VMOVDQU(acc(t, i), at(t, i))
			}
		}
	}
	if also != nil {
		also(false)
	}
	for _, p := range []struct{ at, step reg.GPVirtual }{{first, aTile}, {c, cTile}} {
		for i := tiles; i > 0; i -= 2 {
			LEAQ(Mem{Base: p.at, Index: p.step, Scale: 2}, p.at)
		}
	}
	end(groups, "group")
}
