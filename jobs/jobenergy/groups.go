package jobenergy

import (
	"cmp"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// The methods of this file are what schedulers' trackers tell; see jobs.Books.

// Begin opens a group that was seen being created.
func (b *Book) Begin(now agent.Instant, id jobs.ID, step string, cpus []int) *jobs.Group {
	return b.begin(now, &jobs.Event{Type: jobs.EventBegin, Job: id.String(), Step: step, CPUs: cpus, HasCPUs: len(cpus) > 0}, id)
}

// Found opens a group that was already running.
func (b *Book) Found(now agent.Instant, id jobs.ID, step string, cpus []int, cpuNs uint64) *jobs.Group {
	return b.begin(now, &jobs.Event{Type: jobs.EventFound, Job: id.String(), Step: step, CPUs: cpus, HasCPUs: len(cpus) > 0, CPUNs: cpuNs, HasCPUNs: true}, id)
}

func (b *Book) begin(now agent.Instant, e *jobs.Event, id jobs.ID) *jobs.Group {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.l.Find(id, e.Step); e.Step == "" && (g == nil || !g.Live()) {
		b.live++
	}
	e.T = now.Boot
	b.apply(e)
	g := b.l.Group(e.Job, e.Step)
	g.SetWall(now.Wall, 0)
	return g
}

// Resume returns a group that the last run left open.
func (b *Book) Resume(id jobs.ID, step string) (*jobs.Group, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.l.Find(id, step)
	return g, g != nil && g.Live()
}

// Open lists the open groups, steps before their jobs.
func (b *Book) Open() (list []*jobs.Group) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for j := range b.l.Jobs {
		for s := range j.Steps {
			if s.Live() {
				list = append(list, s)
			}
		}
		if j.Live() {
			list = append(list, j)
		}
	}
	return list
}

// Usage tells a group's counter.
func (b *Book) Usage(now agent.Instant, g *jobs.Group, cpuNs uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.l.Usage(g, now.Boot, cpuNs)
}

// End closes a group.
func (b *Book) End(now agent.Instant, g *jobs.Group, cpuNs uint64, how jobs.Final) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.Step == "" && g.Live() {
		b.live--
		b.ended = true
	}
	b.apply(&jobs.Event{Type: jobs.EventEnd, T: now.Boot, Job: g.Job().Name(), Step: g.Step, CPUNs: cpuNs, HasCPUNs: true, By: how.String()})
	g.SetWall(0, now.Wall)
	g.SetFinal(how)
}

// SetCPUs tells that a job's cpuset has changed.
func (b *Book) SetCPUs(now agent.Instant, g *jobs.Group, cpus []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apply(&jobs.Event{Type: jobs.EventCPUs, T: now.Boot, Job: g.Job().Name(), CPUs: cpus, HasCPUs: true})
}

// SetFacts adds facts to a job.
func (b *Book) SetFacts(id jobs.ID, f jobs.Facts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.l.Find(id, "")
	if g == nil {
		return
	}
	k := g.Facts()
	for _, x := range []struct {
		to   *string
		from string
	}{
		{&k.User, f.User}, {&k.JobName, f.JobName}, {&k.Account, f.Account}, {&k.Partition, f.Partition}, {&k.ArrayJob, f.ArrayJob},
		{&k.ArrayTask, f.ArrayTask}, {&k.HetJob, f.HetJob}, {&k.HetOffset, f.HetOffset}, {&k.Cgroup, f.Cgroup},
	} {
		*x.to = cmp.Or(x.from, *x.to)
	}
	if f.UID >= 0 {
		k.UID = f.UID
	}
}

// Parent tells what the parents of all job groups count.
func (b *Book) Parent(now agent.Instant, cpuNs uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.l.Parent(now.Boot, cpuNs)
}

// Busy tells the busy time of a socket's CPUs.
func (b *Book) Busy(now agent.Instant, socket int, cpuNs uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.l.Busy(now.Boot, socket, cpuNs)
}

// TrackerState keeps a tracker's own state with the next commit.
func (b *Book) TrackerState(name string, state []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trackers[name] = append(b.trackers[name][:0], state...)
}

// LastTrackerState returns what a tracker kept in the last run of the same boot.
func (b *Book) LastTrackerState(name string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.old[name]
}
