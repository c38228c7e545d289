package cgroups

import (
	"bytes"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// restart stops a tracker without a last reading, as a crash would, and starts another one on the state of the last refresh.
func (m *machine) restart(tr *Tracker) *Tracker {
	m.t.Helper()
	if err := tr.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.books.last = bytes.Clone(m.books.state)
	return m.tracker(testMatcher{})
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
	f.Add([]byte{stateFormat, 0, 0})
	f.Add(append([]byte{stateFormat, 1, 1, 'a', 1, 'b', 0, 1, 1, byte(Job), 1, '/', 1, 0, 5}, make([]byte, 64)...))
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
