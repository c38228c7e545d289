package slurm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
	"golang.org/x/sys/unix"
)

const testSLUID = "s2HNM7X03V8G00"

// scope makes a scope like slurmd's on v2, with one job named by its SLUID, and returns its path and the node's name.
func scope(t *testing.T) (dir, node string) {
	t.Helper()
	hs, err := cgroups.Find("/proc")
	if err != nil {
		t.Skip(err)
	}
	i := slices.IndexFunc(hs, func(h cgroups.Hierarchy) bool { return h.Version == cgroups.V2 })
	if i < 0 {
		t.Skip("v2 is not mounted")
	}
	node = "sluid" + strconv.Itoa(os.Getpid())
	slice := filepath.Join(hs[i].Path, node+".slice")
	dir = filepath.Join(slice, node+"_slurmstepd.scope")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { removeGroups(t, slice) })
	return dir, node
}

func removeGroups(t *testing.T, dir string) {
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		if e.IsDir() {
			removeGroups(t, filepath.Join(dir, e.Name()))
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("rmdir %s: %v", dir, err)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// titled runs a process with a title in a group, as a user, until the test ends or the returned function is called.
func titled(t *testing.T, group, title string, uid uint32) (stop func()) {
	t.Helper()
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: cat, Args: []string{title}, SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = in.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	return stop
}

// The number of a job that is named by its SLUID comes from root's slurmstepd and from nobody else.
func TestSLUID(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes groups and runs processes of other users")
	}
	dir, name := scope(t)
	l := watch(t, name)
	steps := filepath.Join(dir, testSLUID, "step_0", "slurm")
	if err := os.MkdirAll(steps, 0o755); err != nil {
		t.Fatal(err)
	}
	forged := titled(t, steps, "slurmstepd: [999.0]", 1000)
	other := titled(t, steps, "slurmstepd: [998.1]", 0) // of another step
	time.Sleep(20 * time.Millisecond)                   // time enough to be fooled
	titled(t, steps, "slurmstepd: [4711.0]", 0)
	until(t, "job 4711 is known", func() bool { return l.account("4711.0").open })
	for _, wrong := range []string{"999", "998", testSLUID} {
		if l.account(wrong).lives > 0 {
			t.Errorf("job %s was begun", wrong)
		}
	}
	forged()
	other()
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come true", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// A job whose group is gone before its number is known is no job; nothing of it stays.
func TestSLUIDNeverNamed(t *testing.T) {
	dir, name := scope(t)
	l := watch(t, name)
	for i := range 3 {
		job := filepath.Join(dir, fmt.Sprintf("s2HNM7X03V8G0%d", i))
		if err := os.Mkdir(job, 0o755); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		removeGroups(t, job)
	}
	time.Sleep(50 * time.Millisecond)
	if _, _, open := l.sums(); open != 0 || len(l.accounts) != 0 {
		t.Errorf("accounts: %v", l.accounts)
	}
}
