package store

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
)

func openRaw(path string) (*sql.DB, error) { return sql.Open("sqlite3", path) }

// TestBalance records random books that are wrong by a known amount, in random portions, and asks for the accounts.
func TestBalance(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "jobs.db")
		s := openT(t, path)
		want := map[string]map[string]uint64{}
		sensors, wrong := randomSensors(r)
		list := randomJobs(r, sensors, want)
		for i := range sensors {
			settle(&sensors[i], want, wrong[i])
		}
		for len(list) > 0 {
			n := 1 + r.IntN(len(list))
			recordT(t, s, &jobs.Record{Policy: "usage/1", Sensors: sensors, Jobs: list[:n]})
			list = list[n:]
		}
		v := viewT(t, path)
		for i := range sensors {
			name := sensors[i].Sensor.Name
			a, err := v.Accounts(name)
			if err != nil || a.ImbalanceUJ() != wrong[i] || a.MeasuredUJ != sensors[i].Totals.MeasuredUJ {
				t.Errorf("seed %d, %s: imbalance %d, %v, want %d", seed, name, a.ImbalanceUJ(), err, wrong[i])
			}
			for _, x := range a.Accounts {
				if want[name][x.Name] != x.UJ {
					t.Errorf("seed %d, %s: %s %d, want %d", seed, name, x.Name, x.UJ, want[name][x.Name])
				}
				delete(want[name], x.Name)
			}
			if len(want[name]) != 0 {
				t.Errorf("seed %d, %s: missing %v", seed, name, want[name])
			}
		}
	}
}

func randomSensors(r *rand.Rand) (list []jobs.SensorRecord, wrong []int64) {
	for i := range 1 + r.IntN(4) {
		list = append(list, jobs.SensorRecord{Sensor: agent.Sensor{Name: fmt.Sprintf("rapl:package:%d", i)}})
		wrong = append(wrong, []int64{0, 0, 1, -1, r.Int64N(1 << 40)}[r.IntN(5)])
	}
	return list, wrong
}

// randomJobs makes records, some of one ID, and adds what they hold to want.
func randomJobs(r *rand.Rand, sensors []jobs.SensorRecord, want map[string]map[string]uint64) []jobs.JobRecord {
	var list []jobs.JobRecord
	for i := range 1 + r.IntN(60) {
		j := jobs.JobRecord{ID: jobs.ID{Scheduler: []string{"slurm", "oar"}[r.IntN(2)], Name: fmt.Sprint(r.IntN(30))}, Begin: int64(i)}
		for k := range sensors {
			name := sensors[k].Sensor.Name
			if want[name] == nil {
				want[name] = map[string]uint64{}
			}
			if r.IntN(5) == 0 {
				continue
			}
			uj := r.Uint64N(1 << 45)
			want[name][j.ID.String()] += uj
			j.Figures = append(j.Figures, jobs.Figure{Sensor: name, UJ: uj}, jobs.Figure{Sensor: name, Step: "0", UJ: uj})
		}
		list = append(list, j)
	}
	return list
}

// settle gives a sensor accounts of its own and a measured sum that is wrong by the given amount.
func settle(s *jobs.SensorRecord, want map[string]map[string]uint64, wrong int64) {
	t := &s.Totals
	t.SystemUJ, t.IdleUJ, t.VanishedUJ, t.UnobservedUJ = 1<<41, 5, 0, 7
	w := want[s.Sensor.Name]
	w[jobs.System], w[jobs.Idle], w[jobs.Vanished], w[jobs.Unobserved] = t.SystemUJ, t.IdleUJ, t.VanishedUJ, t.UnobservedUJ
	for _, uj := range w {
		t.MeasuredUJ += uj
	}
	t.MeasuredUJ += uint64(wrong)
}

// busyNode makes the record of a node with changed jobs of five steps (the fifth is `between`) by four sensors.
func busyNode(changed int, n uint64) *jobs.Record {
	r := &jobs.Record{Time: int64(n), Wall: int64(n), Policy: "hybrid/1", State: make([]byte, 20_000)}
	for i := range 4 {
		r.Sensors = append(r.Sensors, jobs.SensorRecord{Sensor: agent.Sensor{Name: fmt.Sprintf("rapl:package:%d", i)}})
	}
	for i := range changed {
		j := jobs.JobRecord{
			ID: jobs.ID{Scheduler: "slurm", Name: fmt.Sprint(10_000 + i)}, Begin: int64(i + 1), Lives: 1,
			Facts: jobs.Facts{User: "alice", Cgroup: "/slurm/uid_1000/job_10000", CPUs: []int{0, 1, 2, 3}},
		}
		for step := range 5 {
			name := fmt.Sprint(step)
			j.Steps = append(j.Steps, jobs.StepRecord{Step: name, CPUNs: n})
			for _, s := range r.Sensors {
				j.Figures = append(j.Figures, jobs.Figure{Sensor: s.Sensor.Name, Step: name, UJ: n})
			}
		}
		for _, s := range r.Sensors {
			j.Figures = append(j.Figures, jobs.Figure{Sensor: s.Sensor.Name, UJ: 5 * n})
		}
		r.Jobs = append(r.Jobs, j)
	}
	return r
}

// BenchmarkRecord is one durable commit, the disk's flush included.
func BenchmarkRecord(b *testing.B) {
	for _, changed := range []int{0, 1, 10, 100} {
		b.Run(fmt.Sprintf("jobs=%d", changed), func(b *testing.B) {
			s := openT(b, filepath.Join(b.TempDir(), "jobs.db"))
			r := busyNode(changed, 1)
			for b.Loop() {
				for i := range r.Jobs {
					for k := range r.Jobs[i].Figures {
						r.Jobs[i].Figures[k].UJ++
					}
				}
				recordT(b, s, r)
			}
		})
	}
}

// BenchmarkRecordUnflushed is the same work without waiting for the disk: what the processor does.
func BenchmarkRecordUnflushed(b *testing.B) {
	s := openT(b, filepath.Join(b.TempDir(), "jobs.db"))
	if _, err := s.conn.ExecContext(b.Context(), `PRAGMA synchronous = OFF`); err != nil {
		b.Fatal(err)
	}
	r := busyNode(100, 1)
	b.ReportAllocs()
	for b.Loop() {
		recordT(b, s, r)
	}
}

// BenchmarkAccounts adds up a year of a busy node.
func BenchmarkAccounts(b *testing.B) {
	path := filepath.Join(b.TempDir(), "jobs.db")
	s := openT(b, path)
	for year := range 100 {
		r := busyNode(1000, 1)
		for i := range r.Jobs {
			r.Jobs[i].ID.Name = fmt.Sprint(1000*year + i)
			r.Jobs[i].Steps = nil
			r.Jobs[i].Figures = slices.DeleteFunc(r.Jobs[i].Figures, func(f jobs.Figure) bool { return f.Step != "" })
		}
		recordT(b, s, r)
	}
	v := viewT(b, path)
	for b.Loop() {
		if a, err := v.Accounts("rapl:package:2"); err != nil || len(a.Accounts) != 100_004 {
			b.Fatal(len(a.Accounts), err)
		}
	}
}
