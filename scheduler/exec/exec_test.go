package exec

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

// burning is a program that uses about 100 ms, half of it in a child, and leaves nothing behind.
const burning = `i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done; sh -c 'i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done'`

// mounts writes a mountinfo that shows only hierarchies of one version.
func mounts(t *testing.T, v cgroups.Version) string {
	t.Helper()
	hs, err := cgroups.Find("/proc")
	if err != nil {
		t.Skip(err)
	}
	proc := t.TempDir()
	var info strings.Builder
	for i := range hs {
		if h := &hs[i]; h.Version == v {
			kind := map[cgroups.Version]string{cgroups.V1: "cgroup", cgroups.V2: "cgroup2"}[v]
			info.WriteString("1 1 0:" + string(rune('a'+i)) + " " + h.Root + " " + h.Path + " rw - " + kind + " x rw," + strings.Join(h.Controllers, ",") + "\n")
		}
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"mountinfo": info.String(), "cgroup": string(own)} {
		if err := os.MkdirAll(filepath.Join(proc, "self"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, "self", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func TestGroup(t *testing.T) {
	for _, v := range []cgroups.Version{cgroups.V1, cgroups.V2} {
		t.Run(v.String(), func(t *testing.T) {
			g, err := NewGroup(mounts(t, v))
			if errors.Is(err, agent.ErrNotSupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-c", burning)
			cmd.SysProcAttr = &syscall.SysProcAttr{}
			if err := g.Start(cmd.SysProcAttr, cmd.Start); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			used, err := g.Usage()
			if err != nil {
				t.Fatal(err)
			}
			rusage := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			if d := time.Duration(used) - rusage; d < -5*time.Millisecond || d > 20*time.Millisecond {
				t.Errorf("the group used %v, its program %v", time.Duration(used), rusage)
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(g.dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left", g.dir)
			}
		})
	}
}

// Groups of agents that were killed are removed, and no others.
func TestLeftGroups(t *testing.T) {
	probe, err := NewGroup("/proc")
	if errors.Is(err, agent.ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	parent := filepath.Dir(probe.dir)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "60") // has got the number of an agent
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	agents := exec.Command(os.Args[0], "-test.run=^TestSleep$") // an agent about to start its program
	agents.Env = append(os.Environ(), "SLEEP=1")
	if err := agents.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, c := range []*exec.Cmd{other, agents} {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	name := func(c *exec.Cmd, more string) string {
		return filepath.Join(parent, groupPrefix+strconv.Itoa(c.Process.Pid)+more)
	}
	full := name(dead, "_2")
	stays := map[string]bool{name(dead, ""): false, name(dead, "_1"): false, full: true, name(other, ""): false, name(agents, ""): true,
		filepath.Join(parent, groupPrefix+"x"): true, probe.dir: true}
	for dir := range stays {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		defer func() { _ = os.Remove(dir) }()
	}
	procs := filepath.Join(full, "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(other.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	g, err := NewGroup("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for dir, want := range stays {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v, want it to stay: %v", dir, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(parent, "cgroup.procs"), []byte(strconv.Itoa(other.Process.Pid)), 0); err != nil {
		t.Error(err)
	}
	if err := errors.Join(g.Close(), probe.Close()); err != nil {
		t.Error(err)
	}
}

// TestSleep is what TestLeftGroups starts as another agent.
func TestSleep(t *testing.T) {
	if os.Getenv("SLEEP") == "" {
		t.Skip("a program of TestLeftGroups")
	}
	time.Sleep(time.Minute)
}

// What runs on in the background when the program has ended goes on in the group above.
func TestGroupWithBackground(t *testing.T) {
	g, err := NewGroup("/proc")
	if errors.Is(err, agent.ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if err := g.Start(cmd.SysProcAttr, cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process was ended: %v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func TestTree(t *testing.T) {
	cmd := exec.Command("sh", "-c", burning+"; (sleep 60 & echo $!); read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tree := NewTree("/proc", cmd.Process.Pid)
	var buf [32]byte
	n, err := out.Read(buf[:])
	if err != nil {
		t.Fatal(err)
	}
	used, err := tree.Usage()
	if err != nil || used < 20e6 {
		t.Errorf("used %d, %v", used, err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 1 {
		t.Fatal(err)
	}
	after, err := tree.Usage()
	if err != nil && !errors.Is(err, agent.ErrGone) || after < used {
		t.Errorf("used %d before the end and %d after, %v", used, after, err)
	}
	if pid := strings.TrimSpace(string(buf[:n])); pid != "" {
		_ = exec.Command("kill", pid).Run()
	}
}

func TestFollow(t *testing.T) {
	books := &books{}
	tr := cgroups.New(books)
	tr.On("/sys", "/proc", nil, nil)
	now := agent.Clock{}.Now
	if err := tr.Refresh(now()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", burning)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := Follow(tr, "/proc", cmd.Process.Pid, nil, jobs.Facts{UID: -1, JobName: "sh"})
	if err := tr.Refresh(now()); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	want := uint64(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())
	p.End(want)
	if err := tr.Refresh(now()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Told():
	default:
		t.Error("the books were not told")
	}
	if books.begun != "exec/"+p.ID.Name || books.ended < want || books.ended > want+20e6 || books.parent != books.ended {
		t.Errorf("books: %+v, want %d", books, want)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
}

// books is a jobs.Books for one job.
type books struct {
	jobs.NoBooks
	begun  string
	ended  uint64
	parent uint64
}

func (b *books) Begin(_ agent.Instant, id jobs.ID, step string, _ []int) *jobs.Group {
	b.begun = id.String()
	return &jobs.Group{ID: id, Step: step}
}
func (b *books) End(_ agent.Instant, _ *jobs.Group, cpu uint64, _ jobs.Final) { b.ended = cpu }
func (b *books) Parent(_ agent.Instant, cpu uint64)                           { b.parent = cpu }

func FuzzOwnPath(f *testing.F) {
	f.Add("4:memory:/process_api/1\n2:cpu,cpuacct:/x/a/b\n0::/user.slice\n")
	f.Fuzz(func(t *testing.T, s string) { ownPath(s, &cgroups.Hierarchy{Version: cgroups.V1, Root: "/x"}) })
}

func TestOwnPath(t *testing.T) {
	const text = "4:memory:/process_api/1\n2:cpu,cpuacct:/docker/a/b\n1:name=systemd:/\n0::/user.slice\n"
	for _, c := range []struct {
		h    cgroups.Hierarchy
		want string
	}{
		{cgroups.Hierarchy{Version: cgroups.V1, Root: "/"}, "/docker/a/b"},
		{cgroups.Hierarchy{Version: cgroups.V1, Root: "/docker/a"}, "/b"},
		{cgroups.Hierarchy{Version: cgroups.V2, Root: "/"}, "/user.slice"},
	} {
		if got := ownPath(text, &c.h); got != c.want {
			t.Errorf("%+v: %q, want %q", c.h, got, c.want)
		}
	}
}
