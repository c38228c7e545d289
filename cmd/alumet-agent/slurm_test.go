package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bed "github.com/alumet-hpc/alumet-hpc/contrib/testbed/slurm"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/jobs/store"
	"github.com/alumet-hpc/alumet-hpc/jobs/trace"
)

// TestSlurm measures real jobs of a real Slurm with simulated power, and holds the figures against the simulator's own
// account of what each job used.
func TestSlurm(t *testing.T) {
	sim := build(t, "../../contrib/testbed/powersim")
	withoutFloor := measured{"usage without floor", "usage", 1, 0}
	t.Run("v1", func(t *testing.T) {
		measureCluster(t, sim, bed.Options{}, withoutFloor, measured{"hybrid with floor", "hybrid", 1, 30}, measured{"hybrid, two packages", "hybrid", 2, 12})
	})
	// Without a cpuset controller the simulator does not know which CPUs a job holds.
	t.Run("v2", func(t *testing.T) { measureCluster(t, sim, bed.Options{Plugin: "v2"}, withoutFloor) })
}

// measured is a case: a policy, and a machine to simulate.
type measured struct {
	name, policy    string
	packages, floor int
}

func measureCluster(t *testing.T, sim string, o bed.Options, cases ...measured) {
	cluster := bed.Start(t, o)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := startSim(t, sim, cluster.Nodes, c.packages, c.floor)
			dir := t.TempDir()
			conf := fmt.Sprintf("sys_root = %q\n[plugins.rapl]\n[plugins.slurm]\n[plugins.csv]\noutput_path = %q\n"+
				"[plugins.job-energy]\npolicy = %q\nstore = %q\n[plugins.job-energy.floors]\n", s.dir, dir+"/out.csv", c.policy, dir+"/jobs.db")
			for p := range c.packages {
				conf += fmt.Sprintf("\"rapl:package:%d\" = %d\n", p, c.floor)
			}
			stop := startAgent(t, dir, conf)
			first := cluster.Submit("#!/bin/bash\nsrun -n1 timeout 2 sh -c 'while :; do :; done'\n"+
				"srun -n1 sh -c 'timeout 1 sh -c \"while :; do :; done\"; sleep 0.3'\nexit 0\n", "-n1")
			second := cluster.Submit("#!/bin/bash\nfor i in 1 2 3 4; do timeout 0.5 sh -c 'while :; do :; done'; sleep 0.2; done\nexit 0\n", "-n1")
			cluster.Wait(first)
			cluster.Wait(second)
			stop()
			compare(t, filepath.Join(dir, "jobs.db"), s.stop(), c.packages, first, second)
			replayed(t, dir, c.policy)
		})
	}
}

// build makes one of the module's programs.
func build(t *testing.T, folder string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", path, folder).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	return path
}

// startAgent runs the program as a user would, in this process. The returned function ends it as SIGTERM does.
func startAgent(t *testing.T, dir, conf string) (stop func()) {
	t.Helper()
	path := filepath.Join(dir, "agent.toml")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := &lockedBuffer{}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"--config", path, "--record", filepath.Join(dir, "trace")}, log, log)
	}()
	await(t, "the agent to be ready", func() bool { return strings.Contains(log.String(), "is ready") || len(done) > 0 })
	end := sync.OnceFunc(func() {
		cancel()
		begin := time.Now()
		if code := <-done; code != 0 {
			t.Errorf("the agent exited with %d", code)
		}
		if d := time.Since(begin); d > 5*2*time.Second { // goal: 2 s
			t.Errorf("stopping took %v", d)
		}
		if strings.Contains(log.String(), "level=ERROR") || t.Failed() {
			t.Errorf("log:\n%s", log)
		}
	})
	t.Cleanup(end)
	return end
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// simulator is a running power simulator.
type simulator struct {
	t          *testing.T
	cmd        *exec.Cmd
	dir, truth string
}

type truth struct {
	Jobs map[string]struct {
		Packages map[string]struct {
			DynamicUJ uint64 `json:"dynamic_uj"`
			FloorUJ   uint64 `json:"floor_uj"`
		} `json:"packages"`
	} `json:"jobs"`
}

