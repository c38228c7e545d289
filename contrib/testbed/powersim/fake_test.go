package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// fake is a machine of files: a root of /sys with the CPUs, and a cpuacct and
// a cpuset hierarchy whose counters move only when a test says so.
type fake struct {
	t       *testing.T
	dir     string
	cpus    int
	cpuacct string
	cpuset  string
}

// newFake makes a machine with the CPUs 0..n-1, all of whose counters are 0.
func newFake(t *testing.T, n int) *fake {
	t.Helper()
	f := &fake{t: t, dir: t.TempDir(), cpus: n}
	f.cpuacct, f.cpuset = filepath.Join(f.dir, "cpuacct"), filepath.Join(f.dir, "cpuset")
	for _, name := range []string{"online", "possible", "present"} {
		f.write(filepath.Join(f.dir, "sys/devices/system/cpu", name), "0-"+strconv.Itoa(n-1))
	}
	f.use("")
	return f
}

// write writes a file of one line into the same inode as before.
func (f *fake) write(name, text string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text+"\n"), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// use sets the counters of a group, which is made if need be; those that are
// not given are 0.
func (f *fake) use(group string, ns ...uint64) {
	f.t.Helper()
	var b strings.Builder
	for cpu := range f.cpus {
		v := uint64(0)
		if cpu < len(ns) {
			v = ns[cpu]
		}
		fmt.Fprintf(&b, "%d ", v)
	}
	f.write(filepath.Join(f.cpuacct, group, "cpuacct.usage_percpu"), b.String())
}

// allow sets the cpuset of a group.
func (f *fake) allow(group, cpus string) {
	f.t.Helper()
	f.write(filepath.Join(f.cpuset, group, "cpuset.cpus"), cpus)
}

// remove removes a group and those below it.
func (f *fake) remove(group string) {
	f.t.Helper()
	for _, root := range []string{f.cpuacct, f.cpuset} {
		if err := os.RemoveAll(filepath.Join(root, group)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// start starts a simulator with a floor of 30 W and 20 W a core; the test may
// change that.
func (f *fake) start(change func(*config)) *simulator {
	f.t.Helper()
	cfg := config{
		dir: filepath.Join(f.dir, "tree"), packages: 1, power: power{floor: 30e6, perCore: 20e6},
		rangeUJ: 262143328850, roots: cgroupRoots{cpuacct: f.cpuacct, cpuset: f.cpuset}, sys: filepath.Join(f.dir, "sys"),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := newSimulator(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(s.close)
	return s
}

// tick ticks and fails the test on an error.
func tick(t *testing.T, s *simulator, ns uint64) {
	t.Helper()
	if err := s.tick(ns); err != nil {
		t.Fatal(err)
	}
}

// shown reads a counter of the tree by the path that an agent would use.
func shown(t *testing.T, s *simulator, zone string) uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.cfg.dir, "class/powercap", zone, "energy_uj"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := strconv.ParseUint(strings.TrimSuffix(string(b), "\n"), 10, 64)
	if err != nil || len(b) != energyWidth+1 {
		t.Fatalf("%s shows %q", zone, b)
	}
	return v
}

// checkUJ compares energies in µJ.
func checkUJ(t *testing.T, what string, got, want uint64) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %d µJ, want %d", what, got, want)
	}
}

// checkJob compares a job's or step's account of package 0.
func checkJob(t *testing.T, what string, got *jobReport, dynamic, floor, ns uint64) {
	t.Helper()
	if got == nil {
		t.Errorf("%s: no account", what)
		return
	}
	if p := got.Packages["0"]; p.DynamicUJ != dynamic || p.FloorUJ != floor || got.CPUNS != ns {
		t.Errorf("%s: dynamic %d floor %d cpu_ns %d, want %d %d %d", what, p.DynamicUJ, p.FloorUJ, got.CPUNS, dynamic, floor, ns)
	}
}
