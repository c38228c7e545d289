package slurm

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	testbed "github.com/alumet-hpc/alumet-hpc/contrib/testbed/slurm"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

// node lets a tracker see one node only: others on this machine may have a Slurm of their own.
type node struct {
	matcher
	name string
}

func (n node) Match(path string, v cgroups.Version) cgroups.Match {
	m := n.matcher.Match(path, v)
	if m.Role > cgroups.Above && !strings.Contains(path, "/slurm_"+n.name) && !strings.Contains(path, "/"+n.name+"_slurmstepd.scope") {
		return cgroups.Match{UID: -1}
	}
	return m
}

// account is a job or step in the ledger of the test.
type account struct {
	group *jobs.Group
	cpu   uint64 // of the present incarnation, ns
	sum   uint64 // of earlier ones
	open  bool
	lives int
	final jobs.Final
	cpus  []int
	facts jobs.Facts
	begin int64
	first int64 // wall clock between the beginning and the first usage, ns
}

// ledger is a jobs.Books that only notes.
type ledger struct {
	mu       sync.Mutex
	accounts map[string]*account
	parent   uint64
	state    []byte
}

func (l *ledger) get(id jobs.ID, step string) *account {
	name := id.Name
	if step != "" {
		name += "." + step
	}
	a := l.accounts[name]
	if a == nil {
		a = &account{group: &jobs.Group{ID: id, Step: step}}
		l.accounts[name] = a
	}
	return a
}

func (l *ledger) Begin(now agent.Instant, id jobs.ID, step string, cpus []int) *jobs.Group {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.get(id, step)
	a.sum, a.cpu, a.open, a.begin = a.sum+a.cpu, 0, true, now.Boot
	a.lives++
	if len(cpus) > 0 {
		a.cpus = cpus
	}
	return a.group
}

func (l *ledger) Found(now agent.Instant, id jobs.ID, step string, cpus []int, _ uint64) *jobs.Group {
	return l.Begin(now, id, step, cpus)
}
func (l *ledger) Resume(jobs.ID, string) (*jobs.Group, bool) { return nil, false }
func (l *ledger) Open() []*jobs.Group                        { return nil }

func (l *ledger) Usage(now agent.Instant, g *jobs.Group, cpu uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.get(g.ID, g.Step)
	a.cpu = max(a.cpu, cpu)
	if a.first == 0 {
		a.first = now.Boot - a.begin
	}
}

func (l *ledger) End(now agent.Instant, g *jobs.Group, cpu uint64, how jobs.Final) {
	l.Usage(now, g, cpu)
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.get(g.ID, g.Step)
	a.open, a.final = false, how
}

func (l *ledger) SetCPUs(_ agent.Instant, g *jobs.Group, cpus []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.get(g.ID, g.Step).cpus = cpus
}

func (l *ledger) SetFacts(id jobs.ID, f jobs.Facts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.get(id, "").facts = f
}

func (l *ledger) Parent(_ agent.Instant, cpu uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parent = max(l.parent, cpu)
}
func (l *ledger) Busy(agent.Instant, int, uint64) {}
func (l *ledger) TrackerState(_ string, s []byte) { l.state = append(l.state[:0], s...) }
func (l *ledger) LastTrackerState(string) []byte  { return nil }
func (a account) total() uint64                   { return a.sum + a.cpu }
func (l *ledger) account(name string) account {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *l.named(name)
}
func (l *ledger) named(name string) *account {
	if a := l.accounts[name]; a != nil {
		return a
	}
	return &account{}
}

// sums returns what jobs and what steps have used.
func (l *ledger) sums() (ofJobs, ofSteps uint64, open int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, a := range l.accounts {
		if strings.Contains(name, ".") {
			ofSteps += a.total()
		} else {
			ofJobs += a.total()
		}
		if a.open {
			open++
		}
	}
	return ofJobs, ofSteps, open
}

