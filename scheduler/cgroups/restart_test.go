package cgroups

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// restart stops a tracker without a last reading, as a crash would, and starts another one on the state of the last refresh.
func (m *machine) restart(tr *Tracker) *Tracker {
	m.t.Helper()
	return m.next(tr, testMatcher{})
}

// next is restart with another set of plugins: a nil matcher stands for a run without a scheduler's.
func (m *machine) next(tr *Tracker, matcher Matcher) *Tracker {
	m.t.Helper()
	if err := tr.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.books.last = bytes.Clone(m.books.state)
	return m.tracker(matcher)
}

// While the agent is down one job goes on, one ends, one is made again under the same name, and one is new. Nothing is lost,
// nothing is counted twice, and each has its own.
func TestRestart(t *testing.T) {
	for _, c := range []string{"cpuacct", "v2"} {
		t.Run(c, func(t *testing.T) {
			m := newMachine(t, c)
			tr := m.tracker(testMatcher{})
			m.refresh(tr)
			burn := func(job string) {
				path := "/slurm_n1/uid_0/job_" + job + "/step_0"
				m.mkdir(path, c)
				m.burn(path, c, 10*time.Millisecond)
			}
			for _, job := range []string{"1", "2", "3"} {
				burn(job)
			}
			m.until(tr, "jobs are known", func() bool { return m.books.used("3", "0") > 0 })
			before := m.books.used("2", "0")

			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
			burn("1")
			burn("2")
			m.rmdir("/slurm_n1/uid_0/job_2", c)
			m.rmdir("/slurm_n1/uid_0/job_3", c)
			burn("3")
			burn("4")
			tr = m.restart(tr)
			m.refresh(tr)

			if g := m.books.get("2", ""); g.open || g.final != jobs.FinalParent && g.final != jobs.FinalShared {
				t.Errorf("job 2, which ended meanwhile: %+v", g)
			}
			if got := m.books.used("2", "0"); got < before+5e6 {
				t.Errorf("job 2 used %d before and %d after", before, got)
			}
			for _, job := range []string{"1", "3", "4"} {
				if g := m.books.get(job, ""); !g.open || g.lives != 1 || g.found {
					t.Errorf("job %s: %+v", job, g)
				}
			}
			if got, want := m.books.used("1", ""), m.counter("/slurm_n1/uid_0/job_1", c); got != want {
				t.Errorf("job 1 used %d, want %d", got, want)
			}
			if got, want := m.books.used("4", "0"), m.counter("/slurm_n1/uid_0/job_4/step_0", c); got != want {
				t.Errorf("job 4 used %d, want %d", got, want)
			}
			m.rmdir("/slurm_n1/uid_0", c)
			m.until(tr, "all jobs have ended", func() bool { return len(m.books.Open()) == 0 })
			m.within(c, 20, m.books.sum(false), m.counter("/slurm_n1", c))
			m.within(c, 20, m.books.sum(true), m.counter("/slurm_n1", c))
			m.within(c, 20, m.books.parent, m.counter("/slurm_n1", c))
		})
	}
}

// within checks a sum of what groups have used against a parent. On v2 each life may hide a microsecond from it.
func (m *machine) within(controller string, lives, got, want uint64) {
	m.t.Helper()
	slack := uint64(0)
	if controller == "v2" {
		slack = lives * 1000
	}
	if got > want || got+slack < want {
		m.t.Errorf("sum is %d, the parent counts %d: off by %d", got, want, int64(got)-int64(want))
	}
}

// Without a state, what is there at the first scan was found running: what it used before is not the books'.
func TestFound(t *testing.T) {
	m := newMachine(t, "cpuacct")
	const step = "/slurm_n1/uid_0/job_1/step_0"
	m.mkdir(step, "cpuacct")
	m.burn(step, "cpuacct", 10*time.Millisecond)
	tr := m.tracker(testMatcher{})
	m.refresh(tr)
	g := m.books.get("1", "0")
	if !g.found || g.cpu != m.counter(step, "cpuacct") {
		t.Errorf("found: %+v", g)
	}
	found := g.cpu
	m.burn(step, "cpuacct", 10*time.Millisecond)
	m.rmdir("/slurm_n1/uid_0", "cpuacct")
	m.until(tr, "job ends", func() bool { return !m.books.get("1", "").open })
	if got, want := m.books.used("1", "0"), m.counter("/slurm_n1", "cpuacct"); got != want || got < found+5e6 {
		t.Errorf("step used %d, found with %d, the parent counts %d", got, found, want)
	}
}

