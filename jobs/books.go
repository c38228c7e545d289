package jobs

import "github.com/alumet-hpc/alumet-hpc/agent"

// Books is what schedulers' trackers tell of the jobs they follow. jobs/jobenergy implements it for a node; tests may do so
// too. All methods are called from the agent's main lane, within one tick or edge with one now; t is now.Boot. A group is
// a job (step empty) or one of its steps, and cpuNs is the cumulative counter of its present incarnation, in ns.
type Books interface {
	// Begin opens a group that was seen being created: its counter starts at 0. cpus may be nil for unknown. A job's
	// group is begun before its steps. Beginning an open group again starts a new incarnation of it.
	Begin(now agent.Instant, id ID, step string, cpus []int) *Group
	// Found opens a group that was already running: what it used before is not the ledger's.
	Found(now agent.Instant, id ID, step string, cpus []int, cpuNs uint64) *Group
	// Resume returns the group as the books knew it before a restart in the same boot; false if they did not. Its counter
	// simply goes on.
	Resume(id ID, step string) (*Group, bool)
	// Open lists the groups that the books hold open, steps before their jobs: after a restart, those that no longer
	// exist are to be ended.
	Open() []*Group
	// Usage tells a group's counter. It allocates nothing.
	Usage(now agent.Instant, g *Group, cpuNs uint64)
	// End closes a group with its last counter. Ending a job ends its steps' energy, too; end the steps first.
	End(now agent.Instant, g *Group, cpuNs uint64, how Final)
	// SetCPUs tells that a job's cpuset has changed.
	SetCPUs(now agent.Instant, g *Group, cpus []int)
	// SetFacts adds facts to a job; fields that are empty keep what was known (UID: negative keeps).
	SetFacts(id ID, f Facts)
	// Parent tells what the parents of all job groups count for living and dead together, less their children that are
	// no jobs: one monotone sum over all hierarchies and schedulers, in ns. It allocates nothing.
	Parent(now agent.Instant, cpuNs uint64)
	// Busy tells the busy time of a socket's CPUs, in ns. It allocates nothing.
	Busy(now agent.Instant, socket int, cpuNs uint64)
	// TrackerState keeps what a tracker needs after a restart in the same boot (raw parent counters, for example); it is
	// committed with the totals. LastTrackerState returns what was kept, nil after a reboot.
	TrackerState(name string, state []byte)
	LastTrackerState(name string) []byte
}
