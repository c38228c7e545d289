// Package slurm follows the jobs of a node's slurmd: it knows the paths of Slurm's control groups in all their forms and
// what the environment of a task says of its job. The reading is done by [cgroups.Tracker], which all schedulers share.
package slurm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
	"github.com/alumet-hpc/alumet-hpc/jobs"
	"github.com/alumet-hpc/alumet-hpc/scheduler/cgroups"
)

// Name is the plugin's name.
const Name = "slurm"

// Config is the section `[plugins.slurm]`.
type Config struct {
	PollInterval  config.Duration `toml:"poll_interval" comment:"Interval between two measurements"`
	FlushInterval config.Duration `toml:"flush_interval" comment:"Interval between two flushes of the measurements; 0: after each"`
	Refresh       config.Duration `toml:"cgroupv1_refresh_interval" comment:"Interval between two scans of the control groups. New groups are reported by the kernel, v1 and v2 alike:\nthis is for what it may have lost."`
	JobsOnly      bool            `toml:"jobs_only" comment:"Only monitor the job cgroup related metrics and skip the others"`
	IgnoreNonJobs *bool           `toml:"ignore_non_jobs" comment:"Newer name of jobs_only; where both are given it wins"`
	Level         string          `toml:"jobs_monitoring_level" comment:"Down to which groups measurements are made: job, step, substep or task"`
	Paused        bool            `toml:"add_source_in_pause_state" comment:"If true, the source is started in pause state (only for advanced setup with a control plugin enabled)"`
	Annotate      bool            `toml:"annotate_foreign_measurements" comment:"If true, add the job to the measurements that other plugins make of its cgroups"`
	NoSources     bool            `toml:"disable_sources" comment:"If true, make no measurements of the jobs' groups; their energy is accounted for all the same"`
}

func defaults() Config {
	return Config{
		PollInterval: config.Duration(time.Second), Refresh: config.Duration(cgroups.DefaultRefresh),
		JobsOnly: true, Level: "step",
	}
}

// minPoll is the shortest interval that can be kept: below that even a node without jobs spends all its time on readings.
const minPoll = 100 * time.Microsecond

func levels() []string { return []string{"job", "step", "substep", "task"} }

// Validate checks what the types cannot.
func (c *Config) Validate() error {
	if err := errors.Join(c.PollInterval.Positive("poll_interval"), c.Refresh.Positive("cgroupv1_refresh_interval")); err != nil {
		return err
	}
	if c.PollInterval.Std() < minPoll {
		return fmt.Errorf("poll_interval = %q is too short: it must be at least %s", c.PollInterval, config.Duration(minPoll))
	}
	if !slices.Contains(levels(), c.Level) {
		return fmt.Errorf("jobs_monitoring_level %q is unknown: want one of %s", c.Level, strings.Join(levels(), ", "))
	}
	if c.Annotate {
		return errors.New("annotate_foreign_measurements = true is not supported by this version: set it to false")
	}
	if c.Paused {
		return errors.New("add_source_in_pause_state = true is not supported by this version: set it to false")
	}
	if !c.jobsOnly() && c.NoSources {
		return errors.New("jobs_only = false and disable_sources = true contradict each other: without sources nothing is measured")
	}
	return nil
}

func (c *Config) jobsOnly() bool {
	if c.IgnoreNonJobs != nil {
		return *c.IgnoreNonJobs
	}
	return c.JobsOnly
}

// Plugin declares the plugin. Its jobs are followed by t, the agent's tracker.
func Plugin(t *cgroups.Tracker) agent.Plugin {
	return agent.Define(Name, "Follows Slurm's jobs and steps and measures their CPU time and memory.", defaults,
		func(s *agent.Setup, c Config) error { return open(s, c, t) })
}

func open(s *agent.Setup, c Config, t *cgroups.Tracker) error {
	if err := c.Validate(); err != nil {
		return err
	}
	hs, err := cgroups.Find(s.Proc)
	if err != nil {
		return err
	}
	m := matcher{depth: slices.Index(levels(), c.Level), all: !c.jobsOnly()}
	if !cgroups.AnyParent(hs, m) {
		s.Log.Info("no slurmd has made its control groups yet: waiting for them")
	}
	t.Attach(s, m, cgroups.Options{Refresh: c.Refresh.Std()})
	schedule := agent.Schedule{Period: c.PollInterval.Std(), Flush: c.FlushInterval.Std(), Phase: agent.PhaseUsage}
	if c.NoSources {
		s.Source("jobs", schedule, silent{t})
		return nil
	}
	s.Source("jobs", schedule, t.NewPoints(s, cgroups.Selection{Want: m.wants, Attributes: attributes,
		Keys: []string{"job_id", "job_step", "user_id", "sub_step", "task"}}))
	return nil
}

// silent reads the groups and makes no points.
type silent struct{ t *cgroups.Tracker }

func (s silent) Poll(_ *agent.Batch, now agent.Instant) error { return s.t.Refresh(now) }
func (s silent) Edge(now agent.Instant) error                 { return s.t.Refresh(now) }

// matcher is Slurm's whole duty to the tracker.
type matcher struct {
	depth int  // index of the deepest level that is measured
	all   bool // groups that are no jobs are measured, too
}

// Match implements [cgroups.Matcher].
func (m matcher) Match(path string, v cgroups.Version) cgroups.Match {
	x := matchPath(path, v)
	switch {
	case x.Role == cgroups.Part && (m.depth < 2 || x.Task != "" && m.depth < 3 && x.Sub != ""):
		return cgroups.Match{UID: -1}
	case x.Role == cgroups.Step && m.depth < 2, x.Role == cgroups.Part && m.depth < 3 && x.Sub != "":
		x.Leaf = true
	case m.all && (x.Role == cgroups.Ignore || x.Role == cgroups.Above):
		x.Role = cgroups.Plain
	}
	return x
}

// wants tells of which groups points are made.
func (m matcher) wants(x cgroups.Match) bool {
	switch x.Role {
	case cgroups.Job:
		return x.ID.Scheduler == Scheduler
	case cgroups.Step:
		return x.ID.Scheduler == Scheduler && m.depth >= 1
	case cgroups.Part:
		return x.ID.Scheduler == Scheduler && m.depth >= 2
	}
	return m.all
}

// Resolve implements [cgroups.Resolver].
func (m matcher) Resolve(proc, dir string, x cgroups.Match) (cgroups.Match, bool) {
	return resolveSLUID(proc, dir, x)
}

// Describe implements [cgroups.Describer].
func (m matcher) Describe(env cgroups.Environ, id jobs.ID, f *jobs.Facts) bool {
	return id.Scheduler == Scheduler && describe(env, id, f)
}

// attributes are those of the points of one group.
func attributes(m cgroups.Match, uid int64) []agent.Attr {
	var list []agent.Attr
	text := func(key, v string) {
		if v != "" {
			list = append(list, agent.Attr{Key: key, Value: agent.AttrText(v)})
		}
	}
	if m.ID.Name != "" {
		list = append(list, agent.Attr{Key: "job_id", Value: cgroups.JobNumber(m.ID.Name)})
	}
	text("job_step", m.Step)
	if uid >= 0 {
		list = append(list, agent.Attr{Key: "user_id", Value: agent.AttrUint(uint64(uid))})
	}
	text("sub_step", m.Sub)
	text("task", m.Task)
	return list
}
