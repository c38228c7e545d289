// Package rapl measures the energy of processor packages, their cores and graphics, and the memory, by the counters that
// Intel and AMD processors keep and the kernel's powercap interface shows.
package rapl

import (
	"fmt"
	"path/filepath"

	"github.com/alumet-hpc/alumet-hpc/agent"
	"github.com/alumet-hpc/alumet-hpc/agent/config"
	"github.com/alumet-hpc/alumet-hpc/agent/sysfile"
)

// Config is the configuration of the plugin.
type Config struct {
	PollInterval  config.Duration `toml:"poll_interval" comment:"Interval between two RAPL measurements."`
	FlushInterval config.Duration `toml:"flush_interval" comment:"Interval between two flushing of RAPL measurements."`
	NoPerfEvents  bool            `toml:"no_perf_events" comment:"Set to true to disable perf-events and always use the powercap sysfs."`
}

func defaults() Config {
	return Config{PollInterval: config.Duration(1e9), FlushInterval: config.Duration(5e9)}
}

// Validate implements [agent.Validator].
func (c *Config) Validate() error {
	return c.PollInterval.AtLeast("poll_interval", config.ShortestPoll)
}

// Plugin declares the plugin `rapl`.
func Plugin() agent.Plugin {
	return agent.Define("rapl", "Energy of processor packages, cores and memory, by the RAPL counters.", defaults, open)
}

func open(s *agent.Setup, c Config) error {
	s.Log.Debug("energy is read through powercap", "no_perf_events", c.NoPerfEvents)
	top, err := sysfile.ReadTopology(s.Sys)
	if err != nil {
		s.Log.Warn("the processor topology is not known; packages are taken as powercap numbers them", "error", err)
	}
	zones, err := findZones(s, top)
	if err != nil {
		return err
	}
	src := newSource(s, zones)
	s.OnClose(src.close)
	for _, z := range zones {
		if err := s.Meter.Sensor(z.sensor); err != nil {
			return err
		}
	}
	when := agent.Schedule{Period: c.PollInterval.Std(), Flush: c.FlushInterval.Std(), Phase: agent.PhaseEnergy}
	s.Source("in", when, src)
	return nil
}

// sensorOf describes a zone to the ledger. Each die of a package has a sensor of its own, although their points are summed:
// the ledger continues from the hardware's own counter after a restart, and a sum of counters neither is one nor wraps like
// one. All dies cover the CPUs of the whole package.
func sensorOf(z *zone, sysRoot string) *agent.Sensor {
	d := domains[z.domain]
	s := &agent.Sensor{
		Name: "rapl:" + d.sensor, Resource: z.resource(), Domain: d.name, Socket: z.socket, Scope: d.scope,
		RangeUJ: z.counter.Max, MaxUW: z.maxUW, StepNs: stepNs,
	}
	if d.scope != agent.ScopeNode || z.pkg > 0 {
		s.Name += fmt.Sprintf(":%d", z.pkg)
	}
	if z.die >= 0 {
		s.Part = fmt.Sprintf("die:%d", z.die)
		s.Name += ":" + s.Part
	}
	if filepath.Clean(sysRoot) != "/sys" {
		s.Root = sysRoot
	}
	return s
}

// stepNs is how often the processor updates its counters: about every millisecond.
const stepNs = 1e6
