package peak

import (
	"runtime"
	"testing"
	"time"
)

// TestGMACs: the rate is one that a processor can have. An upper bound shows that
// the loop is executed at all: 2 units of 16 floats at 6 GHz.
func TestGMACs(t *testing.T) {
	for threads := range 3 {
		most := 2 * 16 * 6 * float64(max(1, threads))
		var rate float64
		for range 5 {
			rate = max(rate, GMACs(threads, 2*time.Millisecond))
		}
		t.Logf("%d threads on %d processors: %.1f GMAC/s", threads, runtime.NumCPU(), rate)
		if rate < 0.05 || rate > most {
			t.Errorf("%d threads: %g GMAC/s, want 0.05 to %g", threads, rate, most)
		}
	}
}

// TestWork: the time is that of the work, so the loop does what its name says.
func TestWork(t *testing.T) {
	least := func(rounds int) time.Duration {
		best := time.Hour
		for range 20 {
			start := time.Now()
			multiplyAdd(rounds)
			best = min(best, time.Since(start))
		}
		return best
	}
	short, long := least(20_000), least(100_000)
	if ratio := float64(long) / float64(short); ratio < 2.5 || ratio > 10 {
		t.Errorf("5 times the work takes %.1f times the time (%v, %v)", ratio, short, long)
	}
}
