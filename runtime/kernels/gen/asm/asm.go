// Package asm is what the generators of micro-kernels share: registers by number,
// parameters, constants in all lanes, and how functions begin and end.
package asm

import (
	"math"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The vector registers of 16, 32 and 64 bytes.
var (
	Xs = []reg.VecPhysical{reg.X0, reg.X1, reg.X2, reg.X3, reg.X4, reg.X5, reg.X6, reg.X7,
		reg.X8, reg.X9, reg.X10, reg.X11, reg.X12, reg.X13, reg.X14, reg.X15}
	Ys = []reg.VecPhysical{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
		reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}
	Zs = []reg.VecPhysical{reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
		reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
		reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31}
)

// Param loads a parameter.
func Param(name string) reg.GPVirtual {
	return build.Load(build.Param(name), build.GP64()).(reg.GPVirtual)
}

// ParamAt is the address of a parameter, to broadcast a float32 from.
func ParamAt(name string) operand.Mem {
	b, err := build.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// Text begins a function that does what another, in Go, does.
func Text(name, of, signature string) {
	build.TEXT(name, 0, signature)
	build.Pragma("noescape")
	build.Doc(name + " is " + of + "; distances are in bytes.")
}

// End ends a function with its loop.
func End(counter reg.GPVirtual, loop string) {
	build.DECQ(counter)
	build.JNZ(operand.LabelRef(loop))
	build.VZEROUPPER()
	build.RET()
}

// Rows are the addresses of up to six rows, stride apart.
func Rows(n int, base, stride reg.GPVirtual, disp int) (list []operand.Mem) {
	far := build.GP64()
	if n > 3 {
		build.LEAQ(operand.Mem{Base: base, Index: stride, Scale: 2}, far)
		build.ADDQ(stride, far)
	}
	for i := range n {
		m := operand.Mem{Base: base, Disp: disp}
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

var defined = map[string]operand.Mem{}

// Lanes is v in all eight lanes, defined once for each name.
func Lanes(name string, v uint32) operand.Mem {
	m, ok := defined[name]
	if !ok {
		m = build.GLOBL(name, build.RODATA|build.NOPTR)
		for i := range 8 {
			build.DATA(4*i, operand.U32(v))
		}
		defined[name] = m
	}
	return m
}

// Constant is v in all eight lanes. (F32 would emit an integer for whole numbers.)
func Constant(name string, v float32) operand.Mem { return Lanes(name, math.Float32bits(v)) }
