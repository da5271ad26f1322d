// Package peak measures how many float32 multiply-adds a second the processor
// can do: the mark against which the arithmetic of the runtime is held.
package peak

import (
	"sync"
	"time"
)

const (
	chains = 12
	lanes  = 8
	rounds = 20_000 // some 50 us
)

// GMACs returns the multiply-adds per second, in units of 1e9, that this many
// threads do together in registers, during a time of at least window. On amd64
// these are the 256-bit FMA instructions that the kernels use, elsewhere what Go
// compiles to; wider instructions a processor may have are not tried.
func GMACs(threads int, window time.Duration) float64 {
	var team sync.WaitGroup
	rates := make([]float64, max(1, threads))
	for i := range rates {
		team.Go(func() {
			start := time.Now()
			n := 0
			for n == 0 || time.Since(start) < window {
				multiplyAdd(rounds)
				n++
			}
			rates[i] = float64(n) * rounds * chains * lanes / time.Since(start).Seconds() / 1e9
		})
	}
	team.Wait()
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	return sum
}

// multiplyAddGo is the loop in Go. Start values from memory keep the compiler from
// seeing that all sums are the same.
func multiplyAddGo(rounds int) float32 {
	a, b, c, d, e, f, g, h := starts[0], starts[1], starts[2], starts[3], starts[4], starts[5], starts[6], starts[7]
	x, y := starts[8], starts[9]
	for range rounds * chains * lanes / 8 {
		a = a*x + y
		b = b*x + y
		c = c*x + y
		d = d*x + y
		e = e*x + y
		f = f*x + y
		g = g*x + y
		h = h*x + y
	}
	return a + b + c + d + e + f + g + h
}

var starts [10]float32

// sink uses a value.
//
//go:noinline
func sink(float32) {}
