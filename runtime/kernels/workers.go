package kernels

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Workers runs loops on a fixed number of threads and keeps the scratch memory
// of the kernels between calls. It may be used from several goroutines.
type Workers struct {
	threads int

	mu   sync.Mutex
	idle []*scratch
}

// NewWorkers returns workers for the given number of threads; 0 means
// GOMAXPROCS.
func NewWorkers(threads int) *Workers {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	return &Workers{threads: threads}
}

// Threads is the number of threads of For.
func (w *Workers) Threads() int { return w.threads }

// For calls f(i, worker) for every i in [0, n), each once, worker in
// [0, Threads()) telling apart the calls that run at the same time. Workers
// take the next item from a shared counter, so items may differ in cost. For
// stops between items and returns ctx.Err() when ctx is done; a panic in f ends
// the loop likewise and comes back as an error with its stack.
func (w *Workers) For(ctx context.Context, n int, f func(i, worker int)) error {
	var (
		next, done atomic.Int64
		failed     atomic.Pointer[error]
		team       sync.WaitGroup
	)
	work := func(worker int) {
		defer func() {
			if r := recover(); r != nil {
				err := fmt.Errorf("kernels: panic in worker %d: %v\n%s", worker, r, debug.Stack())
				failed.CompareAndSwap(nil, &err)
			}
		}()
		for failed.Load() == nil && ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			f(i, worker)
			done.Add(1)
		}
	}
	for worker := 1; worker < min(w.threads, n); worker++ {
		team.Go(func() { work(worker) })
	}
	work(0)
	team.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	if int(done.Load()) < n {
		return ctx.Err()
	}
	return nil
}

// scratch is the memory one thread works in: grown on demand, reused by the
// next call, never proportional to the image.
type scratch struct{ buf, temps, extra []float32 }

// floats returns n floats of unspecified content, valid until the next call.
func (s *scratch) floats(n int) []float32 {
	if len(s.buf) < n {
		s.buf = make([]float32, n)
	}
	return s.buf[:n]
}

// rows returns n floats beside those of floats.
func (s *scratch) rows(n int) []float32 {
	if len(s.temps) < n {
		s.temps = make([]float32, n)
	}
	return s.temps[:n]
}

// more returns n floats beside those.
func (s *scratch) more(n int) []float32 {
	if len(s.extra) < n {
		s.extra = make([]float32, n)
	}
	return s.extra[:n]
}

// each is For with a scratch for every running call, taken from those idle, so
// that nested and concurrent loops do not share one.
func (w *Workers) each(ctx context.Context, n int, f func(i int, s *scratch)) error {
	team := make([]*scratch, min(w.threads, max(n, 1)))
	w.mu.Lock()
	for i := range team {
		if last := len(w.idle) - 1; last >= 0 {
			team[i], w.idle = w.idle[last], w.idle[:last]
		} else {
			team[i] = new(scratch)
		}
	}
	w.mu.Unlock()
	err := w.For(ctx, n, func(i, worker int) { f(i, team[worker]) })
	w.mu.Lock()
	w.idle = append(w.idle, team...)
	w.mu.Unlock()
	return err
}
