package cgroups

import (
	"slices"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// resolve finds what the groups used last that have ended since the last Refresh. Each parent keeps what its dead children
// used: what it counts and none of its children is known to have used belongs to those that ended unread, in equal parts.
// Parents are resolved before their children, so that a job and its step may end together.
func (t *Tracker) resolve(now agent.Instant) {
	if len(t.ending) > 0 {
		slices.SortStableFunc(t.ending, func(a, b *node) int { return a.depth - b.depth })
		weigh(t.ending)
		for i, n := range t.ending {
			if n.due > 0 || n.final == jobs.FinalGroup {
				share(n.up, t.ending[i:])
			}
		}
		for _, n := range t.ending {
			if n.unit != nil {
				n.unit.final = max(n.unit.final, n.final)
			}
			n.due = 0
		}
	}
	window := now.Boot-t.window >= ownWindow
	if window {
		t.window = now.Boot
	}
	for _, n := range t.open {
		if !n.sure {
			n.settleOwn()
		} else {
			n.learnOwn(window)
		}
	}
	clear(t.ending)
	t.ending = t.ending[:0]
}

// ownWindow is much longer than any event of the kernel was ever late.
const ownWindow = int64(time.Second)

// weigh tells how many parts each group that ended unread gets: as many as groups ended unread in it. One all of whose
// children ended earlier has used nothing since, for it is they that hold the processes.
func weigh(list []*node) {
	for _, n := range list {
		n.weight = 0
	}
	for _, n := range slices.Backward(list) {
		if !n.hadKids {
			n.weight = n.due
		}
		if n.up != nil && n.due > 0 {
			n.up.weight += n.weight
		}
	}
}

// share gives the residual of a parent to those of its children in list that have ended unread. Each first gets what its
// own children are known to have used beyond its reading; the rest goes by weight. Children that were read after their
// last process had ended get something only when there are no others: it is what the kernel booked even later.
func share(p *node, list []*node) {
	unread := slices.ContainsFunc(list, func(c *node) bool { return c.up == p && c.due > 0 })
	takes := func(c *node) bool {
		return c.up == p && (c.due > 0) == unread && (unread || c.final == jobs.FinalGroup)
	}
	sum, n := 0, 0
	for _, c := range list {
		if takes(c) {
			sum += c.weight
			n++
		}
	}
	if sum == 0 {
		for _, c := range list {
			if takes(c) {
				c.weight = 1
			}
		}
		sum = n
	}
	rest, how := residual(p, min(n, sum))
	for _, c := range list {
		if takes(c) {
			known := min(rest, uint64(max(0, -c.rest())))
			rest -= known
			c.add(known)
		}
	}
	for _, c := range list {
		if !takes(c) {
			continue
		}
		if sum > 0 {
			part := rest * uint64(c.weight) / uint64(sum)
			rest, sum = rest-part, sum-c.weight
			c.add(part)
		}
		if unread {
			c.final = max(c.final, how)
		}
	}
	for _, c := range list {
		if c.up == p {
			c.due = 0
		}
	}
}

// residual is what a parent counts and no child is known to have used, and how good a reading it makes for its dead ones.
func residual(p *node, due int) (rest uint64, how jobs.Final) {
	if p == nil || !p.sure {
		return 0, jobs.FinalLastRead
	}
	// A parent that has ended itself is known no better than by its own last reading.
	how = max(jobs.FinalParent, p.final)
	if due > 1 {
		how = max(how, jobs.FinalShared)
	}
	return uint64(max(0, p.rest())), how
}
