package kernels

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Workers runs loops on a fixed number of threads and keeps the scratch memory
// of the kernels between calls. It may be used from several goroutines.
//
// The caller of a loop works as well. Its helpers are goroutines that, when their
// loop has ended, look for the next one for a moment (linger) before they end:
// from one step of a network to the next nobody needs to be woken up, and there is
// nothing to close.
type Workers struct {
	threads int

	mu      sync.Mutex
	waiting []*helper  // for a loop
	loops   []*loop    // that have ended, to be used again
	scratch []*scratch // that nobody works in
}

// linger is how long threads wait spinning: for the next loop, and for each other
// at the end of one. Waking a sleeping thread takes tens of microseconds.
const linger = 100 * time.Microsecond

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
	return w.run(ctx, n, f, nil)
}

// each is For with a scratch for every running call, taken from those idle, so
// that nested and concurrent loops do not share one.
func (w *Workers) each(ctx context.Context, n int, f func(i int, s *scratch)) error {
	return w.run(ctx, n, nil, f)
}

// loop is a call of For or each.
type loop struct {
	ctx  context.Context
	n    int
	f    func(i, worker int)
	each func(i int, s *scratch) // instead of f

	next, done atomic.Int64 // items
	failed     atomic.Pointer[error]

	team []*helper
	busy atomic.Int64  // how many of the team and the caller have not ended
	last chan struct{} // from the last of the team when the caller ended before
}

// helper is a goroutine that works for one loop after the other.
type helper struct {
	job    atomic.Pointer[loop] // what it shall begin with
	worker int                  // its number there
}

func (w *Workers) run(ctx context.Context, n int, f func(i, worker int), each func(i int, s *scratch)) error {
	l := w.newLoop()
	l.ctx, l.n, l.f, l.each = ctx, n, f, each
	if helpers := min(w.threads, n) - 1; helpers > 0 {
		w.summon(l, helpers)
		w.work(l, 0)
		w.dismiss(l)
	} else {
		w.work(l, 0)
	}
	err, done := l.failed.Load(), int(l.done.Load())
	w.release(l)
	switch {
	case err != nil:
		return *err
	case done < n:
		return ctx.Err()
	}
	return nil
}

func (w *Workers) newLoop() *loop {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last := len(w.loops) - 1; last >= 0 {
		l := w.loops[last]
		w.loops = w.loops[:last]
		return l
	}
	return &loop{last: make(chan struct{}, 1)}
}

// release keeps a loop that nobody works at for the next one.
func (w *Workers) release(l *loop) {
	l.ctx, l.f, l.each = nil, nil, nil
	l.next.Store(0)
	l.done.Store(0)
	l.failed.Store(nil)
	w.mu.Lock()
	w.loops = append(w.loops, l)
	w.mu.Unlock()
}

// summon gives a loop to n helpers: those that wait, then new ones.
func (w *Workers) summon(l *loop, n int) {
	l.busy.Store(int64(n + 1))
	w.mu.Lock()
	there := len(w.waiting)
	known := min(n, there)
	l.team = append(l.team[:0], w.waiting[there-known:]...)
	w.waiting = w.waiting[:there-known]
	w.mu.Unlock()
	for len(l.team) < n {
		l.team = append(l.team, new(helper))
	}
	for i, h := range l.team {
		h.worker = i + 1
		h.job.Store(l)
		if i >= known {
			go w.help(h)
		}
	}
}

// dismiss ends a loop for its caller. Helpers that have not begun are not waited
// for: there is nothing left for them.
func (w *Workers) dismiss(l *loop) {
	for _, h := range l.team {
		if h.job.CompareAndSwap(l, nil) {
			w.wait(h)
			l.busy.Add(-1)
		}
	}
	for start := time.Now(); l.busy.Load() > 1 && time.Since(start) < linger; {
		runtime.Gosched()
	}
	if l.busy.Add(-1) > 0 {
		<-l.last
	}
}

// help is the life of a helper.
func (w *Workers) help(h *helper) {
	for l := w.take(h); l != nil; l = w.take(h) {
		w.work(l, h.worker)
		w.wait(h)
		if l.busy.Add(-1) == 0 {
			l.last <- struct{}{}
		}
	}
}

// wait puts a helper among those that wait.
func (w *Workers) wait(h *helper) {
	w.mu.Lock()
	w.waiting = append(w.waiting, h)
	w.mu.Unlock()
}

// take returns the next loop of a helper, or nil when there is none for a while:
// then nobody will give it another.
func (w *Workers) take(h *helper) *loop {
	for start := time.Now(); ; runtime.Gosched() {
		for range 64 {
			if h.job.Load() != nil {
				if l := h.job.Swap(nil); l != nil {
					return l
				}
			}
		}
		if time.Since(start) < linger {
			continue
		}
		w.mu.Lock()
		i := slices.Index(w.waiting, h)
		if i >= 0 {
			w.waiting = slices.Delete(w.waiting, i, i+1)
		}
		w.mu.Unlock()
		if i >= 0 {
			return nil
		}
	}
}

// work does items of a loop as long as there are any.
func (w *Workers) work(l *loop, worker int) {
	var s *scratch
	if l.each != nil {
		s = w.takeScratch()
		defer w.keepScratch(s)
	}
	defer func() {
		if r := recover(); r != nil {
			err := fmt.Errorf("kernels: panic in worker %d: %v\n%s", worker, r, debug.Stack())
			l.failed.CompareAndSwap(nil, &err)
		}
	}()
	for l.failed.Load() == nil && l.ctx.Err() == nil {
		i := int(l.next.Add(1)) - 1
		if i >= l.n {
			return
		}
		if l.each != nil {
			l.each(i, s)
		} else {
			l.f(i, worker)
		}
		l.done.Add(1)
	}
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

func (w *Workers) takeScratch() *scratch {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := len(w.scratch) - 1
	if last < 0 {
		return new(scratch)
	}
	s := w.scratch[last]
	w.scratch = w.scratch[:last]
	return s
}

func (w *Workers) keepScratch(s *scratch) {
	w.mu.Lock()
	w.scratch = append(w.scratch, s)
	w.mu.Unlock()
}
