package cgroups

import (
	"slices"

	"github.com/alumet-hpc/alumet-hpc/agent"
)

// parents makes one sum of what all parents of job groups count for living and dead together. Groups that come and go,
// restarts of the scheduler included, never let it fall: what a removed parent has counted stays in it.
type parents struct {
	roots   []*node // Parents, and jobs that have none
	leaving []*node // removed since the last Refresh; what they used last is not resolved yet
	ended   uint64  // of removed roots and of jobs beside the groups
	told    uint64  // what the books heard last
}

func (p *parents) arrive(n *node) {
	if n.Role == Parent || n.Role == Job && !below(n) {
		p.roots = append(p.roots, n)
	}
}

// below tells whether a job is below a Parent, whose counter includes its.
func below(n *node) bool {
	for n = n.up; n != nil; n = n.up {
		if n.Role == Parent {
			return true
		}
	}
	return false
}

// settleFound takes what roots have counted before they were found out of the sum, as it is with jobs: else the sum would
// jump by their whole history when a run finds them whose books are older than it.
func (p *parents) settleFound() {
	for _, n := range p.roots {
		if n.found {
			n.found = false
			n.others += n.part()
		}
	}
}

// part is what a root contributes: its count less that of its children that are no jobs and what it had when it was found.
func (n *node) part() uint64 { return partOf(n.total, n.others) }

func partOf(total, others uint64) uint64 {
	if others > total {
		return 0 // read later than the root, by a few microseconds
	}
	return total - others
}

func (t *Tracker) tellParents(now agent.Instant) {
	p := &t.parents
	for _, n := range p.leaving {
		if i := slices.Index(p.roots, n); i >= 0 {
			p.ended += n.part()
			p.roots = slices.Delete(p.roots, i, i+1)
		}
	}
	clear(p.leaving)
	p.leaving = p.leaving[:0]
	sum := p.ended
	for _, n := range p.roots {
		sum += n.part()
	}
	for _, f := range t.own {
		sum += f.cpu
	}
	p.told = max(p.told, sum)
	t.books.Parent(now, p.told)
}
