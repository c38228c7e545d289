package exec

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// Tree sums the CPU time of a process, its descendants, and the children that any of them has waited for. It needs no rights
// but to read /proc. A descendant is remembered also when its parent ends before it; what a process uses between its last
// reading and its end is in its parent, if that has waited for it, and else lost.
type Tree struct {
	proc  string
	root  int
	known map[int]process
	lost  uint64 // of processes that have ended and for which no process of the tree has waited, ns
	most  uint64 // the largest sum so far, ns
}

// process is one reading of /proc/PID/stat.
type process struct {
	parent int
	start  uint64 // in ticks since boot: tells a reused pid
	cpu    uint64 // own and of children waited for, ns
}

// NewTree makes a tree with a process at its root.
func NewTree(proc string, pid int) *Tree {
	return &Tree{proc: proc, root: pid, known: map[int]process{}}
}

// tickNs is the unit of the times in /proc/PID/stat: a hundredth of a second.
const tickNs = 10_000_000

// Usage returns the sum in ns; it never falls. The error is [agent.ErrGone] when no process of the tree is left.
func (t *Tree) Usage() (uint64, error) {
	seen := map[int]process{}
	t.visit(t.root, seen)
	for pid := range t.known {
		t.visit(pid, seen) // those whose parents have ended
	}
	for pid, p := range t.known {
		if _, alive := seen[pid]; alive {
			continue
		}
		if _, waited := seen[p.parent]; !waited {
			t.lost += p.cpu
		}
	}
	t.known = seen
	sum := t.lost
	for _, p := range seen {
		sum += p.cpu
	}
	t.most = max(t.most, sum)
	if len(seen) == 0 {
		return t.most, agent.ErrGone
	}
	return t.most, nil
}

// visit reads a process and all below it.
func (t *Tree) visit(pid int, seen map[int]process) {
	if _, done := seen[pid]; done {
		return
	}
	dir := filepath.Join(t.proc, strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return
	}
	p, ok := parseStat(text)
	if !ok {
		return
	}
	if old, was := t.known[pid]; was && old.start != p.start {
		return // another process with the number of one that has ended
	}
	seen[pid] = p
	tasks, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return
	}
	for _, task := range tasks {
		children, err := os.ReadFile(filepath.Join(dir, "task", task.Name(), "children"))
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

// parseStat parses /proc/PID/stat: `PID (NAME) STATE PPID …`, with utime, stime, cutime and cstime as fields 14 to 17 and the
// start as field 22. The name may hold anything, parentheses included.
func parseStat(text []byte) (p process, ok bool) {
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
			p.parent = int(v)
		case n >= 14 && n <= 17:
			p.cpu += v * tickNs
		case n == 22:
			p.start = v
		default:
			isNum = true // not of interest
		}
		if !isNum {
			return process{}, false
		}
	}
	return p, true
}
