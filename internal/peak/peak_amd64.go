//go:build amd64 && !purego

package peak

import "golang.org/x/sys/cpu"

//go:generate go -C gen run . -out ../avx2_amd64.s -stubs ../avx2_amd64.go -pkg peak

var accelerated = cpu.X86.HasAVX2 && cpu.X86.HasFMA

func multiplyAdd(rounds int) {
	if accelerated {
		multiplyAddAVX2(rounds)
		return
	}
	sink(multiplyAddGo(rounds))
}