// What the books hold open and nobody knows is ended.
func TestForgotten(t *testing.T) {
	m := newMachine(t, "cpuacct")
	tr := m.tracker(testMatcher{})
	m.mkdir("/slurm_n1", "cpuacct")
	m.refresh(tr)
	m.books.Begin(m.now(), jobs.ID{Scheduler: "test", Name: "9"}, "", nil)
	tr = m.restart(tr)
	m.refresh(tr)
	if g := m.books.get("9", ""); g.open || g.final != jobs.FinalNone {
		t.Errorf("forgotten job: %+v", g)
	}
}

// A run without the scheduler's plugin lies between two with it. It ends the jobs that it does not follow; the next run takes
// what it finds as found running, and neither a job nor the parents' sum jumps by what was used before or meanwhile.
func TestRunWithoutMatchers(t *testing.T) {
	for _, c := range []string{"cpuacct", "v2"} {
		t.Run(c, func(t *testing.T) {
			m := newMachine(t, c)
			use := func(job string) {
				path := "/slurm_n1/uid_0/job_" + job + "/step_0"
				m.mkdir(path, c)
				m.mkdir("/slurm_n1/system", c)
				m.burn(path, c, 10*time.Millisecond)
				m.burn("/slurm_n1/system", c, 5*time.Millisecond)
			}
			tr := m.tracker(testMatcher{})
			m.refresh(tr)
			use("1")
			use("2")
			m.until(tr, "jobs are known", func() bool { return m.books.used("2", "0") > 0 })
			m.refresh(tr)
			before, used := m.books.parent, m.books.used("1", "")

			tr = m.next(tr, nil)
			m.refresh(tr)
			if n := len(m.books.Open()); n != 0 {
				t.Errorf("%d jobs are open that nobody follows", n)
			}
			if g := m.books.get("1", ""); g.final != jobs.FinalNone || m.books.used("1", "") != used {
				t.Errorf("job 1: %+v, used %d before", g, used)
			}
			if !strings.Contains(m.log.String(), "jobs=2") {
				t.Errorf("log: %s", m.log)
			}
			use("1")
			use("3")
			m.rmdir("/slurm_n1/uid_0/job_2", c)
			m.refresh(tr)
			if m.books.parent != before {
				t.Errorf("the parents' sum went from %d to %d while nobody looked", before, m.books.parent)
			}

			tr = m.next(tr, testMatcher{})
			m.refresh(tr)
			if d := m.books.parent - before; d > 1e6 {
				t.Errorf("the parents' sum jumped by %d", d)
			}
			for _, job := range []string{"1", "3"} {
				if g := m.books.get(job, "0"); !g.open || !g.found || g.base != m.counter("/slurm_n1/uid_0/job_"+job+"/step_0", c) {
					t.Errorf("job %s: %+v", job, g)
				}
			}
			if g := m.books.get("2", ""); g.open || g.lives != 1 {
				t.Errorf("job 2: %+v", g)
			}
			start := m.books.parent
			use("1")
			use("4")
			m.until(tr, "use is known", func() bool { return m.books.used("4", "0") == m.counter("/slurm_n1/uid_0/job_4/step_0", c) })
			one, four := m.books.get("1", "0"), m.books.used("4", "")
			// On v2 the group and its parent round to a microsecond each, and whatever is between them.
			if d := int64(m.books.parent-start) - int64(one.cpu-one.base+four); d < -8000 || d > 8000 || c != "v2" && d != 0 {
				t.Errorf("the parents' sum grew by %d more than what the jobs have used", d)
			}

			// And from then on restarts go on as ever.
			use("3")
			tr = m.next(tr, testMatcher{})
			use("3")
			m.refresh(tr)
			if g := m.books.get("3", ""); !g.open || g.lives != 1 || g.cpu != m.counter("/slurm_n1/uid_0/job_3", c) {
				t.Errorf("job 3: %+v", g)
			}
		})
	}
}

