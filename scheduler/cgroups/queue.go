package cgroups

import "sync"

// queue brings events from the watcher and other goroutines to the main lane, in their order. Taking from an empty one
// allocates nothing.
type queue struct {
	mu   sync.Mutex
	list []event
	old  []event
}

func (q *queue) put(e event) {
	q.mu.Lock()
	q.list = append(q.list, e)
	q.mu.Unlock()
}

// take returns what came since the last call. The slice is valid until the next one.
func (q *queue) take() []event {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.old)
	q.list, q.old = q.old[:0], q.list
	return q.old
}
