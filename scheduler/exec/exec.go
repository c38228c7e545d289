// Package exec follows a program that the agent itself has started: `alumet-agent exec PROGRAM…`. The program gets a control
// group of its own where that is permitted, whose counter is exact and includes all that it starts; else its processes are
// read from /proc, so that an answer is given without any rights, too. Starting it is the command's business.
package exec

import (
	"path/filepath"
	"strconv"

	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

// Scheduler is the first part of the ID of such a program; the second is its process id.
const Scheduler = "exec"

// Program is a running program that the tracker follows as the job exec/<pid>.
type Program struct {
	*cgroups.Followed
	group *Group
	tree  *Tree
}

// Follow follows the program with a process id. g is the group that it was started in, nil when there is none. name and user
// are what reports call it and its owner; uid may be negative. It is called right after the start.
func Follow(t *cgroups.Tracker, proc string, pid int, g *Group, facts jobs.Facts) *Program {
	p := &Program{group: g, tree: NewTree(proc, pid)}
	if len(facts.CPUs) == 0 {
		facts.CPUs = allowedCPUs(filepath.Join(proc, strconv.Itoa(pid)))
	}
	if g != nil {
		facts.Cgroup = g.Path()
	}
	p.Followed = t.Follow(jobs.ID{Scheduler: Scheduler, Name: strconv.Itoa(pid)}, facts, p)
	return p
}

// Usage implements [cgroups.Counter].
func (p *Program) Usage() (uint64, error) {
	if p.group != nil {
		return p.group.Usage()
	}
	return p.tree.Usage()
}

// End tells that the program has ended. cpuNs is what the kernel says that it and those of its children for which it has
// waited used. With a group, the group's counter is the last word: it has what went on in the background, too.
func (p *Program) End(cpuNs uint64) {
	if p.group != nil {
		if v, err := p.group.Usage(); err == nil {
			cpuNs = v
		}
	}
	p.Finish(cpuNs, jobs.FinalGroup)
}

// allowedCPUs are the CPUs that a process may run on, nil when that is not known.
func allowedCPUs(dir string) []int {
	text, err := sysfile.ReadText(filepath.Join(dir, "status"))
	if err != nil {
		return nil
	}
	for rest := []byte(text); len(rest) > 0; {
		var line []byte
		line, rest = sysfile.CutLine(rest)
		key, list := sysfile.CutField(line)
		if string(key) == "Cpus_allowed_list:" {
			cpus, _ := sysfile.ParseCPUList(string(list))
			return cpus
		}
	}
	return nil
}