// The books are older than the first run with a scheduler's plugin.
func TestFoundWithoutJump(t *testing.T) {
	m := newMachine(t, "cpuacct")
	tr := m.tracker(nil)
	m.refresh(tr)
	const step = "/slurm_n1/uid_0/job_1/step_0"
	m.mkdir(step, "cpuacct")
	m.burn(step, "cpuacct", 20*time.Millisecond)
	tr = m.next(tr, testMatcher{})
	m.refresh(tr)
	if g := m.books.get("1", "0"); !g.found || g.base < 10e6 || m.books.parent > 1e6 {
		t.Errorf("found: %+v, parents' sum %d", g, m.books.parent)
	}
	found := m.books.get("1", "0").base
	m.burn(step, "cpuacct", 10*time.Millisecond)
	m.rmdir("/slurm_n1/uid_0", "cpuacct")
	m.until(tr, "job ends", func() bool { return !m.books.get("1", "").open })
	if got, want := m.books.used("1", "0")-found, m.books.parent; got != want || got < 5e6 {
		t.Errorf("step used %d after it was found, the parents' sum is %d", got, want)
	}
}

// The agent is killed between a job's first directory and the one with its CPU counter, when the books have not heard of it.
func TestKilledBeforeBegin(t *testing.T) {
	m := newMachine(t, "freezer", "cpuacct")
	tr := m.tracker(testMatcher{})
	m.mkdir("/slurm_n1/uid_0", "freezer", "cpuacct")
	m.refresh(tr)
	const step = "/slurm_n1/uid_0/job_1/step_0"
	m.mkdir(step, "freezer")
	m.until(tr, "the group is seen", func() bool { return tr.byName[unitKey{jobs.ID{Scheduler: "test", Name: "1"}, "0"}] != nil })
	if m.books.get("1", "").open {
		t.Skip("the machine is too slow: the job has begun")
	}
	m.mkdir(step, "cpuacct")
	m.burn(step, "cpuacct", 10*time.Millisecond)
	tr = m.next(tr, testMatcher{})
	m.refresh(tr)
	want := m.counter(step, "cpuacct")
	for _, s := range []string{"", "0"} {
		if g := m.books.get("1", s); g.found || g.lives != 1 || g.cpu != want {
			t.Errorf("step %q: %+v, want %d", s, g, want)
		}
	}
}

// A program that the agent started and that outlived it leaves no debt in the parents' sum.
func TestKilledWithProgram(t *testing.T) {
	m := newMachine(t, "cpuacct")
	tr := m.tracker(testMatcher{})
	m.mkdir("/slurm_n1", "cpuacct")
	m.refresh(tr)
	tr.Follow(jobs.ID{Scheduler: "exec", Name: "5"}, jobs.Facts{}, fixedCounter(7e6))
	m.refresh(tr)
	tr = m.next(tr, testMatcher{})
	m.refresh(tr)
	m.mkdir("/slurm_n1/uid_0/job_1/step_0", "cpuacct")
	m.burn("/slurm_n1/uid_0/job_1/step_0", "cpuacct", 10*time.Millisecond)
	m.until(tr, "use is known", func() bool { return m.books.used("1", "") > 5e6 })
	m.refresh(tr)
	if want := 7e6 + m.counter("/slurm_n1", "cpuacct"); m.books.parent != want {
		t.Errorf("parents' sum is %d, want %d", m.books.parent, want)
	}
}

type fixedCounter uint64

func (c fixedCounter) Usage() (uint64, error) { return uint64(c), nil }

func TestDamagedState(t *testing.T) {
	m := newMachine(t, "cpuacct")
	tr := m.tracker(testMatcher{})
	m.mkdir("/slurm_n1/uid_0/job_1/step_0", "cpuacct")
	m.refresh(tr)
	for _, cut := range []int{1, 5, len(m.books.state) - 1} {
		if _, err := decodeState(m.books.state[:cut], &state{}); err == nil {
			t.Errorf("a state cut to %d bytes is read", cut)
		}
	}
	m.books.state = m.books.state[:7]
	tr = m.restart(tr)
	m.refresh(tr)
	if !bytes.Contains([]byte(m.log.String()), []byte("damaged")) {
		t.Errorf("log: %s", m.log)
	}
}

func FuzzState(f *testing.F) {
	f.Add(append([]byte{stateFormat, 0, 0, 0}, make([]byte, 16)...))
	f.Add(append([]byte{stateFormat, 1, 1, 's', 1, 1, 'a', 1, 'b', 0, flagCreated, 1, 1, byte(Job), 0, 1, '/', 1, 0, 5}, make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s state
		if _, err := decodeState(b, &s); err != nil {
			return
		}
		for i, n := range s.nodes {
			if n.up >= i {
				t.Errorf("node %d is below node %d", i, n.up)
			}
		}
	})
}
