package cgroups

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// When the kernel's queue overflows, everything is scanned.
func TestOverflow(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, "cpuacct")
	tr := m.tracker(testMatcher{})
	m.mkdir("/slurm_n1/uid_0/job_1", "cpuacct")
	m.refresh(tr)
	tr.watch.mu.Lock() // the watcher is slow now
	for range most/2 + 5000 {
		m.mkdir("/slurm_n1/uid_7", "cpuacct")
		m.rmdir("/slurm_n1/uid_7", "cpuacct")
	}
	m.rmdir("/slurm_n1/uid_0/job_1", "cpuacct")
	m.mkdir("/slurm_n1/uid_0/job_2/step_0", "cpuacct")
	m.burn("/slurm_n1/uid_0/job_2/step_0", "cpuacct", 5*time.Millisecond)
	tr.watch.mu.Unlock()
	m.until(tr, "what happened meanwhile is known", func() bool {
		return m.books.get("2", "0").open && !m.books.get("1", "").open && strings.Contains(m.log.String(), "faster than they can be followed")
	})
	m.until(tr, "its usage is known", func() bool { return m.books.used("2", "0") == m.counter("/slurm_n1/uid_0/job_2", "cpuacct") })
}

// With too few watches groups are found by scanning, and the log says so. The limit is one of a user name space of the
// test's own.
func TestWatchLimit(t *testing.T) {
	if os.Getenv("WATCH_LIMIT") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWatchLimit$", "-test.v")
		cmd.Env = append(os.Environ(), "WATCH_LIMIT=1", "GORACE=atexit_sleep_ms=0")
		ids := []syscall.SysProcIDMap{{Size: 1}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
		out, err := cmd.CombinedOutput()
		switch {
		case err != nil:
			t.Errorf("%v\n%s", err, out)
		case !strings.Contains(string(out), "--- PASS"):
			t.Skipf("%s", out)
		}
		return
	}
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("2"), 0); err != nil {
		t.Skip(err)
	}
	m := newMachine(t, "cpuacct")
	tr := m.tracker(testMatcher{})
	m.refresh(tr)
	m.mkdir("/slurm_n1/uid_0/job_1/step_0", "cpuacct")
	m.until(tr, "job is found by scanning", func() bool { return m.books.get("1", "0").open })
	if m.books.get("1", "").found {
		t.Error("job was found running, though it was made after the first scan")
	}
	m.rmdir("/slurm_n1/uid_0", "cpuacct")
	m.until(tr, "its end is noticed", func() bool { return !m.books.get("1", "").open })
	if n := strings.Count(m.log.String(), "max_user_watches"); n != 1 {
		t.Errorf("said %d times: %s", n, m.log)
	}
}

// A group that cannot be listed for want of descriptors is not gone.
func TestOutOfDescriptors(t *testing.T) {
	m := newMachine(t, "cpuacct")
	tr := m.tracker(testMatcher{})
	m.mkdir("/slurm_n1/uid_0/job_1/step_0", "cpuacct")
	m.refresh(tr)
	var old, none syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	none = old
	none.Cur = 3
	tr.watch.mu.Lock()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	tr.watch.scan()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	tr.watch.mu.Unlock()
	m.refresh(tr)
	if !m.books.get("1", "0").open || !strings.Contains(m.log.String(), "cannot list") {
		t.Errorf("log: %s", m.log)
	}
}

func TestNoHierarchies(t *testing.T) {
	m := newMachine(t)
	tr := m.tracker(testMatcher{})
	m.refresh(tr)
	if !strings.Contains(m.log.String(), "no control group file system is mounted") {
		t.Errorf("log: %s", m.log)
	}
	if len(m.books.busy) == 0 {
		t.Error("the busy time is not told")
	}
}
