package agent

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// maxQueued is how many points may wait for one output; beyond that the oldest batches are dropped and counted.
const maxQueued = 200_000

// queue stands between the pipeline and one output, so that a slow or dead output harms nobody else.
type queue struct {
	mu      sync.Mutex
	waiting []*Batch // oldest first
	free    []*Batch
	points  int
	closed  bool
	wake    chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put copies b into the queue. It tells how many old points had to be dropped for it.
func (q *queue) put(b *Batch) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 && q.points+len(b.Points) > maxQueued {
		old := q.waiting[0]
		q.waiting = q.waiting[:copy(q.waiting, q.waiting[1:])]
		dropped += len(old.Points)
		q.points -= len(old.Points)
		q.recycle(old)
	}
	var c *Batch
	if n := len(q.free); n > 0 {
		c, q.free = q.free[n-1], q.free[:n-1]
	} else {
		c = &Batch{}
	}
	c.Points = append(c.Points, b.Points...)
	q.waiting = append(q.waiting, c)
	q.points += len(c.Points)
	q.signal()
	return dropped
}

// take removes the oldest batch; nil: there is none, and closed tells whether none will come.
func (q *queue) take() (b *Batch, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, q.closed
	}
	b = q.waiting[0]
	q.waiting = q.waiting[:copy(q.waiting, q.waiting[1:])]
	q.points -= len(b.Points)
	return b, false
}

func (q *queue) done(b *Batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.recycle(b)
}

func (q *queue) recycle(b *Batch) {
	if len(q.free) < 4 {
		b.Reset()
		q.free = append(q.free, b)
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// left is how many points wait.
func (q *queue) left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.points
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run writes what comes until the queue is closed and empty, or ctx ends. A batch that cannot be written is tried again.
func (o *outputElement) run(ctx context.Context, log *slog.Logger) {
	for ctx.Err() == nil {
		b, closed := o.queue.take()
		if b == nil {
			if closed {
				return
			}
			select {
			case <-o.queue.wake:
			case <-ctx.Done():
			}
			continue
		}
		for {
			err := o.write(ctx, b)
			o.note(log, "output", err)
			if err == nil {
				break
			}
			select {
			case <-time.After(backOff(o.failures, 100*time.Millisecond, 10*time.Second)):
			case <-ctx.Done():
				log.Error("output still failed when the agent stopped", "element", o.String(), "points_lost", len(b.Points)+o.queue.left(), "error", err)
				return
			}
		}
		o.queue.done(b)
	}
}

func (o *outputElement) write(ctx context.Context, b *Batch) (err error) {
	defer recovered(&err)
	return o.out.Write(ctx, b)
}

// recovered turns a panic of a plugin into an error, so that it harms nobody else.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}
