package cgroups

import (
	"bytes"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"golang.org/x/sys/unix"
)

// describer learns who a job belongs to and what it is called, in a goroutine of its own: the lookup of a name may ask a
// directory server that does not answer, and nobody waits for it.
type describer struct {
	proc     string
	matchers []Matcher
	hs       []Hierarchy
	queue    *queue
	names    map[int64]string // by uid; "" is not remembered
	lookup   func(uid string) (*user.User, error)
	asked    chan asked
	stop     chan struct{}
	done     chan struct{}
}

// asked is a job whose facts are not all known yet.
type asked struct {
	n     *node
	tries int
	next  time.Time
	facts jobs.Facts
	cpus  []int
}

// tries are the times between two looks at a job's processes, from when the job or its latest step appeared. The first task
// starts some 5 to 30 ms after the step's first directory, and may be short; a job that waits between its steps has no
// processes for long.
var tries = [...]time.Duration{5 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 10 * time.Second, time.Minute}

func newDescriber(proc string, ms []Matcher, hs []Hierarchy, q *queue) *describer {
	return &describer{proc: proc, matchers: ms, hs: hs, queue: q, names: map[int64]string{}, lookup: user.LookupId,
		asked: make(chan asked, 1024), stop: make(chan struct{}), done: make(chan struct{})}
}

func (d *describer) start() { go d.run() }

// lookupWait is how long close waits for a lookup in progress, which cannot be interrupted.
const lookupWait = 100 * time.Millisecond

// close stops the goroutine. One that is held up by a directory server is left behind: it ends by itself when the server
// answers, and until then it touches nothing that anybody else still uses.
func (d *describer) close() {
	close(d.stop)
	select {
	case <-d.done:
	case <-time.After(lookupWait):
	}
}

// ask asks for the facts of a job, when it or a step of it has appeared. In a flood of jobs some remain without facts rather
// than that the watcher waits.
func (d *describer) ask(n *node) {
	if n.Role == Step {
		n = n.up
	}
	if n == nil || n.Role != Job {
		return
	}
	select {
	case d.asked <- asked{n: n, facts: jobs.Facts{UID: n.UID}}:
	default:
	}
}

func (d *describer) run() {
	defer close(d.done)
	var waiting []asked // in the order of next
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-d.stop:
			return
		case a := <-d.asked:
			if a.n.described {
				continue
			}
			if i := slices.IndexFunc(waiting, func(w asked) bool { return w.n == a.n }); i >= 0 {
				a = waiting[i]
				a.tries = 0
				waiting = slices.Delete(waiting, i, i+1)
			}
			waiting = d.look(waiting, a, time.Now())
		case now := <-timer.C:
			for len(waiting) > 0 && !waiting[0].next.After(now) {
				a := waiting[0]
				waiting = slices.Delete(waiting, 0, 1)
				waiting = d.look(waiting, a, now)
			}
		}
		if len(waiting) > 0 {
			timer.Reset(time.Until(waiting[0].next))
		}
	}
}

// look looks at the processes of a job once, tells what is new, and puts the job back unless all is known, it is over, or
// it was looked at often enough.
func (d *describer) look(waiting []asked, a asked, now time.Time) []asked {
	before := a
	named, exists := d.inspect(&a)
	if a.facts.UID >= 0 && a.facts.User == "" {
		a.facts.User = d.nameOf(a.facts.UID)
	}
	if !factsEqual(before.facts, a.facts) || !slices.Equal(before.cpus, a.cpus) {
		d.queue.put(event{kind: newFacts, n: a.n, facts: a.facts, cpus: a.cpus})
	}
	a.n.described = named && a.facts.User != ""
	if !exists || a.n.described || a.tries == len(tries) {
		return waiting
	}
	a.next = now.Add(tries[a.tries])
	a.tries++
	i, _ := slices.BinarySearchFunc(waiting, a.next, func(w asked, t time.Time) int { return w.next.Compare(t) })
	return slices.Insert(waiting, i, a)
}

