package kernels

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
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
