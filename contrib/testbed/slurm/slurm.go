// Package slurm starts a real Slurm on the loopback interface for tests:
// munge, slurmctld and one or more slurmd, all as processes of this machine
// with all their state in one folder. The work is done by the script `cluster`
// beside this file, which can also be used by hand; this package runs it,
// stops the cluster when the test ends, and gives tests a few calls for jobs.
//
// Only tests import it. Slurm's daemons make cgroups and run jobs of other
// users, so a test that is not run by root is skipped, except under CI=true,
// where it fails: a check that could not run must not look like one that
// passed.
package slurm

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed cluster preload/hidev1.c
var scripts embed.FS

// Limits for commands. A Slurm client whose controller has died hangs for
// minutes, so no command is ever run without one.
const (
	installLimit = 10 * time.Minute
	startLimit   = 90 * time.Second
	commandLimit = time.Minute
	jobLimit     = 2 * time.Minute
)

// Options describe the cluster that a test wants. The zero value is one node
// with all CPUs of the machine, cgroup v1 and no extern step.
type Options struct {
	// Nodes is the number of nodes; 0 means 1. Each node is a slurmd of its
	// own on this machine and has its own cgroups, slurm_<node>.
	Nodes int
	// CPUs is the number of CPUs that each node claims to have; 0 means all
	// CPUs of the machine.
	CPUs int
	// Extern gives every job a step_extern on every node of the job
	// (PrologFlags=Alloc,Contain).
	Extern bool
	// Plugin is Slurm's cgroup plugin, "v1" or "v2"; empty means v1. A
	// machine without the hierarchies that the plugin needs fails the test.
	Plugin string
	// Prefix begins the node names; empty lets the script choose one that
	// does not clash with another cluster on the machine.
	Prefix string
	// Conf, CgroupConf and Plugstack are lines appended to slurm.conf,
	// cgroup.conf and plugstack.conf.
	Conf, CgroupConf, Plugstack []string
}

// args returns the options as arguments of `cluster start`.
func (o Options) args() []string {
	var args []string
	if o.Nodes != 0 {
		args = append(args, "--nodes", strconv.Itoa(o.Nodes))
	}
	if o.CPUs != 0 {
		args = append(args, "--cpus", strconv.Itoa(o.CPUs))
	}
	if o.Extern {
		args = append(args, "--extern")
	}
	if o.Plugin != "" {
		args = append(args, "--plugin", o.Plugin)
	}
	if o.Prefix != "" {
		args = append(args, "--prefix", o.Prefix)
	}
	for _, line := range o.Conf {
		args = append(args, "--conf", line)
	}
	for _, line := range o.CgroupConf {
		args = append(args, "--cgroup-conf", line)
	}
	for _, line := range o.Plugstack {
		args = append(args, "--plugstack", line)
	}
	return args
}

// Cluster is a running Slurm. It belongs to the test that started it and is
// gone when that test has ended. Its methods may be called concurrently;
// those that report failures through the test only from the test's goroutine.
type Cluster struct {
	// Dir holds all state; its subfolders out and log are of interest to
	// tests: out is writable for every user, log has the daemons' logs.
	Dir string
	// Conf is the path of slurm.conf, the value of SLURM_CONF.
	Conf string
	// Nodes are the node names in order.
	Nodes []string

	t testing.TB
}

// Start installs Slurm where it is missing, starts a cluster, waits until its
// nodes are idle, and registers its end with the test. It skips the test when
// it is not run by root (fails it under CI=true) and fails it when the cluster
// does not come up.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	needRoot(t)
	// Not t.TempDir: jobs of other users must be able to enter, and Slurm's
	// socket names bound the length of the path.
	base, err := os.MkdirTemp("", "slurm")
	if err != nil {
		t.Fatalf("make the folder of the cluster: %v", err)
	}
	c := &Cluster{Dir: filepath.Join(base, "tb"), t: t}
	c.Conf = filepath.Join(c.Dir, "etc", "slurm.conf")
	t.Cleanup(c.stop)
	if err := writeScripts(base); err != nil {
		t.Fatal(err)
	}
	install := []string{"install"}
	if o.Plugin != "" {
		install = append(install, "--plugin", o.Plugin)
	}
	if err := c.script(installLimit, install...); err != nil {
		t.Fatal(err)
	}
	if err := c.script(startLimit, append([]string{"start"}, o.args()...)...); err != nil {
		t.Fatal(err)
	}
	nodes, err := os.ReadFile(filepath.Join(c.Dir, "nodes"))
	if err != nil {
		t.Fatalf("read the node names: %v", err)
	}
	c.Nodes = strings.Fields(string(nodes))
	return c
}

// needRoot skips the test, or fails it under CI=true, when it is not run by root.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	const why = "a Slurm cluster needs root: slurmd makes cgroups and runs jobs of other users"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// writeScripts puts the embedded scripts into dir and opens it to all users.
func writeScripts(dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "preload"), 0o755); err != nil {
		return fmt.Errorf("make the folder of the scripts: %w", err)
	}
	for _, name := range []string{"cluster", "preload/hidev1.c"} {
		b, err := scripts.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read embedded %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("open %s to all users: %w", dir, err)
	}
	return nil
}

