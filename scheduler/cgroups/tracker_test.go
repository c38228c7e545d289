package cgroups

import (
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// A job that is watched from its creation to its end is accounted for to the last nanosecond of its parent's counter.
func TestJobFromBeginToEnd(t *testing.T) {
	for _, c := range []string{"cpuacct", "v2"} {
		t.Run(c, func(t *testing.T) {
			m := newMachine(t, c)
			tr := m.tracker(testMatcher{})
			m.refresh(tr)
			m.mkdir("/slurm_n1/uid_1000/job_1/step_0", c)
			m.until(tr, "step begins", func() bool { return m.books.get("1", "0").open })
			m.burn("/slurm_n1/uid_1000/job_1/step_0", c, 30*time.Millisecond)
			m.refresh(tr)
			m.burn("/slurm_n1/uid_1000/job_1/step_0", c, 30*time.Millisecond)
			m.rmdir("/slurm_n1/uid_1000", c)
			m.until(tr, "job ends", func() bool { return !m.books.get("1", "").open })
			want := m.counter("/slurm_n1", c)
			if want < 50e6 {
				t.Fatalf("parent counts only %d ns", want)
			}
			if got := m.books.used("1", ""); got != want {
				t.Errorf("job used %d, parent counts %d", got, want)
			}
			if got := m.books.used("1", "0"); got != want {
				t.Errorf("step used %d, parent counts %d", got, want)
			}
			if m.books.parent != want {
				t.Errorf("parents' sum is %d, want %d", m.books.parent, want)
			}
			g := m.books.get("1", "")
			if g.final != jobs.FinalParent && g.final != jobs.FinalGroup || g.lives != 1 || g.facts.UID != 1000 {
				t.Errorf("job: %+v", g)
			}
			if c == "cpuacct" && g.final != jobs.FinalParent {
				t.Errorf("final reading by %s", g.final)
			}
		})
	}
}

// Nothing is read between the beginning and the end of these jobs.
func TestShortJobs(t *testing.T) {
	for _, c := range []string{"cpuacct", "v2"} {
		t.Run(c, func(t *testing.T) {
			m := newMachine(t, c)
			tr := m.tracker(testMatcher{})
			m.mkdir("/slurm_n1", c)
			m.refresh(tr)
			for range 3 {
				m.mkdir("/slurm_n1/uid_0/job_7/step_0", c)
				m.burn("/slurm_n1/uid_0/job_7/step_0", c, 10*time.Millisecond)
				m.rmdir("/slurm_n1/uid_0", c)
			}
			want := m.counter("/slurm_n1", c)
			// v2 counts in whole µs: each life can hide one at each of the three levels below.
			slack := map[string]uint64{"v2": 3 * 3 * 1000}[c]
			near := func(got uint64) bool { return got <= want && want-got <= slack }
			m.until(tr, "all is accounted for", func() bool {
				return near(m.books.used("7", "")) && near(m.books.used("7", "0")) && !m.books.get("7", "").open
			})
		})
	}
}
