package cgroups

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/agenttest"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

// deafBooks hears nothing, so that only the tracker's own work is measured.
type deafBooks struct{ jobs.Books }

func (deafBooks) Begin(_ agent.Instant, id jobs.ID, step string, _ []int) *jobs.Group {
	return &jobs.Group{ID: id, Step: step}
}

func (b deafBooks) Found(now agent.Instant, id jobs.ID, step string, cpus []int, _ uint64) *jobs.Group {
	return b.Begin(now, id, step, cpus)
}
func (deafBooks) Open() []*jobs.Group                                { return nil }
func (deafBooks) Usage(agent.Instant, *jobs.Group, uint64)           {}
func (deafBooks) End(agent.Instant, *jobs.Group, uint64, jobs.Final) {}
func (deafBooks) SetCPUs(agent.Instant, *jobs.Group, []int)          {}
func (deafBooks) SetFacts(jobs.ID, jobs.Facts)                       {}
func (deafBooks) Parent(agent.Instant, uint64)                       {}
func (deafBooks) Busy(agent.Instant, int, uint64)                    {}
func (deafBooks) TrackerState(string, []byte)                        {}
func (deafBooks) LastTrackerState(string) []byte                     { return nil }

// manyGroups makes n job groups of one user, each with nothing in it, and a tracker that knows them.
func manyGroups(t testing.TB, c string, n int, points bool) (*machine, *Tracker, *Points) {
	m := newMachine(t, c)
	for i := range n {
		m.mkdir("/slurm_n1/uid_0/job_"+strconv.Itoa(i+1), c)
	}
	var want func(Match) bool
	if points {
		want = func(m Match) bool { return m.Role == Job }
	}
	tr, p := m.pointsTracker(testMatcher{}, want)
	tr.books = deafBooks{}
	m.refresh(tr)
	if len(tr.open) != n+2 {
		t.Fatalf("%d counters are open, want %d", len(tr.open), n+2)
	}
	// The describer looks at new jobs from time to time, in its own goroutine.
	tr.facts.close()
	tr.facts = nil
	return m, tr, p
}

func TestTickAllocates(t *testing.T) {
	for _, c := range []string{"cpuacct", "v2"} {
		for _, n := range []int{1, 100, 1000} {
			t.Run(fmt.Sprintf("%s/%d", c, n), func(t *testing.T) {
				_, _, p := manyGroups(t, c, n, true)
				now := agent.Clock{}.Now()
				var b agent.Batch
				agenttest.CheckAllocs(t, "tick", func() {
					b.Reset()
					now.Boot += int64(time.Second)
					now.Wall += int64(time.Second)
					if err := p.Poll(&b, now); err != nil {
						t.Fatal(err)
					}
					now.Boot++
					if err := p.Edge(now); err != nil {
						t.Fatal(err)
					}
				})
			})
		}
	}
}

// BenchmarkTick is the cost of one Refresh; compare with BenchmarkPread of the same files.
func BenchmarkTick(b *testing.B) {
	for _, c := range []string{"cpuacct", "v2"} {
		for _, n := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", c, n), func(b *testing.B) {
				_, tr, _ := manyGroups(b, c, n, false)
				now := agent.Clock{}.Now()
				b.ReportAllocs()
				for b.Loop() {
					now.Boot++
					if err := tr.Refresh(now); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkPread reads the same files and does nothing else.
func BenchmarkPread(b *testing.B) {
	for _, c := range []string{"cpuacct", "v2"} {
		for _, n := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", c, n), func(b *testing.B) {
				_, tr, _ := manyGroups(b, c, n, false)
				files := []*sysfile.File{tr.busy.file}
				for _, n := range tr.open {
					files = append(files, n.file)
				}
				buf := make([]byte, 4096)
				b.ReportAllocs()
				for b.Loop() {
					for _, f := range files {
						if _, err := f.Read(buf); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// BenchmarkAppearance is the time from mkdir to the first reading, with the tracker refreshed at each edge.
func BenchmarkAppearance(b *testing.B) {
	for _, c := range []string{"cpuacct", "v2"} {
		b.Run(c, func(b *testing.B) {
			m := newMachine(b, c)
			tr := m.tracker(testMatcher{})
			tr.books = deafBooks{}
			edge := make(chan struct{}, 1)
			tr.edge = func() {
				select {
				case edge <- struct{}{}:
				default:
				}
			}
			m.mkdir("/slurm_n1/uid_0", c)
			m.refresh(tr)
			var took []time.Duration
			for b.Loop() {
				path := "/slurm_n1/uid_0/job_" + strconv.Itoa(len(took))
				start := time.Now()
				m.mkdir(path, c)
				for len(tr.units) == 0 {
					<-edge
					m.refresh(tr)
				}
				took = append(took, time.Since(start))
				m.rmdir(path, c)
				for len(tr.units) > 0 {
					<-edge
					m.refresh(tr)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}
