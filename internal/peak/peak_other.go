//go:build !amd64 || purego

package peak

func multiplyAdd(rounds int) { sink(multiplyAddGo(rounds)) }
