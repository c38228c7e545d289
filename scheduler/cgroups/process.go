package cgroups

import (
	"bytes"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// Process is one reading of /proc/PID/stat.
type Process struct {
	Parent int
	Start  uint64 // in ticks since boot: tells a reused pid
	CPU    uint64 // used by itself and by the children that it has waited for, ns
}

// ReadProcess reads a process; false when it has ended.
func ReadProcess(proc string, pid int) (Process, bool) {
	var buf [4096]byte
	text, err := readSmall(filepath.Join(proc, strconv.Itoa(pid), "stat"), buf[:])
	if err != nil {
		return Process{}, false
	}
	return parseProcess(text)
}

// parseProcess parses `PID (NAME) STATE PPID …`, with utime, stime, cutime and cstime as fields 14 to 17 and the start as
// field 22. The name may hold anything, parentheses included.
func parseProcess(text []byte) (p Process, ok bool) {
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return p, false
	}
	rest := text[i+1:]
	var field []byte
	for n := 3; n <= 22; n++ {
		field, rest = sysfile.CutField(rest)
		v, isNum := sysfile.ParseUint(field)
		switch {
		case n == 4:
			p.Parent = int(v)
		case n >= 14 && n <= 17:
			p.CPU += v * tickNs
		case n == 22:
			p.Start = v
		default:
			isNum = true // not of interest
		}
		if !isNum {
			return Process{}, false
		}
	}
	return p, true
}

// ProcessSum sums the CPU time of processes that come and go. What a process uses between its last reading and its end is in
// its parent's, if that has waited for it, and else lost.
type ProcessSum struct {
	known map[int]Process
	lost  uint64 // of processes that have ended and for which none of the others has waited, ns
	most  uint64 // the largest sum so far, ns
}

// Known tells whether a process was there before, and as which.
func (s *ProcessSum) Known(pid int) (Process, bool) {
	p, ok := s.known[pid]
	return p, ok
}

// Pids returns the processes that were there before.
func (s *ProcessSum) Pids() []int {
	pids := make([]int, 0, len(s.known))
	for pid := range s.known {
		pids = append(pids, pid)
	}
	return pids
}

// Update takes the processes that are there now and returns the sum in ns, which never falls. It keeps seen.
func (s *ProcessSum) Update(seen map[int]Process) uint64 {
	for pid, p := range s.known {
		if now, alive := seen[pid]; alive && now.Start == p.Start {
			continue
		}
		if _, waited := seen[p.Parent]; !waited {
			s.lost += p.CPU
		}
	}
	s.known = seen
	sum := s.lost
	for _, p := range seen {
		sum += p.CPU
	}
	s.most = max(s.most, sum)
	return s.most
}

// bareAfter is how long a step's group may be without a CPU counter before its processes are read instead: Slurm makes the
// counter's directory up to 20 ms after the freezer's.
const bareAfter = int64(100 * time.Millisecond)

// bare is a step of a site on which only the freezer hierarchy holds the jobs: what its processes use is summed.
type bare struct {
	n     *node
	procs *sysfile.File
	sum   ProcessSum
	begun bool
}

// readBare reads the steps that have no CPU counter. It is not for hot paths: such sites are few and better served by
// jobacct_gather/cgroup.
func (t *Tracker) readBare() {
	if len(t.bare) == 0 {
		return
	}
	now := bootNow()
	t.bare = slices.DeleteFunc(t.bare, func(b *bare) bool {
		if b.n.gone || b.n.state != usageNone || counted(b.n) {
			if b.procs != nil {
				_ = b.procs.Close()
			}
			return true
		}
		if now-b.n.at >= bareAfter {
			t.readProcesses(b)
		}
		return false
	})
}

// counted tells whether a group or one around it has, or had, a CPU counter.
func counted(n *node) bool {
	for ; n != nil; n = n.up {
		if n.state != usageNone || n.total > 0 && n.Role != Step {
			return true
		}
	}
	return false
}

func (t *Tracker) readProcesses(b *bare) {
	n := b.n
	if b.procs == nil && !t.openBare(b) {
		return
	}
	text, err := b.procs.ReadGrow(&t.buf)
	if err != nil {
		return
	}
	seen := map[int]Process{}
	for len(text) > 0 {
		var line []byte
		line, text = sysfile.CutLine(text)
		if pid, ok := sysfile.ParseUint(line); ok {
			if p, ok := ReadProcess(t.proc, int(pid)); ok {
				seen[int(pid)] = p
			}
		}
	}
	v := b.sum.Update(seen)
	switch {
	case b.begun:
	case n.raw > v:
		// After a restart: what was read of processes that have ended since is not known any more.
		b.sum.lost = n.raw - v
		v = b.sum.Update(seen)
	case n.raw == 0 && !n.created:
		n.raw = v // found running: what was used before is not the books'
	}
	b.begun = true
	if v > n.raw {
		t.addBare(n, v-n.raw)
		n.raw = v
	}
}

func (t *Tracker) openBare(b *bare) bool {
	h := ofController(t.watch.hs, "freezer")
	if h == nil {
		return false
	}
	var err error
	if b.procs, err = sysfile.Open(h.Path + b.n.path + "/cgroup.procs"); err != nil {
		b.procs = nil
		return false
	}
	if !t.saidBare {
		t.saidBare = true
		t.log.Warn("only the freezer hierarchy holds the jobs: their CPU time is summed over their processes, in hundredths of a second; "+
			"JobAcctGatherType=jobacct_gather/cgroup makes it exact", "group", b.n.path)
	}
	return true
}

// addBare counts CPU time to a step, to its job, whose group has no counter either, and to the parents' sum.
func (t *Tracker) addBare(n *node, d uint64) {
	n.total += d
	t.parents.ended += d
	for _, x := range [...]*node{n, n.up} {
		if x != nil && x.unit != nil {
			x.unit.sum += d
			x.unit.final = jobs.FinalLastRead
		}
	}
}