func startSim(t *testing.T, program string, nodes []string, packages, floor int) *simulator {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "powersim")
	if err != nil {
		t.Fatal(err)
	}
	s := &simulator{t: t, dir: dir, truth: filepath.Join(t.TempDir(), "truth.json")}
	var out lockedBuffer
	s.cmd = exec.Command(program, "-dir", dir, "-truth", s.truth, "-nodes", strings.Join(nodes, ","), "-packages", fmt.Sprint(packages), "-floor", fmt.Sprint(floor))
	s.cmd.Stdout, s.cmd.Stderr = &out, os.Stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.cmd.ProcessState == nil {
			s.cmd.Process.Kill()
			s.cmd.Wait()
		}
		os.RemoveAll(dir)
	})
	await(t, "the simulator", func() bool { return strings.Contains(out.String(), "ready") })
	return s
}

func (s *simulator) stop() (tr truth) {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		s.t.Fatal(err)
	}
	text, err := os.ReadFile(s.truth)
	if err == nil {
		err = json.Unmarshal(text, &tr)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return tr
}

// compare holds the store against the truth: each job's package energy within 1 %, and every sum exactly.
func compare(t *testing.T, db string, tr truth, packages int, ids ...string) {
	t.Helper()
	v := view(t, db)
	for _, id := range ids {
		records, err := v.Job(store.Query{Name: id})
		if err != nil || len(records) == 0 {
			t.Fatalf("job %s: %d records, %v", id, len(records), err)
		}
		for p := range packages {
			whole, parts := uint64(0), uint64(0)
			for _, r := range records {
				for _, f := range r.Figures {
					switch {
					case f.Sensor != fmt.Sprintf("rapl:package:%d", p):
					case f.Step == "":
						whole += f.UJ
					default:
						parts += f.UJ
					}
				}
			}
			if whole != parts {
				t.Errorf("job %s: steps and between have %d µJ, the job %d", id, parts, whole)
			}
			x := tr.Jobs[id].Packages[fmt.Sprint(p)]
			want := x.DynamicUJ + x.FloorUJ
			if want == 0 && whole == 0 {
				continue // it ran on the other package
			}
			off := 100 * (float64(whole) - float64(want)) / float64(want)
			t.Logf("job %s package %d: %.6f J, truth %.6f J, %+.3f %%", id, p, float64(whole)/1e6, float64(want)/1e6, off)
			if math.Abs(off) > 1 {
				t.Errorf("job %s package %d is %.3f %% off", id, p, off)
			}
		}
		r := records[0]
		if r.End == 0 || !r.SeenBegin || r.FinalReading == jobs.FinalNone {
			t.Errorf("job %s: %+v", id, r)
		}
	}
	for p := range packages {
		a, err := v.Accounts(fmt.Sprintf("rapl:package:%d", p))
		if err != nil {
			t.Fatal(err)
		}
		if a.MeasuredUJ == 0 || a.ImbalanceUJ() != 0 {
			t.Errorf("measured %d µJ, imbalance %d µJ: %+v", a.MeasuredUJ, a.ImbalanceUJ(), a.Accounts)
		}
	}
}

func view(t *testing.T, db string) *store.View {
	t.Helper()
	r, err := store.OpenRead(db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	v, err := r.View()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// replayed runs the recorded trace again: every account must be what the store has.
func replayed(t *testing.T, dir, policy string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "trace"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var p jobs.Policy
	if err := p.UnmarshalText([]byte(policy)); err != nil {
		t.Fatal(err)
	}
	l := jobs.NewLedger(p)
	if err := trace.Replay(f, l); err != nil {
		t.Fatal(err)
	}
	v := view(t, filepath.Join(dir, "jobs.db"))
	for _, a := range l.Accounts() {
		want := map[string]uint64{jobs.System: a.Totals.SystemUJ, jobs.Idle: a.Totals.IdleUJ, jobs.Vanished: a.Totals.VanishedUJ, jobs.Unobserved: a.Totals.UnobservedUJ}
		for _, j := range a.Jobs {
			want[j.Job] = j.UJ
		}
		got, err := v.Accounts(a.Sensor)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range got.Accounts {
			if want[x.Name] != x.UJ {
				t.Errorf("%s %s: stored %d µJ, replayed %d µJ", a.Sensor, x.Name, x.UJ, want[x.Name])
			}
			delete(want, x.Name)
		}
		for name, uj := range want {
			if uj > 0 {
				t.Errorf("%s %s: not stored, replayed %d µJ", a.Sensor, name, uj)
			}
		}
		if got.MeasuredUJ != a.MeasuredUJ {
			t.Errorf("%s: stored %d µJ, replayed %d µJ", a.Sensor, got.MeasuredUJ, a.MeasuredUJ)
		}
	}
}
