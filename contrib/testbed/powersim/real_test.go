package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// realRoots returns the machine's hierarchies; without cpuacct, or for users
// who cannot make groups in it, it skips the test.
func realRoots(t *testing.T) cgroupRoots {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	roots, err := findCgroups(string(b))
	if err != nil || roots.cpuacct == "" {
		t.Skipf("no cpuacct hierarchy: %v", err)
	}
	if unix.Access(roots.cpuacct, unix.W_OK) != nil {
		t.Skip("making cgroups needs root")
	}
	return roots
}

// program is a run of powersim in this process.
type program struct {
	t      *testing.T
	stop   chan os.Signal
	status chan int
	stderr bytes.Buffer
	tree   string
	truth  string
}

// startProgram runs powersim and waits until it is ready.
func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "powersim") // in memory, as users are told to
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &program{t: t, stop: make(chan os.Signal, 1), status: make(chan int, 1),
		tree: filepath.Join(dir, "sys"), truth: filepath.Join(dir, "truth.json")}
	r, w := io.Pipe()
	go func() {
		p.status <- run(append([]string{"--dir", p.tree, "--truth", p.truth}, args...), w, &p.stderr, p.stop)
		w.Close()
	}()
	line := make([]byte, 6)
	if _, err := io.ReadFull(r, line); err != nil || string(line) != "ready\n" {
		t.Fatalf("said %q, %v; status %d: %s", line, err, <-p.status, p.stderr.String())
	}
	return p
}

// end stops powersim and returns the truth.
func (p *program) end() report {
	p.t.Helper()
	p.stop <- syscall.SIGTERM
	if status := <-p.status; status != 0 {
		p.t.Fatalf("exit status %d: %s", status, p.stderr.String())
	}
	p.t.Log(strings.TrimSpace(p.stderr.String()))
	return p.read()
}

// read reads the truth file.
func (p *program) read() (r report) {
	p.t.Helper()
	b, err := os.ReadFile(p.truth)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil || !r.Simulated {
		p.t.Fatalf("truth %q: %v", b, err)
	}
	return r
}

// makeGroups makes cgroups below an existing root and removes them in the end.
func makeGroups(t *testing.T, root string, groups ...string) {
	t.Helper()
	for _, g := range groups {
		g := filepath.Join(root, g)
		if err := os.Mkdir(g, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			err := os.Remove(g)
			for range 100 {
				if err == nil || os.IsNotExist(err) {
					return
				}
				time.Sleep(10 * time.Millisecond)
				err = os.Remove(g)
			}
			t.Error(err)
		})
	}
}

// burn burns CPU time in a cgroup.
func burn(t *testing.T, group string, d time.Duration) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `echo $$ > "$0/cgroup.procs" && while :; do :; done`, group)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // killed, which is no news
}

func TestRealCPUTime(t *testing.T) {
	roots := realRoots(t)
	node := "psimtest" + strconv.Itoa(os.Getpid())
	top := "slurm_" + node
	job := top + "/uid_0/job_1"
	p := startProgram(t, "--floor", "10", "--watts-per-core", "20", "--nodes", node)
	makeGroups(t, roots.cpuacct, top, top+"/uid_0", job, job+"/step_0")
	burn(t, filepath.Join(roots.cpuacct, job, "step_0"), 500*time.Millisecond)
	b, err := os.ReadFile(filepath.Join(roots.cpuacct, job, "cpuacct.usage"))
	if err != nil {
		t.Fatal(err)
	}
	used, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || used < 100e6 {
		t.Fatalf("the job used %d ns, %v", used, err)
	}
	r := p.end()
	j := r.Jobs["1"]
	if j == nil {
		t.Fatalf("no job in the truth: %+v", r)
	}
	for what, got := range map[string]*jobReport{"job": j, "step": j.Steps["0"]} {
		if got.CPUNS != used || got.Packages["0"].DynamicUJ != used*20/1000 {
			t.Errorf("%s: %d ns, %d µJ, want %d ns at 20 W", what, got.CPUNS, got.Packages["0"].DynamicUJ, used)
		}
	}
	if r.MachineCPUNS < used {
		t.Errorf("machine_cpu_ns %d is less than the job's %d", r.MachineCPUNS, used)
	}
	if want := r.ElapsedNS / 100; math.Abs(float64(r.Packages["0"].FloorUJ-want)) > 1 {
		t.Errorf("floor %d µJ in %d ns, want %d", r.Packages["0"].FloorUJ, r.ElapsedNS, want)
	}
	// Without a cpuset it may use all CPUs; it existed for at least the 0.5 s.
	if floor := j.Packages["0"].FloorUJ; floor < 4.9e6 || floor > r.Packages["0"].FloorUJ {
		t.Errorf("floor of the job %d µJ of %d", floor, r.Packages["0"].FloorUJ)
	}
}

