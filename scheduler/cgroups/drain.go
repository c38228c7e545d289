package cgroups

import (
	"errors"
	"os"
	"slices"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"golang.org/x/sys/unix"
)

// drain takes what the watcher has reported since the last time.
func (t *Tracker) drain(now agent.Instant) {
	events := t.queue.take()
	if len(events) == 0 && !t.waiting {
		return
	}
	for i := range events {
		t.apply(now, &events[i])
	}
	t.parents.settleFound()
	t.beginUnits(now)
	if t.state.finish {
		t.endForgotten(now)
	}
	// Facts and CPUs of jobs that the books know only since now.
	for i := range events {
		t.applyLate(now, &events[i])
	}
}

func (t *Tracker) apply(now agent.Instant, e *event) {
	n := e.n
	switch e.kind {
	case newNode:
		t.arrive(n)
	case newUsage:
		t.openUsage(n, e)
	case newFiles:
		if n.extra == nil {
			n.extra = &files{}
		}
		n.extra.take(e.files)
	case emptied:
		if n.state != usageNone {
			if e.value > n.raw {
				n.advance(e.value)
			}
			n.empty = true
		}
	case populated:
		n.empty = false
	case missed:
		n.due++
		t.await(n)
	case lostUsage:
		t.closeUsage(n)
	case lostNode:
		t.closeUsage(n)
		t.depart(n)
	case scanned:
		t.afterScan()
	case follow:
		t.own = append(t.own, e.own)
	}
}

func (t *Tracker) applyLate(now agent.Instant, e *event) {
	switch e.kind {
	case newCPUs:
		t.setCPUs(now, e.n.unit, e.cpus, true)
	case newFacts:
		t.describeUnit(now, e)
	case follow:
		e.own.begin(now, t)
	case unfollow:
		e.own.end(now, t)
	}
}

// arrive takes a new group, after its parents.
func (t *Tracker) arrive(n *node) {
	n.sure = n.created
	t.restore(n)
	t.nodes = append(t.nodes, n)
	if n.up != nil {
		n.up.hadKids = true
	}
	t.parents.arrive(n)
	t.join(n)
	if n.Role == Step && n.version == V1 {
		t.bare = append(t.bare, &bare{n: n})
	}
	for _, p := range t.sources {
		p.arrive(n)
	}
	t.state.stale = true
}

// depart forgets a group. Its numbers live on in its parents', in its job's and in the points that are still to be made.
func (t *Tracker) depart(n *node) {
	n.gone = true
	if n.extra != nil {
		n.extra.close()
	}
	if n.unit != nil {
		n.unit.live--
	}
	if i := slices.Index(t.nodes, n); i >= 0 {
		t.nodes = slices.Delete(t.nodes, i, i+1)
	}
	t.parents.leaving = append(t.parents.leaving, n)
	t.state.stale = true
}

// openUsage takes a CPU counter that has appeared. One that was found by the first scan has counted before: that is not
// what is used from now on.
func (t *Tracker) openUsage(n *node, e *event) {
	n.state, n.file, n.ino = usageUnread, e.file, e.ino
	t.state.stale = true
	t.rejoin(n)
	if u := n.unit; u != nil && !u.counted {
		if u.counted = true; u.group == nil {
			u.at = agent.BootNs()
		}
	}
	if e.file == nil {
		if !errors.Is(e.err, os.ErrNotExist) && !errors.Is(e.err, unix.ENODEV) {
			t.log.Warn("the CPU time of a control group is not known", "group", n.path, "err", e.err)
		}
		return
	}
	n.state = usageOpen
	// Parents before children: depth is the order in which they are read.
	i, _ := slices.BinarySearchFunc(t.open, n.depth+1, func(o *node, depth int) int { return o.depth - depth })
	t.open = slices.Insert(t.open, i, n)
	if n.created || n.raw > 0 {
		return
	}
	if v, err := n.read(t.buf); err == nil {
		n.advance(v)
		if n.up != nil {
			n.up.fresh -= v
		}
		if n.found && n.unit != nil && n.unit.known {
			n.unit.sum -= v // the unit goes on, and only this group of it is new to the books
		}
	}
}

// closeUsage ends a CPU counter whose directory was removed, unless reading it has told so before.
func (t *Tracker) closeUsage(n *node) {
	if n.state == usageNone {
		return
	}
	if i := slices.Index(t.open, n); i >= 0 {
		t.open = slices.Delete(t.open, i, i+1)
	}
	t.endLife(n)
}
