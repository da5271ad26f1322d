// Command gen writes the loop of package peak. It is a module of its own so that
// the generator is no dependency of daq.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// More chains than any CPU so far has multiply-adds in flight: 2 units times a
// latency of 4 or 5.
const chains = 12

func main() {
	ConstraintExpr("amd64,!purego")
	loop("multiplyAddAVX2", "multiplyAddAVX2 executes rounds times 12 independent multiply-adds of 8 floats, in registers.", YMM)
	loop("multiplyAddAVX512", "multiplyAddAVX512 is multiplyAddAVX2 with 16 floats.", ZMM)
	Generate()
}

func loop(name, doc string, register func() reg.VecVirtual) {
	TEXT(name, NOSPLIT, "func(rounds int)")
	Doc(doc)
	rounds := Load(Param("rounds"), GP64())
	zero := func() reg.VecVirtual {
		r := register()
		VXORPS(r.AsX(), r.AsX(), r.AsX()) // clears all of the register
		return r
	}
	sums := make([]reg.VecVirtual, chains)
	for i := range sums {
		sums[i] = zero()
	}
	x, y := zero(), zero()
	Label("round")
	for _, s := range sums {
		VFMADD231PS(x, y, s)
	}
	DECQ(rounds)
	JNZ(LabelRef("round"))
	VZEROUPPER()
	RET()
}
