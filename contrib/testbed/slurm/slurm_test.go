package slurm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// otherUser returns the id of a user other than root. Slurm refuses ids that
// the machine does not know, so 1000 may not do.
func otherUser() int {
	if _, err := user.LookupId("1000"); err == nil {
		return 1000
	}
	return 65534 // nobody, who exists on every Debian
}

// v1Mount is where the machine's cgroup v1 hierarchies are.
const v1Mount = "/sys/fs/cgroup"

// needV1 skips the test on machines that have only cgroup v2.
func needV1(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(v1Mount, "cpuacct")); err != nil {
		t.Skipf("no cgroup v1: %v", err)
	}
}

// script of a job whose two steps print their cgroups.
const twoSteps = `#!/bin/sh
cat /proc/self/cgroup
srun --output=%j.%s.out cat /proc/self/cgroup
srun --output=%j.%s.out cat /proc/self/cgroup
`

// output waits for the file of a job's output and returns it; slurmstepd may
// close it a little after the job has ended.
func output(t *testing.T, c *Cluster, name string) string {
	t.Helper()
	path := filepath.Join(c.Dir, "out", name)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(path)
		if err == nil && len(b) > 0 {
			return string(b)
		}
		if time.Now().After(end) {
			t.Fatalf("no output in %s: %v", path, err)
		}
	}
}

// group returns the path that a /proc/PID/cgroup text has for a v1 controller.
func group(text, controller string) string {
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && slices.Contains(strings.Split(f[1], ","), controller) {
			return f[2]
		}
	}
	return ""
}

// checkGroups compares the cgroups of a task with the paths that Slurm's
// cgroup v1 plugin is known to use.
func checkGroups(t *testing.T, text, step string) {
	t.Helper()
	want := map[string]string{
		"freezer": step, "cpuset": step,
		"cpuacct": step + "/task_0", "memory": step + "/task_0",
	}
	for controller, path := range want {
		if got := group(text, controller); got != path {
			t.Errorf("%s group of the task is %q, want %q", controller, got, path)
		}
	}
}

func TestJobsV1(t *testing.T) {
	needV1(t)
	var node string
	t.Run("cluster", func(t *testing.T) {
		c := Start(t, Options{Extern: true})
		node = c.Nodes[0]
		id := c.Submit(twoSteps, "--chdir="+filepath.Join(c.Dir, "out"))
		if state := c.Wait(id); state != "COMPLETED" {
			t.Fatalf("job ended as %s", state)
		}
		job := fmt.Sprintf("/slurm_%s/uid_0/job_%s/", node, id)
		checkGroups(t, output(t, c, id+".out"), job+"step_batch")
		checkGroups(t, output(t, c, id+".0.out"), job+"step_0")
		checkGroups(t, output(t, c, id+".1.out"), job+"step_1")

		uid := strconv.Itoa(otherUser())
		out, err := c.Run(context.Background(), "setpriv", "--reuid="+uid, "--regid="+uid,
			"--clear-groups", "srun", "cat", "/proc/self/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		checkGroups(t, out, fmt.Sprintf("/slurm_%s/uid_%s/job_%d/step_0", node, uid, number(t, id)+1))
	})
	checkGone(t, node)
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkGone fails the test if a cgroup or a process of the node is left.
func checkGone(t *testing.T, node string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(v1Mount, "*", "slurm_"+node))
	if err != nil {
		t.Fatal(err)
	}
	if scopes, _ := filepath.Glob(filepath.Join(v1Mount, "*", "system.slice", node+"*")); scopes != nil {
		left = append(left, scopes...)
	}
	if len(left) > 0 {
		t.Errorf("cgroups left behind: %q", left)
	}
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range cmdlines {
		// Those that have just ended give an error or, as zombies, no text.
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), node) {
			t.Errorf("process left behind: %s: %q", name, b)
		}
	}
}

