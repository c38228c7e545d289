package cgroups

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"golang.org/x/sys/unix"
)

// testMatcher knows paths like Slurm's on v1: /slurm_x/uid_U/job_N/step_S, on v2 too.
type testMatcher struct{ parts bool }

func (m testMatcher) Match(path string, _ Version) Match {
	x := Match{UID: -1}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	after := func(i int, prefix string) string {
		s, ok := strings.CutPrefix(parts[i], prefix)
		if !ok {
			return ""
		}
		return s
	}
	switch {
	case path == "/":
		x.Role = Above
	case after(0, "slurm_") == "":
	case len(parts) == 1:
		x.Role = Parent
	case after(1, "uid_") == "":
		if len(parts) == 2 {
			x.Role, x.Leaf = Other, true
		}
	case len(parts) == 2:
		x.Role = Inner
	case after(2, "job_") == "":
	case len(parts) == 3:
		x.Role, x.ID = Job, jobs.ID{Scheduler: "test", Name: after(2, "job_")}
	case after(3, "step_") == "":
	case len(parts) == 4:
		x.Role, x.ID, x.Step, x.Leaf = Step, jobs.ID{Scheduler: "test", Name: after(2, "job_")}, after(3, "step_"), !m.parts
	case m.parts:
		x.Role, x.ID, x.Step, x.Task = Part, jobs.ID{Scheduler: "test", Name: after(2, "job_")}, after(3, "step_"), parts[4]
	}
	if x.Role > Parent {
		uid, err := strconv.ParseInt(after(1, "uid_"), 10, 64)
		if err == nil {
			x.UID = uid
		}
	}
	return x
}

// testBooks records what it is told and checks the rules of jobs.Books.
type testBooks struct {
	t      testing.TB
	mu     sync.Mutex
	groups map[unitKey]*testGroup
	parent uint64
	told   int // calls of Parent
	busy   map[int]uint64
	state  []byte
	last   []byte // state of the run before
}

type testGroup struct {
	*jobs.Group
	open   bool
	lives  int
	found  bool
	base   uint64 // what its counter was when it was found
	cpu    uint64 // present incarnation
	sum    uint64 // earlier ones
	begin  int64
	final  jobs.Final
	cpus   []int
	facts  jobs.Facts
	usages int
}

func newTestBooks(t testing.TB) *testBooks {
	return &testBooks{t: t, groups: map[unitKey]*testGroup{}, busy: map[int]uint64{}}
}

func (b *testBooks) group(id jobs.ID, step string) *testGroup {
	g := b.groups[unitKey{id, step}]
	if g == nil {
		g = &testGroup{Group: &jobs.Group{ID: id, Step: step}}
		b.groups[unitKey{id, step}] = g
	}
	return g
}

func (b *testBooks) Begin(now agent.Instant, id jobs.ID, step string, cpus []int) *jobs.Group {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.group(id, step).open {
		b.t.Errorf("begin %s %s, which is open", id, step)
	}
	return b.begin(now, id, step, cpus)
}

func (b *testBooks) begin(now agent.Instant, id jobs.ID, step string, cpus []int) *jobs.Group {
	g := b.group(id, step)
	if step != "" && !b.group(id, "").open {
		b.t.Errorf("begin step %s of %s, which is not open", step, id)
	}
	g.open, g.begin, g.sum, g.cpu = true, now.Boot, g.sum+g.cpu, 0
	g.lives++
	if len(cpus) > 0 {
		g.cpus = cpus
	}
	return g.Group
}

func (b *testBooks) Found(now agent.Instant, id jobs.ID, step string, cpus []int, cpu uint64) *jobs.Group {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.begin(now, id, step, cpus)
	x := b.group(id, step)
	x.found, x.base, x.cpu = true, cpu, cpu
	return g
}

func (b *testBooks) Resume(id jobs.ID, step string) (*jobs.Group, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.groups[unitKey{id, step}]
	if g == nil || !g.open {
		return nil, false
	}
	return g.Group, true
}

func (b *testBooks) Open() (list []*jobs.Group) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, g := range b.groups {
		if g.open && k.step != "" {
			list = append(list, g.Group)
		}
	}
	for k, g := range b.groups {
		if g.open && k.step == "" {
			list = append(list, g.Group)
		}
	}
	return list
}

