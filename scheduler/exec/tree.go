package exec

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

// Tree sums the CPU time of a process, its descendants, and the children that any of them has waited for. It needs no rights
// but to read /proc. A descendant is remembered also when its parent ends before it.
type Tree struct {
	proc string
	root int
	sum  cgroups.ProcessSum
}

// NewTree makes a tree with a process at its root.
func NewTree(proc string, pid int) *Tree { return &Tree{proc: proc, root: pid} }

// Usage returns the sum in ns; it never falls. The error is [agent.ErrGone] when no process of the tree is left.
func (t *Tree) Usage() (uint64, error) {
	seen := map[int]cgroups.Process{}
	t.visit(t.root, seen)
	for _, pid := range t.sum.Pids() {
		t.visit(pid, seen) // those whose parents have ended
	}
	v := t.sum.Update(seen)
	if len(seen) == 0 {
		return v, agent.ErrGone
	}
	return v, nil
}

// visit reads a process and all below it.
func (t *Tree) visit(pid int, seen map[int]cgroups.Process) {
	if _, done := seen[pid]; done {
		return
	}
	p, ok := cgroups.ReadProcess(t.proc, pid)
	if !ok {
		return
	}
	if old, was := t.sum.Known(pid); was && old.Start != p.Start {
		return // another process with the number of one that has ended
	}
	seen[pid] = p
	dir := filepath.Join(t.proc, strconv.Itoa(pid), "task")
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, task := range tasks {
		children, err := os.ReadFile(filepath.Join(dir, task.Name(), "children"))
		if err != nil {
			continue
		}
		for child := range strings.FieldsSeq(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				t.visit(n, seen)
			}
		}
	}
}