func factsEqual(a, b jobs.Facts) bool {
	return a.User == b.User && a.UID == b.UID && a.JobName == b.JobName && a.Account == b.Account && a.Partition == b.Partition &&
		a.ArrayJob == b.ArrayJob && a.ArrayTask == b.ArrayTask && a.HetJob == b.HetJob && a.HetOffset == b.HetOffset
}

// inspect looks at the processes in a job's group. named is set when one of them has told the job's names; the CPUs are
// those that all such processes may run on together. exists tells whether the group still stands.
func (d *describer) inspect(a *asked) (named, exists bool) {
	var cpus []int
	for i := range d.hs {
		h := &d.hs[i]
		root := h.Path + a.n.path
		if _, _, err := inode(root); h.Version != a.n.version || !h.holdsJobs() || err != nil {
			continue
		}
		exists = true
		for _, pid := range pidsBelow(root, 4, nil) {
			dir := filepath.Join(d.proc, strconv.Itoa(pid))
			if d.environment(dir, a.n, &a.facts) {
				named = true
				cpus = append(cpus, allowed(dir)...)
			}
		}
		if named {
			slices.Sort(cpus)
			a.cpus = slices.Compact(cpus)
			break
		}
	}
	return named, exists
}

// environment reads the environment that a process was started with. Where the path does not tell the owner, it is that of
// the process.
func (d *describer) environment(dir string, n *node, f *jobs.Facts) bool {
	env, err := os.ReadFile(filepath.Join(dir, "environ"))
	if err != nil || len(env) == 0 {
		return false
	}
	for _, m := range d.matchers {
		x, ok := m.(Describer)
		if !ok || !x.Describe(env, n.ID, f) {
			continue
		}
		var st unix.Stat_t
		if f.UID < 0 && unix.Stat(dir, &st) == nil {
			f.UID = int64(st.Uid)
		}
		return true
	}
	return false
}

// maxPids bounds how many processes of one job are looked at: enough to find one that tells, and cheap for wide jobs.
const maxPids = 256

// pidsBelow lists the processes of a group and of the groups in it, down to a depth.
func pidsBelow(dir string, depth int, pids []int) []int {
	text, err := os.ReadFile(dir + "/cgroup.procs")
	if err != nil {
		return pids
	}
	for line := range strings.Lines(string(text)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 && len(pids) < maxPids {
			pids = append(pids, pid)
		}
	}
	if _, subs, err := inode(dir); err != nil || subs == 0 || depth == 0 {
		return pids
	}
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		if e.IsDir() {
			pids = pidsBelow(dir+"/"+e.Name(), depth-1, pids)
		}
	}
	return pids
}

// allowed returns the CPUs that a process may run on.
func allowed(dir string) []int {
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return nil
	}
	_, rest, ok := bytes.Cut(text, []byte("\nCpus_allowed_list:"))
	if !ok {
		return nil
	}
	line, _ := sysfile.CutLine(rest)
	cpus, _ := sysfile.ParseCPUList(string(line))
	return cpus
}

func (d *describer) nameOf(uid int64) string {
	if name, ok := d.names[uid]; ok {
		return name
	}
	u, err := d.lookup(strconv.FormatInt(uid, 10))
	if err != nil {
		return ""
	}
	d.names[uid] = u.Username
	return u.Username
}

// describeUnit takes the facts of a job.
func (t *Tracker) describeUnit(now agent.Instant, e *event) {
	u := e.n.unit
	if u == nil || u.step != "" || u.live == 0 {
		return
	}
	if u.group == nil {
		u.early = append(u.early, e.facts)
	} else {
		t.books.SetFacts(u.id, e.facts)
	}
	if len(e.cpus) > 0 {
		t.setCPUs(now, u, e.cpus, false)
	}
	if e.facts.UID >= 0 && u.uid < 0 {
		u.uid = e.facts.UID
		for _, p := range t.sources {
			p.renew(u)
		}
	}
}
