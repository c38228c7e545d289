package jobenergy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
	"github.com/alumet-hpc/alumet-hpc/jobs/trace"
)

// rig is books with one sensor and one job, told by hand.
type rig struct {
	t      *testing.T
	dir    string
	book   *Book
	sensor *agent.Sensor
	source *source
	now    agent.Instant
	uj     uint64
	cpu    uint64
	batch  agent.Batch
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir()}
	r.setBoot("first")
	return r
}

func (r *rig) setBoot(id string) {
	r.t.Helper()
	dir := filepath.Join(r.dir, "proc/sys/kernel/random")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "boot_id"), []byte(id+"\n"), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) db() string { return filepath.Join(r.dir, "jobs.db") }

func (r *rig) open(change func(*Config)) error {
	c := defaults()
	c.Store, c.Policy = r.db(), jobs.PolicyUsage
	if change != nil {
		change(&c)
	}
	b, err := Open(c, Options{Proc: filepath.Join(r.dir, "proc"), Sockets: []jobs.Socket{{ID: 0, CPUs: []int{0, 1}}}, Node: "n1", Record: filepath.Join(r.dir, "trace")})
	if err != nil {
		return err
	}
	r.book = b
	r.sensor = &agent.Sensor{Name: "pkg", Resource: agent.CPUPackage(0), Domain: "package", StepNs: 1e6}
	if err := b.Sensor(r.sensor); err != nil {
		return err
	}
	opened, err := agent.Open(Plugin(b), nil, agent.OpenOptions{Meter: b})
	if err != nil {
		return err
	}
	r.source = opened.Sources["ledger"].(*source)
	if at := b.Clock().Now(); r.now.Boot == 0 || at.Boot > r.now.Boot {
		r.now = at
	}
	return nil
}

func (r *rig) mustOpen() {
	r.t.Helper()
	if err := r.open(nil); err != nil {
		r.t.Fatal(err)
	}
}

// tick tells a second of 10 W, and half a CPU of every group in use.
func (r *rig) tick(groups ...*jobs.Group) {
	r.t.Helper()
	r.idle()
	r.now.Boot += 1e9
	r.now.Wall += 1e9
	r.uj += 10e6
	r.cpu += 5e8
	r.book.Reading(r.sensor, r.now.Boot, r.uj)
	for _, g := range groups {
		r.book.Usage(r.now, g, r.cpu)
	}
	r.book.Busy(r.now, 0, r.cpu)
	r.batch.Reset()
	if err := r.source.Poll(&r.batch, r.now); err != nil {
		r.t.Fatal(err)
	}
}

// idle waits until no commit is on its way.
func (r *rig) idle() {
	for {
		r.book.mu.Lock()
		w := r.book.writing
		r.book.mu.Unlock()
		if !w {
			return
		}
	}
}

// kill ends the run as kill -9 does: nothing is settled or committed any more.
func (r *rig) kill() {
	r.t.Helper()
	r.idle()
	close(r.book.commits)
	<-r.book.done
	// The rig's time runs ahead of the machine's: the next run must begin after it.
	ahead := r.now.Boot - r.book.clock.Now().Boot + 1
	if err := r.book.store.SetBoot("first", r.book.clock.Offset+ahead); err != nil {
		r.t.Fatal(err)
	}
	if err := r.book.store.Close(); err != nil {
		r.t.Fatal(err)
	}
	if r.book.traceEnd != nil {
		r.book.trace.Flush()
		r.book.traceEnd.Close()
	}
}

func (r *rig) stored() (job jobs.JobRecord, a store.Accounts) {
	r.t.Helper()
	reader, err := store.OpenRead(r.db())
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	v, err := reader.View()
	if err != nil {
		r.t.Fatal(err)
	}
	defer v.Close()
	if a, err = v.Accounts("pkg"); err != nil {
		r.t.Fatal(err)
	}
	list, err := v.Job(store.Query{Name: "1"})
	if err != nil || len(list) != 1 {
		r.t.Fatalf("%d records, %v", len(list), err)
	}
	return list[0], a
}