// TestRealVanish: short groups that are removed at once, as Slurm does it, lose
// no CPU time, as their parents' counters stay.
func TestRealVanish(t *testing.T) {
	roots := realRoots(t)
	node := "psimtest" + strconv.Itoa(os.Getpid()) + "v"
	top := "slurm_" + node
	job := top + "/uid_0/job_1"
	p := startProgram(t, "--nodes", node)
	makeGroups(t, roots.cpuacct, top, top+"/uid_0")
	t.Run("steps", func(t *testing.T) {
		makeGroups(t, roots.cpuacct, job)
		for i := range 10 {
			t.Run("step", func(t *testing.T) {
				step := fmt.Sprintf("%s/step_%d", job, i)
				makeGroups(t, roots.cpuacct, step)
				burn(t, filepath.Join(roots.cpuacct, step), 20*time.Millisecond)
			})
		}
	})
	b, err := os.ReadFile(filepath.Join(roots.cpuacct, top, "cpuacct.usage"))
	if err != nil {
		t.Fatal(err)
	}
	used, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	r := p.end()
	sum := uint64(0)
	for _, s := range r.Jobs["1"].Steps {
		sum += s.CPUNS
	}
	if got := r.Jobs["1"].CPUNS; got != used || sum != used || len(r.Jobs["1"].Steps) != 10 {
		t.Errorf("job %d ns, its %d steps %d ns, kernel %d ns", got, len(r.Jobs["1"].Steps), sum, used)
	}
}

// TestRealReaders reads a counter as fast as possible from a file kept open:
// it never goes back and is always whole. The truth file can be read at any time.
func TestRealReaders(t *testing.T) {
	realRoots(t)
	p := startProgram(t, "--floor", "9876.543", "--packages", "1", "--dram")
	fd, err := unix.Open(filepath.Join(p.tree, "class/powercap/intel-rapl:0/energy_uj"), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var buf [64]byte
	last, reads, changes := uint64(0), 0, 0
	for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end); reads++ {
		n, err := unix.Pread(fd, buf[:], 0)
		if err != nil || n != energyWidth+1 {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
		v, err := strconv.ParseUint(string(buf[:n-1]), 10, 64)
		if err != nil || v < last {
			t.Fatalf("read %q after %d, %v", buf[:n], last, err)
		}
		if v > last {
			changes++
		}
		last = v
	}
	early := p.read()
	r := p.end()
	t.Logf("%d reads saw %d values", reads, changes)
	if early.ElapsedNS == 0 || early.ElapsedNS > r.ElapsedNS || r.Packages["0"].EnergyUJ < last {
		t.Errorf("truth %+v after %+v, last read %d", r, early, last)
	}
}

func TestBadFlags(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{}, {"--dir", dir, "x"}, {"--dir", dir, "--range-uj", "0"}, {"--dir", dir, "--range-uj", "10000000000000000"},
		{"--dir", dir, "--start-uj", "262143328851"}, {"--dir", dir, "--interval", "1us"}, {"--dir", dir, "--floor", "x"},
		{"--dir", dir, "--packages", "3"}, {"--dir", dir, "--cgroup-root", dir}, {"--dir", "/proc/none/x"}, {"--unknown"},
	} {
		var out, errs bytes.Buffer
		if status := run(args, &out, &errs, nil); status != 1 || errs.Len() == 0 || out.Len() != 0 {
			t.Errorf("%q: status %d, said %q and %q", args, status, out.String(), errs.String())
		}
	}
	var errs bytes.Buffer
	if status := run([]string{"--help"}, io.Discard, &errs, nil); status != 0 || !strings.Contains(errs.String(), "watts-per-core") {
		t.Errorf("--help: status %d, %q", status, errs.String())
	}
}

// TestIndependent: a truth that used the agent's code would have its faults.
func TestIndependent(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "alumet") && !strings.Contains(i.Path.Value, "/contrib/testbed/") {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}