// script runs one verb of the cluster script within the limit. The error
// carries what the script said.
func (c *Cluster) script(limit time.Duration, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	name := filepath.Join(filepath.Dir(c.Dir), "cluster")
	cmd := exec.CommandContext(ctx, name, append(args, "--dir", c.Dir)...)
	out, err := run(cmd)
	if err != nil {
		return fmt.Errorf("cluster %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// run runs cmd with both outputs together and also returns when a descendant
// of a killed command still holds the pipe.
func run(cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	return out.String(), err
}

// stop ends the cluster and removes its folder. After a failed test it shows
// the ends of the daemons' logs first.
func (c *Cluster) stop() {
	c.t.Helper()
	if c.t.Failed() {
		c.showLogs()
	}
	if err := c.script(startLimit, "stop"); err != nil {
		c.t.Error(err)
		return // what is left is needed to find out why
	}
	if err := os.RemoveAll(filepath.Dir(c.Dir)); err != nil {
		c.t.Errorf("remove the folder of the cluster: %v", err)
	}
}

// showLogs logs the last lines of every daemon's log.
func (c *Cluster) showLogs() {
	logs, err := filepath.Glob(filepath.Join(c.Dir, "log", "*.log"))
	if err != nil {
		return
	}
	for _, name := range logs {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		const last = 4000
		b = b[max(0, len(b)-last):]
		c.t.Logf("end of %s:\n%s", filepath.Base(name), b)
	}
}

// Env returns the environment of this process with SLURM_CONF set, for
// commands that a test starts itself.
func (c *Cluster) Env() []string {
	return append(os.Environ(), "SLURM_CONF="+c.Conf)
}

// Run runs a command, such as srun or squeue, with SLURM_CONF set and returns
// its standard output and error together. It ends with ctx, at the latest
// after a minute; the error then says so. To run as another user, prefix the
// command with setpriv.
func (c *Cluster) Run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = c.Env()
	cmd.Dir = filepath.Join(c.Dir, "out")
	out, err := run(cmd)
	if ctx.Err() != nil {
		return out, fmt.Errorf("run %s: %w", args[0], ctx.Err())
	}
	if err != nil {
		return out, fmt.Errorf("run %s: %w: %s", args[0], err, strings.TrimSpace(out))
	}
	return out, nil
}

// Submit gives the text of a batch script, `#!` line included, to sbatch with
// further arguments and returns the job's id. The job's output goes to
// Dir/out/<jobid>.out unless the arguments say otherwise. It fails the test
// when sbatch does.
func (c *Cluster) Submit(script string, args ...string) (jobID string) {
	c.t.Helper()
	name := filepath.Join(c.Dir, "out", "submit.sh")
	if err := os.WriteFile(name, []byte(script), 0o755); err != nil {
		c.t.Fatalf("write the batch script: %v", err)
	}
	cmd := append([]string{"sbatch", "--parsable", "--output=%j.out"}, args...)
	out, err := c.Run(context.Background(), append(cmd, name)...)
	if err != nil {
		c.t.Fatal(err)
	}
	id, _, _ := strings.Cut(strings.TrimSpace(out), ";") // id[;cluster]
	if _, err := strconv.ParseUint(id, 10, 32); err != nil {
		c.t.Fatalf("sbatch answered %q, want a job id", out)
	}
	return id
}

// Wait polls until the job has ended, its epilog included, and returns its
// final state in squeue's words, such as "COMPLETED" or "CANCELLED". Of a job
// array it waits for all jobs and returns a state other than "COMPLETED" if
// one has it. It fails the test when the job has not ended after two minutes.
// The cgroups of the job may outlive this moment by some milliseconds.
func (c *Cluster) Wait(jobID string) (state string) {
	c.t.Helper()
	for end := time.Now().Add(jobLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		states, err := c.jobStates(jobID)
		if err != nil {
			c.t.Fatal(err)
		}
		if state, done := together(states); done {
			return state
		}
	}
	c.t.Fatalf("job %s has not ended after %v", jobID, jobLimit)
	return ""
}

// jobStates asks squeue, which knows ended jobs too, for MinJobAge.
func (c *Cluster) jobStates(jobID string) ([]string, error) {
	out, err := c.Run(context.Background(), "squeue", "--noheader", "--states=all", "--format=%T", "--jobs="+jobID)
	if err != nil {
		return nil, err
	}
	states := strings.Fields(out)
	if len(states) == 0 {
		return nil, errors.New("squeue does not know job " + jobID)
	}
	return states, nil
}

// together returns the state of a job or job array from the states of its
// parts, and whether all parts have ended.
func together(states []string) (state string, done bool) {
	state = "COMPLETED"
	for _, s := range states {
		switch s {
		case "COMPLETED":
		case "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL", "PREEMPTED", "REVOKED":
			state = s
		default:
			return s, false
		}
	}
	return state, true
}
