package cgroups

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Jobs come and go on two CPUs while the tracker is refreshed all the time; nothing may be lost or counted twice.
func TestStorm(t *testing.T) {
	for _, c := range []string{"cpuacct", "v2"} {
		t.Run(c, func(t *testing.T) {
			m := newMachine(t, c)
			tr := m.tracker(testMatcher{})
			m.refresh(tr)
			m.mkdir("/slurm_n1", c)
			var wg sync.WaitGroup
			for user := range 2 {
				wg.Go(func() {
					for i := range 25 {
						job := fmt.Sprintf("/slurm_n1/uid_%d/job_%d", user, 100*user+i)
						for step := range 2 {
							m.mkdir(fmt.Sprintf("%s/step_%d", job, step), c)
							m.burn(fmt.Sprintf("%s/step_%d", job, step), c, 2*time.Millisecond)
							m.rmdir(fmt.Sprintf("%s/step_%d", job, step), c)
						}
						m.rmdir(fmt.Sprintf("/slurm_n1/uid_%d", user), c)
					}
				})
			}
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
					m.refresh(tr)
					time.Sleep(time.Millisecond)
				}
			}
			want := m.counter("/slurm_n1", c)
			m.until(tr, "all jobs have ended", func() bool { return len(m.books.Open()) == 0 && len(tr.nodes) == 1 })
			seen := 0
			for user := range 2 {
				for i := range 25 {
					g := m.books.get(fmt.Sprint(100*user+i), "")
					if g.lives > 1 {
						t.Errorf("job %d was begun %d times", 100*user+i, g.lives)
					}
					seen += g.lives
				}
			}
			near := func(what string, got, permille uint64) {
				if d := max(got, want) - min(got, want); d*1000 > want*permille {
					t.Errorf("%s used %d, the parent counts %d: off by %d", what, got, want, int64(got)-int64(want))
				}
			}
			// When both CPUs are busy an event may be later than a job is long: a job that was never seen is nobody's, and what
			// it used is the parents' alone. Jobs that end in the same moment share what they used last in equal parts.
			unseen := uint64(50-seen) * 25
			near("jobs", m.books.sum(false), 10+unseen)
			near("steps", m.books.sum(true), 30+unseen)
			if m.books.parent != want {
				t.Errorf("parents' sum is %d, want %d", m.books.parent, want)
			}
			if seen < 45 {
				t.Errorf("only %d of 50 jobs were seen", seen)
			}
			if len(tr.nodes) != 1 || len(tr.open) != 1 || len(tr.units) != 0 || len(tr.byName) != 0 {
				t.Errorf("left: %d nodes, %d counters, %d units, %d names", len(tr.nodes), len(tr.open), len(tr.units), len(tr.byName))
			}
		})
	}
}
