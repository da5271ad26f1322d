// Package peak measures how many float32 multiply-adds a second the processor
// can do: the mark against which the arithmetic of the runtime is held.
package peak

import (
	"sync"
	"time"
)

const (
	chains = 12     // of sums that do not wait for each other
	rounds = 20_000 // some 50 us
)

// GMACs returns the multiply-adds per second, in units of 1e9, that this many
// threads do together in registers, during a time of at least window. On amd64
// these are the widest FMA instructions that the processor has, elsewhere what Go
// compiles to.
func GMACs(threads int, window time.Duration) float64 {
	var team sync.WaitGroup
	rates := make([]float64, max(1, threads))
	for i := range rates {
		team.Go(func() {
			start := time.Now()
			n := 0
			for n == 0 || time.Since(start) < window {
				n += multiplyAdd(rounds)
			}
			rates[i] = float64(n) / time.Since(start).Seconds() / 1e9
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
func multiplyAddGo(rounds int) int {
	a, b, c, d, e, f, g, h := starts[0], starts[1], starts[2], starts[3], starts[4], starts[5], starts[6], starts[7]
	x, y := starts[8], starts[9]
	for range rounds * chains {
		a = a*x + y
		b = b*x + y
		c = c*x + y
		d = d*x + y
		e = e*x + y
		f = f*x + y
		g = g*x + y
		h = h*x + y
	}
	sink(a + b + c + d + e + f + g + h)
	return rounds * chains * 8
}

var starts [10]float32

// sink uses a value.
//
//go:noinline
func sink(float32) {}