// watch runs a tracker on a node of a cluster until the test ends, as the agent's main lane would.
func watch(t *testing.T, name string) *ledger {
	t.Helper()
	l := &ledger{accounts: map[string]*account{}}
	tr := cgroups.New(l)
	edge := make(chan struct{}, 1)
	m := node{matcher{depth: 1}, name}
	var points *cgroups.Points
	plugin := agent.Define("slurm-test", "", func() struct{} { return struct{}{} }, func(s *agent.Setup, _ struct{}) error {
		tr.Attach(s, m, cgroups.Options{})
		points = tr.NewPoints(s, cgroups.Selection{Want: m.wants, Attributes: attributes, Keys: []string{"job_id", "job_step"}})
		return nil
	})
	opened, err := agent.Open(plugin, nil, agent.OpenOptions{Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
		Edge: func() {
			select {
			case edge <- struct{}{}:
			default:
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Refresh(agent.Clock{}.Now()); err != nil { // what is there already is found, not begun
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		var b agent.Batch
		for {
			select {
			case <-stop:
				return
			case <-edge:
				_ = points.Edge(agent.Clock{}.Now())
				time.Sleep(2 * time.Millisecond) // as the agent spaces its edges
			case <-tick.C:
				b.Reset()
				_ = points.Poll(&b, agent.Clock{}.Now())
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", b)
	return len(b), nil
}

// settled waits until no job is open and returns the counter of the node's own group, when the last reading has it.
func settled(t *testing.T, l *ledger, counter string) (parent uint64) {
	t.Helper()
	until(t, "all jobs end", func() bool { _, _, open := l.sums(); return open == 0 })
	last := time.Now().Add(time.Second)
	for {
		parent = readCounter(t, counter)
		l.mu.Lock()
		told := l.parent
		l.mu.Unlock()
		if told == parent || time.Now().After(last) {
			return parent
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// readCounter reads a cpuacct.usage or cpu.stat in ns.
func readCounter(t *testing.T, path string) uint64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	unit, value := uint64(1), fields[0]
	if fields[0] == "usage_usec" {
		unit, value = 1000, fields[1]
	}
	v, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v * unit
}

const busyLoop = `i=0; while [ $i -lt %d ]; do i=$((i+1)); done`

func loop(n int) string { return fmt.Sprintf(busyLoop, n) }

// Two jobs of two users with several steps on a real Slurm: every nanosecond of slurm_<node> has its job and step.
func TestRealSlurmV1(t *testing.T) {
	c := testbed.Start(t, testbed.Options{Extern: true})
	l := watch(t, c.Nodes[0])
	job := c.Submit("#!/bin/sh\nsrun sh -c '"+loop(200000)+"'\nsrun sh -c '"+loop(100000)+"'\n", "-J", "burn it", "-n1")
	other, err := c.Run(context.Background(), "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "srun", "-Q", "-n1", "sh", "-c", "echo $SLURM_JOB_ID; "+loop(100000))
	if err != nil {
		t.Fatal(err)
	}
	other = strings.TrimSpace(other)
	c.Wait(job)
	want := settled(t, l, "/sys/fs/cgroup/cpuacct/slurm_"+c.Nodes[0]+"/cpuacct.usage")
	ofJobs, ofSteps, _ := l.sums()
	if ofJobs != want || l.parent != want {
		t.Errorf("jobs used %d, parents' sum %d, the parent counts %d", ofJobs, l.parent, want)
	}
	if ofSteps > want || want-ofSteps > want/1000 {
		t.Errorf("steps used %d, the parent counts %d", ofSteps, want)
	}
	for _, name := range []string{job, job + ".batch", job + ".0", job + ".1", job + ".extern", other, other + ".0"} {
		a := l.account(name)
		if a.lives != 1 || a.open || a.final == jobs.FinalNone {
			t.Errorf("%s: %+v", name, a)
		}
		t.Logf("%s: %d ns, final reading by %s, CPUs %v, first reading after %v, %+v", name, a.total(), a.final, a.cpus, time.Duration(a.first), a.facts)
	}
	f := l.account(job).facts
	if f.JobName != "burn it" || f.UID != 0 || f.User != "root" || f.Partition == "" {
		t.Errorf("facts of %s: %+v", job, f)
	}
	if a := l.account(job); len(a.cpus) == 0 || len(a.cpus) > 2 {
		t.Errorf("CPUs of %s: %v", job, a.cpus)
	}
	if f := l.account(other).facts; f.UID != 1000 {
		t.Errorf("facts of %s: %+v", other, f)
	}
}

// On v2 the same holds; the uid is learned from the processes.
func TestRealSlurmV2(t *testing.T) {
	c := testbed.Start(t, testbed.Options{Plugin: "v2"})
	l := watch(t, c.Nodes[0])
	job := c.Submit("#!/bin/sh\nsrun sh -c '"+loop(200000)+"'\nsrun sh -c '"+loop(100000)+"'\n", "-J", "burn it", "-n1")
	c.Wait(job)
	dir := "/sys/fs/cgroup/unified/system.slice/" + c.Nodes[0] + "_slurmstepd.scope"
	settled(t, l, dir+"/cpu.stat")
	ofJobs, ofSteps, _ := l.sums()
	for _, name := range []string{job, job + ".batch", job + ".0", job + ".1"} {
		a := l.account(name)
		if a.lives < 1 || a.open || a.final == jobs.FinalNone || a.final == jobs.FinalLastRead {
			t.Errorf("%s: %+v", name, a)
		}
		t.Logf("%s: %d ns, final reading by %s, CPUs %v, first reading after %v, %+v", name, a.total(), a.final, a.cpus, time.Duration(a.first), a.facts)
	}
	t.Logf("jobs %d, steps %d, parents' sum %d", ofJobs, ofSteps, l.parent)
	if d := max(l.parent, ofJobs) - min(l.parent, ofJobs); d > 1e6 {
		t.Errorf("jobs used %d, parents' sum %d", ofJobs, l.parent)
	}
	if ofSteps > ofJobs || ofJobs-ofSteps > ofJobs/100 {
		t.Errorf("steps used %d, jobs %d", ofSteps, ofJobs)
	}
	if f := l.account(job).facts; f.UID != 0 || f.JobName != "burn it" {
		t.Errorf("facts: %+v", f)
	}
}

// Short jobs without an extern step: nobody reads them while they live.
func TestRealShortJobs(t *testing.T) {
	c := testbed.Start(t, testbed.Options{})
	l := watch(t, c.Nodes[0])
	const n = 20
	var ids []string
	for range n {
		out, err := c.Run(context.Background(), "srun", "-Q", "-n1", "sh", "-c", "echo $SLURM_JOB_ID; "+loop(10000))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, strings.TrimSpace(out))
	}
	want := settled(t, l, "/sys/fs/cgroup/cpuacct/slurm_"+c.Nodes[0]+"/cpuacct.usage")
	ofJobs, ofSteps, _ := l.sums()
	if ofJobs != want || ofSteps > want || want-ofSteps > want/100 {
		t.Errorf("jobs used %d, steps %d, the parent counts %d", ofJobs, ofSteps, want)
	}
	for _, id := range ids {
		if a := l.account(id); a.lives != 1 || a.total() == 0 {
			t.Errorf("job %s: %+v", id, a)
		}
	}
}
