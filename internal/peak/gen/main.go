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
	TEXT("multiplyAddAVX2", NOSPLIT, "func(rounds int)")
	Doc("multiplyAddAVX2 executes rounds times 12 independent multiply-adds of 8 floats, in registers.")
	rounds := Load(Param("rounds"), GP64())
	sums := make([]reg.VecVirtual, chains)
	for i := range sums {
		sums[i] = YMM()
		VXORPS(sums[i], sums[i], sums[i])
	}
	x, y := YMM(), YMM()
	VXORPS(x, x, x)
	VXORPS(y, y, y)
	Label("round")
	for _, s := range sums {
		VFMADD231PS(x, y, s)
	}
	DECQ(rounds)
	JNZ(LabelRef("round"))
	VZEROUPPER()
	RET()
	Generate()
}
