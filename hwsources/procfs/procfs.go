// Package procfs measures what the kernel says about the machine and its processes in the proc file system: CPU time by
// state, context switches and forks, memory, network interfaces, and the CPU time and memory of processes.
package procfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// Config is the configuration of the plugin.
type Config struct {
	Kernel    KernelConfig    `toml:"kernel" comment:"CPU time, context switches and forks."`
	Memory    MemoryConfig    `toml:"memory" comment:"Memory of the machine."`
	Network   NetworkConfig   `toml:"network" comment:"Traffic of the network interfaces."`
	Processes ProcessesConfig `toml:"processes" comment:"CPU time and memory of processes."`
}

// KernelConfig is the section `kernel`.
type KernelConfig struct {
	Enabled      bool            `toml:"enabled" comment:"true to enable the monitoring of kernel information."`
	PollInterval config.Duration `toml:"poll_interval" comment:"How frequently the kernel information is measured."`
}

// MemoryConfig is the section `memory`.
type MemoryConfig struct {
	Enabled      bool            `toml:"enabled" comment:"true to enable the monitoring of memory information."`
	PollInterval config.Duration `toml:"poll_interval" comment:"How frequently the memory information is measured."`
	Metrics      []string        `toml:"metrics" comment:"The entries of /proc/meminfo to measure. MemTotal becomes the metric mem_total."`
}

// NetworkConfig is the section `network`.
type NetworkConfig struct {
	Enabled      bool            `toml:"enabled" comment:"true to enable the monitoring of network interfaces."`
	PollInterval config.Duration `toml:"poll_interval" comment:"How frequently the interfaces are measured."`
}

// ProcessesConfig is the section `processes`.
type ProcessesConfig struct {
	Enabled  bool            `toml:"enabled" comment:"true to enable the monitoring of processes."`
	Refresh  config.Duration `toml:"refresh_interval" comment:"Watcher refresh interval."`
	Strategy string          `toml:"strategy" comment:"watcher to watch for new processes, event to only react to events of the agent."`
	Groups   []GroupConfig   `toml:"groups" comment:"Groups of processes, each with its own pace. A process belongs to the first group that it matches."`
	Events   EventsConfig    `toml:"events" comment:"For processes that are announced by events."`
}

// GroupConfig is one entry of `processes.groups`. A process matches when all filters that are given do.
type GroupConfig struct {
	Pid           *int            `toml:"pid" comment:"Only the process with this id."`
	PPid          *int            `toml:"ppid" comment:"Only processes whose parent has this id."`
	ExeRegex      string          `toml:"exe_regex" comment:"Only monitor the processes whose executable path matches this regex."`
	PollInterval  config.Duration `toml:"poll_interval" comment:"How frequently the processes are measured."`
	FlushInterval config.Duration `toml:"flush_interval" comment:"How frequently the measurements are flushed to the rest of the pipeline."`
	MemoryMode    string          `toml:"memory_mode,omitempty" comment:"quick, or slow_but_accurate for the proportional set size."`
}

// EventsConfig is the section `processes.events`.
type EventsConfig struct {
	PollInterval  config.Duration `toml:"poll_interval" comment:"How frequently the processes are measured."`
	FlushInterval config.Duration `toml:"flush_interval" comment:"How frequently the measurements are flushed to the rest of the pipeline."`
	MemoryMode    string          `toml:"memory_mode" comment:"quick, or slow_but_accurate for the proportional set size."`
}

// Words of the configuration.
const (
	strategyWatcher = "watcher"
	strategyEvent   = "event"
	memoryQuick     = "quick"
	memorySlow      = "slow_but_accurate"
)

// Intervals of a group that says none.
const (
	groupPoll  = config.Duration(2e9)
	groupFlush = config.Duration(4e9)
)

func defaults() Config {
	const five = config.Duration(5e9)
	return Config{
		Kernel: KernelConfig{Enabled: true, PollInterval: five},
		Memory: MemoryConfig{Enabled: true, PollInterval: five,
			Metrics: []string{"MemTotal", "MemFree", "MemAvailable", "Cached", "SwapCached", "Active", "Inactive", "Mapped"}},
		Network: NetworkConfig{Enabled: true, PollInterval: five},
		Processes: ProcessesConfig{Enabled: true, Refresh: config.Duration(2e9), Strategy: strategyWatcher,
			Groups: []GroupConfig{{PollInterval: groupPoll, FlushInterval: groupFlush}},
			Events: EventsConfig{PollInterval: config.Duration(1e9), FlushInterval: groupFlush, MemoryMode: memoryQuick}},
	}
}

