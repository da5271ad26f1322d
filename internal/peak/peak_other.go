//go:build !amd64 || purego

package peak

// multiplyAdd does a number of multiply-adds that grows with rounds, and returns it.
func multiplyAdd(rounds int) int { return multiplyAddGo(rounds) }