func (b *testBooks) Usage(now agent.Instant, g *jobs.Group, cpu uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.groups[unitKey{g.ID, g.Step}]
	if !x.open {
		b.t.Errorf("usage of %s %s, which is not open", g.ID, g.Step)
	}
	if cpu < x.cpu {
		b.t.Errorf("usage of %s %s falls from %d to %d", g.ID, g.Step, x.cpu, cpu)
	}
	x.cpu = cpu
	x.usages++
}

func (b *testBooks) End(now agent.Instant, g *jobs.Group, cpu uint64, how jobs.Final) {
	if how != jobs.FinalNone {
		b.Usage(now, g, cpu)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.groups[unitKey{g.ID, g.Step}]
	x.open, x.final = false, how
	if g.Step == "" {
		for k, s := range b.groups {
			if k.id == g.ID && s.open {
				b.t.Errorf("end of %s before its step %s", g.ID, k.step)
			}
		}
	}
}

func (b *testBooks) SetCPUs(_ agent.Instant, g *jobs.Group, cpus []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.groups[unitKey{g.ID, g.Step}].cpus = cpus
}

func (b *testBooks) SetFacts(id jobs.ID, f jobs.Facts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.group(id, "").facts = f
}

func (b *testBooks) Parent(_ agent.Instant, cpu uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cpu < b.parent {
		b.t.Errorf("the parents' sum falls from %d to %d", b.parent, cpu)
	}
	b.parent = cpu
	b.told++
}

func (b *testBooks) Busy(_ agent.Instant, socket int, cpu uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cpu < b.busy[socket] {
		b.t.Errorf("busy time of socket %d falls", socket)
	}
	b.busy[socket] = cpu
}

func (b *testBooks) TrackerState(_ string, state []byte) { b.state = append(b.state[:0], state...) }

func (b *testBooks) LastTrackerState(string) []byte { return b.last }

// used is the CPU time of a job or step over all its incarnations.
func (b *testBooks) used(id, step string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.group(jobs.ID{Scheduler: "test", Name: id}, step)
	return g.sum + g.cpu
}

func (b *testBooks) get(id, step string) testGroup {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *b.group(jobs.ID{Scheduler: "test", Name: id}, step)
}

// sum is what all groups of jobs (step false) or steps have used.
func (b *testBooks) sum(steps bool) (s uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, g := range b.groups {
		if (k.step != "") == steps {
			s += g.sum + g.cpu
		}
	}
	return s
}

// machine is a set of control groups of the test's own, real ones, with a mountinfo that shows nothing else.
type machine struct {
	t     testing.TB
	proc  string
	roots map[string]string // by controller; "" for v2
	books *testBooks
	log   *syncBuffer
	edges atomic.Int64
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var machineNumber atomic.Int64

// newMachine makes groups in the hierarchies of the named controllers; "v2" is the v2 hierarchy. The test is skipped
// where they cannot be made.
func newMachine(t testing.TB, controllers ...string) *machine {
	t.Helper()
	hs, err := Find("/proc")
	if err != nil {
		t.Skip(err)
	}
	hierarchy := func(controller string) *Hierarchy {
		if controller != "v2" {
			return ofController(hs, controller)
		}
		if i := slices.IndexFunc(hs, func(h Hierarchy) bool { return h.Version == V2 }); i >= 0 {
			return &hs[i]
		}
		return nil
	}
	m := &machine{t: t, proc: t.TempDir(), roots: map[string]string{}, books: newTestBooks(t), log: &syncBuffer{}}
	name := fmt.Sprintf("alumet_test_%d_%d", os.Getpid(), machineNumber.Add(1))
	var info strings.Builder
	for i, c := range controllers {
		kind := "cgroup"
		if c == "v2" {
			kind = "cgroup2"
		}
		h := hierarchy(c)
		if h == nil {
			t.Skipf("no hierarchy with %s is mounted", c)
			return nil
		}
		dir := filepath.Join(h.Path, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("control groups cannot be made: %v", err)
		}
		t.Cleanup(func() { m.removeTree(dir) })
		m.roots[c] = dir
		fmt.Fprintf(&info, "%d 1 0:%d /x %s rw - %s cgroup rw,%s\n", 100+i, 100+i, dir, kind, c)
	}
	if err := os.Mkdir(m.proc+"/self", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.proc+"/self/mountinfo", []byte(info.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/stat", m.proc+"/stat"); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) removeTree(dir string) {
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		if e.IsDir() {
			m.removeTree(dir + "/" + e.Name())
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := unix.Rmdir(dir)
		if err == nil || err == unix.ENOENT {
			return
		}
		if time.Now().After(deadline) {
			m.t.Errorf("rmdir %s: %v", dir, err)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// tracker starts a tracker on the machine. It is closed when the test ends.
func (m *machine) tracker(matcher Matcher) *Tracker {
	m.t.Helper()
	tr, _ := m.pointsTracker(matcher, nil)
	return tr
}

func (m *machine) pointsTracker(matcher Matcher, want func(Match) bool) (*Tracker, *Points) {
	m.t.Helper()
	tr := New(m.books)
	var p *Points
	open := func(s *agent.Setup, _ struct{}) error {
		if matcher == nil {
			tr.On(s.Sys, s.Proc, s.Log, s.Edge)
			s.OnClose(tr.Close)
			return nil
		}
		tr.Attach(s, matcher, Options{Refresh: time.Hour})
		if want != nil {
			p = tr.NewPoints(s, Selection{Want: want, Attributes: func(m Match, uid int64) []agent.Attr {
				return []agent.Attr{{Key: "job_id", Value: JobNumber(m.ID.Name)}}
			}, Keys: []string{"job_id"}})
		}
		return nil
	}
	plugin := agent.Define("test", "", func() struct{} { return struct{}{} }, open)
	opened, err := agent.Open(plugin, nil, agent.OpenOptions{Proc: m.proc, Log: slog.New(slog.NewTextHandler(io.MultiWriter(m.log), nil)),
		Edge: func() { m.edges.Add(1) }})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			m.t.Error(err)
		}
	})
	return tr, p
}

func (m *machine) now() agent.Instant {
	return agent.Clock{}.Now()
}

func (m *machine) refresh(tr *Tracker) {
	m.t.Helper()
	if err := tr.Refresh(m.now()); err != nil {
		m.t.Fatal(err)
	}
}

// until refreshes until a condition holds.
func (m *machine) until(tr *Tracker, what string, cond func() bool) {
	m.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		m.refresh(tr)
		if cond() {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s did not come true\n%s", what, m.log)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// mkdir makes a group in the named hierarchies, with its parents.
func (m *machine) mkdir(path string, controllers ...string) {
	m.t.Helper()
	for _, c := range controllers {
		if err := os.MkdirAll(m.roots[c]+path, 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *machine) rmdir(path string, controllers ...string) {
	m.t.Helper()
	for _, c := range controllers {
		m.removeTree(m.roots[c] + path)
	}
}

// burn runs a program in a group that uses CPU time for a while, and returns when it has ended.
func (m *machine) burn(path, controller string, d time.Duration) {
	m.t.Helper()
	if err := m.burner(path, controller, d).Wait(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) burner(path, controller string, d time.Duration) *exec.Cmd {
	m.t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "BURN_GROUP="+m.roots[controller]+path, "BURN="+d.String(), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	_ = os.Symlink("/proc/"+pid, filepath.Join(m.proc, pid)) // a number that comes again is linked already
	return cmd
}

// TestMain lets the test binary burn CPU time in a group.
func TestMain(m *testing.M) {
	group := os.Getenv("BURN_GROUP")
	if group == "" {
		if flag.Lookup("soak") == nil {
			flag.Bool("soak", false, "run the tests that take hours")
		}
		os.Exit(m.Run())
	}
	d, _ := time.ParseDuration(os.Getenv("BURN"))
	if err := os.WriteFile(group+"/cgroup.procs", []byte("0"), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Less urgent than the tracker, as jobs are beside an agent that its unit file raises.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 10)
	for start := cpuTime(); cpuTime()-start < d; {
	}
	os.Exit(0)
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

func (m *machine) counter(path, controller string) uint64 {
	m.t.Helper()
	name := "/cpuacct.usage"
	if controller == "v2" {
		name = "/cpu.stat"
	}
	text, err := os.ReadFile(m.roots[controller] + path + name)
	if err != nil {
		m.t.Fatal(err)
	}
	if controller == "v2" {
		s, ok := parseCPUStat(text)
		if !ok {
			m.t.Fatalf("%q", text)
		}
		return s.usage
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		m.t.Fatal(err)
	}
	return v
}

func newBatch() *agent.Batch { return &agent.Batch{} }

// soaking tells whether the test binary was given -soak.
func soaking() bool { return flag.Lookup("soak").Value.String() == "true" }