// TestCrash kills the controller and a slurmd under running jobs; stop has to
// end the orphaned slurmstepd and tasks all the same.
func TestCrash(t *testing.T) {
	needV1(t)
	var nodes []string
	t.Run("cluster", func(t *testing.T) {
		c := Start(t, Options{Nodes: 2})
		nodes = c.Nodes
		go c.Run(context.Background(), "srun", "--nodes=2", "sleep", "600")
		procs := filepath.Join(v1Mount, "cpuacct", "slurm_"+nodes[0], "uid_0/job_*/step_0/task_0/cgroup.procs")
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if found, _ := filepath.Glob(procs); len(found) == 1 {
				if b, err := os.ReadFile(found[0]); err == nil && len(b) > 0 {
					break
				}
			}
			if time.Now().After(end) {
				t.Fatal("the job has not started")
			}
		}
		for _, name := range []string{"slurmctld.pid", "slurmd." + nodes[0] + ".pid"} {
			b, err := os.ReadFile(filepath.Join(c.Dir, "run", name))
			if err != nil {
				t.Fatal(err)
			}
			p, err := os.FindProcess(number(t, strings.TrimSpace(string(b))))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, node := range nodes {
		checkGone(t, node)
	}
}

// TestTwoClusters runs two clusters side by side, and the v2 plugin.
func TestTwoClusters(t *testing.T) {
	needV1(t)
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Logf("gcc will be installed: %v", err)
	}
	var nodes []string
	t.Run("clusters", func(t *testing.T) {
		a := Start(t, Options{Conf: []string{"Licenses=tape:2"}})
		b := Start(t, Options{Nodes: 2, Plugin: "v2"})
		nodes = append(slices.Clone(a.Nodes), b.Nodes...)
		out, err := a.Run(context.Background(), "srun", "cat", "/proc/self/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		jobOf := regexp.MustCompile(`/job_([0-9]+)/`)
		first := jobOf.FindStringSubmatch(out)
		if first == nil {
			t.Fatalf("no job in %q", out)
		}
		checkGroups(t, out, "/slurm_"+a.Nodes[0]+"/uid_0/job_"+first[1]+"/step_0")
		out, err = b.Run(context.Background(), "srun", "--nodes=2", "cat", "/proc/self/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		second := jobOf.FindStringSubmatch(out)
		if second == nil || second[1] == first[1] {
			t.Fatalf("jobs %q and %q of two clusters: want two numbers", first, second)
		}
		for _, node := range b.Nodes {
			want := "0::/system.slice/" + node + "_slurmstepd.scope/job_" + second[1] + "/step_0/user/task_0\n"
			if !strings.Contains(out, want) {
				t.Errorf("the tasks' cgroups are %q, want %q among them", out, want)
			}
		}
		out, err = a.Run(context.Background(), "scontrol", "show", "licenses")
		if err != nil || !strings.Contains(out, "tape") {
			t.Errorf("the line of Conf had no effect: %q, %v", out, err)
		}
	})
	for _, node := range nodes {
		checkGone(t, node)
	}
}

// TestArrayAndCancel checks what Wait says of jobs that end in other ways.
func TestArrayAndCancel(t *testing.T) {
	needV1(t)
	c := Start(t, Options{})
	array := c.Submit("#!/bin/sh\nexit $((SLURM_ARRAY_TASK_ID == 1))\n", "--array=0-1")
	if state := c.Wait(array); state != "FAILED" {
		t.Errorf("array with one failing job ended as %s", state)
	}
	sleeper := c.Submit("#!/bin/sh\nsleep 600\n")
	if _, err := c.Run(context.Background(), "scancel", sleeper); err != nil {
		t.Error(err)
	}
	if state := c.Wait(sleeper); state != "CANCELLED" {
		t.Errorf("cancelled job ended as %s", state)
	}
	if _, err := c.Run(context.Background(), "scontrol", "show", "job", "4711"); err == nil {
		t.Error("scontrol found a job that does not exist")
	}
}

// TestStopIdle stops what was never started, and refuses what is not ours.
func TestStopIdle(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Join(dir, "absent")} {
		if out, err := exec.Command("./cluster", "stop", "--dir", d).CombinedOutput(); err != nil {
			t.Errorf("stop of %s: %v: %s", d, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "letter"), []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"start", "stop"} {
		out, err := exec.Command("./cluster", verb, "--dir", dir).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "not made by this script") {
			t.Errorf("%s in another's folder: %v: %s", verb, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "letter")); err != nil {
		t.Error(err)
	}
}

// TestNeedRoot runs this test program as another user: without root a test is
// skipped, under CI=true it fails.
func TestNeedRoot(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "slurm.test")
	if err := os.WriteFile(copied, program, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	uid := strconv.Itoa(otherUser())
	for ci, want := range map[string]string{"": "--- SKIP: TestStopIdle", "true": "--- FAIL: TestStopIdle"} {
		cmd := exec.Command("setpriv", "--reuid="+uid, "--regid="+uid, "--clear-groups", copied, "-test.v", "-test.run=^TestStopIdle$")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CI="+ci)
		out, _ := cmd.CombinedOutput() // the exit status follows from the text
		if !strings.Contains(string(out), want) || !strings.Contains(string(out), "needs root") {
			t.Errorf("with CI=%q the test program says:\n%s", ci, out)
		}
	}
}

func TestOptions(t *testing.T) {
	got := Options{Nodes: 3, CPUs: 2, Extern: true, Plugin: "v2", Prefix: "n", Conf: []string{"A=b c"},
		CgroupConf: []string{"D=e"}, Plugstack: []string{"optional f.so"}}.args()
	want := []string{"--nodes", "3", "--cpus", "2", "--extern", "--plugin", "v2", "--prefix", "n",
		"--conf", "A=b c", "--cgroup-conf", "D=e", "--plugstack", "optional f.so"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Options{}).args(); len(got) != 0 {
		t.Errorf("zero options give %q", got)
	}
}
