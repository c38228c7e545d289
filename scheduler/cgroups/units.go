package cgroups

import (
	"slices"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// unit is a job or a step as the books know it. It usually has one group; several when two nodes of a test bed share a
// host, or when a group was removed and made again while another of the same job stood.
type unit struct {
	unitKey
	group   *jobs.Group  // nil until the books have been told
	sum     uint64       // CPU time of all its groups since it was begun, ns
	live    int          // groups that are there
	created bool         // its first group was seen being created
	at      int64        // and when, on CLOCK_BOOTTIME
	counted bool         // its CPU counter was there
	early   []jobs.Facts // learned before the books were told of it
	cpus    []int
	cpuset  bool // cpus are those of its cpuset
	uid     int64
	path    string
	final   jobs.Final
	saved   bool // it is in the state of before a restart
	known   bool // and was begun
	index   int  // in the state
}

// flags are what the state says of a unit beside its sum.
func (u *unit) flags() (f byte) {
	if u.group != nil {
		f |= flagBegun
	}
	if u.created {
		f |= flagCreated
	}
	return f
}

// unitKey names a job (step empty) or a step.
type unitKey struct {
	id   jobs.ID
	step string
}

// join makes a node part of its job or step, which it begins when it is the first.
func (t *Tracker) join(n *node) {
	if n.Role != Job && n.Role != Step {
		return
	}
	key := unitKey{n.ID, n.Step}
	u := t.byName[key]
	if u == nil {
		u = &unit{unitKey: key, created: n.created, at: n.at, uid: n.UID, path: n.path}
		t.restoreUnit(u)
		t.byName[key] = u
		t.units = append(t.units, u)
	}
	u.live++
	n.unit = u
}

// restoreUnit lets a unit go on where the state has it. When the agent was ended before it had told the books of one that
// it had seen being created, that is done now: all that it has used is the books'.
func (t *Tracker) restoreUnit(u *unit) {
	s, ok := t.state.units[u.unitKey]
	u.sum, u.saved, u.known = s.sum, ok, s.begun
	if ok && !s.begun {
		u.created = s.created
	}
}

// slowCounter is how long a job's other directories may be there before that with its CPU counter. On v1 Slurm makes them
// one after the other; until the last is there no process can be in the job, and what it holds is not known.
const slowCounter = int64(100 * time.Millisecond)

// beginUnits tells the books of jobs and steps that have appeared.
func (t *Tracker) beginUnits(now agent.Instant) {
	t.waiting = false
	for _, u := range t.units {
		switch {
		case u.group != nil:
		case t.unfinished(u):
			t.waiting = true
		default:
			t.beginUnit(now, u)
		}
	}
}

// unfinished tells whether Slurm is still at making the groups of a job.
func (t *Tracker) unfinished(u *unit) bool {
	if job := t.byName[unitKey{u.id, ""}]; job != nil && job != u && job.group == nil {
		return true
	}
	return u.created && !u.known && !u.counted && agent.BootNs()-u.at < slowCounter
}

func (t *Tracker) beginUnit(now agent.Instant, u *unit) {
	switch g, known := t.resume(u); {
	case known:
		u.group = g
	case u.created:
		u.group = t.books.Begin(t.beginAt(now, u.at), u.id, u.step, u.cpus)
	default:
		u.group = t.books.Found(now, u.id, u.step, u.cpus, u.sum)
	}
	t.state.stale = true // the state tells that it is begun
	if u.step != "" {
		return
	}
	t.books.SetFacts(u.id, jobs.Facts{UID: u.uid, Cgroup: u.path})
	for _, f := range u.early {
		t.books.SetFacts(u.id, f)
	}
	u.early = nil
}

// beginAt is the time at which a group that was seen being created begins: when it was noticed, but not before the last
// Refresh, up to which everything may be settled, and 1 ns before its first usage at the latest.
func (t *Tracker) beginAt(now agent.Instant, noticed int64) agent.Instant {
	ago := max(1, agent.BootNs()-noticed)
	at := agent.Instant{Wall: now.Wall - ago, Boot: now.Boot - ago}
	if t.ran && at.Boot <= t.last {
		d := min(t.last+1, now.Boot-1) - at.Boot
		at.Boot, at.Wall = at.Boot+d, at.Wall+d
	}
	return at
}

// endUnits tells the books of jobs and steps that have ended, steps before their jobs.
func (t *Tracker) endUnits(now agent.Instant) {
	ended := false
	for _, u := range t.units {
		if job := t.byName[unitKey{u.id, ""}]; u.live == 0 && u.group == nil {
			if job != nil && job.group == nil {
				t.beginUnit(now, job)
			}
			if u.group == nil {
				t.beginUnit(now, u)
			}
		}
	}
	for _, u := range slices.Backward(t.units) {
		if u.live == 0 {
			ended = true
			t.books.End(now, u.group, u.sum, u.final)
			delete(t.byName, u.unitKey)
		}
	}
	if ended {
		t.units = slices.DeleteFunc(t.units, func(u *unit) bool { return u.live == 0 })
	}
}

// setCPUs takes the CPUs that a job may use: its cpuset's, or, as long as that is not known, its processes'.
func (t *Tracker) setCPUs(now agent.Instant, u *unit, cpus []int, cpuset bool) {
	if u == nil || u.cpuset && !cpuset {
		return
	}
	u.cpuset = cpuset
	if slices.Equal(u.cpus, cpus) {
		return
	}
	u.cpus = cpus
	if u.group != nil {
		t.books.SetCPUs(now, u.group, cpus)
	}
}
