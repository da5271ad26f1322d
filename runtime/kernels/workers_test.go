package kernels

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestForVisitsEachItemOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 7} {
		for _, n := range []int{0, 1, 3, 1000} {
			w := NewWorkers(threads)
			count := make([]atomic.Int32, n)
			err := w.For(context.Background(), n, func(i, worker int) {
				if worker < 0 || worker >= w.Threads() {
					t.Errorf("worker %d of %d", worker, w.Threads())
				}
				count[i].Add(1)
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range count {
				if count[i].Load() != 1 {
					t.Fatalf("item %d visited %d times", i, count[i].Load())
				}
			}
		}
	}
}

func TestForStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var calls atomic.Int32
	err := NewWorkers(2).For(ctx, 1_000_000, func(i, _ int) {
		if calls.Add(1) == 10 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || calls.Load() > 1000 {
		t.Errorf("error %v after %d calls", err, calls.Load())
	}
	// Cancelled by the last item: everything was done, so there is no error.
	ctx, cancel = context.WithCancel(context.Background())
	if err := NewWorkers(1).For(ctx, 5, func(i, _ int) {
		if i == 4 {
			cancel()
		}
	}); err != nil {
		t.Errorf("complete loop returned %v", err)
	}
}

func TestForReturnsPanics(t *testing.T) {
	for _, threads := range []int{1, 3} {
		err := NewWorkers(threads).For(context.Background(), 100, func(i, _ int) {
			if i == 50 {
				panic("boom")
			}
		})
		if err == nil || !strings.Contains(err.Error(), "boom") {
			t.Errorf("error %v, want the panic", err)
		}
	}
}

func TestEachNestsWithoutSharingScratch(t *testing.T) {
	w := NewWorkers(3)
	err := w.each(context.Background(), 20, func(i int, s *scratch) {
		mine := s.floats(10)
		fill(mine, float32(i))
		if err := w.each(context.Background(), 4, func(j int, s *scratch) { fill(s.floats(20), -1) }); err != nil {
			t.Error(err)
		}
		for _, v := range mine {
			if v != float32(i) {
				t.Errorf("scratch of item %d overwritten", i)
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLoopsSideBySide has goroutines share workers, with loops inside of loops,
// on more and on fewer processors than threads.
func TestLoopsSideBySide(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, processors := range []int{1, 4} {
		runtime.GOMAXPROCS(processors)
		w := NewWorkers(3)
		var count atomic.Int64
		var team sync.WaitGroup
		for range 8 {
			team.Go(func() {
				for n := range 200 {
					err := w.For(context.Background(), n%7, func(i, _ int) {
						if i == 0 && n%5 == 0 {
							if err := w.each(context.Background(), 3, func(int, *scratch) { count.Add(1) }); err != nil {
								t.Error(err)
							}
						}
						count.Add(1)
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		team.Wait()
		want := int64(0)
		for n := range 200 {
			want += int64(n % 7)
			if n%7 > 0 && n%5 == 0 {
				want += 3
			}
		}
		if count.Load() != 8*want {
			t.Errorf("%d items on %d processors, want %d", count.Load(), processors, 8*want)
		}
	}
}

// TestHelpersEnd: nobody is left behind, after a loop that failed too.
func TestHelpersEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	w := NewWorkers(16)
	for i := range 20 {
		if err := w.For(context.Background(), 100, func(j, _ int) {
			if i == 10 && j == 50 {
				panic("boom")
			}
		}); (err != nil) != (i == 10) {
			t.Errorf("loop %d: error %v", i, err)
		}
	}
	ended := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.waiting) == 0 && runtime.NumGoroutine() <= before
	}
	for deadline := time.Now().Add(10 * time.Second); !ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before; %d helpers", runtime.NumGoroutine(), before, len(w.waiting))
		}
	}
}

// TestLoopsAllocateNothing but what the caller's function needs.
func TestLoopsAllocateNothing(t *testing.T) {
	w := NewWorkers(1)
	f := func(int, *scratch) {}
	if n := testing.AllocsPerRun(100, func() {
		if err := w.each(context.Background(), 10, f); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%.0f allocations", n)
	}
}

// BenchmarkFork is what a loop costs beside its work: two items of 20 us on two
// threads take 20 us at best, on one 40.
func BenchmarkFork(b *testing.B) {
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			w := NewWorkers(threads)
			var sink [2 * Lanes]float32
			for b.Loop() {
				if err := w.For(context.Background(), 2, func(i, _ int) {
					v := float32(1)
					for range 12000 {
						v = v*0.999 + 1
					}
					sink[i*Lanes] = v
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