func TestAJobFromBeginToEnd(t *testing.T) {
	r := newRig(t)
	r.mustOpen()
	r.tick()
	g := r.book.Begin(r.now, jobs.ID{Scheduler: "slurm", Name: "1"}, "", []int{0})
	s := r.book.Begin(r.now, g.ID, "0", nil)
	base := r.cpu
	r.cpu = 0
	for range 3 {
		r.now.Boot++
		r.tick(g, s)
	}
	if len(r.batch.Points) == 0 {
		t.Error("no points")
	}
	sum := map[string]float64{}
	for _, p := range r.batch.Points {
		account, _ := p.Attrs.Get("account")
		sum[account.String()] += p.Value.Float()
	}
	if sum["job"] != 10 || sum["step"] != 10 {
		t.Errorf("points: %v", sum)
	}
	r.book.SetFacts(g.ID, jobs.Facts{UID: 1000, User: "ann"})
	r.book.SetFacts(g.ID, jobs.Facts{UID: -1, JobName: "x"})
	r.book.End(r.now, s, r.cpu, jobs.FinalGroup)
	r.book.End(r.now, g, r.cpu, jobs.FinalGroup)
	r.cpu += base
	r.tick()
	r.idle()
	r.tick()
	if n := len(r.book.Open()); n != 0 {
		t.Errorf("%d groups open", n)
	}
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
	job, a := r.stored()
	if job.Figures[0].UJ != 30e6 || job.CPUNs != 15e8 || job.Facts.User != "ann" || job.Facts.JobName != "x" || job.End == 0 || a.ImbalanceUJ() != 0 {
		t.Errorf("job %+v\naccounts %+v", job, a)
	}
}

func TestKilledAndRestarted(t *testing.T) {
	r := newRig(t)
	r.mustOpen()
	r.tick()
	g := r.book.Begin(r.now, jobs.ID{Scheduler: "slurm", Name: "1"}, "", []int{0})
	r.cpu = 0
	for range 7 { // commits every 5 s: the last seconds are not in the store
		r.tick(g)
	}
	r.book.TrackerState("t", []byte("raw"))
	r.tick(g)
	r.kill()
	r.mustOpen()
	if s := r.book.LastTrackerState("t"); s != nil {
		t.Errorf("tracker state %q was never committed", s)
	}
	g, ok := r.book.Resume(g.ID, "")
	if !ok {
		t.Fatal("the job is forgotten")
	}
	r.tick(g)
	r.book.End(r.now, g, r.cpu, jobs.FinalGroup)
	r.tick()
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
	job, a := r.stored()
	// 9 s of 10 W; all CPU time was the job's. Nothing is lost, nothing is there twice.
	if job.Figures[0].UJ != 90e6 || job.Figures[0].LateUJ == 0 || job.CPUNs != 45e8 || a.ImbalanceUJ() != 0 {
		t.Errorf("job %+v\naccounts %+v", job, a)
	}
	r.replay(a)
}