// Validate implements [agent.Validator].
func (c *Config) Validate() error {
	err := errors.Join(
		c.Kernel.PollInterval.AtLeast("kernel.poll_interval", config.ShortestPoll),
		c.Memory.PollInterval.AtLeast("memory.poll_interval", config.ShortestPoll),
		c.Network.PollInterval.AtLeast("network.poll_interval", config.ShortestPoll),
		c.Processes.Refresh.AtLeast("processes.refresh_interval", config.ShortestPoll),
		c.Processes.Events.PollInterval.AtLeast("processes.events.poll_interval", config.ShortestPoll),
		checkMode("processes.events.memory_mode", c.Processes.Events.MemoryMode),
	)
	if err != nil {
		return err
	}
	if s := c.Processes.Strategy; s != strategyWatcher && s != strategyEvent {
		return fmt.Errorf("processes.strategy must be %q or %q, not %q", strategyWatcher, strategyEvent, s)
	}
	for _, g := range c.Processes.Groups {
		if err := checkMode("processes.groups memory_mode", g.MemoryMode); err != nil {
			return err
		}
		if _, err := regexp.Compile(g.ExeRegex); err != nil {
			return fmt.Errorf("processes.groups exe_regex: %w", err)
		}
		if g.PollInterval == 0 {
			continue // the default
		}
		if err := g.PollInterval.AtLeast("processes.groups poll_interval", config.ShortestPoll); err != nil {
			return err
		}
	}
	return nil
}

func checkMode(key, mode string) error {
	if mode != "" && mode != memoryQuick && mode != memorySlow {
		return fmt.Errorf("%s must be %q or %q, not %q", key, memoryQuick, memorySlow, mode)
	}
	return nil
}

// Plugin declares the plugin `procfs`.
func Plugin() agent.Plugin {
	return agent.Define("procfs", "CPU time, memory, network and processes, by the proc file system.", defaults, open)
}

func open(s *agent.Setup, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Kernel.Enabled {
		f, err := keep(s, "stat")
		if err != nil {
			return err
		}
		s.Source("kernel", usage(c.Kernel.PollInterval), newKernel(s, f))
	}
	if c.Memory.Enabled {
		f, err := keep(s, "meminfo")
		if err != nil {
			return err
		}
		m, err := newMemory(s, f, c.Memory.Metrics)
		if err != nil {
			return err
		}
		s.Source("memory", usage(c.Memory.PollInterval), m)
	}
	if c.Network.Enabled {
		f, err := keep(s, "net/dev")
		if err != nil {
			// A container may have no network at all; everything else can be measured.
			s.Log.Warn("network interfaces are not measured", "error", err)
		} else {
			s.Source("network", usage(c.Network.PollInterval), newNetwork(s, f))
		}
	}
	if c.Processes.Enabled {
		return openProcesses(s, c.Processes)
	}
	return nil
}

// keep opens a file of procfs until the agent stops.
func keep(s *agent.Setup, name string) (*sysfile.File, error) {
	f, err := sysfile.Open(filepath.Join(s.Proc, name))
	if err != nil {
		return nil, fmt.Errorf("%w: %w: is the proc file system mounted?", agent.ErrNotSupported, err)
	}
	s.OnClose(f.Close)
	return f, nil
}

func usage(period config.Duration) agent.Schedule {
	return agent.Schedule{Period: period.Std(), Phase: agent.PhaseUsage}
}

// openProcesses adds the watcher and a source for each group. They share a lane, because they share what the watcher has
// found, and because walking through all processes must not delay the energy counters.
func openProcesses(s *agent.Setup, c ProcessesConfig) error {
	if c.Strategy == strategyEvent {
		s.Log.Warn("no process is measured: the agent does not announce processes yet", "strategy", c.Strategy)
		return nil
	}
	const lane = "processes"
	w, err := newWatcher(s, c.Groups)
	if err != nil {
		return err
	}
	s.OnClose(w.close)
	s.Source("process-watcher", agent.Schedule{Period: c.Refresh.Std(), Phase: agent.PhaseUsage, Lane: lane}, w)
	for i, g := range w.groups {
		poll, flush := c.Groups[i].PollInterval, c.Groups[i].FlushInterval
		if poll == 0 {
			poll = groupPoll
		}
		if flush == 0 {
			flush = groupFlush
		}
		when := agent.Schedule{Period: poll.Std(), Flush: flush.Std(), Phase: agent.PhaseUsage, Lane: lane}
		s.Source("group-"+strconv.Itoa(i), when, g)
	}
	return nil
}
