package kernels

import (
	"context"
	"sync"
)

// jobs runs loops whose items share a state of type T. It keeps the states with the
// functions that use them, so that a loop allocates nothing when one has run before.
type jobs[T any] struct {
	item func(t *T, i int, sc *scratch)

	mu   sync.Mutex
	idle []*job[T]
}

type job[T any] struct {
	state T
	each  func(i int, sc *scratch)
}

// run calls item for 0 to n-1 on worker threads, as Workers.each does.
func (j *jobs[T]) run(ctx context.Context, w *Workers, n int, state T) error {
	b := j.take()
	b.state = state
	err := w.each(ctx, n, b.each)
	var none T
	b.state = none // what it refers to can go
	j.put(b)
	return err
}

func (j *jobs[T]) take() *job[T] {
	j.mu.Lock()
	defer j.mu.Unlock()
	if last := len(j.idle) - 1; last >= 0 {
		b := j.idle[last]
		j.idle = j.idle[:last]
		return b
	}
	b := new(job[T])
	b.each = func(i int, sc *scratch) { j.item(&b.state, i, sc) }
	return b
}

func (j *jobs[T]) put(b *job[T]) {
	j.mu.Lock()
	j.idle = append(j.idle, b)
	j.mu.Unlock()
}
