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
//
// Every worker begins with its own share of the items, the same part of the image
// in one step after the other: what it wrote is in the caches of its processor,
// from where others fetch it slowly. Who is done helps the others.
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
// [0, Threads()) telling apart the calls that run at the same time. Items may
// differ in cost; neighbours mostly have the same worker. For
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

	shares []share // of the workers
	failed atomic.Pointer[error]

	team []*helper     // workers from number 1 on
	busy atomic.Int64  // how many of the team and the caller have not ended
	last chan struct{} // from the last of the team when the caller ended before
}

// share is the items [next, end) of a worker.
type share struct {
	next atomic.Int64
	end  int64
	_    [112]byte // so that two do not share cache lines
}

// helper is a goroutine that works for one loop after the other.
type helper struct {
	job    atomic.Pointer[loop] // what it shall begin with
	worker int                  // its number there, or in its last loop
}

func (w *Workers) run(ctx context.Context, n int, f func(i, worker int), each func(i int, s *scratch)) error {
	l := w.newLoop()
	l.ctx, l.n, l.f, l.each = ctx, n, f, each
	workers := max(1, min(w.threads, n))
	l.share(workers)
	w.summon(l, workers-1)
	w.work(l, 0)
	w.dismiss(l)
	err, done := l.failed.Load(), l.done()
	w.release(l)
	switch {
	case err != nil:
		return *err
	case !done:
		return ctx.Err()
	}
	return nil
}

// share divides the items.
func (l *loop) share(workers int) {
	if cap(l.shares) < workers {
		l.shares = make([]share, workers)
	}
	l.shares = l.shares[:workers]
	for k := range l.shares {
		l.shares[k].next.Store(int64(l.n * k / workers))
		l.shares[k].end = int64(l.n * (k + 1) / workers)
	}
}

// done tells whether all items were begun; those that were are finished.
func (l *loop) done() bool {
	for k := range l.shares {
		if s := &l.shares[k]; s.next.Load() < s.end {
			return false
		}
	}
	return true
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
	l.failed.Store(nil)
	w.mu.Lock()
	w.loops = append(w.loops, l)
	w.mu.Unlock()
}

// summon gives a loop to n helpers: those that wait, if possible with the number
// that they had, and new ones.
func (w *Workers) summon(l *loop, n int) {
	l.busy.Store(int64(n + 1))
	l.team = l.team[:0]
	w.mu.Lock()
	for i := range n {
		var h *helper
		if w.waiting, h = takeNumber(w.waiting, i+1, func(h *helper) int { return h.worker }); h == nil {
			break
		}
		l.team = append(l.team, h)
	}
	w.mu.Unlock()
	known := len(l.team)
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

// takeNumber takes what has a number from a list, or else the last.
func takeNumber[T any](list []*T, number int, of func(*T) int) (rest []*T, t *T) {
	last := len(list) - 1
	if last < 0 {
		return list, nil
	}
	i := slices.IndexFunc(list, func(t *T) bool { return of(t) == number })
	if i < 0 {
		i = last
	}
	t = list[i]
	list[i] = list[last]
	return list[:last], t
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
	for start := time.Now(); ; {
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
		s = w.takeScratch(worker)
		defer w.keepScratch(s)
	}
	defer func() {
		if r := recover(); r != nil {
			err := fmt.Errorf("kernels: panic in worker %d: %v\n%s", worker, r, debug.Stack())
			l.failed.CompareAndSwap(nil, &err)
		}
	}()
	for k := range l.shares {
		share := &l.shares[(worker+k)%len(l.shares)]
		for l.failed.Load() == nil && l.ctx.Err() == nil {
			i := share.next.Add(1) - 1
			if i >= share.end {
				break
			}
			if l.each != nil {
				l.each(int(i), s)
			} else {
				l.f(int(i), worker)
			}
		}
	}
}

// scratch is the memory one thread works in: grown on demand, reused by the
// next call, never proportional to the image.
type scratch struct {
	worker            int // who had it last
	buf, temps, extra []float32
}

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

func (w *Workers) takeScratch(worker int) (s *scratch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scratch, s = takeNumber(w.scratch, worker, func(s *scratch) int { return s.worker }); s == nil {
		s = new(scratch)
	}
	s.worker = worker
	return s
}

func (w *Workers) keepScratch(s *scratch) {
	w.mu.Lock()
	w.scratch = append(w.scratch, s)
	w.mu.Unlock()
}