// replay holds the trace, which two runs have written, against the store.
func (r *rig) replay(a store.Accounts) {
	r.t.Helper()
	f, err := os.Open(filepath.Join(r.dir, "trace"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	l := jobs.NewLedger(jobs.PolicyUsage)
	if err := trace.Replay(f, l); err != nil {
		r.t.Fatal(err)
	}
	x := l.Accounts()[0]
	want := map[string]uint64{jobs.System: x.Totals.SystemUJ, jobs.Idle: x.Totals.IdleUJ, jobs.Vanished: x.Totals.VanishedUJ, jobs.Unobserved: x.Totals.UnobservedUJ}
	for _, j := range x.Jobs {
		want[j.Job] = j.UJ
	}
	for _, y := range a.Accounts {
		if want[y.Name] != y.UJ {
			r.t.Errorf("%s: stored %d, replayed %d", y.Name, y.UJ, want[y.Name])
		}
	}
}

func TestReboot(t *testing.T) {
	r := newRig(t)
	r.mustOpen()
	r.tick()
	g := r.book.Begin(r.now, jobs.ID{Scheduler: "slurm", Name: "1"}, "", nil)
	r.cpu = 0
	for range 6 {
		r.tick(g)
	}
	r.kill()
	r.setBoot("second")
	r.uj, r.cpu = 0, 0
	last := r.now.Boot
	r.mustOpen()
	if first := r.book.Clock().Now().Boot; first <= 0 {
		t.Errorf("ledger time %d", first)
	}
	r.now.Boot = max(r.now.Boot, last) + 1
	if _, ok := r.book.Resume(g.ID, ""); ok {
		t.Error("a job has survived the reboot")
	}
	r.tick()
	r.tick()
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
	job, a := r.stored()
	if job.End == 0 || a.ImbalanceUJ() != 0 {
		t.Errorf("job %+v\naccounts %+v", job, a)
	}
}

// What a job got at its end, settled at an edge and committed, must still come out as points with the next tick.
func TestPointsOfAJobThatEndedAtAnEdge(t *testing.T) {
	r := newRig(t)
	r.mustOpen()
	r.tick()
	g := r.book.Begin(r.now, jobs.ID{Scheduler: "slurm", Name: "1"}, "", nil)
	s := r.book.Begin(r.now, g.ID, "0", nil)
	r.cpu = 0
	for range 2 { // the end, and an edge after it
		r.now.Boot += 2e8
		r.now.Wall += 2e8
		r.uj, r.cpu = r.uj+4e6, r.cpu+2e8
		r.book.Reading(r.sensor, r.now.Boot, r.uj)
		if g.Live() {
			r.book.End(r.now, s, r.cpu, jobs.FinalGroup)
			r.book.End(r.now, g, r.cpu, jobs.FinalGroup)
		}
		r.book.Busy(r.now, 0, r.cpu)
		if err := r.source.Edge(r.now); err != nil {
			t.Fatal(err)
		}
		r.idle()
	}
	r.tick()
	sum := map[string]float64{}
	for _, p := range r.batch.Points {
		account, _ := p.Attrs.Get("account")
		sum[account.String()] += p.Value.Float()
	}
	if sum["job"] != 4 || sum["step"] != 4 {
		t.Errorf("points: %v", sum)
	}
	r.idle()
	r.book.ended = true
	r.tick()
	r.idle()
	if r.book.l.Find(g.ID, "") != nil {
		t.Error("the job is never forgotten")
	}
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
}

// A run that ends before its trackers tell anything must leave their state as it was.
func TestFailedStartKeepsTheTrackersState(t *testing.T) {
	r := newRig(t)
	r.mustOpen()
	r.book.TrackerState("groups", []byte("raw"))
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
	r.mustOpen()
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
	r.mustOpen()
	if s := string(r.book.LastTrackerState("groups")); s != "raw" {
		t.Errorf("state %q", s)
	}
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBrokenTraceDoesNotStopTheBooks(t *testing.T) {
	r := newRig(t)
	r.mustOpen()
	r.tick()
	r.idle()
	r.book.mu.Lock()
	r.book.traceEnd.Close()
	r.book.mu.Unlock()
	g := r.book.Begin(r.now, jobs.ID{Scheduler: "slurm", Name: "1"}, "", nil)
	r.cpu = 0
	for range 6 {
		r.tick(g)
	}
	r.book.End(r.now, g, r.cpu, jobs.FinalGroup)
	r.tick()
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
	if job, a := r.stored(); job.Figures[0].UJ != 60e6 || a.ImbalanceUJ() != 0 {
		t.Errorf("job %+v\naccounts %+v", job, a)
	}
}

// reopen closes the books and opens them with another machine, another root of the sensor, or other floors.
func (r *rig) reopen(sockets []jobs.Socket, root string, floors map[string]float64) {
	r.t.Helper()
	r.idle()
	if err := r.book.store.SetBoot("first", r.book.clock.Offset+max(0, r.now.Boot-r.book.clock.Now().Boot+1)); err != nil {
		r.t.Fatal(err)
	}
	if err := r.book.Close(); err != nil {
		r.t.Fatal(err)
	}
	c := defaults()
	c.Store, c.Policy, c.Floors = r.db(), jobs.PolicyUsage, floors
	b, err := Open(c, Options{Proc: filepath.Join(r.dir, "proc"), Sockets: sockets, Node: "n1"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.book = b
	r.sensor = &agent.Sensor{Name: "pkg", Resource: agent.CPUPackage(0), Domain: "package", Root: root}
	if err := b.Sensor(r.sensor); err != nil {
		r.t.Fatal(err)
	}
	opened, err := agent.Open(Plugin(b), nil, agent.OpenOptions{Meter: b})
	if err != nil {
		r.t.Fatal(err)
	}
	r.source = opened.Sources["ledger"].(*source)
	r.now = b.Clock().Now()
}

func TestOtherCPUsOtherRootOtherFloors(t *testing.T) {
	two, one := []jobs.Socket{{ID: 0, CPUs: []int{0, 1}}}, []jobs.Socket{{ID: 0, CPUs: []int{0}}}
	r := newRig(t)
	r.mustOpen()
	r.tick()
	g := r.book.Begin(r.now, jobs.ID{Scheduler: "slurm", Name: "1"}, "", []int{0, 1})
	r.cpu = 0
	r.tick(g)
	r.reopen(one, "", map[string]float64{"pkg": 3}) // a CPU went
	if _, ok := r.book.Resume(g.ID, ""); ok {
		t.Error("a job goes on although the machine is another")
	}
	r.tick()
	r.tick()
	if x := r.book.l.State(r.book.index[r.sensor]); x.FloorUW != 3e6 {
		t.Errorf("floor %d µW", x.FloorUW)
	}
	before := r.book.l.State(r.book.index[r.sensor]).Totals.MeasuredUJ
	r.uj = 5e12                      // another counter
	r.reopen(one, "/other/sys", nil) // and no floor
	r.tick()
	r.tick()
	x := r.book.l.State(r.book.index[r.sensor])
	if d := x.Totals.MeasuredUJ - before; d != 10e6 {
		t.Errorf("measured %d µJ since another counter is read", d)
	}
	if x.HasFloor || x.FloorUW != 0 {
		t.Errorf("the floor that was configured stays: %+v", x)
	}
	r.reopen(two, "/other/sys", map[string]float64{"pgk": 1})
	if names := r.book.UnknownFloors(); len(names) != 1 {
		t.Errorf("unknown floors: %v", names)
	}
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
	if _, a := r.stored(); a.ImbalanceUJ() != 0 {
		t.Errorf("accounts %+v", a)
	}
}

func TestFloorIsLearnedWithoutJobs(t *testing.T) {
	r := newRig(t)
	r.mustOpen()
	for range 25 {
		r.tick()
	}
	if x := r.book.l.State(r.book.index[r.sensor]); !x.HasFloor || x.FloorUW != 10e6 {
		t.Errorf("%+v", x)
	}
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFailingStoreLosesNothing(t *testing.T) {
	r := newRig(t)
	r.mustOpen()
	r.tick()
	g := r.book.Begin(r.now, jobs.ID{Scheduler: "slurm", Name: "1"}, "", nil)
	r.cpu = 0
	r.idle()
	good := r.book.store
	broken, err := store.Open(filepath.Join(r.dir, "other.db"))
	if err != nil {
		t.Fatal(err)
	}
	broken.Close()
	r.book.store = broken
	for range 6 {
		r.tick(g)
		r.idle()
	}
	r.book.End(r.now, g, r.cpu, jobs.FinalGroup)
	r.tick()
	r.idle()
	r.book.mu.Lock()
	if !r.book.failing {
		t.Error("the failure was not noticed")
	}
	r.book.store = good
	r.book.mu.Unlock()
	r.tick()
	r.idle()
	r.book.mu.Lock()
	if r.book.failing {
		t.Error("the store works again, and it was not noticed")
	}
	r.book.mu.Unlock()
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
	job, a := r.stored()
	if job.Figures[0].UJ != 60e6 || a.ImbalanceUJ() != 0 {
		t.Errorf("job %+v\naccounts %+v", job, a)
	}
}

func TestOpenRefuses(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"not a directory": func(c *Config) {
			os.WriteFile(filepath.Join(filepath.Dir(c.Store), "file"), nil, 0o644)
			c.Store = filepath.Join(filepath.Dir(c.Store), "file/jobs.db")
		},
	} {
		r := newRig(t)
		if err := r.open(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	r := newRig(t)
	r.mustOpen()
	if err := r.book.Sensor(&agent.Sensor{Name: "pkg"}); err == nil {
		t.Error("two sensors have one name")
	}
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
	// another trace than that of these books
	if err := os.Remove(filepath.Join(r.dir, "trace")); err != nil {
		t.Fatal(err)
	}
	if err := r.open(nil); err == nil || !strings.Contains(err.Error(), "not their trace") {
		t.Errorf("error %v", err)
	}
}

func TestValidate(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.Store = "" }, func(c *Config) { c.Commit = 0 }, func(c *Config) { c.Interval = 1 }, func(c *Config) { c.Floors = map[string]float64{"x": -1} },
	} {
		c := defaults()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
	c := defaults()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestPollAllocatesNothing(t *testing.T) {
	r := newRig(t)
	if err := r.open(func(c *Config) { c.Commit = 1e18 }); err != nil {
		t.Fatal(err)
	}
	r.book.nextDue = 1 << 62
	var groups []*jobs.Group
	for i := range 50 {
		groups = append(groups, r.book.Begin(r.now, jobs.ID{Scheduler: "slurm", Name: fmt.Sprint(i + 1)}, "", nil))
	}
	r.book.l.Tap(nil)
	r.cpu = 0
	tick := func() { r.tick(groups...) }
	tick()
	tick()
	if n := testing.AllocsPerRun(50, tick); n != 0 {
		t.Errorf("%v allocations a tick", n)
	}
	if err := r.book.Close(); err != nil {
		t.Fatal(err)
	}
}
