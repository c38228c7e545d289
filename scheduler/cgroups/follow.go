package cgroups

import (
	"errors"
	"sync/atomic"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// Counter tells a job's cumulative CPU time in ns. An error that wraps [agent.ErrGone] means that it tells nothing more.
type Counter interface {
	Usage() (cpuNs uint64, err error)
}

// Followed is a job that is no scheduler's: a program that the agent itself has started.
type Followed struct {
	ID      jobs.ID
	Facts   jobs.Facts
	counter Counter

	t      *Tracker
	group  *jobs.Group
	cpu    uint64 // ns
	over   bool
	failed bool // said

	last  uint64 // told to Finish
	final jobs.Final
	told  chan struct{}
	ended atomic.Bool
}

// Follow follows a job by a counter that starts at 0 now. It may be called from any goroutine once the agent runs; the
// counter is read on the main lane until Finish.
func (t *Tracker) Follow(id jobs.ID, facts jobs.Facts, c Counter) *Followed {
	f := &Followed{ID: id, Facts: facts, counter: c, t: t, told: make(chan struct{})}
	t.queue.put(event{kind: follow, own: f})
	t.edge()
	return f
}

// Finish ends the job with its last counter, 0 if that is not known: then the last reading counts. It may be called from any
// goroutine and a second call does nothing. Told is closed when the books know.
func (f *Followed) Finish(cpuNs uint64, how jobs.Final) {
	if f.ended.Swap(true) {
		return
	}
	f.last, f.final = cpuNs, how
	f.t.queue.put(event{kind: unfollow, own: f})
	f.t.edge()
}

// Told is closed when the books have been told of the end.
func (f *Followed) Told() <-chan struct{} { return f.told }

func (f *Followed) begin(now agent.Instant, t *Tracker) {
	at := agent.Instant{Wall: now.Wall - 1, Boot: now.Boot - 1}
	f.group = t.books.Begin(at, f.ID, "", f.Facts.CPUs)
	t.books.SetFacts(f.ID, f.Facts)
}

func (f *Followed) read(t *Tracker) {
	if f.over {
		return
	}
	v, err := f.counter.Usage()
	switch {
	case err == nil:
		f.cpu = max(f.cpu, v)
	case errors.Is(err, agent.ErrGone):
		f.over = true
	case !f.failed:
		f.failed = true
		t.log.Warn("the CPU time of a program cannot be read", "job", f.ID, "err", err)
	}
}

func (f *Followed) end(now agent.Instant, t *Tracker) {
	f.cpu = max(f.cpu, f.last)
	t.books.End(now, f.group, f.cpu, f.final)
	t.parents.ended += f.cpu
	for i, o := range t.own {
		if o == f {
			t.own = append(t.own[:i], t.own[i+1:]...)
			break
		}
	}
	close(f.told)
}
