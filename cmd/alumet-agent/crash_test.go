package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

var soak = flag.Bool("soak", false, "run the tests that take long")

func needSoak(t *testing.T) {
	t.Helper()
	if !*soak {
		t.Skip("takes long: make soak")
	}
}

// TestKilled kills the agent as kill -9 does, at random moments while jobs run.
func TestKilled(t *testing.T) { killed(t, 5) }

func TestSoakKilled(t *testing.T) {
	needSoak(t)
	killed(t, 50)
}

// killed starts the agent anew after each kill. The sums must be those of the counters, as if nothing had happened; what
// each job got must be within 1 % of the truth.
func killed(t *testing.T, kills int) {
	cluster := bed.Start(t, bed.Options{})
	s := startSim(t, build(t, "../../contrib/testbed/powersim"), cluster.Nodes, 1, 0)
	program := build(t, ".")
	dir := t.TempDir()
	conf := fmt.Sprintf("sys_root = %q\n[plugins.rapl]\n[plugins.slurm]\n[plugins.job-energy]\npolicy = \"usage\"\ncommit_interval = \"1s\"\nstore = %q\n",
		s.dir, dir+"/jobs.db")
	if err := os.WriteFile(dir+"/agent.toml", []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	agent := spawn(t, program, dir)
	seconds := 4 + 2*kills
	script := fmt.Sprintf("#!/bin/bash\nsrun -n1 timeout %d sh -c 'while :; do :; done'\nexit 0\n", seconds)
	ids := []string{cluster.Submit(script, "-n1"), cluster.Submit(strings.Replace(script, "srun -n1", "", 1), "-n1")}
	for range kills {
		time.Sleep(500*time.Millisecond + rand.N(2*time.Second))
		agent.kill(t)
		time.Sleep(rand.N(300 * time.Millisecond))
		agent = spawn(t, program, dir)
	}
	for _, id := range ids {
		cluster.Wait(id)
	}
	agent.stop(t)
	compare(t, dir+"/jobs.db", s.stop(), 1, ids...)
	replayed(t, dir, "usage")
	first, last := counters(t, dir+"/trace")
	a, err := view(t, dir+"/jobs.db").Accounts("rapl:package:0")
	if err != nil {
		t.Fatal(err)
	}
	if a.MeasuredUJ != last-first {
		t.Errorf("the books have %d µJ, the counter went on by %d µJ", a.MeasuredUJ, last-first)
	}
	for _, id := range ids {
		records, err := view(t, dir+"/jobs.db").Job(store.Query{Name: id})
		if err != nil || len(records) != 1 {
			t.Errorf("job %s has %d records, want 1 (%v)", id, len(records), err)
		}
	}
}

// counters are the first and the last reading of the package in a trace.
func counters(t *testing.T, path string) (first, last uint64) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := false
	for line := range strings.Lines(string(text)) {
		var e jobs.Event
		if err := trace.Parse([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == jobs.EventSensor && e.Sensor == "rapl:package:0" {
			if !seen {
				first, seen = e.UJ, true
			}
			last = e.UJ
		}
	}
	return first, last
}

// process is the agent as a process of its own.
type process struct {
	cmd *exec.Cmd
	log *lockedBuffer
}

func spawn(t *testing.T, program, dir string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(program, "--config", dir+"/agent.toml", "--record", dir+"/trace"), log: &lockedBuffer{}}
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("agent:\n%s", p.log)
		}
	})
	await(t, "the agent to be ready", func() bool { return strings.Contains(p.log.String(), "is ready") })
	return p
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.cmd.Wait()
}

func (p *process) stop(t *testing.T) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the agent ends with %v", err)
	}
}

// TestManyShortJobs runs jobs that live for milliseconds: each must be in the store, and their CPU time must be what the
// kernel counted for them.
func TestManyShortJobs(t *testing.T) { shortJobs(t, 30) }

func TestSoakManyShortJobs(t *testing.T) {
	needSoak(t)
	shortJobs(t, 200)
}

// shortJobs runs n jobs of `true` and n that use 50 to 100 ms.
func shortJobs(t *testing.T, n int) {
	cluster := bed.Start(t, bed.Options{})
	dir := t.TempDir()
	stop := startAgent(t, dir, fmt.Sprintf("[plugins.tdp-model]\n[plugins.slurm]\n[plugins.job-energy]\nstore = %q\n", dir+"/jobs.db"))
	const burn = `t=$(($(date +%s%N) + 50000000 + RANDOM * 1500)); while [ $(date +%s%N) -lt $t ]; do :; done`
	var wg sync.WaitGroup
	for _, command := range []string{"true", "bash -c '" + burn + "'"} {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*5*time.Second)
			defer cancel()
			if _, err := cluster.Run(ctx, "bash", "-c", fmt.Sprintf("for i in $(seq %d); do srun -n1 %s || exit 1; done", n, command)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	parent := "/sys/fs/cgroup/cpuacct/slurm_" + cluster.Nodes[0]
	await(t, "the groups to go", func() bool {
		left, _ := filepath.Glob(parent + "/uid_*/job_*")
		return len(left) == 0
	})
	stop()
	text, err := os.ReadFile(parent + "/cpuacct.usage")
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	list, err := view(t, dir+"/jobs.db").List(store.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	ours := uint64(0)
	seen := map[string]bool{}
	for _, r := range list {
		if strings.Contains(r.Facts.Cgroup, cluster.Nodes[0]) {
			ours += r.CPUNs
			seen[r.ID.Name] = true
		}
	}
	t.Logf("%d of %d jobs, %.3f of %.3f ms of CPU time: %.3f %%", len(seen), 2*n, float64(ours)/1e6, float64(kernel)/1e6, 100*float64(ours)/float64(kernel))
	if len(seen) != 2*n {
		t.Errorf("%d jobs are in the store, %d have run", len(seen), 2*n)
	}
	if ours > kernel || float64(ours) < 0.99*float64(kernel) {
		t.Errorf("the store has %d ns of CPU time, the kernel counted %d", ours, kernel)
	}
}
