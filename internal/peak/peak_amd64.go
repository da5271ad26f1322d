//go:build amd64 && !purego

package peak

import "golang.org/x/sys/cpu"

//go:generate go -C gen run . -out ../loops_amd64.s -stubs ../loops_amd64.go -pkg peak

// multiplyAdd does a number of multiply-adds that grows with rounds, and returns it.
func multiplyAdd(rounds int) int {
	switch {
	case cpu.X86.HasAVX512F:
		multiplyAddAVX512(rounds)
		return rounds * chains * 16
	case cpu.X86.HasAVX2 && cpu.X86.HasFMA:
		multiplyAddAVX2(rounds)
		return rounds * chains * 8
	}
	return multiplyAddGo(rounds)
}
