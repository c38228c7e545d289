package slurm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/agenttest"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

func TestConfig(t *testing.T) {
	yes, no := true, false
	for want, c := range map[string]func(*Config){
		"":                      func(*Config) {},
		"poll_interval must be": func(c *Config) { c.PollInterval = 0 },
		`poll_interval = "99us" is too short: it must be at least 100us`: func(c *Config) { c.PollInterval = config.Duration(99 * time.Microsecond) },
		"  ":                                func(c *Config) { c.PollInterval = config.Duration(100 * time.Microsecond) },
		"cgroupv1_refresh_interval must be": func(c *Config) { c.Refresh = 0 },
		`"jobs" is unknown: want one of job, step, substep, task`: func(c *Config) { c.Level = "jobs" },
		"annotate_foreign_measurements = true is not supported":   func(c *Config) { c.Annotate = true },
		"add_source_in_pause_state = true is not supported":       func(c *Config) { c.Paused = true },
		"contradict each other":                                   func(c *Config) { c.JobsOnly, c.NoSources = false, true },
		" ":                                                       func(c *Config) { c.JobsOnly, c.IgnoreNonJobs, c.NoSources = false, &yes, true },
		"contradict":                                              func(c *Config) { c.IgnoreNonJobs, c.NoSources = &no, true },
	} {
		cfg := defaults()
		c(&cfg)
		err := cfg.Validate()
		if want = strings.TrimSpace(want); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q, have %v", want, err)
		}
	}
}

// Without control groups the plugin is off; without a slurmd it waits.
func TestOpen(t *testing.T) {
	root := t.TempDir()
	mount := filepath.Join(root, "cg")
	for _, dir := range []string{filepath.Join(root, "proc/self"), mount} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(info string) {
		if err := os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(info), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n")
	if _, err := agenttest.TryOpen(t, Plugin(cgroups.New(jobs.NoBooks{})), nil, root); !errors.Is(err, agent.ErrNotSupported) {
		t.Errorf("without hierarchies: %v", err)
	}
	write("32 31 0:30 / " + mount + " rw - cgroup cgroup rw,cpuacct\n")
	p, err := agenttest.TryOpen(t, Plugin(cgroups.New(jobs.NoBooks{})), nil, root)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Log.String(); strings.Count(s, "waiting for them") != 1 {
		t.Errorf("log: %s", s)
	}
	if len(p.MustPoll("jobs")) != 0 {
		t.Error("there are points without jobs")
	}
	if err := os.MkdirAll(mount+"/slurm_n1", 0o755); err != nil {
		t.Fatal(err)
	}
	p, err = agenttest.TryOpen(t, Plugin(cgroups.New(jobs.NoBooks{})), nil, root)
	if err != nil || strings.Contains(p.Log.String(), "waiting") {
		t.Errorf("with slurmd: %v, %s", err, p.Log)
	}
	for _, name := range []string{"cpu_time_delta", "cpu_percent", "memory_usage", "cgroup_memory_anonymous", "cgroup_memory_file",
		"cgroup_memory_kernel_stack", "cgroup_memory_pagetables"} {
		if _, ok := p.Metrics.ByName(name); !ok {
			t.Errorf("no metric %s", name)
		}
	}
}

func TestLevels(t *testing.T) {
	paths := []string{
		"/system.slice/slurmstepd.scope", "/system.slice/slurmstepd.scope/job_1", "/system.slice/slurmstepd.scope/job_1/step_0",
		"/system.slice/slurmstepd.scope/job_1/step_0/user", "/system.slice/slurmstepd.scope/job_1/step_0/user/task_0",
	}
	for depth := range levels() {
		m := matcher{depth: depth}
		wanted := 0
		for _, p := range paths {
			if x := m.Match(p, cgroups.V2); m.wants(x) {
				wanted++
			}
		}
		if wanted != depth+1 {
			t.Errorf("level %s: points of %d groups", levels()[depth], wanted)
		}
	}
	// v1 has no substeps: its tasks are one level below the step.
	if x := (matcher{depth: 2}).Match("/slurm/uid_0/job_1/step_0/task_0", cgroups.V1); x.Role != cgroups.Part {
		t.Errorf("%+v", x)
	}
	if x := (matcher{depth: 1, all: true}).Match("/user.slice", cgroups.V2); x.Role != cgroups.Plain {
		t.Errorf("%+v", x)
	}
}

func TestDescribe(t *testing.T) {
	env := func(list ...string) cgroups.Environ { return cgroups.Environ(strings.Join(list, "\x00") + "\x00") }
	for _, c := range []struct {
		job  string
		env  cgroups.Environ
		ok   bool
		want jobs.Facts
	}{
		{"7", env("SLURM_JOB_ID=7", "SLURM_JOB_NAME=a b", "SLURM_JOB_ACCOUNT=phys", "SLURM_JOB_PARTITION=long"), true,
			jobs.Facts{JobName: "a b", Account: "phys", Partition: "long"}},
		{"7", env("SLURM_JOB_ID=8", "SLURM_JOB_NAME=x"), false, jobs.Facts{}},
		{"7", env(""), false, jobs.Facts{}},
		{"12", env("SLURM_JOB_ID=12", "SLURM_ARRAY_JOB_ID=11", "SLURM_ARRAY_TASK_ID=1"), true, jobs.Facts{ArrayJob: "11", ArrayTask: "1"}},
		{"15", env("SLURM_JOB_ID=14", "SLURM_HET_SIZE=2", "SLURM_JOB_ID_HET_GROUP_0=14", "SLURM_JOB_ID_HET_GROUP_1=15"), true,
			jobs.Facts{HetJob: "14", HetOffset: "1"}},
		{"2", env("SLURM_JOB_ID=1", "SLURM_HET_SIZE=2", "SLURM_JOB_ID_PACK_GROUP_0=1", "SLURM_JOB_ID_PACK_GROUP_1=2", "SLURM_JOB_NAME=a",
			"SLURM_JOB_NAME_HET_GROUP_1=b"), true, jobs.Facts{HetJob: "1", HetOffset: "1", JobName: "b"}},
		{"16", env("SLURM_JOB_ID=14", "SLURM_HET_SIZE=2", "SLURM_JOB_ID_HET_GROUP_0=14", "SLURM_JOB_ID_HET_GROUP_1=15"), false, jobs.Facts{}},
		{"7", env("SLURM_JOB_ID=7", "SLURM_JOB_NAME="+strings.Repeat("x", 5000)), true, jobs.Facts{}},
	} {
		var f jobs.Facts
		if ok := describe(c.env, jobs.ID{Scheduler: Scheduler, Name: c.job}, &f); ok != c.ok || f.JobName != c.want.JobName || f.Account != c.want.Account ||
			f.Partition != c.want.Partition || f.ArrayJob != c.want.ArrayJob || f.ArrayTask != c.want.ArrayTask || f.HetJob != c.want.HetJob || f.HetOffset != c.want.HetOffset {
			t.Errorf("job %s, %q: %v %+v", c.job, c.env, ok, f)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	f.Add([]byte("SLURM_JOB_ID=14\x00SLURM_HET_SIZE=2\x00SLURM_JOB_ID_HET_GROUP_0=14\x00SLURM_JOB_ID_HET_GROUP_1=15\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var facts jobs.Facts
		describe(b, jobs.ID{Scheduler: Scheduler, Name: "15"}, &facts)
	})
}
